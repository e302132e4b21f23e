"""A service with a trained test recogniser, and recordings of sentences that it transcribes exactly."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.audio.clip import Clip, encode_wav
from tests.in_process import in_process
from tests.server_process import ServerProcess, Service, serving
from tests.stt.recordings import TRAINED, spliced


@contextmanager
def hearing(folder: Path, **settings: str) -> Iterator[Service]:
    """Run the service with the trained test model in this process."""
    with in_process(folder, **TRAINED, **settings) as running:
        yield running


@contextmanager
def hearing_process(folder: Path, **settings: str) -> Iterator[ServerProcess]:
    """Run the service with the trained test model in a process of its own."""
    with serving(folder, **TRAINED, **settings) as running:
        yield running


def recording(*numbers: int, pause_s: float = 2.5) -> tuple[bytes, list[tuple[str, float, float]]]:
    """Return a WAV of these sentences, and each sentence with its start and end in seconds."""
    clip, truth = spliced([(pause_s if index else 0.5, number) for index, number in enumerate(numbers)])
    return encode_wav(clip), truth


def long_recording(minutes: float) -> bytes:
    """Return a WAV with a sentence now and then."""
    count = int(minutes * 60 / 5)
    clip, _ = spliced([(3.0, number) for number in range(count)])
    return encode_wav(Clip(clip.samples[: int(minutes * 60 * clip.rate_hz)], clip.rate_hz))
