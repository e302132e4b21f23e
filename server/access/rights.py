"""What each path asks of its callers. One table, read from top to bottom: the first line that fits counts.

What is in no line asks for the highest right: a route that somebody adds and forgets here is shut, not open.
"""

from dataclasses import dataclass
from enum import Enum

from server.access.callers import Right


class Open(Enum):
    """Who needs no key."""

    ALL = "all"
    """Everybody: these tell nothing but that the service is there, or what is in its repository."""
    SIGNED = "signed"
    """Callers who prove themselves by a signature, which the route checks."""
    ANY_KEY = "any key"
    """Whoever has any key."""


Needed = Open | Right

SMALL = 1 << 18
"""Bytes of a body that is no file: JSON with texts of some thousand characters, each of which it may write as twelve.
Parsed it takes some 30 times as much."""
READ = frozenset(("GET", "HEAD"))
SOCKET = "WEBSOCKET"
"""Stands for the method of a WebSocket, which is no reading: what is open to readers is not open to it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a path asks for."""

    path: str
    """This path; ending in /, everything below it."""
    needed: Needed
    methods: frozenset[str] = frozenset()
    """Only with these; empty: with all."""
    files: bool = False
    """Whether bodies are files: their routes bound them, by MAX_FILE_SIZE and MAX_ARCHIVE_SIZE, while they arrive."""

    def fits(self, path: str, method: str) -> bool:
        """Whether this line is about such a request."""
        if self.methods and method not in self.methods:
            return False
        return path.startswith(self.path) if self.path.endswith("/") and self.path != "/" else path == self.path


RULES = (
    Rule("/", Open.ALL, READ),
    Rule("/ui", Open.ALL, READ),
    Rule("/web/", Open.ALL, READ),
    Rule("/health", Open.ALL, READ),
    Rule("/health/live", Open.ALL, READ),
    Rule("/health/ready", Open.ALL, READ),
    Rule("/openapi.json", Open.ALL, READ),
    Rule("/docs", Open.ALL, READ),
    Rule("/docs/", Open.ALL, READ),
    Rule("/api/v1/webhooks/transcription", Open.SIGNED, files=True),
    Rule("/api/v1/webhooks/transcription/", Open.SIGNED, READ),
    Rule("/page-token", Open.ANY_KEY),
    # talk
    Rule("/ws", Right.TALK),
    Rule("/v1/realtime", Right.TALK),
    Rule("/v1/audio/speech", Right.TALK),
    Rule("/v1/audio/voices", Open.ANY_KEY, READ),
    Rule("/v1/audio/voices", Right.ADMIN, files=True),
    Rule("/v1/models", Open.ANY_KEY, READ),
    Rule("/v1/models/", Open.ANY_KEY, READ),
    # transcribe
    Rule("/v1/audio/transcriptions", Right.TRANSCRIBE, files=True),
    Rule("/v1/audio/translations", Right.TRANSCRIBE, files=True),
    Rule("/transcribe/", Right.TRANSCRIBE, files=True),
    Rule("/asr", Right.TRANSCRIBE, files=True),
    Rule("/detect-language", Right.TRANSCRIBE, files=True),
    Rule("/models", Open.ANY_KEY, READ),
    Rule("/queues", Right.TRANSCRIBE),
    Rule("/jobs", Right.TRANSCRIBE, files=True),
    Rule("/jobs/", Right.TRANSCRIBE),
    Rule("/api/v1/upload/url", Right.TRANSCRIBE),
    Rule("/api/v1/upload/", Right.TRANSCRIBE, files=True),
    Rule("/api/v1/transcribe", Right.TRANSCRIBE, files=True),
    Rule("/api/v1/streaming", Right.TRANSCRIBE),
    Rule("/api/v1/transcription/", Right.TRANSCRIBE),
    Rule("/api/v1/transcriptions", Right.TRANSCRIBE),
    # the deployment
    Rule("/metrics", Right.ADMIN, READ),
    Rule("/status", Right.ADMIN, READ),
    Rule("/recordings", Right.ADMIN, READ),
    Rule("/recordings/", Right.TALK, frozenset(("DELETE",))),
)
OTHERS = Rule("/", Right.ADMIN)


def rule_for(path: str, method: str) -> Rule:
    """The first line that fits, or OTHERS."""
    return next((rule for rule in RULES if rule.fits(path, method)), OTHERS)
