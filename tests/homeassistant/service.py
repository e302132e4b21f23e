"""A running Parley service for Home Assistant, and spoken sound.

PARLEY_PYTHON: the project's Python. PARLEY_SETTINGS: settings of the service in place of the usual ones, such as
"TTS_ENGINE=kokoro TTS_MODEL=/path/kokoro-82m".
"""

import os
import re
import subprocess
import tempfile
import threading
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

HOME = Path(__file__).parents[2]
PYTHON = os.environ.get("PARLEY_PYTHON", str(HOME / ".venv" / "bin" / "python"))
PATIENCE_S = 120.0
WHISPER = HOME / "models" / "whisper-tiny.en"
RATE_HZ = 16_000
SAY = """
import sys
from tests.questions import spoken
sys.stdout.buffer.write(spoken(sys.argv[1], "en-us").pcm16())
"""


@dataclass
class Parley:
    """A service, its port for Wyoming, and its log."""

    lines: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def read(self, log: IO[str]) -> None:
        for line in log:
            self.lines.append(line)

    def wait_for(self, words: str) -> None:
        """Wait for words in the log."""
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.text:
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)


@contextmanager
def parley(**settings: str) -> Iterator[Parley]:
    """Run a service with Whisper tiny.en and the voice of TTS_ENGINE (eSpeak), and end it by SIGTERM."""
    service = Parley()
    assert WHISPER.is_dir(), "make models"
    with tempfile.TemporaryDirectory() as folder:
        env = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "PORT": "0", "WYOMING_URI": "tcp://127.0.0.1:0", "STT_ENGINE": "whisper",
            "WHISPER_MODEL": str(WHISPER), "LLM_ENGINE": "builtin", "TTS_ENGINE": "espeak", "MODEL_SOURCES": "none",
            "MODELS_DIR": str(HOME / "models"),
            **dict(one.split("=", 1) for one in os.environ.get("PARLEY_SETTINGS", "").split()), **settings,
        }  # fmt: skip
        process = subprocess.Popen(
            [PYTHON, str(HOME / "main.py")], cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert process.stderr is not None
        reader = threading.Thread(target=service.read, args=(process.stderr,), daemon=True)
        reader.start()
        try:
            service.wait_for("Wyoming listens on tcp")
            service.port = int(re.findall(r"tcp://127.0.0.1:(\d+)", service.text)[0])
            yield service
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
            reader.join(PATIENCE_S)
    assert "Traceback" not in service.text, service.text


def recorded(name: str) -> bytes:
    """Return one of the included questions as 16-bit mono PCM at 16 kHz, up to its last word."""
    with wave.open(str(HOME / "audios" / "samples" / f"{name}.wav")) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (RATE_HZ, 2, 1)
        samples = memoryview(file.readframes(file.getnframes())).cast("h")
    loud = [at for at, sample in enumerate(samples) if abs(sample) > 500]
    return samples[: loud[-1]].tobytes()


def said(text: str) -> bytes:
    """Return a text as eSpeak says it, as 16-bit mono PCM at 16 kHz."""
    done = subprocess.run([PYTHON, "-c", SAY, text], cwd=HOME, check=True, stdout=subprocess.PIPE)
    return done.stdout
