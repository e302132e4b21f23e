"""Subtitle files, checked with common parsers."""

import io
import json
import re
import unicodedata
from dataclasses import replace
from datetime import timedelta
from html import unescape
from itertools import pairwise

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stt import Segment, Word
from pipeline.transcripts.line_breaks import pieces, width
from pipeline.transcripts.subtitles import KINDS, Layout, cues, render, text_of

ENGLISH = (
    "The quick brown fox jumps over the lazy dog, and then it sleeps. "
    "Nobody knows why it does so every day."  # language: allow
)


def spoken(text: str, start_s: float = 0.0, word_s: float = 0.4) -> Segment:
    """Return a segment of words of equal length with short gaps between them."""
    words = [
        Word(word, start_s + number * word_s, start_s + (number + 0.9) * word_s, 0.9)
        for number, word in enumerate(text.split())
    ]
    return Segment(start_s, words[-1].end_s, text, "en", words)


def parsed_srt(text: str) -> list[srt.Subtitle]:
    return list(srt.parse(text))


def parsed_vtt(text: str) -> list[webvtt.Caption]:
    return list(webvtt.from_buffer(io.StringIO(text)).captions)


SEGMENTS = [
    Segment(0.0, 1.2345, "Hello."),
    Segment(1.2345, 59.9996, "A < b & c > d --> e"),
    Segment(3599.9999, 3661.001, "olá, Ça va? ñ"),
    Segment(360_000.5, 360_001.0, "after a hundred hours"),
]
TIMES_MS = [(0, 1234), (1234, 60_000), (3_600_000, 3_661_001), (360_000_500, 360_001_000)]


def test_srt_is_read_back_with_exact_milliseconds() -> None:
    found = parsed_srt(render("srt", SEGMENTS))
    assert [one.index for one in found] == [1, 2, 3, 4]
    assert [one.content for one in found] == [one.text for one in SEGMENTS]
    assert [(one.start, one.end) for one in found] == [
        (timedelta(milliseconds=start), timedelta(milliseconds=end)) for start, end in TIMES_MS
    ]


def test_a_text_is_never_read_as_the_times_of_an_srt_cue() -> None:
    text = render("srt", [Segment(0.0, 1.0, "00:00:05,000 --> 00:00:06,000", speaker="00:00:07,000 --> 00:00:08,000")])
    assert text.count("-->") == 1
    assert parsed_srt(text)[0].content == "[00:00:07,000 → 00:00:08,000]: 00:00:05,000 → 00:00:06,000"
    other = "pi is 3.14 --> and more, chapter 2--> next"
    assert parsed_srt(render("srt", [Segment(0.0, 1.0, other)]))[0].content == other


def test_vtt_has_its_header_and_is_read_back() -> None:
    text = render("vtt", SEGMENTS)
    assert text.startswith("WEBVTT\n\n")
    found = parsed_vtt(text)
    assert [(one.start, one.end) for one in found] == [
        ("00:00:00.000", "00:00:01.234"),
        ("00:00:01.234", "00:01:00.000"),
        ("01:00:00.000", "01:01:01.001"),
        ("100:00:00.500", "100:00:01.000"),
    ]
    assert "A &lt; b &amp; c &gt; d --&gt; e" in text
    assert found[2].text == "olá, Ça va? ñ"


def test_empty_vtt_is_valid() -> None:
    assert render("vtt", []).startswith("WEBVTT\n")
    assert parsed_vtt(render("vtt", [])) == []
    assert render("srt", []) == ""


def test_tsv_lrc_txt_and_json_formats() -> None:
    rows = [row.split("\t") for row in render("tsv", [Segment(0.5, 1.5, "a\tb\nc")]).splitlines()]
    assert rows == [["start", "end", "text"], ["500", "1500", "a b c"]]
    assert render("lrc", [Segment(61.256, 65, "a line"), Segment(3661, 3662, "late")]) == (
        "[01:01.26]a line\n[61:01.00]late\n"
    )
    assert render("txt", SEGMENTS).splitlines() == [one.text for one in SEGMENTS]
    told = json.loads(render("json", [spoken("one two")], language="en"))
    assert (told["text"], told["language"]) == ("one two", "en")
    assert set(told["segments"][0]) >= {"id", "seek", "start", "end", "text", "tokens", "words"}
    assert told["segments"][0]["words"][1] == {"word": "two", "start": 0.4, "end": 0.76, "probability": 0.9}


@pytest.mark.parametrize("kind", ["srt", "vtt"])
@pytest.mark.parametrize("line_width", [20, 32, 42])
def test_lines_and_cues_break_at_natural_points(kind: str, line_width: int) -> None:
    layout = Layout(line_width=line_width, max_lines=2)
    text = render(kind, [spoken(ENGLISH, 2.0)], layout=layout)
    found = [one.content for one in parsed_srt(text)] if kind == "srt" else [one.text for one in parsed_vtt(text)]
    assert " ".join(one.replace("\n", " ") for one in found) == ENGLISH
    for one in found:
        shown = one.split("\n")
        assert len(shown) <= 2
        assert all(len(line) <= line_width for line in shown)
    if line_width == 42:
        # Break after the sentence, even though more would fit.
        assert found[0].endswith(("dog,", "sleeps."))


def test_cue_times_are_those_of_their_words() -> None:
    segment = spoken(ENGLISH, 2.0)
    found = cues([segment], Layout(line_width=30, max_lines=1))
    number = 0
    for cue in found:
        count = len(cue.pieces)
        assert cue.start_ms == round(segment.words[number].start_s * 1000)
        assert cue.end_ms == round(segment.words[number + count - 1].end_s * 1000)
        number += count
    assert number == len(segment.words)


def test_two_lines_have_about_the_same_length() -> None:
    shown = parsed_srt(render("srt", [spoken("one two three four five six seven eight nine")], layout=Layout(42)))
    first, second = shown[0].content.split("\n")
    assert abs(len(first) - len(second)) <= 6


def test_reading_speed_extends_cues_only_into_silence() -> None:
    quick = [Segment(0, 0.5, "x" * 30), Segment(1.0, 1.4, "y" * 30), Segment(30, 31, "z" * 5)]
    found = cues(quick, Layout(max_chars_per_s=15))
    assert [(cue.start_ms, cue.end_ms) for cue in found] == [(0, 1000), (1000, 3000), (30_000, 31_000)]


def test_cue_is_not_longer_than_its_limit() -> None:
    found = cues([spoken(ENGLISH)], Layout(max_cue_s=3))
    assert len(found) > 2
    assert all(cue.end_ms - cue.start_ms <= 3000 for cue in found)


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_each_word_is_highlighted_while_it_is_spoken(kind: str) -> None:
    text = render(kind, [spoken("one two three", 1.0)], layout=Layout(highlight_words=True))
    if kind == "srt":
        found = [(one.start.total_seconds(), one.end.total_seconds(), one.content) for one in parsed_srt(text)]
        assert found == [
            (1.0, 1.4, "<u>one</u> two three"),
            (1.4, 1.8, "one <u>two</u> three"),
            (1.8, pytest.approx(2.16), "one two <u>three</u>"),
        ]
    else:
        assert [one.raw_text for one in parsed_vtt(text)][1] == "one <u>two</u> three"


def test_highlighted_words_in_lrc_have_their_times() -> None:
    text = render("lrc", [spoken("one two", 1.0)], layout=Layout(highlight_words=True))
    assert text == "[00:01.00]<00:01.00>one <00:01.40>two\n"


def test_speakers_are_named() -> None:
    said = [Segment(0, 1, "Hi.", speaker="A"), Segment(1, 2, "Hello.", speaker="B")]
    assert [one.content for one in parsed_srt(render("srt", said))] == ["[A]: Hi.", "[B]: Hello."]
    found = parsed_vtt(render("vtt", said))
    assert [(one.voice, one.text) for one in found] == [("A", "Hi."), ("B", "Hello.")]
    assert render("txt", said) == "[A]: Hi.\n[B]: Hello.\n"


def test_chinese_and_japanese_do_not_break_before_punctuation() -> None:
    text = "今日は、とても天気がいいですね。「散歩」に行きましょうか？はい、そうしましょう。"
    found = parsed_srt(render("srt", [Segment(0, 10, text)], layout=Layout(line_width=16, max_lines=2)))
    shown = [line for one in found for line in one.content.split("\n")]
    assert "".join(shown) == text
    assert all(width(line) <= 16 for line in shown)
    assert not any(line[0] in "、。」？ょっ" for line in shown)
    assert not any(line[-1] in "「" for line in shown)
    starts = [one.start for one in found]
    assert starts == sorted(starts)
    assert len(set(starts)) == len(starts) > 1


def test_repeated_opening_marks_can_be_broken() -> None:
    found = [piece.text for piece in pieces(Segment(0.0, 9.0, "[ [ [ [ [ [ music"))]
    assert found == ["[ [", "[ [", "[ [", "music"]


def test_korean_breaks_between_words() -> None:
    text = "오늘은 날씨가 아주 좋습니다 같이 산책하러 갈까요"
    shown = parsed_srt(render("srt", [Segment(0, 5, text)], layout=Layout(line_width=20)))
    assert " ".join(" ".join(one.content.split("\n")) for one in shown) == text


def test_texts_are_joined_according_to_their_script() -> None:
    assert text_of([Segment(0, 1, "Hello."), Segment(1, 2, "You.")]) == "Hello. You."
    assert text_of([Segment(0, 1, "你好。"), Segment(1, 2, "再见。")]) == "你好。再见。"
    assert text_of([Segment(0, 1, "안녕"), Segment(1, 2, "하세요")]) == "안녕 하세요"


@pytest.mark.parametrize(
    "text", ["مرحبا بالعالم، كيف حالك اليوم؟ أنا بخير والحمد لله", "שלום עולם, מה שלומך היום? אני בסדר גמור"]
)
def test_right_to_left_text_keeps_its_logical_order(text: str) -> None:
    shown = parsed_srt(render("srt", [Segment(0, 5, text)], layout=Layout(line_width=20)))
    assert " ".join(" ".join(one.content.split("\n")) for one in shown) == text


def test_right_to_left_line_with_a_latin_start_gets_a_direction_mark() -> None:
    shown = parsed_srt(render("srt", [Segment(0, 5, "Python היא שפת תכנות נהדרת")]))
    assert shown[0].content == "\u200fPython היא שפת תכנות נהדרת"
    assert parsed_srt(render("srt", [Segment(0, 5, "Python is called פייתון")]))[0].content[0] == "P"


def test_grapheme_clusters_are_not_split() -> None:
    family = "👨‍👩‍👧‍👦"
    text = family * 6
    shown = parsed_srt(render("srt", [Segment(0, 5, text)], layout=Layout(line_width=8, max_lines=1)))
    assert "".join(one.content for one in shown) == text
    assert all(one.content.replace(family, "") == "" for one in shown)
    accents = "e\u0301" * 3 + "が"
    assert parsed_srt(render("srt", [Segment(0, 5, accents)], layout=Layout(2, 9)))[0].content.startswith("e\u0301")


def test_remainder_after_a_natural_break_also_fits() -> None:
    text = "one two three, extraordinarily uncharacteristically misunderstanding counterrevolutionaries now."
    shown = parsed_srt(render("srt", [Segment(0, 20, text)], layout=Layout(line_width=30, max_lines=2)))
    assert [one.content.split("\n") for one in shown] == [
        ["one two three,"],
        ["extraordinarily", "uncharacteristically"],
        ["misunderstanding", "counterrevolutionaries now."],
    ]


def test_pauses_at_segment_ends_do_not_exceed_the_cue_limit() -> None:
    words = [Word("aa", 9, 10, 1), Word("bb", 10, 11, 1), Word("ccc", 11, 14.5, 1), Word("ddd", 18, 20, 1)]
    found = cues([Segment(0, 40, "aa bb ccc ddd", words=words)], Layout(max_cue_s=6))
    assert [(cue.start_ms, cue.end_ms) for cue in found] == [(8500, 14_500), (18_000, 24_000)]


def test_reading_speed_does_not_exceed_the_cue_limit() -> None:
    found = cues([Segment(0, 1, "x" * 100)], Layout(max_chars_per_s=10, max_cue_s=4))
    assert [(cue.start_ms, cue.end_ms) for cue in found] == [(0, 4000)]


@pytest.mark.parametrize(
    "text",
    [
        "你好,世界。今天天气很好,我们出去玩吧!",
        "今日は､天気がいい｡ｶﾞｯｺｳへ(今)行く?はい!",
        "Ça va ? Oui ! « Bien » , dit - il .",
        '他说:"你好。"然后走了',
    ],
)
@pytest.mark.parametrize("line_width", [6, 8, 12])
def test_lines_do_not_begin_or_end_with_forbidden_punctuation(text: str, line_width: int) -> None:
    told = render("srt", [Segment(0, 10, text)], layout=Layout(line_width=line_width, max_lines=1))
    found = [one.content for one in parsed_srt(told)]
    assert "".join("".join(found).split()) == "".join(text.split())
    assert not any(line[0] in ",.!?:;)]}､｡｣»ｯﾞ。" for line in found)
    assert not any(line[-1] in "([{｢«" for line in found)
    assert len(found) > 1


def test_decomposed_korean_and_emoji_with_modifiers_are_not_split() -> None:
    letters = unicodedata.normalize("NFD", "한국어")
    told = render("srt", [Segment(0, 5, f"{letters} 👍🏽👍🏽 ㅋㅋㅋ")], layout=Layout(line_width=2, max_lines=1))
    assert [one.content for one in parsed_srt(told)] == [letters, "👍🏽", "👍🏽", "ㅋㅋㅋ"]


CHINESE = Segment(
    0, 3, "今天天气,很好", words=[Word("今天", 0, 1, 1), Word("天气", 1, 2, 1), Word("很好", 2, 3, 1)], speaker="D"
)


def test_whole_words_are_highlighted_in_scripts_without_spaces() -> None:
    found = parsed_srt(render("srt", [CHINESE], layout=Layout(highlight_words=True)))
    assert [(one.start.total_seconds(), one.content) for one in found] == [
        (0, "[D]: <u>今天</u>天气,很好"),
        (1, "[D]: 今天<u>天气,</u>很好"),
        (2, "[D]: 今天天气,<u>很好</u>"),
    ]
    told = render("lrc", [CHINESE], layout=Layout(highlight_words=True))
    assert told == "[00:00.00]D: <00:00.00>今天<00:01.00>天气,<00:02.00>很好\n"


def test_word_without_a_length_is_highlighted_briefly() -> None:
    words = [Word("what", 0, 0.6, 1), Word("time", 0.6, 0.6, 1), Word("is", 0.6, 1.06, 1)]
    segment = Segment(0, 1.06, "what time is", words=words)
    found = parsed_srt(render("srt", [segment], layout=Layout(highlight_words=True)))
    assert [(one.start.total_seconds(), one.end.total_seconds(), one.content) for one in found] == [
        (0, 0.6, "<u>what</u> time is"),
        (0.6, 0.7, "what <u>time</u> is"),
        (0.7, 1.06, "what time <u>is</u>"),
    ]


def test_visible_speaker_name_counts_in_the_line_width() -> None:
    segment = replace(spoken(ENGLISH), speaker="SPEAKER_00")
    layout = Layout(line_width=30, max_lines=2)
    for kind in ("srt", "txt"):
        lines = [line for line in render(kind, [segment], layout=layout).splitlines() if "-->" not in line]
        assert any(line.startswith("[SPEAKER_00]: ") for line in lines)
        assert all(width(line) <= 30 for line in lines)
    # A voice tag is not shown.
    plain, named = (cues([one], layout) for one in (replace(segment, speaker=None), segment))
    assert [cue.lines(layout) for cue in plain] == [cue.lines(layout) for cue in named]
    assert len(parsed_vtt(render("vtt", [segment], layout=layout))) == len(plain)


def test_speakers_are_named_in_tsv_and_lrc_too() -> None:
    said = [Segment(0, 1, "Hi.", speaker="A"), Segment(1, 2, "Hello.", speaker="B")]
    assert render("tsv", said) == "start\tend\ttext\n0\t1000\t[A]: Hi.\n1000\t2000\t[B]: Hello.\n"
    assert render("lrc", said) == "[00:00.00]A: Hi.\n[00:01.00]B: Hello.\n"


def test_speaker_name_does_not_change_direction_or_break_a_cue() -> None:
    hebrew = Segment(0, 5, "שלום עולם.", speaker="A\n\nB")
    assert parsed_srt(render("srt", [hebrew]))[0].content == "\u200f[A B]: שלום עולם."
    assert parsed_vtt(render("vtt", [hebrew]))[0].voice == "A B"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(st.lists(st.tuples(TEXTS, st.floats(0, 20_000), st.floats(0, 30)), max_size=5), st.sampled_from([0, 8, 42]))
def test_any_text_renders_to_files_that_parsers_accept(said: list[tuple[str, float, float]], line_width: int) -> None:
    said.sort(key=lambda one: one[1])
    segments = [Segment(start_s, start_s + length_s, text) for text, start_s, length_s in said]
    layout = Layout(line_width=line_width)
    expected = cues(segments, layout)
    found = parsed_srt(render("srt", segments, layout=layout))
    assert [(round(one.start.total_seconds() * 1000), round(one.end.total_seconds() * 1000)) for one in found] == [
        (cue.start_ms, cue.end_ms) for cue in expected
    ]
    assert len(parsed_vtt(render("vtt", segments, layout=layout))) == len(expected)
    told = "".join("".join(piece.text for piece in cue.pieces) for cue in expected)
    wanted = re.sub(r"\s", "", "".join(text for text, _, _ in said))
    assert [char for char in told if char.isalnum()] == [char for char in wanted if char.isalnum()]
    for kind in KINDS:
        render(kind, segments, layout=layout)


WORDS = st.sampled_from(
    [
        *("a", "and", "sleeps.", "Donaudampfschifffahrtsgesellschaft", "e\u0301te\u0301", "3.14", "?", "«", "A&B"),
        *("<i>", "-->", "👨‍👩‍👧‍👦", "👍🏽", "🇧🇷", "שלום", "עולם,", "مرحبا", "สวัสดี", "今日", "は、", "天气", "好,"),
        *("「散歩」", "한국어", unicodedata.normalize("NFD", "한국")),
    ]
)
TIME_S = st.floats(-1, 12)


@st.composite
def conversations(draw: st.DrawFn) -> list[Segment]:
    """Draw consecutive or overlapping segments, whose words have valid or invalid times."""
    found: list[Segment] = []
    at_s = 0.0
    for _ in range(draw(st.integers(1, 4))):
        said = draw(st.lists(WORDS, min_size=1, max_size=15))
        text = draw(st.sampled_from(["", " "])).join(said)
        begin_s = max(0.0, at_s + draw(st.floats(-1, 3)))
        timed = draw(st.lists(st.tuples(TIME_S, st.floats(0, 3)), max_size=len(said)))
        if draw(st.booleans()):
            timed.sort()
        words = [
            Word(f" {word}", begin_s + start_s, begin_s + start_s + length_s, 0.5)
            for word, (start_s, length_s) in zip(said, timed, strict=False)
        ]
        at_s = begin_s + draw(st.floats(1, 15))
        speaker = draw(st.sampled_from([None, "A", "SPEAKER_00"]))
        found.append(Segment(begin_s, at_s, text, words=words, speaker=speaker))
    return found


LAYOUTS = st.builds(
    Layout,
    line_width=st.sampled_from([0, 1, 6, 20, 42]),
    max_lines=st.integers(1, 3),
    max_chars_per_s=st.sampled_from([0.0, 15.0]),
    max_cue_s=st.sampled_from([0.0, 0.5, 3.0]),
)


def bare(text: str) -> str:
    """Remove spaces, line breaks, direction marks and speaker names."""
    return re.sub(r"\s|\u200f|\[?(SPEAKER_00|A)\]?:(?= |$)", "", text, flags=re.MULTILINE)


@given(conversations(), LAYOUTS)
def test_rendered_text_is_complete_in_order_and_within_limits(said: list[Segment], layout: Layout) -> None:
    wanted = bare("".join(one.text for one in said))
    unbreakable = {piece.text for one in said for piece in pieces(one)} | {"[A]:", "[SPEAKER_00]:"}
    subtitles = parsed_srt(render("srt", said, layout=layout))
    assert bare("".join(one.content for one in subtitles)) == wanted
    for one in subtitles:
        shown = one.content.replace("\u200f", "").split("\n")
        assert len(shown) <= layout.max_lines
        if layout.line_width:
            named = [re.sub(r"^\[\w+\]: ", "", line) if layout.max_lines == 1 else line for line in shown]
            assert all(
                width(line) <= layout.line_width or line in unbreakable for line in (*shown, *named)[-len(shown) :]
            )
        if layout.max_cue_s:
            assert one.end - one.start <= timedelta(seconds=layout.max_cue_s)
    captions = parsed_vtt(render("vtt", said, layout=layout))
    assert bare("".join(unescape(re.sub(r"<[^>]*>", "", one.raw_text)) for one in captions)) == wanted
    rows = [row.split("\t") for row in render("tsv", said, layout=layout).splitlines()[1:]]
    assert bare("".join(text for _, _, text in rows)) == wanted
    assert [(int(start), int(end)) for start, end, _ in rows] == [
        (round(one.start.total_seconds() * 1000), round(one.end.total_seconds() * 1000)) for one in subtitles
    ]
    assert bare(render("txt", said, layout=layout)) == wanted
    sung = [re.fullmatch(r"\[\d\d:\d\d\.\d\d\](.*)", row) for row in render("lrc", said, layout=layout).splitlines()]
    assert bare("\n".join(row[1] for row in sung if row)) == wanted
    assert bare("".join(one["text"] for one in json.loads(render("json", said))["segments"])) == wanted
    for found in (cues(said, layout), cues(said, layout, lambda name: f"[{name}]: ")):
        assert all(cue.start_ms < cue.end_ms for cue in found)
        if all(one.end_s <= after.start_s for one, after in pairwise(said)):
            assert all(cue.end_ms <= after.start_ms for cue, after in pairwise(found))


@given(conversations(), LAYOUTS)
def test_each_word_is_highlighted_once_and_no_punctuation_alone(said: list[Segment], layout: Layout) -> None:
    told = parsed_srt(render("srt", said, layout=replace(layout, highlight_words=True)))
    assert all(one.start < one.end for one in told)
    marked = ["".join(re.findall(r"<u>(.*?)</u>", one.content)) for one in told]
    assert bare("".join(marked)) == bare("".join(one.text for one in said))
    shown = [re.sub("</?u>", "", one.content) for one in told]
    begin = {timedelta(milliseconds=cue.start_ms) for cue in cues(said, layout, lambda name: f"[{name}]: ")}
    assert all(any(map(str.isalnum, mark)) or one.start in begin for one, mark in zip(told, marked, strict=True))
    plain = parsed_srt(render("srt", said, layout=layout))
    assert {one.content for one in plain} == set(shown)
    sung = render("lrc", said, layout=replace(layout, highlight_words=True))
    assert bare(re.sub(r"<\d+:\d\d\.\d\d>", "", "\n".join(row[10:] for row in sung.splitlines()))) == bare(
        "".join(one.text for one in said)
    )
