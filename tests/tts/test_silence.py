"""Trimming and splitting: only silence is removed, and never a word."""

import numpy as np
import pytest

from pipeline.audio.clip import Samples
from pipeline.tts.common import clean
from pipeline.tts.silence import CLAUSE_PAUSE_S, LEAD_S, SENTENCE_PAUSE_S, Trimmer, pause_after
from pipeline.tts.split import split

RATE_HZ = 1_000


def sound(ms: int) -> Samples:
    return np.full(ms, 0.5, np.float32)


def quiet(ms: int) -> Samples:
    return np.full(ms, 0.001, np.float32)


def trim(*pieces: Samples, piece_ms: int = 7, junk_s: float = 0.15) -> list[float]:
    """Trim the sound in small chunks, and return the amplitudes that come out."""
    trimmer = Trimmer(RATE_HZ, 0.1, audible=0.01, junk_s=junk_s)
    whole = np.concatenate(pieces)
    out = [trimmer.push(whole[at : at + piece_ms]) for at in range(0, len(whole), piece_ms)]
    return [float(sample) for sample in np.concatenate([*out, trimmer.finish()])]


@pytest.mark.parametrize("piece_ms", [1, 7, 100, 10_000])
def test_outer_silence_is_removed_and_inner_silence_stays(piece_ms: int) -> None:
    lead = int(LEAD_S * RATE_HZ)
    out = trim(quiet(300), sound(200), quiet(500), sound(200), quiet(600), piece_ms=piece_ms)
    expected = np.concatenate([quiet(lead), sound(200), quiet(500), sound(200), quiet(100)])
    assert out == pytest.approx(expected.tolist())


def test_silence_alone_gives_nothing() -> None:
    assert trim(quiet(1_000)) == []
    assert trim(quiet(0)) == []


def test_noise_at_the_end_is_removed() -> None:
    out = trim(sound(200), quiet(450), sound(100), quiet(50))
    assert out == pytest.approx(np.concatenate([sound(200), quiet(100)]).tolist())


@pytest.mark.parametrize(
    "pieces",
    [
        (sound(200), quiet(450), sound(160)),  # long enough to be a word
        (sound(200), quiet(300), sound(100)),  # no pause before it
        (sound(200), quiet(450), sound(100), quiet(50), sound(100)),  # two syllables
        (sound(100),),  # the whole sound
    ],
)
def test_possible_words_stay(pieces: tuple[Samples, ...]) -> None:
    assert trim(*pieces) == pytest.approx(np.concatenate(pieces).tolist())


def test_a_sentence_is_followed_by_a_longer_pause() -> None:
    for text in ("Yes.", "Really?!", "He said “no.”", "好。"):
        assert pause_after(text) == SENTENCE_PAUSE_S
    for text in ("yes", "yes,", "and so:"):
        assert pause_after(text) == CLAUSE_PAUSE_S


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("", 10, []),
        ("  short  ", 10, ["short"]),
        ("One two. Three four. Five", 16, ["One two.", "Three four. Five"]),
        ("One two three, four five six", 20, ["One two three,", "four five six"]),
        ("one two three four", 10, ["one two", "three four"]),
        ("a" * 25, 10, ["a" * 10, "a" * 10, "a" * 5]),
        ("Costs 3.50 a piece. And 1,000 more", 20, ["Costs 3.50 a piece.", "And 1,000 more"]),
        ("一二三。四五六。七", 5, ["一二三。", "四五六。七"]),
        ("Oh. But this is one long sentence without marks", 30, ["Oh. But this is one long", "sentence without marks"]),
    ],
)
def test_long_texts_are_split_at_the_best_place(text: str, limit: int, pieces: list[str]) -> None:
    assert split(text, limit) == pieces


def test_splitting_loses_nothing() -> None:
    text = " ".join(f"word{number}{',.;: !?'[number % 7]}" for number in range(3_000))
    for limit in (20, 71, 250):
        pieces = split(text, limit)
        assert all(0 < len(piece) <= limit for piece in pieces)
        assert " ".join(pieces).split() == text.split()


def test_speakable_text_is_recognised() -> None:
    assert clean(" a\0b\tc\n\x1b[0m ") == "a b c [0m"
    assert clean("नमस्ते") == "नमस्ते"
    for nothing in ("", "…", "🎉", "\ud800", "!?", "\x07"):
        assert clean(nothing) == ""
