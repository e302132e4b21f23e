"""What this deployment offers, as Wyoming's `info` tells it."""

from wyoming.info import (
    AsrModel,
    AsrProgram,
    Attribution,
    HandleModel,
    HandleProgram,
    Info,
    TtsProgram,
    TtsVoice,
)

from pipeline.assistant import Assistant
from pipeline.engines import EngineInfo
from pipeline.stt.languages import NAMES, language_code
from pipeline.voices import Voice
from server import VERSION

OURS = Attribution("Parley", "")
EVERYWHERE = ["en", "pt", "es"]
"""Languages that all stages have, whichever engines they run on."""


def info(assistant: Assistant) -> Info:
    """One program a stage; a client chooses voices and languages from it."""
    stages = {engine.stage: engine for engine in assistant.engines}
    return Info(asr=[_asr(stages["stt"])], tts=[_tts(assistant, stages["tts"])], handle=[_handle(stages["llm"])])


def _asr(engine: EngineInfo) -> AsrProgram:
    languages = list(engine.languages) or sorted(NAMES)
    model = AsrModel(engine.model, OURS, True, engine.model, VERSION, languages)
    return AsrProgram("parley", OURS, True, f"Parley ({engine.engine})", VERSION, [model])


def _tts(assistant: Assistant, engine: EngineInfo) -> TtsProgram:
    voices = []
    for name in assistant.voices.names():
        voice = assistant.voices.get(name)
        languages = _spoken(voice, engine)
        if not languages:
            continue
        voices.append(TtsVoice(name, OURS, True, voice.description or name, VERSION, languages))
    own = assistant.settings.voice_name  # the first one is what a client takes by itself
    voices.sort(key=lambda voice: voice.name != own)
    return TtsProgram(
        "parley", OURS, True, f"Parley ({engine.engine})", VERSION, voices, supports_synthesize_streaming=True
    )


def _spoken(voice: Voice, engine: EngineInfo) -> list[str]:
    """Of the languages that a voice is meant for, those that the engine speaks; empty: none of them."""
    has = {language_code(code) or code for code in engine.languages if len(code.partition("-")[0]) <= 3}
    meant = [language_code(code) or code for code in voice.languages]
    if not has:
        return meant or EVERYWHERE
    return [code for code in dict.fromkeys(meant) if code in has] if meant else sorted(has)


def _handle(engine: EngineInfo) -> HandleProgram:
    languages = EVERYWHERE if engine.engine == "builtin" else sorted(NAMES)
    model = HandleModel(engine.model, OURS, True, engine.model, VERSION, languages)
    return HandleProgram("parley", OURS, True, f"Parley ({engine.engine})", VERSION, [model])
