"""Audio inside Parley: float32 mono in [-1, 1] with a rate; 16-bit at the door."""

import contextlib
import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from pipeline.errors import BadInput

Samples = npt.NDArray[np.float32]

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 384_000
MAX_CHANNELS = 64
"""Beyond these a header is garbage, not audio: nothing is allocated for it."""

_BLOCK_FRAMES = 65_536


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of sound: float32 mono samples, shape (n,), nominally in [-1, 1], at `rate_hz`."""

    samples: Samples
    rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate_hz

    def at(self, rate_hz: int) -> "Clip":
        """The same sound at another rate (soxr, high quality)."""
        if rate_hz == self.rate_hz:
            return self
        return Clip(soxr.resample(self.samples, self.rate_hz, rate_hz).astype(np.float32, copy=False), rate_hz)

    def pcm16(self) -> bytes:
        """Signed 16-bit little-endian samples; what is beyond [-1, 1] is clipped, NaN is silence."""
        clean = np.nan_to_num(self.samples, nan=0.0, posinf=1.0, neginf=-1.0)
        return (np.clip(clean, -1.0, 1.0) * 32767.0).round().astype("<i2").tobytes()

    @staticmethod
    def from_pcm16(data: bytes, rate_hz: int) -> "Clip":
        """From signed 16-bit little-endian mono; an odd last byte is dropped."""
        return Clip(mono(data, "<i2"), rate_hz)

    @staticmethod
    def join(clips: Iterable["Clip"], rate_hz: int) -> "Clip":
        """One clip of all, at `rate_hz`; no clips make an empty one."""
        parts = [clip.at(rate_hz).samples for clip in clips]
        return Clip(np.concatenate(parts) if parts else np.zeros(0, np.float32), rate_hz)


def mono(data: bytes, kind: str, channels: int = 1) -> Samples:
    """Interleaved PCM as one channel in [-1, 1], the mean of all; bytes at the end that fill no frame are dropped.

    kind: a sample, as numpy names it: u1 (128 is silence), <i2, <i4, <f4, <f8.
    """
    # Of live sound it is done on the event loop, fifty times a second for each speaker: nothing that a kind does not
    # need.
    dtype = np.dtype(kind)
    whole = len(data) // (dtype.itemsize * channels) * channels
    values: Samples = np.frombuffer(data, dtype, count=whole).astype(np.float32)
    if channels > 1:
        values = values.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    if dtype.kind == "u":
        return (values - np.float32(128)) / np.float32(128)
    if dtype.kind == "i":
        values *= np.float32(2.0 ** (1 - 8 * dtype.itemsize))
        return values
    return np.clip(np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=-1.0), -1, 1).astype(np.float32)


def wav_header(rate_hz: int, data_bytes: int) -> bytes:
    """The 44-byte header of a 16-bit mono WAV with `data_bytes` of samples after it (RIFF WAVE, PCM)."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + data_bytes, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, rate_hz * 2, 2, 16, b"data", data_bytes,
    )  # fmt: skip


def encode_wav(clip: Clip) -> bytes:
    """A 16-bit mono WAV file."""
    pcm = clip.pcm16()
    return wav_header(clip.rate_hz, len(pcm)) + pcm


def decode(data: bytes, *, max_seconds: float) -> Clip:
    """Decode a whole file in memory: WAV, FLAC, OGG, MP3 by libsndfile; WebM, M4A and the rest by FFmpeg (PyAV).

    Channels are averaged. The rate is the file's own. A truncated file gives what is there. Blocking: call it in a
    thread. Decoding stops as soon as `max_seconds` is passed, whatever the header claims.
    Raises BadInput: empty_message, bad_audio (not audio, or broken from the start), no_audio (no sample in it),
    audio_too_long.
    """
    if not data:
        raise BadInput("The message is empty; send an audio file.", code="empty_message")
    try:
        clip = _decode_soundfile(data, max_seconds)
    except soundfile.LibsndfileError:
        clip = _decode_av(data, max_seconds)
    else:
        if not len(clip.samples):
            # A WAV that was written into a pipe may claim 0 bytes of samples and have them all the same.
            with contextlib.suppress(BadInput):
                clip = _decode_av(data, max_seconds)
    if not len(clip.samples):
        raise BadInput("The file has no audio samples.", code="no_audio")
    return Clip(np.nan_to_num(clip.samples, nan=0.0, posinf=1.0, neginf=-1.0), clip.rate_hz)


def _too_long(max_seconds: float) -> BadInput:
    return BadInput(f"The audio is longer than {max_seconds:g} seconds.", code="audio_too_long")


def _check_format(rate_hz: int, channels: int) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ or not 1 <= channels <= MAX_CHANNELS:
        raise BadInput(f"The header claims {rate_hz} Hz and {channels} channels.", code="bad_audio")


def _decode_soundfile(data: bytes, max_seconds: float) -> Clip:
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        _check_format(file.samplerate, file.channels)
        most = int(max_seconds * file.samplerate)
        blocks: list[Samples] = []
        total = 0
        # Block by block: a header may claim anything, and a small FLAC may hold hours.
        while True:
            block = file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
            if not len(block):
                break
            total += len(block)
            if total > most:
                raise _too_long(max_seconds)
            blocks.append(block.mean(axis=1, dtype=np.float32))
        samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
        return Clip(samples, file.samplerate)


def _decode_av(data: bytes, max_seconds: float) -> Clip:
    import av  # imported here: most clients send WAV, and FFmpeg's libraries take 40 MB

    try:
        # No playlist (HLS, concat) can name another file: the demuxers that follow names are refused.
        with av.open(io.BytesIO(data), "r", metadata_errors="ignore") as container:
            if container.format.name in {"hls", "concat", "applehttp", "dash", "imf", "sdp", "rtsp"}:
                raise BadInput("Playlists are not audio.", code="bad_audio")
            if not container.streams.audio:
                raise BadInput("The file has no audio track.", code="bad_audio")
            stream = container.streams.audio[0]
            rate_hz = stream.rate or 0
            _check_format(rate_hz, stream.channels or 1)
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
            blocks: list[Samples] = []
            total, most = 0, int(max_seconds * rate_hz)
            try:
                for frame in container.decode(stream):
                    for mono in resampler.resample(frame):
                        block = mono.to_ndarray().reshape(-1).astype(np.float32, copy=False)
                        total += len(block)
                        if total > most:
                            raise _too_long(max_seconds)
                        blocks.append(block)
            except av.error.FFmpegError:
                if not blocks:  # broken in the middle: what came before is used
                    raise
            samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
            return Clip(samples, rate_hz)
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        raise BadInput("This is not audio that can be decoded.", code="bad_audio") from error
