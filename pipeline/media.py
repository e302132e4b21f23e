"""Recordings of any length and any container as a stream of blocks: flat memory, one sample-exact clock.

For a whole utterance in memory there is `pipeline.audio.decode`; this is for files of hours, and for video.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from os import SEEK_END
from typing import Any

import numpy as np
import soxr

from pipeline.audio import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ, Samples, mono
from pipeline.errors import BadInput

RATE_HZ = 16_000
"""What recognisers and the VAD hear."""
FORMATS = (
    "wav,w64,aiff,au,caf,flac,ogg,mp3,aac,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,flv,mpeg,mpegts,amr,amrnb,"
    "amrwb,ac3,eac3,dts,dtshd,ape,wv,tta,gsm,voc,mxf,nut,rm,swf,dv,truehd,mpc,mpc8,tak,dsf,ircam,nistsphere,sds,sox"
)
"""Demuxers that read one file and nothing else. Playlists (hls, dash, concat, sdp, …) are missing on purpose: they
would open whatever address or file they name."""
BLOCK_S = 1.0
"""Samples are handed on in blocks of about so much."""
MIN_GAP_S, MAX_GAP_S = 0.1, 600.0
"""A jump in the time stamps of this size is sound that is missing, and silence takes its place; a smaller one is
jitter, a larger one a clock that was set anew."""
OVER_S = 1.0
"""A file is refused by its packets when it is longer than it may be by more than this: encoders begin and end with some
that are not heard."""
MAX_BAD_PACKETS = 1000
"""Damaged packets that are skipped; a file with more is given up where it is."""


class Unnamed:
    """A file object without its name: neither a wrong ending nor a path is anything FFmpeg should go by."""

    def __init__(self, file: Any) -> None:
        self.read = file.read
        if hasattr(file, "seek"):
            self.seek, self.tell = file.seek, file.tell


@contextmanager
def open_container(file: Any) -> Iterator[Any]:
    """PyAV's input container of a file object. Raises BadInput (bad_audio) for what is no recording."""
    import av  # imported here: FFmpeg's libraries take 40 MB, and most conversations need none of them

    try:
        container = av.open(
            file, "r", metadata_errors="ignore", options={"format_whitelist": FORMATS, "protocol_whitelist": "none"}
        )
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        raise BadInput("This is not audio that can be decoded.", code="bad_audio") from error
    with container:
        yield container


class Recording:
    """The sound of one file: float32 mono at RATE_HZ, read once from begin to end. Blocking: use it in a thread.

    Silence stands where a video's sound begins later than its picture and where sound is missing, so that positions
    are those of the player.
    """

    def __init__(
        self, file: Any, *, max_seconds: float, track: int | None = None, raw_rate_hz: int | None = None
    ) -> None:
        """file: anything that reads; most containers want it to seek, too.
        track: which audio track, from 0; None: the one a player would take.
        raw_rate_hz: the file is 16-bit little-endian mono PCM of that rate, without a header."""
        self._file = file
        self._max_seconds = max_seconds
        self._track = track
        self._raw_rate_hz = raw_rate_hz
        self.duration_s: float | None = None
        """As the container claims, once the first block is read; None when it says nothing."""
        self.samples = 0
        """Given out so far."""

    def blocks(self, block_s: float = BLOCK_S) -> Iterator[Samples]:
        """Blocks of at least `block_s`, shape (n,). Decoding stops as soon as `max_seconds` is passed; a file that says
        that it is longer, and is, is refused before anything of it is decoded.

        Raises BadInput: bad_audio, no_audio (no sample in it), audio_too_long, bad_parameter (no such track).
        """
        most = int(self._max_seconds * RATE_HZ)
        waiting: list[Samples] = []
        held = 0
        for piece in self._raw() if self._raw_rate_hz else self._decoded():
            waiting.append(piece)
            held += len(piece)
            if self.samples + held > most:
                raise self._too_long()
            if held >= block_s * RATE_HZ:
                self.samples += held
                yield _joined(waiting)
                waiting, held = [], 0
        if held:
            self.samples += held
            yield _joined(waiting)
        if not self.samples:
            raise BadInput("The file has no audio samples.", code="no_audio")

    def _too_long(self) -> BadInput:
        return BadInput(f"The audio is longer than {self._max_seconds:g} seconds.", code="audio_too_long")

    def _raw(self) -> Iterator[Samples]:
        rate_hz = self._raw_rate_hz or RATE_HZ
        if _seekable(self._file):
            begin = self._file.tell()
            size = self._file.seek(0, SEEK_END) - begin
            self._file.seek(begin)
            if size / 2 / rate_hz > self._max_seconds:
                raise self._too_long()
        resampler = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32")
        rest = b""
        while data := self._file.read(rate_hz // 2):
            data = rest + data
            rest = data[len(data) // 2 * 2 :]
            samples = mono(data, "<i2")
            yield samples if rate_hz == RATE_HZ else np.asarray(resampler.resample_chunk(samples), np.float32)
        if rate_hz != RATE_HZ:
            yield np.asarray(resampler.resample_chunk(np.zeros(0, np.float32), last=True), np.float32)

    def _decoded(self) -> Iterator[Samples]:
        with open_container(Unnamed(self._file)) as container:
            stream = self._stream(container)
            if container.duration is not None:
                self.duration_s = max(0.0, container.duration / 1e6)
            claims_more = self.duration_s is not None and self.duration_s > self._max_seconds + OVER_S
            if not claims_more or not _seekable(self._file):
                yield from _Decoder(container, stream).samples()
                return
            # What is claimed may be a guess from the first packets, or what the head of a stream says that was written
            # before its end was known. The packets tell it without being decoded.
            if _packets_last(container, stream, self._max_seconds + OVER_S):
                raise self._too_long()
        self._file.seek(0)
        with open_container(Unnamed(self._file)) as container:
            yield from _Decoder(container, self._stream(container)).samples()

    def _stream(self, container: Any) -> Any:
        tracks = container.streams.audio
        if not tracks:
            raise BadInput("The file has no audio track.", code="no_audio")
        if self._track is None:
            chosen = container.streams.best("audio") or tracks[0]
        elif not 0 <= self._track < len(tracks):
            raise BadInput(
                f"There is no audio track {self._track}; the file has {len(tracks)}.",
                code="bad_parameter",
                param="audio_track",
            )
        else:
            chosen = tracks[self._track]
        rate_hz, channels = chosen.rate or 0, chosen.channels or 1
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ or not 1 <= channels <= MAX_CHANNELS:
            raise BadInput(f"The header claims {rate_hz} Hz and {channels} channels.", code="bad_audio")
        return chosen


def _seekable(file: Any) -> bool:
    """Whether it can be read twice: not while it is still coming."""
    return hasattr(file, "seek") and (not hasattr(file, "seekable") or file.seekable())


def _packets_last(container: Any, stream: Any, seconds: float) -> bool:
    """Whether the packets of a track last longer than this together. They are read as far as that."""
    import av

    lasted_s = 0.0
    try:
        for packet in container.demux(stream):
            if packet.duration and packet.time_base:
                lasted_s += float(packet.duration * packet.time_base)
            if lasted_s > seconds:
                return True
    except (av.error.FFmpegError, ValueError, EOFError):
        pass  # broken in the middle: what is there is no longer
    return False


class _Decoder:
    """One track of an open container into samples on one clock."""

    def __init__(self, container: Any, stream: Any) -> None:
        import av

        self._error = av.error.FFmpegError
        self._container, self._stream = container, stream
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        self._zero_s = (container.start_time or 0) / 1e6
        self._clock_s: float | None = None
        """Where the next frame should begin, on the file's own clock; None before the first one."""

    def samples(self) -> Iterator[Samples]:
        """Raises BadInput (bad_audio) when not one frame can be decoded."""
        failed: Exception | None = None
        any_sound = False
        try:
            for frame in self._frames():
                yield from self._silence_before(frame)
                frame.pts = None  # the resampler keeps a clock of its own
                for mono in self._resampler.resample(frame):
                    any_sound = True
                    yield np.nan_to_num(mono.to_ndarray().reshape(-1).astype(np.float32, copy=False))
            for mono in self._resampler.resample(None) if any_sound else ():
                yield np.nan_to_num(mono.to_ndarray().reshape(-1).astype(np.float32, copy=False))
        except (self._error, ValueError, EOFError) as error:
            failed = error  # broken in the middle: what came before is used
        if not any_sound and failed is not None:
            raise BadInput("This is not audio that can be decoded.", code="bad_audio") from failed

    def _frames(self) -> Iterator[Any]:
        bad, good = 0, 0
        last: Exception | None = None
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except self._error as error:
                bad, last = bad + 1, error
                if bad > MAX_BAD_PACKETS:
                    break
                continue
            good += len(frames)
            yield from frames
        if not good and last is not None:
            raise last

    def _silence_before(self, frame: Any) -> Iterator[Samples]:
        length_s = frame.samples / frame.sample_rate
        begins_s = frame.time
        if begins_s is None:
            begins_s = self._clock_s if self._clock_s is not None else self._zero_s
        expected_s = self._zero_s if self._clock_s is None else self._clock_s
        gap_s = begins_s - expected_s
        if MIN_GAP_S < gap_s <= MAX_GAP_S:
            missing = round(gap_s * RATE_HZ)
            while missing > 0:
                yield np.zeros(min(missing, RATE_HZ), np.float32)
                missing -= RATE_HZ
            expected_s = begins_s
        elif abs(gap_s) > MAX_GAP_S:
            expected_s = begins_s
        # Counted on, not read off each frame: rounded time stamps must not add up to a drift.
        self._clock_s = expected_s + length_s


def _joined(pieces: list[Samples]) -> Samples:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
