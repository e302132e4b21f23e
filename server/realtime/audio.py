"""Sound formats of the Realtime API: PCM at 24 kHz, µ-law and A-law at 8 kHz; base64 on the wire."""

import asyncio
import binascii
from typing import Literal, NotRequired, TypedDict

from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode.mixing import Offset
from pipeline.audio.g711 import from_alaw, from_mulaw, to_alaw, to_mulaw
from pipeline.audio.stream_resampler import RateConverter, StreamResampler
from pipeline.listening.detector import RATE_HZ
from server.realtime.errors import RealtimeError

Format = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
RATES_HZ: dict[str, int] = {"audio/pcm": 24_000, "audio/pcmu": 8_000, "audio/pcma": 8_000}
MAX_APPEND_BYTES = 15 * 2**20
"""Maximum size of the decoded sound in one event, as for OpenAI's server."""

LARGE_CHARS = 2**18
"""Base64 longer than this is decoded in a thread."""


class FormatJson(TypedDict):
    """A format as a session reports it."""

    type: Format
    rate: NotRequired[int]


def as_json(format: Format) -> FormatJson:
    """Return the format as a session reports it."""
    return {"type": format, "rate": 24_000} if format == "audio/pcm" else {"type": format}


def check_length(ms: float, limit_s: float, param: str) -> None:
    """Raises RealtimeError for more sound than the maximum of one utterance (MAX_AUDIO_SECONDS)."""
    if ms > 1000 * limit_s:
        raise RealtimeError(f"'{param}' is longer than {limit_s:g} seconds.", code="audio_too_long", param=param)


def milliseconds(size: int, format: Format) -> float:
    """Return the duration of `size` bytes."""
    return size / (2 if format == "audio/pcm" else 1) * 1000 / RATES_HZ[format]


def decoded_size(audio: str) -> int:
    """Return the size of a decoded base64 field."""
    return len(audio) * 3 // 4 - audio.count("=", -2)


def decoded(audio: str, param: str) -> bytes:
    """Decode a base64 field. Raises RealtimeError."""
    if decoded_size(audio) > MAX_APPEND_BYTES:
        raise RealtimeError(f"'{param}' is more than 15 MiB of sound.", code="invalid_value", param=param)
    try:
        # base64.b64decode with validate=True would first check every character by a regular expression.
        return binascii.a2b_base64(audio, strict_mode=True)
    except (binascii.Error, ValueError):
        raise RealtimeError(f"Invalid '{param}': not base64.", code="invalid_value", param=param) from None


async def decoded_aside(audio: str, param: str) -> bytes:
    """Do the same as `decoded`, without blocking the event loop for long."""
    return await asyncio.to_thread(decoded, audio, param) if len(audio) > LARGE_CHARS else decoded(audio, param)


def samples(data: bytes, format: Format) -> Samples:
    """Return the samples; an odd last byte of PCM is dropped."""
    if format == "audio/pcm":
        return Clip.from_pcm16(data, RATES_HZ[format]).samples
    return from_mulaw(data) if format == "audio/pcmu" else from_alaw(data)


def whole(data: bytes, format: Format) -> Clip:
    """Return a whole utterance with its DC offset removed."""
    return Clip(Offset(RATES_HZ[format]).without(samples(data, format)), RATES_HZ[format])


class SoundIn:
    """Converts the appended sound of one connection to float32 mono at 16 kHz."""

    def __init__(self, format: Format) -> None:
        self.format = format
        self._rest = b""
        self._resampler = StreamResampler(RATES_HZ[format], RATE_HZ)

    def take(self, data: bytes) -> Samples:
        """Return the next samples; keep half a sample until its other half arrives."""
        if self.format == "audio/pcm":
            data = self._rest + data
            whole = len(data) // 2 * 2
            data, self._rest = data[:whole], data[whole:]
        return self._resampler.take(samples(data, self.format))

    @property
    def narrow_band(self) -> bool:
        """See `Ear.narrow_band`."""
        return RATES_HZ[self.format] < RATE_HZ

    def ms(self, size: int) -> float:
        """Return the duration of `size` bytes."""
        return milliseconds(size, self.format)

    def end(self) -> Samples:
        """Return the samples that the resampler has buffered, and reset it for another sound."""
        tail = self._resampler.end()
        self._rest = b""
        self._resampler = StreamResampler(RATES_HZ[self.format], RATE_HZ)
        return tail


class SoundOut:
    """Converts the sound of one reply to its format."""

    def __init__(self, format: Format) -> None:
        self._format = format
        self._converter = RateConverter(RATES_HZ[format])

    def take(self, clip: Clip) -> bytes:
        """Return the next chunk."""
        return self._encoded(self._converter.take(clip))

    def end(self) -> bytes:
        """Return the sound that the resampler has buffered."""
        return self._encoded(self._converter.end())

    def _encoded(self, sound: Samples) -> bytes:
        match self._format:
            case "audio/pcm":
                return Clip(sound, RATES_HZ[self._format]).pcm16()
            case "audio/pcmu":
                return to_mulaw(sound)
            case "audio/pcma":
                return to_alaw(sound)
