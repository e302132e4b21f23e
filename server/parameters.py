"""Query parameters that several doors share."""

from pipeline.errors import BadInput

MAX_SYSTEM_CHARS = 8_000
"""Longest `?system=`."""


def language_code(value: str | None) -> str | None:
    """The ISO 639-1 code in "pt", "pt-BR" or "PT_br"; None for nothing or "auto". Raises BadInput."""
    if not value or value.lower() == "auto":
        return None
    code = value.replace("_", "-").split("-")[0].lower()
    if not (code.isascii() and code.isalpha() and 2 <= len(code) <= 3):
        raise BadInput(f"{value[:20]!r} is no language code; send one like en or pt.", code="unsupported_language")
    return code


def system_prompt(value: str | None) -> str | None:
    """`?system=`, if it is not too long. Raises BadInput."""
    if value is not None and len(value) > MAX_SYSTEM_CHARS:
        raise BadInput(f"system is longer than {MAX_SYSTEM_CHARS} characters.", code="bad_parameter")
    return value
