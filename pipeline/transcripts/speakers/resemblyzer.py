"""Diarization with the Resemblyzer encoder and clustering: open, on a CPU, without a model hub. An extra.

Speech is cut at pauses. Long stretches are examined in steps, to find a change of speaker without a pause. Where two
people speak at once, one of them is found.
"""

import importlib.util
import secrets
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.audio.clip import Samples
from pipeline.audio.decode import Recording
from pipeline.engines import Opened
from pipeline.errors import EngineUnavailable
from pipeline.listening.detector import RATE_HZ, SileroActivity
from pipeline.settings import Settings
from pipeline.support.installing import how_to_install
from pipeline.support.progress import Report
from pipeline.support.threads import in_threads
from pipeline.transcripts.speakers import Diarizer, HowMany, KnownSpeaker, SpeakerTurn, letter
from pipeline.transcripts.speakers.clustering import Matrix, path
from pipeline.transcripts.speakers.encoder import EncoderConfig
from pipeline.transcripts.windows import Cutting, Windows
from pipeline.workers import EngineSpec, Serving, Worker, open_worker
from pipeline.workers.caller import for_file

CUTTING = Cutting(max_s=30.0, pause_s=0.3, pad_s=0.05)
"""Cuts speech into utterances at short pauses, such as breaths."""
SLICE_S, STEP_S = 2.0, 1.0
"""Length of the slices of a longer utterance, and the step from one to the next, in seconds."""
WHOLE_S = 3.0
"""Shorter utterances are one slice."""
BATCH = 24
"""Slices in one model call: about half a second of work, after which a live conversation gets its turn."""
KNOWN_LIKENESS = 0.70
"""Cosine from which a voice counts as a known one. With 3 s of speech the encoder has its equal error rate (about 1 %)
there."""
SILENCE_S = 120.0
"""Timeout for one batch, in seconds."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice of an utterance."""

    utterance: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """Slices and their voice embeddings."""

    slices: Sequence[Slice]
    vectors: Matrix


class EmbeddingDiarizer:
    """See `Diarizer`."""

    recognises = True

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def turns(
        self, recording: Callable[[], Recording], how_many: HowMany, known: Sequence[KnownSpeaker] = ()
    ) -> list[SpeakerTurn]:
        """See the Protocol. Needs constant memory, plus 1 KB for each second of speech."""
        session = secrets.token_hex(8)
        heard = await self._listen(recording, session)
        if heard is None:
            return []
        with for_file(session):
            lengths = [one.end_s - one.start_s for one in heard.slices]
            least = how_many.least
            found: Matrix = await self._worker.call("centres", heard.vectors, lengths, least, how_many.most)
            voices: Matrix | None = None
            if known:
                clips = [speaker.clip.at(RATE_HZ).samples for speaker in known]
                voices = await self._worker.call("embed", clips)
        return _named(_turns(heard, found), _names(found, voices, known))

    async def embed(self, clips: Sequence[Samples]) -> Matrix:
        """Return a unit vector for the voice in each clip, shape (clips, 256). clips: at 16 kHz."""
        found: Matrix = await self._worker.call("embed", clips)
        return found

    async def _listen(self, recording: Callable[[], Recording], session: str) -> Heard | None:
        slices: list[Slice] = []
        vectors: list[Matrix] = []
        opened = recording()
        async with aclosing(in_threads(_batches(opened), opened.stop)) as batches:
            async for batch in batches:
                with for_file(session):
                    vectors.append(await self._worker.call("embed", [samples for _, samples in batch]))
                slices += [one for one, _ in batch]
        return Heard(slices, np.concatenate(vectors)) if slices else None


def _batches(recording: Recording) -> Generator[list[tuple[Slice, Samples]], None, None]:
    """Yield slices of speech with their audio, BATCH at a time. Blocks."""
    windows = Windows(SileroActivity(), CUTTING)
    batch: list[tuple[Slice, Samples]] = []
    number = 0
    for block in _and_end(recording):
        for window in windows.feed(block) if block is not None else windows.finish():
            length, step, size = len(window.samples), int(STEP_S * RATE_HZ), int(SLICE_S * RATE_HZ)
            starts = [0] if length <= WHOLE_S * RATE_HZ else range(0, length - size // 2, step)
            for at in starts:
                end = length if len(starts) == 1 else min(length, at + size)
                one = Slice(number, (window.start + at) / RATE_HZ, (window.start + end) / RATE_HZ)
                batch.append((one, window.samples[at:end]))
            number += 1
            while len(batch) >= BATCH:
                yield batch[:BATCH]
                batch = batch[BATCH:]
    if batch:
        yield batch


def _and_end(recording: Recording) -> Iterator[Samples | None]:
    yield from recording.blocks()
    yield None


def _turns(heard: Heard, found: Matrix) -> list[tuple[float, float, int]]:
    """Return (start, end, speaker) of stretches, joined where the speaker stays the same."""
    likeness = heard.vectors @ found.T
    turns: list[tuple[float, float, int]] = []
    at = 0
    while at < len(heard.slices):
        end = at
        while end < len(heard.slices) and heard.slices[end].utterance == heard.slices[at].utterance:
            end += 1
        some = heard.slices[at:end]
        for index, speaker in enumerate(path(likeness[at:end])):
            # Slices overlap: neighbours meet in the middle of their overlap.
            start_s = some[index].start_s if index == 0 else (some[index].start_s + some[index - 1].end_s) / 2
            last = index == len(some) - 1
            end_s = some[index].end_s if last else (some[index + 1].start_s + some[index].end_s) / 2
            if index and turns[-1][2] == speaker:
                turns[-1] = (turns[-1][0], end_s, speaker)
            else:
                turns.append((start_s, end_s, speaker))
        at = end
    return turns


def _names(found: Matrix, voices: Matrix | None, known: Sequence[KnownSpeaker]) -> dict[int, str]:
    """Map speakers to known names: the most similar pairs first, each name once."""
    if voices is None:
        return {}
    likeness = found @ voices.T
    names: dict[int, str] = {}
    for flat in np.argsort(-likeness, axis=None):
        speaker, name = divmod(int(flat), len(known))
        if likeness[speaker, name] < KNOWN_LIKENESS:
            break
        if speaker not in names and known[name].name not in names.values():
            names[speaker] = known[name].name
    return names


def _named(turns: Sequence[tuple[float, float, int]], names: dict[int, str]) -> list[SpeakerTurn]:
    """Return the turns with names; speakers without a name get letters in order of appearance."""
    letters = (name for name in map(letter, range(10_000)) if name not in names.values())
    named = dict(names)
    found = []
    for start_s, end_s, speaker in turns:
        if speaker not in named:
            named[speaker] = next(letters)
        found.append(SpeakerTurn(start_s, end_s, named[speaker]))
    return found


def find_weights(settings: Settings) -> Path | None:
    """Find Resemblyzer's weights: in MODELS_DIR/resemblyzer, or inside the package, which is not imported."""
    places = [settings.models_dir / "resemblyzer" / "pretrained.pt"]
    spec = importlib.util.find_spec("resemblyzer")
    if spec is not None and spec.origin:
        places.append(Path(spec.origin).parent / "pretrained.pt")
    return next((place for place in places if place.is_file()), None)


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable when the weights, torch or scipy are missing."""
    check(settings)


def check(settings: Settings) -> None:
    """Raise EngineUnavailable when the weights, torch or scipy are missing."""
    missing = [name for name in ("torch", "scipy") if importlib.util.find_spec(name) is None]
    if missing or find_weights(settings) is None:
        what = f"{' and '.join(missing)} is not installed" if missing else "The speaker encoder is not installed"
        raise EngineUnavailable(f"{what}.", remedy=f"Install the extra `speakers`: {how_to_install('speakers')}.")


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened[Diarizer]]:
    """Load the encoder in a worker, which takes some seconds."""
    await probe(settings)
    weights = find_weights(settings)
    config = EncoderConfig(str(weights), 1)
    spec = EngineSpec("speakers", "pipeline.transcripts.speakers.encoder:EncoderEngine", config)
    async with open_worker(spec, settings, Serving(SILENCE_S)) as worker:
        yield Opened(EmbeddingDiarizer(worker), "resemblyzer", "cpu", worker.load)
