"""The words of a system prompt without the date and the time, which the service adds."""

import re

_ADDED = re.compile(r"[ \n]?It is [A-Z][a-z]+day, \d{1,2} [A-Z][a-z]+ \d{4}\.( The conversation began at \d\d:\d\d\.)?")


def undated(content: str) -> str:
    """Return a message's text without them."""
    return _ADDED.sub("", content)
