"""The refusal of a language that a recogniser lacks: the same words before a request begins and during it."""

from collections.abc import Sequence

from pipeline.languages import plain_code

FEW = 30
"""Up to this number, the sentence lists the languages that the recogniser knows."""
REMEDY = "Choose another model, or set STT_ENGINE and WHISPER_MODEL to one for several languages."


def refusal(model: str, known: Sequence[str], asked: Sequence[str]) -> str | None:
    """Return the sentence that refuses a request in one of several languages; None if the recogniser knows one.

    model: the subject of the sentence ("This model"). known: its languages (ISO 639-1); empty: unknown, so none is
    refused. asked: codes, also with a region; empty: any language.
    """
    if not known or not asked or any(plain_code(one) in known for one in asked):
        return None
    if list(known) == ["en"]:
        lacks = "understands English only"
    else:
        lacks = f"understands only {', '.join(known)}" if len(known) <= FEW else "does not know this language"
    return f"{model} {lacks}; the requested language is {asked[0][:20]!r}. {REMEDY}"
