"""A language model that waits."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.scripted import REPLY
from bench.waiting import STAGES_VARIABLE
from pipeline.engines import Opened
from pipeline.settings import Settings
from pipeline.support.progress import Report
from tests.scripted import ScriptedLLM


async def probe(settings: Settings) -> None:
    """Return: it runs anywhere."""


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened[ScriptedLLM]]:
    """Yield one without a limit on replies at a time, as a server elsewhere."""
    stages = json.loads(os.environ[STAGES_VARIABLE])
    yield Opened(ScriptedLLM(REPLY, stages["first_token_s"], stages["tokens_per_s"]), "waiting", "elsewhere")
