"""Piper: a small neural voice of one language on onnxruntime. It is fast, also on small machines.

Any voice in Piper's format works. None is chosen by itself, because their licences differ. It reads phonemes, which
eSpeak NG gives in a separate process, and runs in a worker of its own.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pipeline import tts
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import Settings
from pipeline.support.progress import Report
from pipeline.tts import espeak
from pipeline.tts.common import WorkerSpeech
from pipeline.tts.phonemes import Phonemes, open_phonemes
from pipeline.tts.piper_engine import PiperConfig
from pipeline.voices.catalogue import Voice
from pipeline.workers import EngineSpec, Serving, Worker, open_worker


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable if TTS_MODEL does not name a folder with a voice."""
    await espeak.probe(settings)
    await asyncio.to_thread(_read, settings)


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened["PiperSpeech"]]:
    """Start Piper and eSpeak NG in their workers. Raises EngineUnavailable, EngineError."""
    await espeak.probe(settings)
    config, reader = await asyncio.to_thread(_read, settings)
    spec = EngineSpec("piper", "pipeline.tts.piper_engine:Piper", config)
    serving = Serving(tts.TIMEOUT_S, settings.tts_replicas)
    async with open_phonemes(settings) as phonemes, open_worker(spec, settings, serving) as worker:
        speech = PiperSpeech(worker, phonemes, reader, config.speakers)
        yield Opened(speech, Path(config.model).stem, "cpu", worker.load, [_plain(reader)])


class PiperSpeech(WorkerSpeech):
    """See `pipeline.tts.TextToSpeech`. The voice's rate, usually 22,050 Hz."""

    reads_ipa = True

    def __init__(self, worker: Worker, phonemes: Phonemes, reader: str, speakers: int) -> None:
        """reader: the eSpeak voice that gives the phonemes. speakers: how many the model has."""
        super().__init__(worker, "Piper")
        self._phonemes = phonemes
        self._reader = reader
        self._speakers = speakers

    async def _request(self, said: str, voice: Voice, language: str | None) -> tuple[object, ...]:
        if language and not self.speaks(voice.language(language)):
            raise EngineError(
                f"This Piper voice speaks {_plain(self._reader)!r}, not {language[:20]!r}.", code="unsupported_language"
            )
        speaker = voice.engines.get("piper", {}).get("speaker", 0)
        if not (isinstance(speaker, int) and 0 <= speaker < self._speakers):
            raise EngineError(f"The voice {voice.name} needs a Piper speaker of 0 to {self._speakers - 1}.")
        return await self._phonemes.of(said, self._reader), speaker

    def speaks(self, language: str) -> bool:
        """See `pipeline.tts.TextToSpeech`."""
        return language.partition("-")[0] == _plain(self._reader)


def _plain(reader: str) -> str:
    """Return the language code of an eSpeak voice."""
    return {"cmn": "zh", "nb": "no"}.get(plain := reader.partition("-")[0], plain)


def _read(settings: Settings) -> tuple[PiperConfig, str]:
    """Read the description of the voice in TTS_MODEL; return it with its eSpeak voice. Raises EngineUnavailable."""
    remedy = "Set TTS_MODEL to a folder with one Piper voice: NAME.onnx and NAME.onnx.json."
    if not settings.tts_model:
        raise EngineUnavailable("No Piper voice is set.", remedy=remedy)
    models = sorted(Path(settings.tts_model).glob("*.onnx"))
    if len(models) != 1:
        raise EngineUnavailable(f"The folder in TTS_MODEL has {len(models)} ONNX files, not one.", remedy=remedy)
    try:
        return _parse(models[0], json.loads(Path(f"{models[0]}.json").read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineUnavailable(
            f"{models[0].name}.json does not describe a Piper voice ({type(error).__name__}).", remedy=remedy
        ) from None


def _parse(model: Path, table: dict[str, Any]) -> tuple[PiperConfig, str]:
    if table.get("phoneme_type", "espeak") != "espeak":
        raise ValueError("a voice that reads letters")
    inference = table.get("inference", {})
    scales = (
        float(inference.get("noise_scale", 0.667)),
        float(inference.get("length_scale", 1.0)),
        float(inference.get("noise_w", 0.8)),
    )
    ids = {str(symbol): [int(number) for number in numbers] for symbol, numbers in table["phoneme_id_map"].items()}
    if not {"_", "^", "$"} <= ids.keys():
        raise ValueError("no marks for start, end and pad")
    speakers = max(1, int(table.get("num_speakers", 1)))
    config = PiperConfig(str(model.resolve()), ids, int(table["audio"]["sample_rate"]), scales, speakers)
    return config, str(table["espeak"]["voice"])
