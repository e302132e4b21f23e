"""Parley's own folders. Imports no settings, so that the processes of models and decoders start quickly."""

from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
"""The project's folder, with voices/, audios/ and web/."""
VOICES = HOME / "voices"
"""Folder of the voices that come with the service."""
AUDIOS = HOME / "audios"
"""Folder in which a bare WAV is a voice."""
