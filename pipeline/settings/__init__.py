"""All settings, read from the environment and `.env`, one class a part of the service.

The setting names of the services that Parley replaces also work: these synonyms are declared only here. `.env.example`
is generated from these classes.
"""

import re

from pydantic import AliasChoices, ValidationInfo, field_validator

from pipeline.folders import HOME
from pipeline.settings.conversations import ConversationSettings
from pipeline.settings.group import Group
from pipeline.settings.jobs import JobSettings
from pipeline.settings.service import ServiceSettings
from pipeline.settings.stages import StageSettings

__all__ = ["HOME", "PARTS", "Settings", "names"]

PARTS: tuple[type[Group], ...] = (ServiceSettings, StageSettings, ConversationSettings, JobSettings)
"""The classes that make up `Settings`, in the order of `.env.example`."""


class Settings(ServiceSettings, StageSettings, ConversationSettings, JobSettings):
    """The settings of one deployment."""

    @field_validator("max_file_size", mode="before")
    @classmethod
    def _bytes(cls, value: object) -> object:
        found = (
            re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", value, re.IGNORECASE)
            if isinstance(value, str)
            else None
        )
        return int(float(found[1]) * 1024 ** " kmgt".index(found[2].lower() or " ")) if found else value

    @field_validator(
        "hf_endpoint", "llama_endpoint", "stt_openai_url", "llm_openai_url", "tts_openai_url", "jwt_jwks_url"
    )
    @classmethod
    def _address(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.field_name == "jwt_jwks_url":
            return value
        several = info.field_name in ("llama_endpoint", "llm_openai_url")
        addresses = [one.strip() for one in value.split(",")] if several else [value]
        if not all(one.startswith(("http://", "https://")) for one in addresses):
            raise ValueError("must start with http:// or https://")
        return ",".join(one.rstrip("/") for one in addresses)


def names(field: str) -> list[str]:
    """The environment names of a setting: its own, then its synonyms."""
    alias = Settings.model_fields[field].validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or field]
    return [choice.upper() for choice in choices if isinstance(choice, str)]
