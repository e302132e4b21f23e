"""The responder without a language model, used until one is connected.

`grammar()` returns the embedded recogniser's grammar, made from the table that the responder matches. This module is
cheap to import.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipeline.engines import Opened
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
    """Open the responder."""
    from pipeline.llm.builtin.responder import BuiltinResponder

    zone = time_zone()
    responder = BuiltinResponder(clock=lambda: datetime.now(UTC).astimezone(zone))
    yield Opened(responder, model="rules (en, pt, es)", device="cpu", name="rules")


def time_zone() -> tzinfo | None:
    """Return the time zone of the variable TZ, also where the system has no time zones, as in a slim container; None:
    the machine's own."""
    try:
        return ZoneInfo(os.environ.get("TZ", ""))
    except (ZoneInfoNotFoundError, ValueError, OSError):  # not set, or in POSIX's own notation
        return None
