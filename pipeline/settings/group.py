"""The common part of all settings: where they are read from."""

from pydantic_settings import BaseSettings, SettingsConfigDict


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
