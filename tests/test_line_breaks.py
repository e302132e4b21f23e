"""Line and cue breaks, compared with a simple search that measures everything again for each part and each width."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stt import Segment, Word
from pipeline.transcripts.line_breaks import Piece, line_of, lines, pieces, width
from pipeline.transcripts.subtitles import Layout, _good_end, cues


def filled(parts: Sequence[Piece], line_width: int, max_lines: int, lead: int) -> list[list[Piece]]:
    """Fill each line as far as possible."""
    found: list[list[Piece]] = [[]]
    used = lead
    for part in parts:
        more = width(part.space + part.text if found[-1] else part.text)
        if (not found[-1] and (not lead or max_lines == 1)) or used + more <= line_width:
            found[-1].append(part)
            used += more
        else:
            found.append([part])
            used = width(part.text)
    return found


def even(parts: Sequence[Piece], line_width: int, max_lines: int, lead: int) -> list[list[Piece]]:
    """Try every width of a line, narrow ones first."""
    widest = filled(parts, line_width, max_lines, lead)
    whole = lead + width(line_of(parts))
    for columns in range(max(1, -(-whole // len(widest))), line_width):
        found = filled(parts, columns, max_lines, lead)
        widths = [width(line_of(row)) + (0 if number else lead) for number, row in enumerate(found) if row]
        if len(found) <= len(widest) and bool(found[0]) == bool(widest[0]) and max(widths) <= line_width:
            return found
    return widest


def cut(parts: Sequence[Piece], layout: Layout, lead: int) -> list[list[Piece]]:
    """Cut the parts into cues."""

    def fits(some: Sequence[Piece]) -> bool:
        if layout.max_cue_s and some[-1].end_s - some[0].start_s > layout.max_cue_s:
            return False
        return not layout.line_width or (
            len(filled(some, layout.line_width, layout.max_lines, lead)) <= layout.max_lines
        )

    found: list[list[Piece]] = []
    current: list[Piece] = []
    for part in parts:
        while current and not fits([*current, part]):
            end = _good_end(current)
            found.append(current[:end])
            current = current[end:]
        current.append(part)
    return [*found, current] if current else found


TEXTS = st.lists(
    st.sampled_from(
        [
            *("a", "and", "sleeps.", "Donaudampfschifffahrtsgesellschaft", "e\u0301te\u0301", "3.14", "?", "«", "[ ["),
            *("👨‍👩‍👧‍👦", "👍🏽", "🇧🇷🇵🇹", "שלום", "مرحبا", "สวัสดี", "今日は、", "「散歩」", "한국어", "नमस्ते", "हिन्दी।"),
            # Marks at the start of a word form one character with the space before them.
            *("\u0903", "\u093ea", "\u0301b", "\u0600", "\u200d👩", "\ufe0f", "\u200b"),
        ]
    ),
    min_size=1,
    max_size=40,
).flatmap(lambda said: st.sampled_from(["", " "]).map(lambda space: space.join(said)))
WIDTHS = st.integers(1, 60)
LINES = st.integers(1, 4)
LEADS = st.sampled_from([0, 1, 3, 14, 70])


@given(TEXTS, WIDTHS, LINES, LEADS)
def test_lines_are_those_of_the_narrowest_width_that_needs_no_more_lines(
    text: str, line_width: int, max_lines: int, lead: int
) -> None:
    parts = pieces(Segment(0.0, 9.0, text))
    if parts:
        assert lines(parts, line_width, max_lines, lead) == even(parts, line_width, max_lines, lead)


@given(TEXTS, st.sampled_from([0, 1, 6, 20, 42]), LINES, st.sampled_from([0.0, 0.5, 3.0]), LEADS)
def test_cues_are_those_of_measuring_each_one_as_a_whole(
    text: str, line_width: int, max_lines: int, max_cue_s: float, lead: int
) -> None:
    words = [Word(word, number / 3, number / 3 + 0.3, 1.0) for number, word in enumerate(text.split())]
    segment = Segment(0.0, len(words) / 3, text, words=words, speaker="A")
    layout = Layout(line_width, max_lines, max_cue_s=max_cue_s)
    found = cues([segment], layout, lambda _: " " * lead)
    assert [list(cue.pieces) for cue in found] == cut(pieces(segment), layout, lead)
