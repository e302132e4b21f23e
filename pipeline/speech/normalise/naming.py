"""Cached calls of num2words."""

from functools import lru_cache

from num2words import num2words


@lru_cache(maxsize=4096)
def in_words(value: int | str, language: str, kind: str = "cardinal") -> str:
    """Return the number in words. `language` is num2words' name of the language; `kind` is cardinal, ordinal or year.

    Raises whatever num2words raises (NotImplementedError, KeyError, OverflowError, …) for a number that it cannot name.
    """
    # Remove num2words' commas, because the voice would pause there.
    return str(num2words(value, lang=language, to=kind)).replace(",", "")
