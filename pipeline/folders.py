"""Parley's own folders. Imports no settings, so that the processes of models and decoders start quickly."""

from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
"""The folder of the code: the project, or where the package is installed. It has voices/ and web/, too."""
VOICES = HOME / "voices"
"""Folder of the voices that come with the service."""
AUDIOS = Path("audios")
"""Folder in which a bare WAV is a voice, where the service is started."""
