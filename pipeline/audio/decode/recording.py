"""Recordings of any length in any container as a stream of blocks, with constant memory and one sample-exact clock."""

import contextlib
import os
import threading
from collections.abc import Generator, Iterator
from os import SEEK_END
from typing import TypeGuard

import numpy as np
import soxr

from pipeline.audio.clip import Samples, mono
from pipeline.audio.decode import wav
from pipeline.audio.decode.limits import OVER_S, TEXT_HEAD, bad_audio, refuse_text, too_long
from pipeline.audio.decode.links import SeekableSource, Source
from pipeline.audio.decode.mixing import Mono, Offset
from pipeline.audio.decode.processes import FILES, GROWING, Lane, Stopped, Stopping, called, descriptor_of
from pipeline.audio.decode.wire import Frame, Told
from pipeline.errors import BadInput
from pipeline.workers.caller import current

RATE_HZ = 16_000
"""The rate that recognisers and the VAD expect."""
BLOCK_S = 1.0
"""Approximate length of the blocks that are yielded, in seconds."""
FEED_BYTES = 2**16


class Recording:
    """The sound of one file: float32 mono at RATE_HZ, read once from beginning to end. Blocking: use it in a thread.

    Silence fills the time where a video's sound begins later than its picture, and where sound is missing, so that
    positions match those of a player.
    """

    def __init__(
        self, file: Source, *, max_seconds: float, track: int | None = None, raw_rate_hz: int | None = None
    ) -> None:
        """file: a file object; most containers need `seek` and `tell`, too.
        track: audio track, from 0; None: the one that a player would take.
        raw_rate_hz: the file is 16-bit little-endian mono PCM of that rate, without a header."""
        self._file = file
        self._max_seconds = max_seconds
        self._track = track
        self._raw_rate_hz = raw_rate_hz
        self._stopping = Stopping()
        self._account = current().account  # here, because a thread that reads can lack the caller's context
        self.duration_s: float | None = None
        """Duration that the container claims, once the first block is read; None if it claims none."""
        self.samples = 0
        """Number of samples yielded so far."""

    def stop(self) -> None:
        """End the reading at once, from any thread: `blocks` raises Stopped and its process is ended."""
        self._stopping.stop()

    def blocks(self, block_s: float = BLOCK_S) -> Generator[Samples, None, None]:
        """Yield blocks of at least `block_s`, shape (n,). Decoding stops as soon as `max_seconds` is passed. A file
        that claims to be longer, and is, is refused before any of it is decoded.

        Raises BadInput: bad_audio, no_audio (not one sample), audio_too_long, bad_parameter (the track does not exist);
        Overloaded; Stopped.
        """
        most = int(self._max_seconds * RATE_HZ)
        waiting: list[Samples] = []
        held = 0
        for piece in self._pieces():
            if self._stopping.stopped:
                raise Stopped
            waiting.append(piece)
            held += len(piece)
            if self.samples + held > most:
                raise too_long(self._max_seconds)
            if held and held >= block_s * RATE_HZ:
                self.samples += held
                yield _joined(waiting)
                waiting, held = [], 0
        if held:
            self.samples += held
            yield _joined(waiting)
        if not self.samples:
            raise BadInput("The file has no audio samples.", code="no_audio")

    def _pieces(self) -> Iterator[Samples]:
        if self._raw_rate_hz:
            return self._raw(self._raw_rate_hz)
        if not _seekable(self._file):
            return self._growing()
        file = self._file
        at = file.tell()
        head = file.read(TEXT_HEAD)
        file.seek(at)
        refuse_text(head)
        if self._track in (None, 0) and wav.is_plain(file):
            return self._plain(file)
        fd, size = descriptor_of(file)
        if not size:
            os.close(fd)
            raise bad_audio()
        return self._decoded(FILES, fd, size)

    def _raw(self, rate_hz: int) -> Iterator[Samples]:
        if _seekable(self._file):
            begin = self._file.tell()
            size = self._file.seek(0, SEEK_END) - begin
            self._file.seek(begin)
            if size / 2 / rate_hz > self._max_seconds:
                raise too_long(self._max_seconds)
        resampler = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32")
        offset = Offset(RATE_HZ)
        rest = b""
        while data := self._file.read(rate_hz // 2):
            data = rest + data
            rest = data[len(data) // 2 * 2 :]
            samples = mono(data, "<i2")
            if rate_hz != RATE_HZ:
                samples = np.asarray(resampler.resample_chunk(samples), np.float32)
            yield offset.without(samples)
        if rate_hz != RATE_HZ:
            yield offset.without(np.asarray(resampler.resample_chunk(np.zeros(0, np.float32), last=True), np.float32))

    def _plain(self, file: SeekableSource) -> Iterator[Samples]:
        self.duration_s = wav.seconds(file)
        if self.duration_s is not None and self.duration_s > self._max_seconds + OVER_S:
            raise too_long(self._max_seconds)
        one = Mono(RATE_HZ)
        for form, frames in wav.blocks(file, BLOCK_S / 2):
            yield from one.feed(form.rate_hz, form.names, frames)
        yield one.finish()

    def _decoded(self, lane: Lane, fd: int, size: int) -> Iterator[Samples]:
        request = lane.request(self._max_seconds, rate_hz=RATE_HZ, track=self._track, seekable=lane is not GROWING)
        frames = called(lane, request, fd, size, self._stopping, self._account)
        with contextlib.closing(frames):
            for frame in frames:
                if (samples := self._taken(frame)) is not None:
                    yield samples

    def _taken(self, frame: Frame) -> Samples | None:
        if isinstance(frame, Told):
            self.duration_s = frame.duration_s
        return frame if isinstance(frame, np.ndarray) else None

    def _growing(self) -> Iterator[Samples]:
        """Decode a file that is still being received. A thread passes it to the process, and ends with the file or with
        the process."""
        reading, writing = os.pipe()
        feeding = threading.Thread(target=_feed, args=(self._file, writing), name="growing", daemon=True)
        feeding.start()
        yield from self._decoded(GROWING, reading, 0)


def _feed(file: Source, fd: int) -> None:
    try:
        while data := file.read(FEED_BYTES):
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
    except OSError:
        pass  # the process has ended
    finally:
        os.close(fd)


def _seekable(file: Source) -> TypeGuard[SeekableSource]:
    """Whether the file can be read twice. A file that is still being received cannot."""
    return hasattr(file, "seek") and (not hasattr(file, "seekable") or file.seekable())


def _joined(pieces: list[Samples]) -> Samples:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
