"""Wyoming's `info`: the programs, models, voices and languages of this deployment."""

from pathlib import Path

from wyoming.info import (
    AsrModel,
    AsrProgram,
    Attribution,
    HandleModel,
    HandleProgram,
    Info,
    TtsProgram,
    WakeModel,
    WakeProgram,
)

from pipeline.assistant import Assistant
from pipeline.engines import EngineInfo
from pipeline.languages import NAMES
from pipeline.listening.wake_word import WAKE_WORDS, wake_words
from server import VERSION
from server.wyoming.voices import EVERYWHERE, offered

OURS = Attribution("Parley", "")
MICRO_WAKE_WORD = Attribution("Kevin Ahrendt", "https://github.com/kahrendt/microWakeWord")


def info(assistant: Assistant) -> Info:
    """Return one program for each stage, from which clients choose voices and languages."""
    stages = {engine.stage: engine for engine in assistant.engines}
    return Info(
        asr=[_asr(stages["stt"])],
        tts=[_tts(assistant, stages["tts"])],
        handle=[_handle(assistant, stages["llm"])],
        wake=[_wake()] if wake_words() else [],
    )


def _asr(engine: EngineInfo) -> AsrProgram:
    languages = list(engine.languages) or sorted(NAMES)
    model = AsrModel(engine.model, OURS, True, engine.model, VERSION, languages)
    return AsrProgram(
        "parley", OURS, True, f"Parley ({engine.engine})", VERSION, [model], supports_transcript_streaming=True,
        requires_external_vad=False,
        prefers_noise_reduction_enabled=False,  # it makes Whisper less exact
    )  # fmt: skip


def _tts(assistant: Assistant, engine: EngineInfo) -> TtsProgram:
    voices = offered(assistant, engine, OURS)
    return TtsProgram(
        "parley", OURS, True, f"Parley ({engine.engine})", VERSION, voices, supports_synthesize_streaming=True
    )


def _wake() -> WakeProgram:
    models = [
        WakeModel(name, MICRO_WAKE_WORD, True, word.phrase, VERSION, list(word.languages), word.phrase)
        for name, word in WAKE_WORDS.items()
    ]
    return WakeProgram("parley", OURS, True, "Parley (microWakeWord)", VERSION, models)


def _handle(assistant: Assistant, engine: EngineInfo) -> HandleProgram:
    languages = EVERYWHERE if engine.engine == "builtin" else sorted(NAMES)
    model = HandleModel(engine.model, OURS, True, engine.model, VERSION, languages)
    return HandleProgram(
        "parley", OURS, True, f"Parley ({engine.engine})", VERSION, [model], supports_handled_streaming=True,
        supports_home_control=isinstance(assistant.settings.tools, Path),
    )  # fmt: skip
