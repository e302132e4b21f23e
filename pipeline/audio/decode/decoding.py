"""FFmpeg decoding of one file. Only decoding processes import this module (`tests/decode/test_one_place.py`)."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from pipeline.audio.clip import Samples
from pipeline.audio.decode.limits import OVER_S, bad_audio, check_format, too_long
from pipeline.audio.decode.links import Coming, SeekableSource, Source, Window, after_id3, links
from pipeline.audio.decode.mixing import Mono, make_finite
from pipeline.audio.decode.wire import Busy, Request, Told
from pipeline.errors import BadInput

FORMATS = (
    "wav,w64,aiff,au,caf,flac,ogg,mp3,aac,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,flv,mpeg,mpegts,amr,amrnb,"
    "amrwb,ac3,eac3,dts,dtshd,ape,wv,tta,gsm,voc,mxf,nut,rm,swf,dv,truehd,mpc,mpc8,tak,dsf,ircam,nistsphere,sds,sox"
)
"""Demuxers that read one file and nothing else. Playlists and stream descriptions (hls, dash, concat, sdp, …) are left
out on purpose: they open the addresses and files that they name. FFmpeg checks this list before it reads a header."""
PROTOCOLS = "none"
"""No protocol: nothing can be opened by name."""
MIN_GAP_S, MAX_GAP_S = 0.1, 600.0
"""A jump in the time stamps between these sizes is missing sound, and is filled with silence. A smaller jump is jitter;
a larger one is a clock that was reset."""
TIMED = frozenset({"mov", "matroska", "avi", "asf", "flv", "mpeg", "mpegts", "mxf", "nut", "rm", "ogg", "dv", "swf"})
"""Demuxers (by the first of their names) that take time stamps from the file. The others count them from the bytes, at
the rate that the file began with, and have no gaps."""
MAX_BAD_PACKETS = 1000
"""Number of damaged packets that are skipped. Decoding stops at the next one."""
BUSY_PACKETS = 2000
"""Packets without sound after which the process reports that it is still at work."""
FAILURES = (av.error.FFmpegError, ValueError, EOFError)
"""Exceptions that PyAV raises for a damaged file."""


def decoded(source: Source, request: Request) -> Iterator[Samples | Told | Busy]:
    """Yield Told, then the samples of one track. Raises BadInput."""
    if not isinstance(source, SeekableSource):
        yield from _joined(Coming(source).links(), request)
        return
    if (begin := after_id3(source)) > 0:
        source = Window(source, begin, source.seek(0, os.SEEK_END))
    parts = links(source)
    if len(parts) < 2:
        yield from _link(source, source, request)
    else:
        yield from _joined((Window(source, begin, end) for begin, end in parts), request)


def _joined(parts: Iterable[Coming | Window], request: Request) -> Iterator[Samples | Told | Busy]:
    """Decode the parts one after another, at the rate of the first. A later part that is damaged is left out."""
    begun = False
    for part in parts:
        try:
            for item in _link(part, part if isinstance(part, Window) else None, request):
                if not isinstance(item, Told):
                    yield item
                elif not begun:
                    begun, request = True, replace(request, rate_hz=item.rate_hz)
                    yield replace(item, duration_s=None)
        except BadInput:
            if not begun:
                raise


def _link(source: Source, again: SeekableSource | None, request: Request) -> Iterator[Samples | Told | Busy]:
    """Decode one link. again: the same source, if it can be read from its beginning again."""
    with _open(source, again is not None) as container:
        stream = _stream(container, request.track)
        duration_s = None if container.duration is None else max(0.0, container.duration / 1e6)
        rate_hz = request.rate_hz or stream.rate
        yield Told(duration_s, rate_hz)
        claims_more = duration_s is not None and duration_s > request.max_seconds + OVER_S
        if not claims_more or again is None:
            yield from _Decoder(container, stream, rate_hz).samples()
            return
        # The header's duration can be a guess from the first packets, or be written before the end of the stream was
        # known. The packets show the real one without being decoded.
        if _packets_last(container, stream, request.max_seconds + OVER_S):
            raise too_long(request.max_seconds)
    again.seek(0)
    with _open(again, seekable=True) as container:
        yield from _Decoder(container, _stream(container, request.track), rate_hz).samples()


def _open(source: Source, seekable: bool) -> InputContainer:
    try:
        return av.open(
            source if seekable else _Forward(source),
            "r",
            metadata_errors="ignore",
            options={"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS},
        )
    except FAILURES:
        raise bad_audio() from None


class _Forward:
    """A source that can only be read once."""

    def __init__(self, source: Source) -> None:
        self.read = source.read


def _stream(container: InputContainer, track: int | None) -> AudioStream:
    tracks = container.streams.audio
    if not tracks:
        raise BadInput("The file has no audio track.", code="no_audio")
    if track is None:
        best = container.streams.best("audio")
        chosen = best if isinstance(best, AudioStream) else tracks[0]
    elif not 0 <= track < len(tracks):
        raise BadInput(
            f"There is no audio track {track}; the file has {len(tracks)}.", code="bad_parameter", param="audio_track"
        )
    else:
        chosen = tracks[track]
    check_format(chosen.rate or 0, chosen.channels or 1)
    chosen.codec_context.thread_count = 1
    return chosen


def _packets_last(container: InputContainer, stream: AudioStream, seconds: float) -> bool:
    """Whether the packets of a track last longer than `seconds` in total. Reads no further than that."""
    lasted_s = 0.0
    try:
        for packet in container.demux(stream):
            if packet.duration and packet.time_base:
                lasted_s += float(packet.duration * packet.time_base)
            if lasted_s > seconds:
                return True
    except FAILURES:
        pass  # broken in the middle: the rest cannot be read
    return False


class _Decoder:
    """One track of an open container into samples on one clock."""

    def __init__(self, container: InputContainer, stream: AudioStream, rate_hz: int) -> None:
        self._container, self._stream = container, stream
        self._timed = container.format.name.split(",")[0] in TIMED
        self._zero_s = (container.start_time or 0) / 1e6
        self._clock_s: float | None = None
        """Expected start of the next frame on the file's own clock; None before the first frame."""
        self._mono = Mono(rate_hz)

    def samples(self) -> Iterator[Samples | Busy]:
        """Decode the track. Raises BadInput (bad_audio) if not one frame can be decoded."""
        failed = False
        any_sound = False
        try:
            for frame in self._frames():
                if frame is None:
                    yield Busy()
                    continue
                any_sound = True
                yield from self._taken(frame)
        except FAILURES:
            failed = True  # broken in the middle: the sound before that is used
        yield self._mono.finish()
        if not any_sound and failed:
            raise bad_audio()

    def _frames(self) -> Iterator[AudioFrame | None]:
        """Yield frames, and None now and then while there are none."""
        bad, good, quiet = 0, 0, 0
        last: Exception | None = None
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                bad, last = bad + 1, error
                if bad > MAX_BAD_PACKETS:
                    break
                continue
            good += len(frames)
            quiet = 0 if frames else quiet + 1
            if quiet % BUSY_PACKETS == BUSY_PACKETS - 1:
                yield None
            yield from frames
        if not good and last is not None:
            raise last

    def _taken(self, frame: AudioFrame) -> Iterator[Samples]:
        """Return the sound of a frame, after the silence that is missing before it. The format can change with each
        frame."""
        rate_hz, names = frame.sample_rate, tuple(channel.name for channel in frame.layout.channels)
        check_format(rate_hz, len(names))
        missing = self._missing(frame)
        while missing > 0:
            some = min(missing, rate_hz)
            yield from self._mono.feed(rate_hz, names, np.zeros((some, len(names)), np.float32))
            missing -= some
        yield from self._mono.feed(rate_hz, names, _values(frame, len(names)))

    def _missing(self, frame: AudioFrame) -> int:
        """Number of samples of silence to insert before a frame."""
        if not self._timed:
            return 0
        missing = 0
        length_s = frame.samples / frame.sample_rate
        begins_s = frame.time
        if begins_s is None:
            begins_s = self._clock_s if self._clock_s is not None else self._zero_s
        expected_s = self._zero_s if self._clock_s is None else self._clock_s
        gap_s = begins_s - expected_s
        if MIN_GAP_S < gap_s <= MAX_GAP_S:
            missing = round(gap_s * frame.sample_rate)
            expected_s = begins_s
        elif abs(gap_s) > MAX_GAP_S:
            expected_s = begins_s
        # Summed up instead of taken from each frame: rounded time stamps must not add up to a drift.
        self._clock_s = expected_s + length_s
        return missing


def _values(frame: AudioFrame, channels: int) -> npt.NDArray[np.float32]:
    """The samples of a frame: float32, shape (n, channels)."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, channels)
    kind = values.dtype
    # Always copied: the array that PyAV returns is FFmpeg's memory.
    samples: npt.NDArray[np.float32] = np.array(values, np.float32, order="C")
    if kind.kind == "u":
        samples = (samples - np.float32(128)) / np.float32(128)
    elif kind.kind == "i":
        samples *= np.float32(2.0 ** (1 - 8 * kind.itemsize))
    else:
        make_finite(samples)
    return samples
