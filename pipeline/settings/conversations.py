"""Settings of live conversations, and of kept ones."""

from pathlib import Path

from pydantic import Field

from pipeline.folders import AUDIOS
from pipeline.settings.group import Group


class ConversationSettings(Group):
    """Live and kept conversations."""

    # --- live conversation ---
    silence_ms: int = Field(default=500, ge=100)
    """Silence after which a turn is over, in ms."""
    noise_reduction: float = Field(default=0.0, ge=0, le=1)
    """Reduce noise before the voice activity detection where the client does not choose, as on the telephone: the share
    of filtered sound, 0 to 1; 0: off. Needs the extra `noise`."""
    speaker_lock: str = ""
    """Hear only one voice, so that others neither interrupt nor are answered. first: the voice that begins the
    conversation; a name: the voice of that name in VOICES_DIR, by its recording; empty: hear all. Needs the extra
    `speakers`."""
    idle_timeout_s: float = Field(default=600.0, ge=0)
    """Silence after which a conversation is closed, in seconds; 0: never."""

    # --- kept conversations ---
    record: bool = False
    """Keep the sound and text of conversations. Get the users' consent first: docs/operations.md says how the page and
    the protocols inform them."""
    record_days: float = Field(default=30.0, ge=0)
    """Days after which kept turns are removed; 0: never."""
    recordings_dir: Path = AUDIOS / "recordings"
    """Folder of kept conversations: one folder a session."""
