"""Wyoming's `info`: the languages of the loaded models, and no others."""

from dataclasses import replace
from pathlib import Path

from pipeline.assistant import Assistant, open_assistant
from pipeline.engines import EngineInfo
from pipeline.languages import NAMES
from pipeline.settings import Settings
from server.wyoming.info import info
from tests.stt.recordings import MODEL

INCLUDED = ("man", "woman")
"""Voices that come with the service."""


def offered(assistant: Assistant, stt: EngineInfo, tts: EngineInfo) -> tuple[list[str], dict[str, list[str]]]:
    """Languages of the recogniser, and of each voice that does not come with the service."""
    llm = EngineInfo("llm", "builtin", "rules", "cpu", 0.0)
    told = info(Assistant(assistant.settings, assistant.stages, assistant.voices, lambda: (stt, llm, tts)))
    assert all(program.installed and program.attribution.name for program in (*told.asr, *told.tts, *told.handle))
    spoken: dict[str, list[str]] = {}
    for voice in told.tts[0].voices:  # "both:pt" is the voice "both" in Portuguese
        spoken.setdefault(voice.name.partition(":")[0], []).extend(voice.languages)
    own = {name: languages for name, languages in spoken.items() if name not in INCLUDED}
    return told.asr[0].models[0].languages, own


async def test_only_available_languages_are_offered(tmp_path: Path) -> None:
    voices = tmp_path / "voices"
    for name, languages in (("any", []), ("german", ["de"]), ("both", ["de", "pt"])):
        (voices / name).mkdir(parents=True)
        (voices / name / "voice.toml").write_text(f"languages = {languages}")
    settings = Settings(
        stt_engine="whisper", whisper_model=str(MODEL), whisper_context_s=30.0, llm_engine="builtin",
        tts_engine="espeak", voices_dir=voices, voice_name="any", model_host="thread",
    )  # fmt: skip
    async with open_assistant(settings) as assistant:
        stt, _, tts = assistant.engines[:3]  # not Smart Turn, which can be installed here
        hears, speak = offered(assistant, stt, tts)
        assert hears == (["en"] if stt.languages == ("en",) else sorted(NAMES))
        assert {"en", "pt", "ru", "zh"} <= set(speak["any"])
        assert speak["both"] == ["de", "pt"]

        english, few = replace(stt, languages=("en",)), replace(tts, languages=("en", "pt-br", "zh-cn"))
        hears, speak = offered(assistant, english, few)
        assert hears == ["en"]
        assert speak == {"any": ["en", "pt", "zh"], "both": ["pt"]}

        unknown = replace(tts, languages=())
        hears, speak = offered(assistant, replace(stt, languages=()), unknown)
        assert hears == sorted(NAMES)
        assert speak == {"any": ["en", "pt", "es"], "german": ["de"], "both": ["de", "pt"]}


async def test_an_english_recogniser_offers_english() -> None:
    settings = Settings(stt_engine="sphinx", llm_engine="builtin", tts_engine="espeak")
    async with open_assistant(settings) as assistant:
        assert info(assistant).asr[0].models[0].languages == ["en"]
