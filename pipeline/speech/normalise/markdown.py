"""Removal of layout marks from Markdown, complete or cut off.

This is not a parser, because a clause is a fragment: its bold can begin in an earlier clause.
"""

import re

_TAGS = (
    "a|abbr|article|audio|b|blockquote|body|br|button|center|code|dd|del|details|div|dl|dt|em|font|footer|form|h[1-6]|"
    "head|header|hr|html|i|iframe|img|input|ins|kbd|label|li|link|main|mark|meta|nav|ol|option|p|pre|q|s|samp|script|"
    "section|select|small|source|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|tfoot|th|thead|title|tr|"
    "tt|u|ul|var|video|wbr|speak|break|prosody|emphasis|say-as|phoneme|voice|think"
)
"""Tags of HTML, and of SSML, which is not supported. Others can be text: "a <b and c> d", "List<String>"."""
_TYPED_OUT = re.compile(r"(?<![\\:\w])(?P<path>[A-Za-z]:\\\S*)|\\(?:r\\n|n)(?!(?:abla|eq?|u|ot|eg)\b)")
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*[-*_=](?:[ \t]*[-*_=])+[ \t]*$", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*+\|?[ \t]*+:?-[-:| \t]*$", re.MULTILINE), ""),
    (re.compile(r"^[ \t>]*>(?![0-9=])[ \t]?", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*#+[ \t]+", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*[-*+•‣·][ \t]+(?:\[[ xX]\][ \t]+)?", re.MULTILINE), ""),
    (re.compile(r"!?\[([^\[\]\n]*)\]\([^()\n]*\)?"), r"\1"),
    (re.compile(r"\[([^\[\]\n]*)\]\[[^\[\]\n]*\]"), r"\1"),
    (re.compile(r"<(https?://[^<>\s]*)>"), r"\1"),
    (re.compile(rf"<!--[^<>\n]*-->|</?(?:{_TAGS})(?:[\s/][^<>\n]*)?>", re.IGNORECASE), " "),
    (re.compile(r"(?<=\w)<([A-Za-z][\w, ]*)>"), r" \1"),  # List<String>
    (re.compile(r"^[ \t]*\||\|[ \t]*$", re.MULTILINE), ""),
    (re.compile(r"(?<![ \t])[ \t]*+\|"), ", "),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
    (re.compile(r"`+|~~|\*\*+|(?<!\d)(?<!\d )\*|\*(?! ?\d)"), ""),
    (re.compile(r"(?<!\w)_+|_+(?!\w)"), ""),
    (re.compile(r"_+(?![\w.+-]{0,64}@)"), " "),  # in a mail address it is spoken
)
_ENDED = re.compile(r"[.,;:!?…。！？、，；：—–-][\"'»”’)\]]*$")


def plain(text: str) -> str:
    """Return `text` in one line, without Markdown and HTML. The end of a heading or list item ends a sentence."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\\" in text:
        # A line break that a model wrote as "\n", as in a JSON string; not the "\n" in C:\new or \nabla.
        text = _TYPED_OUT.sub(lambda match: match["path"] or "\n", text).replace("\\t", " ")
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    lines = [line for line in (line.strip() for line in text.split("\n")) if line]
    for index, following in enumerate(lines[1:]):
        # A line break before lower case is only a wrapped line.
        if not _ENDED.search(lines[index][-8:]) and not following[0].islower():
            lines[index] += "."
    return " ".join(lines)
