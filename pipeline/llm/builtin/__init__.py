"""The responder without a language model, used until one is connected.

`grammar()` returns the embedded recogniser's grammar, made from the table that the responder matches. This module is
cheap to import.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pipeline.engines import Opened
from pipeline.llm.builtin.grammar import grammar, sentences
from pipeline.settings import Settings
from pipeline.support.local_time import local_time
from pipeline.support.progress import Report

if TYPE_CHECKING:
    from pipeline.llm.builtin.responder import BuiltinResponder

__all__ = ["grammar", "open_engine", "probe", "sentences"]


async def probe(settings: Settings) -> None:
    """Do nothing: the responder is always available."""


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> "AsyncIterator[Opened[BuiltinResponder]]":
    """Open the responder."""
    from pipeline.llm.builtin.responder import BuiltinResponder

    responder = BuiltinResponder(clock=local_time)
    yield Opened(responder, model="rules (en, pt, es)", device="cpu", name="rules")
