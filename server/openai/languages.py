"""Languages of a transcript, in the form of OpenAI's API."""

from collections.abc import Iterable

from pipeline.support.json_types import JsonObject


def detected(codes: Iterable[str | None]) -> list[JsonObject]:
    """Return the languages of segments, each once, in the order in which they are spoken."""
    return [{"code": code} for code in dict.fromkeys(codes) if code]
