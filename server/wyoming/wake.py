"""Wake words over the Wyoming protocol: `detect`, sound, then `detection` or `not-detected`."""

import asyncio
from contextlib import aclosing

from wyoming.audio import AudioChunk
from wyoming.wake import Detect, Detection

from pipeline.listening.detector import RATE_HZ
from pipeline.listening.wake_word import MicroWakeWord, wake_words
from server.access.limits import Share
from server.wyoming.audio import Conversion


class WakeStream:
    """Searches a stream of sound of any length for wake words; keeps none of it."""

    def __init__(self, asked: Detect, conversion: Conversion, held: Share) -> None:
        """asked: its names are the wake words to detect; None or empty: any. held: sets the pace of the sound. Raises
        BadInput (bad_parameter) for unknown names."""
        self._words = {name: MicroWakeWord(name) for name in dict.fromkeys(asked.names or wake_words())}
        self.context = asked.context
        """The client's context, which the response repeats."""
        self._conversion, self._held = conversion, held
        self.detected = False
        """Whether a wake word was found; further sound is ignored."""

    async def take(self, chunk: AudioChunk) -> Detection | None:
        """Process the next chunk; return the detection if a wake word ends in it. Raises BadInput
        (unsupported_audio)."""
        if self.detected:
            return None
        async with aclosing(self._conversion.converted(chunk)) as converted:
            async for samples in converted:
                for name, word in self._words.items():
                    if word.hears(samples):
                        self.detected = True
                        return Detection(name=name, timestamp=chunk.timestamp, context=self.context)
                await self._held.heard(len(samples) / RATE_HZ)
                await asyncio.sleep(0)  # the models take milliseconds for each piece
        return None
