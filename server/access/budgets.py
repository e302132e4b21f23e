"""Budgets of memory in this process, and of slots in the service. Every transport uses them; there are no others."""

from collections.abc import Mapping

from starlette.requests import HTTPConnection

from pipeline.settings import Settings
from pipeline.workers.hardware import machine_memory_mb
from server.access.limits import AtMost, Budget, share
from server.access.slots import Slots
from server.sharing.opening import Shared
from server.state import state_of

MEMORY_BYTES = 256 * 2**20
"""Memory that all connections share, in bytes, of which one caller can use half."""
MEMORY_SHARE = 8
"""On a small machine they share this part of its memory (one eighth) instead."""
UPLOADS_PER_FILE = 4
"""Uploads for each recording that can be transcribed (MAX_FILES): most of an upload's time is its transfer."""
EVENT_STREAMS = 256
"""Simultaneous event streams of jobs. One costs a task and a connection, but no model."""


class Budgets:
    """Memory and slots of one deployment. A caller is a key, or an address if it has no key. Callers on this machine
    without a key count in the totals only."""

    def __init__(self, settings: Settings) -> None:
        self.memory = Budget(min(MEMORY_BYTES, machine_memory_mb() * 2**20 // MEMORY_SHARE or MEMORY_BYTES))
        """Bytes of messages while they arrive, wait and are decoded; of texts while they are parsed; of form fields;
        and of sound that waits for its transcript. A connection's share is `held_of(connection)`."""
        self.conversations = Slots(settings)
        """Slots for WebSockets."""
        self.wyoming = Slots(settings, at_address=share(settings.max_sessions, settings.caller_share))
        """Slots for Wyoming connections, which have no keys: as many as for conversations, counted separately."""
        self.uploads = AtMost(
            uploads := UPLOADS_PER_FILE * settings.max_files,
            share(uploads, settings.caller_share),
            "uploads are in progress",
        )
        """Slots for requests with files, and for uploads in parts, from their first byte to their response: each is
        stored on disk, up to MAX_FILE_SIZE."""
        self.recordings = AtMost(
            settings.max_files,
            share(settings.max_files, settings.caller_share),
            "recordings are being transcribed",
        )
        """Slots for recordings that are transcribed within a request."""
        self.streams = AtMost(EVENT_STREAMS, share(EVENT_STREAMS), "event streams are open")
        """Slots for event streams of jobs."""
        self._kinds: Mapping[str, Slots | AtMost] = {
            "conversations": self.conversations, "wyoming": self.wyoming, "uploads": self.uploads,
            "recordings": self.recordings, "streams": self.streams,
        }  # fmt: skip

    def share(self, shared: Shared) -> None:
        """Count slots in all processes of the service, from now on."""
        elsewhere = {kind: slots.elsewhere for kind, slots in self._kinds.items()}
        shared.share_places(lambda: {kind: slots.here() for kind, slots in self._kinds.items()}, elsewhere)


def budgets_of(connection: HTTPConnection) -> Budgets:
    """Return the budgets of the deployment that a connection reached."""
    return state_of(connection).access.budgets
