"""Removal of secrets from logs: keys, tokens, passwords, whichever library logs them and wherever they are in a
line."""

import re
from collections.abc import Iterable

from pipeline.settings import Settings
from pipeline.support.environment import SECRET
from server.access.keys import entries_of_setting

HIDDEN = "…"
SHORTEST = 6
"""Minimum length of a known secret: a shorter value would match in ordinary words."""
VALUE = r"[^\s\"',;\\<>)\]}]+"
PATTERNS = (
    # Headers as in requests, in messages of libraries that log them, and in Python's and JSON's notations.
    re.compile(r"(?i)((?:proxy-)?authorization|x-api-key|cookie|modal-key|modal-secret)(\W{1,6})([^\"'\r\n\\]+)"),
    re.compile(rf"(?i)(\bbearer)(\s+)({VALUE})"),
    re.compile(rf"(openai-insecure-api-key)(\.)({VALUE})"),
    re.compile(r"(\b(?:parley|pt|ek|hf|whsec))(_)([A-Za-z0-9_.+/=-]{8,})"),
    # The password in an address, and keys in its query.
    re.compile(r"(\w://[^\s/:@]*)(:)([^\s/@]+(?=@))"),
    re.compile(r"(?i)([?&](?:[a-z_]*key|[a-z_]*token|secret|signature|resume))(=)([^&\s\"',;\\]+)"),
)


class Redaction:
    """Hides values that look like secrets, and the deployment's own secrets."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """Return the text with HIDDEN in place of secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for pattern in PATTERNS:
            text = pattern.sub(rf"\1\2{HIDDEN}", text)
        return text


def secrets_of(settings: Settings) -> list[str]:
    """Return the values of settings that must not be shown."""
    found: list[str] = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, str) and SECRET.search(name) and not value.startswith("sqlite"):
            found.append(value)
    return found + [key for _, _, key in entries_of_setting(settings.api_keys)]
