"""Numbers and dates in texts that a client, a server or a language model sends.

Python's `int` takes quadratic time for long numbers and raises ValueError beyond 4,300 digits; dates raise
OverflowError as well. Here everything that is not a usable value is None.
"""

import time
from email.utils import parsedate_to_datetime

MAX_DIGITS = 18
"""Of a number that fits into 64 bits, as databases and files have them."""
MAX_DATE_CHARS = 64


def whole_number(text: str | None) -> int | None:
    """The number that this text is, if it consists of 1 to MAX_DIGITS ASCII digits."""
    if text is None or not 1 <= len(text) <= MAX_DIGITS or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def seconds_until(date: str) -> float | None:
    """Seconds from now to an HTTP date (RFC 9110, 5.6.7), negative for a past one; None for what is not a date."""
    if len(date) > MAX_DATE_CHARS:
        return None
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
