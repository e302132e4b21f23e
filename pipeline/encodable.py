"""Text that UTF-8 can hold.

JSON may spell half of a surrogate pair ("\\ud83d"), and Python keeps it in a string that no encoder takes: one such
character in a reply or a name would end the connection, file or log that it is written to. Text from outside goes
through `encodable`, a whole JSON value through `encodable_json`, a text that comes in pieces through `Halves`.
"""

from typing import Any

REPLACEMENT = "\ufffd"


def encodable(text: str) -> str:
    """The text with the two halves of a surrogate pair joined, and a lone half replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # "surrogatepass" on the way out joins halves that belong together; "replace" on the way in does the rest.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def encodable_json(value: Any) -> Any:
    """A JSON value with all of its strings, keys included, made `encodable`.

    Raises RecursionError for a value nested as deeply as `json.loads` itself refuses.
    """
    match value:
        case str():
            return encodable(value)
        case dict():
            return {encodable(key): encodable_json(inner) for key, inner in value.items()}
        case list():
            return [encodable_json(inner) for inner in value]
        case _:
            return value


class Halves:
    """Makes a text `encodable` that comes in pieces: a pair may be cut between two of them."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """The text up to here, without a first half whose second half may come with the next piece."""
        text = self._half + text
        self._half = text[-1] if text and "\ud800" <= text[-1] <= "\udbff" else ""
        return encodable(text[: len(text) - len(self._half)])

    def finish(self) -> str:
        """What is left at the end: a half without its other half is U+FFFD."""
        half, self._half = self._half, ""
        return encodable(half)
