"""Text that UTF-8 can encode.

JSON can contain half of a surrogate pair ("\\ud83d"), and Python keeps it in a string that cannot be encoded: one such
character in a reply or a name would break the connection, file or log that it is written to. Use `encodable` for text
from outside, `encodable_json` for a whole JSON value, `encodable_object` for one that is an object, and `Halves` for
text that arrives in chunks.
"""

from collections.abc import Mapping

from pipeline.support.json_types import Json, JsonObject


def encodable(text: str) -> str:
    """Join the two halves of each surrogate pair, and replace a lone half by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # "surrogatepass" when encoding joins matching halves; "replace" when decoding replaces the others.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def encodable_json(value: Json) -> Json:
    """Apply `encodable` to all strings of a JSON value, including keys.

    Raises RecursionError for a value nested as deeply as `json.loads` itself refuses.
    """
    match value:
        case str():
            return encodable(value)
        case dict():
            return encodable_object(value)
        case list():
            return [encodable_json(inner) for inner in value]
        case _:
            return value


def encodable_object(value: Mapping[str, Json]) -> JsonObject:
    """Apply `encodable_json` to a JSON object."""
    return {encodable(key): encodable_json(inner) for key, inner in value.items()}


class Halves:
    """Apply `encodable` to text that arrives in chunks, where a surrogate pair can be split between two chunks."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """Return the text so far, without a trailing first half whose second half may arrive with the next chunk."""
        text = self._half + text
        self._half = text[-1] if text and "\ud800" <= text[-1] <= "\udbff" else ""
        return encodable(text[: len(text) - len(self._half)])

    def finish(self) -> str:
        """Return the rest: U+FFFD for a half without its other half."""
        half, self._half = self._half, ""
        return encodable(half)
