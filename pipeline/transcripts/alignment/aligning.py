"""Aligns a transcript's words with its audio. The aligner of each language is loaded when it is first needed.

Alignment is optional: where no aligner is available, or where it fails, the recogniser's own times remain.
"""

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace

import numpy as np

from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode import RATE_HZ, Recording
from pipeline.errors import EngineUnavailable, Overloaded, ParleyError, WorkerCrashed
from pipeline.settings import Settings
from pipeline.stt import Segment, Word
from pipeline.support.threads import in_threads
from pipeline.transcripts.alignment import Aligner
from pipeline.transcripts.alignment.opening import open_aligner
from pipeline.transcripts.line_breaks import by_characters
from pipeline.workers.caller import for_file
from pipeline.workers.residents import Residents

log = logging.getLogger(__name__)

MAX_ALIGNERS = 3
"""Languages whose aligners are loaded at the same time; the least recently used one is unloaded for another."""
RETRY_S = 300.0
"""Seconds before the next attempt after an aligner could not be opened or crashed."""
MARGIN_S = 0.2
"""Audio added on both sides of a segment, because its words may extend beyond it."""

Opening = Callable[[Settings, str], AbstractAsyncContextManager[Aligner]]
"""Opens a language's aligner; see `open_aligner`."""


class _Failed(Exception):
    """The aligner failed, for the reason in `__cause__`; the recording is not at fault."""


class Aligners:
    """The aligners of one deployment."""

    def __init__(self, settings: Settings, opening: Opening = open_aligner) -> None:
        self._settings = settings
        self._opening = opening
        self._residents: Residents[Aligner] = Residents(MAX_ALIGNERS, retry_s=RETRY_S)
        """Aligners by language, each counting as one."""

    async def aligned(
        self, segments: Sequence[Segment], recording: Callable[[], Recording], language: str
    ) -> list[Segment]:
        """Return the segments with their words' times from an aligner, or from the recogniser if that is impossible.

        recording: opens the recording again from its start, once for each language. language: of segments without one.
        Raises BadInput when it cannot be read again.
        """
        found = list(segments)
        places: dict[str, list[int]] = {}
        for place, segment in enumerate(found):
            places.setdefault(segment.language or language, []).append(place)
        for code, own in places.items():
            aligned = await self._in_language([found[place] for place in own], recording, code)
            for place, segment in zip(own, aligned, strict=True):
                found[place] = segment
        return found

    async def _in_language(
        self, segments: Sequence[Segment], recording: Callable[[], Recording], language: str
    ) -> list[Segment]:
        plain = [segment if segment.words else replace(segment, words=by_characters(segment)) for segment in segments]
        if self._residents.failures.recent(language) is not None:
            return plain
        try:
            return await self._by_aligner(plain, recording(), language)
        except _Failed as failed:
            error = failed.__cause__
            why = error.message if isinstance(error, ParleyError) else f"{type(error).__name__}: {error}"
            level = logging.INFO if isinstance(error, EngineUnavailable) else logging.WARNING
            log.log(level, "words keep the recogniser's times (language: %s): %s", language or "unknown", why)
            return plain

    async def close(self) -> None:
        await self._residents.close()

    async def _by_aligner(self, segments: list[Segment], recording: Recording, language: str) -> list[Segment]:
        opened = False
        try:
            opening = self._residents.using(language, 1, lambda: self._opening(self._settings, language))
            async with opening as aligner:
                opened = True
                return await _align(segments, recording, aligner)
        except _Failed as failed:
            # A sentence that fails does not matter for the next ones, but a crashed worker takes minutes to restart.
            if isinstance(failed.__cause__, WorkerCrashed):
                self._residents.failures.add(language, failed.__cause__)
            raise
        except Exception as error:  # the libraries raise anything for a damaged file
            if opened:
                raise
            raise _Failed from error


async def _align(segments: list[Segment], recording: Recording, aligner: Aligner) -> list[Segment]:
    """Align all segments. Raises _Failed, and what reading the recording raises."""
    aligned: list[Segment] = []
    async with aclosing(in_threads(_stretches(recording, segments), recording.stop)) as stretches:
        async for start, samples in stretches:
            segment = segments[len(aligned)]
            try:
                with for_file():
                    words = await aligner.align(Clip(samples, RATE_HZ), segment.text)
            except Overloaded:
                raise
            except Exception as error:  # the worker's exceptions arrive with their own types
                raise _Failed from error
            aligned.append(_placed(segment, words, start / RATE_HZ))
    return aligned + segments[len(aligned) :]


def _placed(segment: Segment, words: Sequence[Word], start_s: float) -> Segment:
    moved = [Word(w.text, w.start_s + start_s, w.end_s + start_s, w.probability) for w in words]
    if not moved:
        return segment
    return replace(segment, words=moved, start_s=moved[0].start_s, end_s=max(moved[-1].end_s, moved[0].start_s))


def _stretches(recording: Recording, segments: Sequence[Segment]) -> Generator[tuple[int, Samples], None, None]:
    """Yield the first sample's index and the audio of each segment, in order, holding only one segment. Blocks."""
    held = np.zeros(0, np.float32)
    start = 0
    blocks = recording.blocks()
    for segment in segments:
        begin = max(0, int((segment.start_s - MARGIN_S) * RATE_HZ))
        end = int((segment.end_s + MARGIN_S) * RATE_HZ)
        while start + len(held) < end and (block := next(blocks, None)) is not None:
            drop = max(0, min(len(held), begin - start))
            held, start = np.concatenate([held[drop:], block]), start + drop
        first = max(begin, start)
        yield first, held[first - start : max(0, end - start)]
