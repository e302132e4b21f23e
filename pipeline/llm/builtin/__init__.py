"""The responder without a language model, used until one is connected.

`grammar()` returns the embedded recogniser's grammar, made from the table that the responder matches. This module is
cheap to import.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipeline.engines import Opened
from pipeline.errors import ConfigError
from pipeline.llm.builtin.grammar import grammar, sentences
from pipeline.settings import Settings
from pipeline.support.progress import Report

if TYPE_CHECKING:
    from pipeline.llm.builtin.responder import BuiltinResponder

__all__ = ["grammar", "open_engine", "probe", "sentences", "time_zone"]


async def probe(settings: Settings) -> None:
    """Do nothing: the responder is always available."""


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> "AsyncIterator[Opened[BuiltinResponder]]":
    """Open the responder, with the time of TIME_ZONE."""
    from pipeline.llm.builtin.responder import BuiltinResponder

    zone = time_zone(settings.time_zone)
    responder = BuiltinResponder(model=settings.llama_model, clock=lambda: datetime.now(UTC).astimezone(zone))
    yield Opened(responder, model="rules (en, pt, es)", device="cpu", name="rules")


def time_zone(name: str) -> tzinfo | None:
    """Return the time zone of TIME_ZONE; None: the machine's own. Raises ConfigError."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(f"TIME_ZONE={name!r} is not an IANA time zone such as Europe/Lisbon.") from None
