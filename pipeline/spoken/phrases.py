"""Addresses, abbreviations and single signs → words."""

import re
from functools import cache

from pipeline.spoken.languages import LANGUAGES, Words

_TOKEN = re.compile(r"\S+")
_TOP_LEVELS = "com org net edu gov io dev ai app info eu uk us ca br pt es mx ar cl co de fr it nl"
_TOP_LEVEL = frozenset(_TOP_LEVELS.split())
_HOST_CHARS = re.compile(r"[^\w.-]+")
_DOTTED_LETTERS = re.compile(r"\b(?:[A-Z]\.){2,}")


def addresses(text: str, words: Words | None) -> str:
    """Web and mail addresses as one says them: the host only, dots as a word."""

    def say(match: re.Match[str]) -> str:
        token = match.group()
        if "." not in token and "://" not in token:
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
    if at and name and "." in host and "@" not in host:
        return f"{_dotted(name, words)} {words.at if words else '@'} {_dotted(host, words)}"
    host = re.split(r"[/?#]", token, maxsplit=1)[0]
    labels = host.split(".")
    if len(labels) > 1 and labels[-1].lower() in _TOP_LEVEL and all(re.fullmatch(r"[A-Za-z0-9-]+", x) for x in labels):
        return _host(host, words)
    return token


def _host(host: str, words: Words | None) -> str:
    host = host.partition(":")[0] if host.count(":") == 1 else host
    return _dotted(host.lower().removeprefix("www."), words)


def _dotted(name: str, words: Words | None) -> str:
    name = _HOST_CHARS.sub(" ", name).replace("_", " ")
    return name.replace(".", f" {words.dot} ") if words else name


def abbreviations(text: str, words: Words) -> str:
    """Abbreviations in full; one that ends the text leaves its period there."""
    for pattern, spoken in _abbreviations(words.code):
        text = pattern.sub(spoken, text)
    return _DOTTED_LETTERS.sub(lambda match: " ".join(match.group().replace(".", "")), text)


@cache
def _abbreviations(code: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple(
        (re.compile(rf"(?<!\w)(?:{pattern})(?![^\W\d])"), spoken) for pattern, spoken in LANGUAGES[code].abbreviations
    )


def marks(text: str, words: Words) -> str:
    """Signs that have a name, as words."""
    return _marks(words.code).sub(lambda match: f" {words.marks[match.group()]} ", text)


@cache
def _marks(code: str) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(mark) for mark in sorted(LANGUAGES[code].marks, key=len, reverse=True)))
