"""Marks of layout out of a piece of Markdown, whole or broken off.

Not a parser: a clause is a fragment, and its bold may have begun in the clause before.
"""

import re

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*[-*_=](?:[ \t]*[-*_=])+[ \t]*$", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*+\|?[ \t]*+:?-[-:| \t]*$", re.MULTILINE), ""),
    (re.compile(r"^[ \t>]*>[ \t]?", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*#+[ \t]+", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*[-*+•‣·][ \t]+(?:\[[ xX]\][ \t]+)?", re.MULTILINE), ""),
    (re.compile(r"!?\[([^\[\]\n]*)\]\([^()\n]*\)?"), r"\1"),
    (re.compile(r"\[([^\[\]\n]*)\]\[[^\[\]\n]*\]"), r"\1"),
    (re.compile(r"<(https?://[^<>\s]*)>"), r"\1"),
    (re.compile(r"</?[A-Za-z!][^<>\n]*>"), " "),
    (re.compile(r"^[ \t]*\||\|[ \t]*$", re.MULTILINE), ""),
    (re.compile(r"(?<![ \t])[ \t]*+\|"), ", "),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
    (re.compile(r"`+|~~|\*\*+|(?<!\d)(?<!\d )\*|\*(?! ?\d)"), ""),
    (re.compile(r"(?<!\w)_+|_+(?!\w)"), ""),
    (re.compile(r"_+"), " "),
)
_ENDED = re.compile(r"[.,;:!?…。！？、，；：—–-][\"'»”’)\]]*$")


def plain(text: str) -> str:
    """`text` in one line, without Markdown and HTML; the end of a heading or a list item ends a sentence."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    lines = [line for line in (line.strip() for line in text.split("\n")) if line]
    for index, following in enumerate(lines[1:]):
        # A line that goes on in lower case is a wrapped one.
        if not _ENDED.search(lines[index][-8:]) and not following[0].islower():
            lines[index] += "."
    return " ".join(lines)
