"""Splitting of long texts into chunks that a model accepts."""

import re

_BREAKS = (
    re.compile(r"(?<=[.!?…])[\"'”’»)]*\s+|(?<=[。！？])"),  # sentences
    re.compile(r"(?<=[;:])\s+|(?<=[；：])"),
    re.compile(r"(?<=,)\s+|\s+(?=[—–-]\s)|(?<=[，、])"),  # clauses
    re.compile(r"\s+"),  # words
)
"""Places where a text can be cut, best first."""


def split(text: str, limit: int) -> list[str]:
    """Split a text into chunks of 1 to `limit` characters: at sentences, else at clauses, else between words, and
    inside a word only when it is longer than the limit."""
    pieces = []
    text = text.strip()
    while len(text) > limit:
        cut = _cut(text[: limit + 1], limit)
        pieces.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [*pieces, text] if text else pieces


def _cut(text: str, limit: int) -> int:
    """Return where to cut a text of limit + 1 characters."""
    for breaks in _BREAKS:
        cuts = [match.end() for match in breaks.finditer(text) if len(text[: match.end()].rstrip()) <= limit]
        # A cut in the first third would leave a very short chunk: prefer a worse break further on.
        if cuts and cuts[-1] > limit // 3:
            return cuts[-1]
    return limit
