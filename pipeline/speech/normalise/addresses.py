"""Web and mail addresses, paths and file names → words, including their dots, slashes and pluses."""

import re

from pipeline.speech.normalise.words import Words

_TOKEN = re.compile(r"\S+")
_TOP_LEVELS = "com org net edu gov io dev ai app info eu uk us ca br pt es mx ar cl co de fr it nl"
_TOP_LEVEL = frozenset(_TOP_LEVELS.split())
_ENDINGS = (
    "txt pdf doc docx xls xlsx ppt pptx csv tsv json yaml yml toml xml html htm css js ts jsx tsx mjs py ipynb rb rs "
    "java kt php cpp hpp sh bat ps1 sql md rst log ini cfg conf env lock zip tar gz bz2 xz 7z rar exe dll iso img png "
    "jpg jpeg gif svg webp bmp ico mp3 mp4 wav flac ogg opus m4a mkv mov avi webm srt vtt epub apk deb rpm"
)
_FILE = re.compile(rf"[\w+-](?:[\w.+-]*[\w+-])?\.(?:{'|'.join(_ENDINGS.split())})", re.IGNORECASE)
_PATH = re.compile(r"(?:~|\.{1,2})?/(?=[\w.@+-])[\w.@+/-]+")
_WINDOWS_PATH = re.compile(r"(?P<drive>[A-Za-z]):\\(?P<rest>[^\s:]*)")
_LABEL = re.compile(r"[A-Za-z0-9-]+")


def addresses(text: str, words: Words | None) -> str:
    """Replace addresses by words, web addresses by their host only. Without a table, signs stay for the voice."""

    def say(match: re.Match[str]) -> str:
        token = match.group()
        if not any(sign in token for sign in "./\\"):
            return token
        start, end = 0, len(token)
        while start < end and token[start] in "([{\"'<":
            start += 1
        while end > start and token[end - 1] in ")]}\"'>.,;:!?…":
            end -= 1
        return token[:start] + _address(token[start:end], words) + token[end:]

    return _TOKEN.sub(say, text)


def _address(token: str, words: Words | None) -> str:
    scheme, separator, rest = token.partition("://")
    if separator and scheme.isalnum():
        return _host(re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2], words)
    if token.lower().startswith("www."):
        return _host(re.split(r"[/?#]", token, maxsplit=1)[0], words)
    name, at, host = token.partition("@")
    if at and name and "." in host and "@" not in host and not host.startswith((".", "/")):
        return f"{_named(name, words)} {words.signs.at if words else '@'} {_named(host, words)}"
    if words and (windows := _WINDOWS_PATH.fullmatch(token)):
        return f"{windows['drive']} {words.signs.backslash} {_named(windows['rest'], words)}"
    if words and (_PATH.fullmatch(token) or _FILE.fullmatch(token.rpartition("/")[2])):
        return _named(token, words)
    host, colon, port = re.split(r"[/?#]", token, maxsplit=1)[0].partition(":")
    labels = host.split(".")
    if len(labels) > 1 and labels[-1].lower() in _TOP_LEVEL and all(_LABEL.fullmatch(label) for label in labels):
        return _host(host, words) + (f", {port}" if words and port.isdecimal() else f"{colon}{port}")
    return token


def _host(host: str, words: Words | None) -> str:
    host = host.partition(":")[0] if host.count(":") == 1 else host
    return _named(host.lower().removeprefix("www."), words)


def _named(name: str, words: Words | None) -> str:
    """Return a name's letters and digits, and the names of the signs between them."""
    if words is None:
        return name
    signs = words.signs
    names = {
        ".": words.dot, "/": signs.slash, "\\": signs.backslash, "_": signs.underscore, "-": signs.dash,
        "+": signs.plus, "@": signs.at, "~": "tilde", "&": signs.link,
    }  # fmt: skip
    return " ".join("".join(f" {names.get(char, '')} " if not char.isalnum() else char for char in name).split())
