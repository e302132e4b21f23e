"""One exchange with an Assist pipeline: speech in at the pace of a microphone, events and sound out."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from homeassistant.components import assist_pipeline, stt, tts
from homeassistant.core import Context

from .service import RATE_HZ

CHUNK_S = 0.02
PATIENCE_S = 120.0
TIMES: defaultdict[str, list[float]] = defaultdict(list)
"""Measured seconds, by what was measured."""


@dataclass
class Home:
    """Home Assistant and its entry for Parley."""

    hass: Any
    entry: Any

    def entity(self, domain: str) -> Any:
        """Return Parley's entity of a domain (stt, tts, …)."""
        return self.hass.data[domain].get_entity(f"{domain}.parley")


@dataclass
class Exchange:
    """The record of one exchange."""

    events: list[tuple[str, Any]] = field(default_factory=list)
    at_s: dict[str, float] = field(default_factory=dict)
    """Loop time of each type of event."""
    audio: bytes = b""
    spoken_s: float = 0.0
    """Loop time of the last sound of the user."""
    first_audio_s: float = 0.0
    """Loop time of the first sound of the answer, after its header."""

    @property
    def kinds(self) -> list[str]:
        """The events in their order, each once."""
        return list(dict.fromkeys(kind for kind, _ in self.events))

    def data(self, kind: str) -> Any:
        """Return the data of the last event of this type."""
        return next(data for name, data in reversed(self.events) if name == kind)

    @property
    def heard(self) -> str:
        return str(self.data("stt-end")["stt_output"]["text"])

    @property
    def reply(self) -> str:
        return str(self.data("intent-end")["intent_output"]["response"]["speech"]["plain"]["speech"])

    def note_times(self, who: str) -> None:
        """Add the seconds since the end of the user's speech to the measured ones."""
        for what, at_s in (("transcript", self.at_s["stt-end"]), ("first audio", self.first_audio_s)):
            TIMES[f"end of speech to {what}, {who} hears the end"].append(at_s - self.spoken_s)


async def microphone(sound: bytes, exchange: Exchange) -> AsyncIterator[bytes]:
    """Yield sound in real time, then silence without an end."""
    loop = asyncio.get_running_loop()
    size, began = int(CHUNK_S * RATE_HZ) * 2, loop.time()
    at = 0
    while True:
        yield sound[at : at + size].ljust(size, b"\0")
        at += size
        if not exchange.spoken_s and at >= len(sound):
            exchange.spoken_s = loop.time()
        await asyncio.sleep(max(0.0, began + at / 2 / RATE_HZ - loop.time()))


async def speak(home: Home, sound: bytes, exchange: Exchange | None = None, **options: Any) -> Exchange:
    """Run the preferred pipeline on sound."""
    found, hass, loop = exchange or Exchange(), home.hass, asyncio.get_running_loop()
    listening: list[asyncio.Task[None]] = []

    async def listen(token: str) -> None:
        stream = tts.async_get_stream(hass, token)
        assert stream is not None
        async for data in stream.async_stream_result():
            found.audio += data
            if not found.first_audio_s and len(found.audio) > 100:
                found.first_audio_s = loop.time()

    def happened(event: Any) -> None:
        found.events.append((str(event.type), event.data or {}))
        found.at_s[str(event.type)] = loop.time()
        if event.type == "run-start" and "tts_output" in event.data:
            listening.append(asyncio.create_task(listen(event.data["tts_output"]["token"])))

    await hass.services.async_call("tts", "clear_cache", blocking=True)  # the same answer is spoken again
    try:
        async with asyncio.timeout(PATIENCE_S):
            await assist_pipeline.async_pipeline_from_audio_stream(
                hass,
                context=Context(),
                event_callback=happened,
                stt_metadata=metadata(),
                stt_stream=microphone(sound, found),
                tts_audio_output="wav",
                **options,
            )
            if "tts-end" in found.kinds:
                await asyncio.gather(*listening)
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    return found


def metadata(language: str = "en") -> Any:
    return stt.SpeechMetadata(
        language=language,
        format=stt.AudioFormats.WAV,
        codec=stt.AudioCodecs.PCM,
        bit_rate=stt.AudioBitRates.BITRATE_16,
        sample_rate=stt.AudioSampleRates.SAMPLERATE_16000,
        channel=stt.AudioChannels.CHANNEL_MONO,
    )
