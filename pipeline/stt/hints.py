"""What callers expect in the speech: keywords and languages, for engines that do not take them as they are."""

from collections.abc import Sequence


def as_prompt(keywords: Sequence[str], prompt: str | None) -> str | None:
    """Return keywords and prompt as one text, for recognisers that accept only a prompt."""
    listed = f"{', '.join(keywords)}." if keywords else ""
    return " ".join(filter(None, (listed, prompt))) or None
