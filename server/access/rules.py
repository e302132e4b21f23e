"""The permission that each path needs. In the one table, the first rule that matches counts.

A path without a rule needs the highest permission: a new route that is missing here is closed, not open.
"""

from dataclasses import dataclass
from enum import Enum

from server.access.callers import Permission


class Open(Enum):
    """Access without a particular permission."""

    ALL = "all"
    """Public: these paths reveal only that the service exists, or what is in its repository."""
    SIGNED = "signed"
    """Callers that authenticate by a signature, which the route checks."""
    ANY_KEY = "any key"
    """Callers with any valid key."""
    LIST = "list"
    """Callers with any valid key; everybody if PUBLIC_LISTS is set."""


Needed = Open | Permission

SMALL = 1 << 18
"""Maximum bytes of a body that is not a file: JSON with some thousand characters of text, each written as up to twelve.
Parsed JSON takes about 30 times as much memory."""
WITH_SOUND = 1 << 25
"""The same for JSON that can contain recordings in base64."""
READ = frozenset(("GET", "HEAD"))
SOCKET = "WEBSOCKET"
"""Pseudo-method of a WebSocket. It is not in READ: a path that is public for reading is not public for WebSockets."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The access rule of a path."""

    path: str
    """The exact path; if it ends in /, every path below it."""
    needed: Needed
    methods: frozenset[str] = frozenset()
    """The methods that the rule applies to; empty: all."""
    files: bool = False
    """Whether bodies are files: their routes limit them while they arrive."""
    most: int = SMALL
    """Maximum bytes of a body that is not a file."""

    def fits(self, path: str, method: str) -> bool:
        """Whether this rule applies to such a request."""
        if self.methods and method not in self.methods:
            return False
        return path.startswith(self.path) if self.path.endswith("/") and self.path != "/" else path == self.path


RULES = (
    Rule("/", Open.ALL, READ),
    Rule("/ui", Open.ALL, READ),
    Rule("/share", Open.ALL, files=True),
    Rule("/web/", Open.ALL, READ),
    Rule("/health", Open.ALL, READ),
    Rule("/health/live", Open.ALL, READ),
    Rule("/health/ready", Open.ALL, READ),
    Rule("/openapi.json", Open.ALL, READ),
    Rule("/docs", Open.ALL, READ),
    Rule("/docs/", Open.ALL, READ),
    Rule("/redoc", Open.ALL, READ),
    Rule("/api/v1/webhooks/transcription", Open.SIGNED, files=True),
    Rule("/api/v1/webhooks/transcription/", Open.SIGNED, READ),
    Rule("/twilio/voice", Open.SIGNED),
    Rule("/twilio/media", Open.SIGNED),
    Rule("/page-token", Open.ANY_KEY),
    # talk
    Rule("/ws", Permission.TALK),
    Rule("/ws/call", Permission.TALK),
    Rule("/v1/realtime", Permission.TALK),
    Rule("/v1/realtime/client_secrets", Permission.TALK),
    Rule("/v1/realtime/translations", Permission.TALK),
    Rule("/v1/realtime/translations/client_secrets", Permission.TALK),
    Rule("/v1/realtime/calls", Permission.TALK),
    Rule("/v1/realtime/calls/", Permission.TALK),
    Rule("/v1/chat/completions", Permission.TALK, most=WITH_SOUND),
    Rule("/v1/chat/completions/", Permission.TALK),
    Rule("/v1/audio/speech", Permission.TALK),
    Rule("/dev/captioned_speech", Permission.TALK),
    Rule("/v1/audio/models", Open.LIST, READ),
    Rule("/v1/audio/voices", Open.LIST, READ),
    Rule("/v1/audio/voices", Permission.ADMIN, files=True),
    Rule("/v1/audio/voices/", Permission.ADMIN),
    Rule("/v1/audio/voice_consents", Permission.ADMIN, files=True),
    Rule("/v1/audio/voice_consents/", Permission.ADMIN),
    Rule("/personas", Open.LIST, READ),
    Rule("/llm-models", Open.ANY_KEY, READ),
    Rule("/v1/models", Open.ANY_KEY, READ),
    Rule("/v1/models/", Open.ANY_KEY, READ),
    # transcribe
    Rule("/v1/audio/transcriptions", Permission.TRANSCRIBE, files=True),
    Rule("/v1/audio/translations", Permission.TRANSCRIBE, files=True),
    Rule("/transcribe/", Permission.TRANSCRIBE, files=True),
    Rule("/asr", Permission.TRANSCRIBE, files=True),
    Rule("/detect-language", Permission.TRANSCRIBE, files=True),
    Rule("/models", Open.ANY_KEY, READ),
    Rule("/queues", Permission.TRANSCRIBE),
    Rule("/jobs", Permission.TRANSCRIBE, files=True),
    Rule("/jobs/", Permission.TRANSCRIBE),
    Rule("/voiceprints", Permission.TRANSCRIBE, READ),
    Rule("/voiceprints/", Permission.TRANSCRIBE, frozenset(("DELETE",))),
    Rule("/library", Permission.TRANSCRIBE),
    Rule("/library/", Permission.TRANSCRIBE),
    Rule("/api/v1/upload/url", Permission.TRANSCRIBE),
    Rule("/api/v1/upload/", Permission.TRANSCRIBE, files=True),
    Rule("/api/v1/transcribe", Permission.TRANSCRIBE, files=True),
    Rule("/api/v1/streaming", Permission.TRANSCRIBE),
    Rule("/api/v1/transcription/", Permission.TRANSCRIBE),
    Rule("/api/v1/transcriptions", Permission.TRANSCRIBE),
    # the deployment
    Rule("/metrics", Permission.ADMIN, READ),
    Rule("/status", Permission.ADMIN, READ),
    Rule("/upgrades", Permission.ADMIN, READ),
    Rule("/upgrades/", Permission.ADMIN),
    Rule("/recordings", Permission.ADMIN, READ),
    Rule("/recordings/", Permission.TALK, frozenset(("DELETE",))),
)
OTHERS = Rule("/", Permission.ADMIN)


def rule_for(path: str, method: str) -> Rule:
    """Return the first rule that applies, or OTHERS."""
    return next((rule for rule in RULES if rule.fits(path, method)), OTHERS)
