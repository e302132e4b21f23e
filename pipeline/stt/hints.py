"""Keywords and prompts as text, for engines that take only one of them."""

from collections.abc import Sequence


def as_prompt(keywords: Sequence[str], prompt: str | None) -> str | None:
    """Return keywords and prompt as one text, for recognisers that accept only a prompt."""
    listed = f"{', '.join(keywords)}." if keywords else ""
    return " ".join(filter(None, (listed, prompt))) or None
