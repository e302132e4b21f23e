"""num2words, called in one place: quick the second time."""

from functools import lru_cache

from num2words import num2words


@lru_cache(maxsize=4096)
def in_words(value: int | str, language: str, kind: str = "cardinal") -> str:
    """The number in words. `language` is num2words' name of it; `kind` is cardinal, ordinal or year.

    Raises whatever num2words does (NotImplementedError, KeyError, OverflowError, …) for what it cannot name.
    """
    # Its commas would be heard as pauses.
    return str(num2words(value, lang=language, to=kind)).replace(",", "")
