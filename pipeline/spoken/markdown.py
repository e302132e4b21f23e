"""Marks of layout out of a piece of Markdown, whole or broken off.

Not a parser: a clause is a fragment, and its bold may have begun in the clause before.
"""

import re

_TAGS = (
    "a|abbr|article|audio|b|blockquote|body|br|button|center|code|dd|del|details|div|dl|dt|em|font|footer|form|h[1-6]|"
    "head|header|hr|html|i|iframe|img|input|ins|kbd|label|li|link|main|mark|meta|nav|ol|option|p|pre|q|s|samp|script|"
    "section|select|small|source|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|tfoot|th|thead|title|tr|"
    "tt|u|ul|var|video|wbr|speak|break|prosody|emphasis|say-as|phoneme|voice|think"
)
"""Of HTML, and of SSML, which is not supported. Others may be text: "a <b and c> d", "List<String>"."""
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
    (re.compile(r"_+(?![\w.+-]{0,64}@)"), " "),  # but in a mail address it is said
)
_ENDED = re.compile(r"[.,;:!?…。！？、，；：—–-][\"'»”’)\]]*$")


def plain(text: str) -> str:
    """`text` in one line, without Markdown and HTML; the end of a heading or a list item ends a sentence."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\\" in text:
        # A line's end that a model has typed out, as in a string of JSON; not the "\n" of C:\new or of \nabla.
        text = _TYPED_OUT.sub(lambda match: match["path"] or "\n", text).replace("\\t", " ")
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    lines = [line for line in (line.strip() for line in text.split("\n")) if line]
    for index, following in enumerate(lines[1:]):
        # A line that goes on in lower case is a wrapped one.
        if not _ENDED.search(lines[index][-8:]) and not following[0].islower():
            lines[index] += "."
    return " ".join(lines)
