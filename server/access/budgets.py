"""What callers may hold of this process at a time. Every door draws from here, and nothing is held elsewhere."""

from starlette.requests import HTTPConnection

from pipeline.settings import Settings
from server.access.counted import AtMost, Budget, share
from server.access.places import Places


class Budgets:
    """Of one deployment: bytes of memory, and places. A caller is a key, or an address without one; this machine's own
    callers without a key are counted in the totals only."""

    def __init__(self, settings: Settings) -> None:
        self.memory = Budget(settings.max_waiting_bytes)
        """Messages while they come, wait and are decoded; texts that are parsed; fields of forms; sound that waits for
        its transcript. A connection's share is `held_of(connection)`."""
        self.conversations = Places(settings)
        """WebSockets."""
        self.wyoming = Places(settings, at_address=share(settings.max_sessions, settings.max_sessions_per_address))
        """Connections of Wyoming, which have no keys: as many as conversations, and neither takes the other's."""
        self.uploads = AtMost(
            settings.max_uploads, share(settings.max_uploads, settings.max_uploads_per_caller), "uploads are under way"
        )
        """Requests with files, and recordings that come in pieces, from their first byte to their answer: what arrives
        is kept on disk, MAX_FILE_SIZE each."""
        self.recordings = AtMost(
            settings.max_files,
            share(settings.max_files, settings.max_files_per_caller),
            "recordings are being transcribed",
        )
        """That are transcribed for a request."""
        self.streams = AtMost(
            settings.max_event_streams,
            share(settings.max_event_streams, settings.max_event_streams_per_caller),
            "streams of events are open",
        )
        """Of events of jobs."""


def budgets_of(connection: HTTPConnection) -> Budgets:
    """Those of the deployment that a connection came to."""
    budgets: Budgets = connection.app.state.access.budgets
    return budgets
