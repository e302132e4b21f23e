"""The spelling of keywords in a transcript.

A text with keywords before a transcript changes more than their spelling: Whisper tiny.en and base also write a keyword
in place of other words, leave words out, or write a sentence twice. So speech is transcribed without them. A second
transcript, with keywords, only shows where they were spoken: there they replace the words that sound like them.
"""

import unicodedata
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from difflib import SequenceMatcher, get_close_matches
from itertools import chain, groupby

from pipeline.stt import Segment, Transcript, Word
from pipeline.stt.word_times import Timed, filled

ALIKE = 0.6
"""Minimum likeness of a keyword and of the words that it replaces, from 0 to 1 (see `likeness`). A tenth of unrelated
words have it."""
ALIKE_ALONE = 0.5
"""The same where the transcripts agree about the words around them."""
NEARLY, NEARLY_CHARS = 0.75, 5
"""Minimum likeness of the letters of a word and of the keyword that was meant by it ("Kowalczik"), and its length."""
MORE_WORDS = 3
"""Maximum number of words that one word of a keyword replaces: a rare name is often heard as several words."""
ENDING = 3
"""Maximum length of an ending that a language adds to a name (Kowalczykiem), in characters."""
LETTERS = "bfpv", "cgjkqsxz", "dt", "l", "mn", "r"
"""The groups of letters with similar sounds in Soundex (Russell and Odell, 1918)."""
SOUNDS = {letter: str(number) for number, letters in enumerate(LETTERS, 1) for letter in letters}

Change = tuple[str, int, int, int, int]
"""A part of two texts, as `SequenceMatcher` describes it."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """A keyword in place of a part of a text."""

    start: int
    """First replaced character."""
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Token:
    """A word of a text; in Chinese and Japanese, a character."""

    word: str
    """Without case."""
    start: int
    """First character."""
    end: int
    part: int
    """Index of the text, where several follow each other."""


def spelled(transcript: Transcript, hinted: str, keywords: Sequence[str]) -> Transcript:
    """Return a transcript with the keywords of another transcript of the same speech, which was made with keywords."""
    text = transcript.text
    [found] = spellings([text], hinted, keywords)
    return replace(transcript, text=_applied(text, found), words=spelled_words(transcript.words, text, found))


def spelled_segments(segments: Sequence[Segment], hinted: str, keywords: Sequence[str]) -> list[Segment]:
    """Do the same with a transcript in segments. The tokens of a changed segment stay those of its first text."""
    changes = spellings([segment.text for segment in segments], hinted, keywords)
    return [
        replace(segment, text=_applied(segment.text, found), words=spelled_words(segment.words, segment.text, found))
        if found
        else segment
        for segment, found in zip(segments, changes, strict=True)
    ]


def spelled_words(words: Sequence[Word], text: str, changes: Sequence[Spelling]) -> list[Word]:
    """Return the words of a text after its changes. The words of a keyword share the time of those that they
    replace."""
    places = list(_placed(words, text, 0))
    for change in reversed(changes):
        inside = [n for n, (at, one) in enumerate(places) if at < change.end and change.start < at + len(one.text)]
        if inside:
            (first, begin), (last, end) = places[inside[0]], places[inside[-1]]
            new = text[first : change.start] + change.text + text[change.end : last + len(end.text)]
            old, made = [places[n][1] for n in inside], new.split()
            spans = [(one.start_s, one.end_s) if len(old) == len(made) else None for one in old]
            probability = min(one.probability for one in old)
            timed = [Timed(word, spans[n] if n < len(spans) else None, probability) for n, word in enumerate(made)]
            text = _applied(text, [change])
            replaced = filled(timed, begin.start_s, end.end_s)
            places[inside[0] : inside[-1] + 1] = _placed(replaced, text, first)
    return [word for _, word in places]


def spellings(texts: Sequence[str], hinted: str, keywords: Sequence[str]) -> list[list[Spelling]]:
    """Return the changes of each of the texts that follow each other in a transcript."""
    plain = [token for part, text in enumerate(texts) for token in _tokens(text, part)]
    hinted = _corrected(hinted, {one.word for one in plain}, keywords)
    others = list(_tokens(hinted, 0))
    matcher = SequenceMatcher(None, [one.word for one in plain], [one.word for one in others], autojunk=False)
    changes = matcher.get_opcodes()
    found: list[list[Spelling]] = [[] for _ in texts]
    done = 0
    for first, last in _keywords_in([one.word for one in others], keywords):
        start, end, alone = _place(changes, first, last)
        name = hinted[others[first].start : others[last].end]
        run = _likest(plain, max(start, done), end, name, MORE_WORDS * (last - first + 1), alone)
        if run is not None:
            done = run.stop
            part, span = plain[run.start].part, slice(plain[run.start].start, plain[run.stop - 1].end)
            if texts[part][span] != name:
                found[part].append(Spelling(span.start, span.stop, name))
    return found


def likeness(one: str, other: str) -> float:
    """Return how alike two texts sound, from 0 to 1: by their spelling, or by Soundex's groups of letters."""
    pairs = (_letters(one), _letters(other)), (_sounds(one), _sounds(other))
    return max(SequenceMatcher(None, first, second, autojunk=False).ratio() for first, second in pairs)


def _placed(words: Sequence[Word], text: str, at: int) -> Iterator[tuple[int, Word]]:
    """Yield words and their positions in a text, searched from a position on."""
    for word in words:
        at = max(text.find(word.text, at), at)
        yield at, word
        at += len(word.text)


def _applied(text: str, changes: Sequence[Spelling]) -> str:
    for change in reversed(changes):
        text = text[: change.start] + change.text + text[change.end :]
    return text


def _tokens(text: str, part: int) -> Iterator[_Token]:
    at = 0
    for kind, chars in groupby(text, _kind):
        end = at + len("".join(chars))
        if kind:
            spans = [(at, end)] if kind == "word" else [(one, one + 1) for one in range(at, end)]
            yield from (_Token(text[first:last].casefold(), first, last, part) for first, last in spans)
        at = end


def _kind(char: str) -> str:
    """Return whether a character is a part of a word, or a word of its own; otherwise an empty text."""
    if "\u3040" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff":  # Japanese and Chinese have no spaces
        return "character"
    return "word" if char.isalnum() or unicodedata.category(char).startswith("M") else ""


def _corrected(text: str, others: Set[str], keywords: Sequence[str]) -> str:
    """Return a text with the spelling of keywords that it nearly has. others: words of the other transcript, which stay
    as they are."""
    names = {token.word: keyword[token.start : token.end] for keyword in keywords for token in _tokens(keyword, 0)}
    for token in reversed(list(_tokens(text, 0))):
        word = token.word
        if len(word) >= NEARLY_CHARS and word not in others and not any(_is([word], [name]) for name in names):
            for name in get_close_matches(word, names, 1, NEARLY):
                text = text[: token.start] + names[name] + text[token.end :]
    return text


def _keywords_in(words: Sequence[str], keywords: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last index of each keyword in a text, or of a word of one, also with an ending."""
    phrases = [[token.word for token in _tokens(keyword, 0)] for keyword in keywords]
    wanted = sorted(chain(phrases, ([word] for phrase in phrases for word in phrase)), key=len, reverse=True)
    at = 0
    while at < len(words):
        size = next((len(phrase) for phrase in wanted if phrase and _is(words[at : at + len(phrase)], phrase)), 0)
        if size:
            yield at, at + size - 1
        at += size or 1


def _is(words: Sequence[str], phrase: Sequence[str]) -> bool:
    if len(words) != len(phrase) or list(words[:-1]) != list(phrase[:-1]):
        return False
    last, name = words[-1], phrase[-1]
    return last == name or (len(name) > ENDING and last.startswith(name) and len(last) <= len(name) + ENDING)


def _place(changes: Sequence[Change], first: int, last: int) -> tuple[int, int, bool]:
    """Return the words of the first text that can be in the place of these of the second text, from the first to the
    last, and whether nothing else is in their place."""
    start = end = 0
    alone = True
    for kind, begin, until, before, after in changes:
        equal = kind == "equal"
        if before <= first < after:
            start = begin + first - before if equal else begin
            alone &= equal or first == before
        if before <= last < after:
            end = begin + last - before + 1 if equal else until
            alone &= equal or last == after - 1
    return start, end, alone


def _comparable(one: str, other: str) -> bool:
    """Whether the letters of two texts show if they sound alike: not in different scripts, nor in Chinese."""
    scripts = {_script(one), _script(other)} - {""}
    return len(scripts) < 2 and "CJK" not in scripts


def _script(text: str) -> str:
    return unicodedata.name(next(filter(str.isalpha, text), " "), "").split(" ")[0]


def _likest(words: Sequence[_Token], start: int, end: int, name: str, most: int, alone: bool) -> range | None:
    """Return the run of at most so many words that sounds most like a name; None if none does. alone: whether nothing
    else is in the place of the words. Then they need not be comparable."""
    every = words[start:end]
    if not all(_comparable(one.word, name) for one in every):
        fits = alone and len(every) <= most and len({one.part for one in every}) == 1
        return range(start, end) if fits else None
    best, found = 0.0, None
    for first in range(start, end):
        for last in range(first + 1, min(first + most, end) + 1):
            if words[first].part == words[last - 1].part:
                alike = likeness("".join(one.word for one in words[first:last]), name)
                if alike > best:
                    best, found = alike, range(first, last)
    return found if best >= (ALIKE_ALONE if alone else ALIKE) else None


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in plain if char.isalnum())


def _sounds(text: str) -> str:
    """Return the groups of letters, with one for vowels and their like; other scripts as they are."""
    codes = (SOUNDS.get(char, "0") if "a" <= char <= "z" else char for char in _letters(text))
    return "".join(code for code, _ in groupby(codes))
