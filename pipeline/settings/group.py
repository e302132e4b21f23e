"""The common part of all settings: where they are read from, and Parley's own folders."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

HOME = Path(__file__).resolve().parent.parent.parent
"""The project's folder, with voices/, audios/ and web/."""
VOICES = HOME / "voices"
"""Folder of the voices that come with the service."""
AUDIOS = HOME / "audios"
"""Folder in which a bare WAV is a voice."""


class Group(BaseSettings):
    """Settings from the environment and `.env`. Environment names are the fields' names in capitals.

    The docstring under a field is its documentation, and `# --- TITLE ---` a heading of `.env.example`.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
        use_attribute_docstrings=True,
        frozen=True,
        protected_namespaces=(),
    )
