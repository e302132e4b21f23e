"""Long texts in pieces that a model can take."""

import re

_BREAKS = (
    re.compile(r"(?<=[.!?…])[\"'”’»)]*\s+|(?<=[。！？])"),  # sentences
    re.compile(r"(?<=[;:])\s+|(?<=[；：])"),
    re.compile(r"(?<=,)\s+|\s+(?=[—–-]\s)|(?<=[，、])"),  # clauses
    re.compile(r"\s+"),  # words
)
"""Where a text may be cut, best first."""


def split(text: str, limit: int) -> list[str]:
    """A text in pieces of at most `limit` characters: cut at sentences, else at clauses, else between words, and in
    the middle of a word only when it is longer than the limit. None is empty."""
    pieces = []
    text = text.strip()
    while len(text) > limit:
        cut = _cut(text[: limit + 1], limit)
        pieces.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [*pieces, text] if text else pieces


def _cut(text: str, limit: int) -> int:
    """Where to cut a text of limit + 1 characters."""
    for breaks in _BREAKS:
        cuts = [match.end() for match in breaks.finditer(text) if len(text[: match.end()].rstrip()) <= limit]
        # A cut in the first third would leave a scrap: a lesser break further on is better.
        if cuts and cuts[-1] > limit // 3:
            return cuts[-1]
    return limit
