"""Real models, which `make models` installs under models/, a service on them, and recordings of real speech."""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

import pytest

from pipeline.settings import HOME
from pipeline.support.model_catalogue import CATALOGUE
from tests.builders.specs import import_specs
from tests.server_process import constants

MODELS = HOME / "models"
RECORDINGS = HOME.parent / "shared" / "audio"
CONVERTER = HOME / "pipeline" / "llm" / "conversion"
"""The package whose change makes `converted_llm` convert again."""


def real_model(name: str) -> Path:
    """Return the folder of a model of the catalogue. Without it the test or the module is skipped, or fails where
    PARLEY_NEED_MODELS is set, as in `make test`."""
    folder = MODELS / name
    if missing := CATALOGUE[name].missing(folder):
        why = f"models/{name} lacks {missing[0]}: make models"
        if os.environ.get("PARLEY_NEED_MODELS"):
            pytest.fail(why)
        pytest.skip(why, allow_module_level=True)
    return folder


def converted_llm(cache: pytest.Cache) -> Path:
    """Return the folder of SmolLM2 as `main.py convert` makes it; the cache keeps it as long as the converter is the
    same."""
    from pipeline.llm.conversion import convert

    import_specs()
    source = next(real_model("smollm2-135m").glob("*.gguf"))
    converter = b"".join(path.read_bytes() for path in sorted(CONVERTER.glob("*.py")))
    kept = cache.mkdir(f"smollm2-{hashlib.sha256(converter).hexdigest()[:16]}")
    folder = kept / "SmolLM2-135M"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=kept) as own:
            convert(source, Path(own) / folder.name)
            with contextlib.suppress(OSError):  # another process of the tests was faster
                (Path(own) / folder.name).rename(folder)
    return folder


def real_whisper() -> dict[str, str]:
    """Return the settings of a service with Whisper tiny.en: one copy, with the context that each start would find."""
    model = str(real_model("whisper-tiny.en"))
    return {"STT_ENGINE": "whisper", "WHISPER_MODEL": model, "WHISPER_CONTEXT_S": "10", "STT_REPLICAS": "1"}


def real_engines(llm: Path, tts: str) -> dict[str, str]:
    """Return the settings of a service with Whisper tiny.en, this language model, and Kokoro or Piper. Replies are
    short, because a busy machine speaks slowly."""
    speaks = {
        "kokoro": {"MODELS_DIR": str(real_model("kokoro-82m").parent), "VOICE_NAME": "af_heart"},
        "piper": {"TTS_MODEL": str(real_model("piper-joe"))},
    }[tts]
    return {
        **real_whisper(),
        "LLM_ENGINE": "local", "LOCAL_LLM": str(llm), "LLM_MAX_TOKENS": "32",
        "TTS_ENGINE": tts, **speaks,
        **constants({"pipeline.workers:NICENESS": 0, "pipeline.llm:TEMPERATURE": 0.0}, by_default=False),
    }  # fmt: skip


def recording(name: str) -> bytes:
    """Return a recording of real speech as a WAV file. Without it the test is skipped."""
    file = RECORDINGS / f"{name}.wav"
    if not file.is_file():
        pytest.skip("the recordings are missing")
    return file.read_bytes()


def spoken_text(name: str) -> str:
    """Return what is said in a recording."""
    entries = json.loads((RECORDINGS / "manifest.json").read_text("utf-8"))
    return next(str(entry["text"]) for entry in entries if entry["file"] == f"{name}.wav")
