"""Speak a whole text clause by clause: the first sound is ready when the first clause is."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from pipeline.audio.clip import Clip
from pipeline.speech.clauses import Clause, split
from pipeline.speech.language import spoken_language
from pipeline.speech.normalise import for_voice
from pipeline.speech.unread import Unread
from pipeline.support.background import background
from pipeline.support.channel import Channel
from pipeline.support.room import Room
from pipeline.telemetry import metrics
from pipeline.tts import TextToSpeech
from pipeline.voices.catalogue import Voice
from pipeline.workers.caller import Urgency, calling

CLIPS_AHEAD = 20_000
"""Limit of clips that wait for a slow listener: more than any clause makes, so that a client that reads slowly or not
at all does not block the shared voice. `Unread` limits the sound."""

SILENCE_S, SILENCE_HZ = 0.3, 24_000
"""Length and rate of the silence for a text that contains nothing to speak ("…", an emoji)."""


def silence() -> Clip:
    """Return the sound of a text that contains nothing to speak: clients treat a response without sound as an error."""
    return Clip(np.zeros(int(SILENCE_S * SILENCE_HZ), np.float32), SILENCE_HZ)


@dataclass(frozen=True, slots=True)
class Said:
    """The next sound of a text."""

    clip: Clip
    clause: Clause
    """The clause that it belongs to, as it was written."""
    language: str
    """The language in which it is spoken."""


async def clips_of(speech: AsyncGenerator[Said, None]) -> AsyncGenerator[Clip, None]:
    """Yield only the clips of `said`; closing the generator closes it, too."""
    async with aclosing(speech):
        async for one in speech:
            yield one.clip


async def said(
    tts: TextToSpeech,
    text: str,
    *,
    voice: Voice,
    language: str | None = None,
    usual: str = "",
    room: Room | None = None,
) -> AsyncGenerator[Said, None]:
    """Yield the sound of a text, in order, all of one rate, made a little ahead of the reader (`Unread`). Closing the
    generator stops it.

    A text with nothing to say ("…", an emoji) yields nothing. language: ISO 639-1 of the text; None: it is detected for
    each clause (`pipeline.speech.language`), except for texts in the alphabet of `usual` (SPEECH_LANGUAGE; "": none).
    room: counts the bytes that wait for the reader. Raises EngineError, Overloaded.
    """
    ahead: Channel[Said] = Channel(CLIPS_AHEAD)

    async def speak(unread: Unread) -> None:
        try:
            async with aclosing(_said(tts, text, voice, language, usual, unread)) as all_said:
                async for one in all_said:
                    unread.made(one.clip)
                    await ahead.send(one)
        except Exception as error:
            ahead.close(error)
        else:
            ahead.close()

    with Unread(room) as unread:
        async with background(speak(unread)):
            async for one in ahead:
                unread.taken(one.clip)
                yield one


async def _said(
    tts: TextToSpeech, text: str, voice: Voice, wanted: str | None, usual: str, unread: Unread
) -> AsyncGenerator[Said, None]:
    session = secrets.token_hex(8)
    fixed, usual = bool(usual), voice.usual_language(usual)
    begun = False
    language = voice.language(wanted or await spoken_language(text, usual=usual, speaks=tts.speaks, fixed=fixed))
    for clause in split(text, language=language):
        await unread.little()
        if not wanted:
            language = await spoken_language(clause.text, usual=usual, speaks=tts.speaks, before=language, fixed=fixed)
        spoken = for_voice(clause.text, language)
        if not spoken:
            continue
        # The listener waits in silence for the first clause; later clauses are made while earlier ones play.
        urgency = Urgency.LATER if begun else Urgency.NOW
        async with aclosing(tts.speak(spoken, voice=voice, language=language)) as clips:
            while (clip := await _next(clips, session, urgency)) is not None:
                begun = True
                metrics.SPOKEN.inc(clip.seconds)
                yield Said(clip, clause, language)


async def _next(clips: AsyncGenerator[Clip, None], session: str, urgency: Urgency) -> Clip | None:
    # Set around each step, not around the loop: a generator must not change the context of its reader.
    with calling(session=session, urgency=urgency):
        return await anext(clips, None)
