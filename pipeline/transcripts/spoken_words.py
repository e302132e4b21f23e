"""Times of the words of a synthesised text: the recogniser hears the sound, and each written word gets the times of the
heard one. So it works with every voice."""

from collections.abc import Sequence
from difflib import SequenceMatcher

from pipeline import stt
from pipeline.audio.clip import Clip
from pipeline.errors import EngineError
from pipeline.stt import Segment, SpeechToText, Word
from pipeline.stt.word_times import Timed, filled
from pipeline.transcripts.line_breaks import by_characters
from pipeline.workers.caller import Urgency, less_urgent


async def spoken_words(recogniser: SpeechToText, clip: Clip, text: str, language: str) -> list[Word]:
    """Return the words of a clause with their times from the start of its clip. Words that are heard differently ("3"
    and "three") share the time between those around them; in a language that the recogniser does not know, all do.
    language: ISO 639-1, a region can follow. Raises EngineError, Overloaded, StageFailed (timeout)."""
    written = [word.text for word in by_characters(Segment(0.0, clip.seconds, text))]
    code, heard = language.partition("-")[0], list[Word]()
    try:
        with less_urgent(Urgency.LATER):
            found = await stt.in_time(recogniser, clip, language=code, prompt=None, words=True)
            heard += found.words
    except EngineError as error:
        if error.code != "unsupported_language":
            raise
    return matched(written, heard, clip.seconds)


def matched(written: Sequence[str], heard: Sequence[Word], seconds: float) -> list[Word]:
    """Return the written words with the times of the heard ones, within `seconds`."""
    places: dict[int, Word] = {}
    blocks = SequenceMatcher(None, [*map(_plain, written)], [_plain(word.text) for word in heard], autojunk=False)
    for block in blocks.get_matching_blocks():
        places |= {block.a + index: heard[block.b + index] for index in range(block.size)}
    timed = [
        Timed(text, (there.start_s, there.end_s), there.probability)
        if (there := places.get(number)) is not None
        else Timed(text, None)
        for number, text in enumerate(written)
    ]
    return filled(timed, 0.0, seconds)


def _plain(word: str) -> str:
    return "".join(char for char in word.casefold() if char.isalnum())
