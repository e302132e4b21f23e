"""Parse numbers and dates in text from a client, a server or a language model.

Python's `int` takes quadratic time for long numbers and raises ValueError beyond 4,300 digits; dates raise
OverflowError as well. These functions return None for everything that is not a usable value.
"""

import time
from email.utils import parsedate_to_datetime

MAX_DIGITS = 18
"""Digits of a number that fits into 64 bits, as databases and files store them."""
MAX_DATE_CHARS = 64


def whole_number(text: str | None) -> int | None:
    """Parse a number of 1 to MAX_DIGITS ASCII digits."""
    if text is None or not 1 <= len(text) <= MAX_DIGITS or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def seconds_until(date: str) -> float | None:
    """Return the seconds from now to an HTTP date (RFC 9110, 5.6.7), negative for a past one; None for invalid
    dates."""
    if len(date) > MAX_DATE_CHARS:
        return None
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
