"""The service in a thread of the test process, on a real socket: starts in milliseconds, with scripted speech engines.

For tests of the API, of access and of storage. Tests of processes, signals, memory and recognition use
`tests.server_process`.
"""

import importlib
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from commands.logs import Lines
from jobs.opening import open_jobs
from pipeline import llm, stt, tts
from pipeline.assistant import Assistant
from pipeline.conversation.kept_turns import open_recorder
from pipeline.conversation.turn import Stages
from pipeline.engines import EngineInfo, Running, open_named
from pipeline.settings import Settings
from pipeline.support.context_holder import open_together
from pipeline.transcripts.transcriber import open_transcriber
from pipeline.voices.catalogue import Voices
from server.app import create_app
from server.http.uvicorn_protocols import bounded
from tests.scripted import ScriptedSTT, ScriptedTTS
from tests.server_process import Service
from tests.servers.chat import FakeChat
from tests.servers.running import running

FOLDERS = {"database_url": "sqlite:///{}/data/parley.db", "upload_dir": "{}/uploads", "models_dir": "{}/models"}
"""Settings that are relative to the folder in which a service starts."""


class _Log(logging.Handler):
    """Collects the log lines as the service writes them, without those of the test's own WebSocket client: it logs an
    error when it closes a connection while it receives (websockets 17, `recv_events`)."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.addFilter(lambda record: record.name != "websockets.client")
        self.setFormatter(Lines())
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(f"{self.format(record)}\n")


@contextmanager
def in_process(folder: Path, *, heard: str | ScriptedSTT = "hello", **settings: str) -> Iterator[Service]:
    """Run a service with these settings from `folder`; `tests.server_process.constants` changes constants.

    heard: the transcript of every utterance, or the recogniser. Engines that the settings name (STT_ENGINE, …) replace
    the scripted ones.
    """
    root, service = logging.getLogger(), Service()
    handler, level = _Log(service.output), root.level
    paths = {name: value.format(folder) for name, value in FOLDERS.items()}
    own = {"llm_engine": "builtin", "model_host": "thread"}
    values: dict[str, Any] = {**paths, **own, **{name.lower(): value for name, value in settings.items()}}
    port, changed = int(values.pop("port", "0")), json.loads(values.pop("test_constants", "{}"))
    values.pop("pythonpath", None)
    hears = heard if isinstance(heard, ScriptedSTT) else ScriptedSTT(heard)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        chosen = Settings(_env_file=None, **values)  # type: ignore[call-arg]
        with (
            _constants(changed),
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(_serving(chosen, hears, port)) as address,
        ):
            service.port = int(address.rpartition(":")[2])
            yield service
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert "Traceback" not in service.text, service.text


@contextmanager
def with_llm(folder: Path, llm: FakeChat, *, heard: str | ScriptedSTT = "hello", **settings: str) -> Iterator[Service]:
    """Run a service whose language model is a small chat server."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running(llm.app())) as address:
        own = {"llm_engine": "openai", "llm_openai_url": f"{address}/v1"}
        with in_process(folder, heard=heard, **own, **settings) as service:
            yield service


@contextmanager
def _constants(changed: dict[str, Any]) -> Iterator[None]:
    """Change constants ("module:NAME") while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        for place, value in changed.items():
            module, _, constant = place.partition(":")
            patch.setattr(importlib.import_module(module), constant, value)
        yield


@asynccontextmanager
async def _serving(settings: Settings, hears: ScriptedSTT, port: int) -> AsyncIterator[str]:
    stages = (
        _opened("stt", stt.ENGINES, settings.stt_engine, settings, hears),
        _opened("llm", llm.ENGINES, settings.llm_engine, settings, None),
        _opened("tts", tts.ENGINES, settings.tts_engine, settings, ScriptedTTS()),
    )
    async with (
        open_together(*stages) as opened,
        open_transcriber(settings, opened[0]) as transcriber,
        open_recorder(settings) as recorder,
    ):
        engines = [one.engine for one in opened]
        infos = [one.info for one in opened]
        assistant = Assistant(settings, Stages(*engines), Voices.load(settings), lambda: infos, None, transcriber)
        assistant.recorder = recorder
        async with open_jobs(settings, transcriber) as jobs:
            app = create_app(settings, assistant, jobs)
            async with app.router.lifespan_context(app), running(app, port, **bounded(settings)) as address:
                yield address


@asynccontextmanager
async def _opened(
    stage: str, table: dict[str, str], name: str, settings: Settings, scripted: Any
) -> AsyncIterator[Running[Any]]:
    """Open the engine that the settings name; "auto": the scripted one."""
    if name == "auto":
        languages = tuple(getattr(scripted, "languages", ()))
        info = EngineInfo(stage, "scripted", "scripted", "cpu", 0.0, languages=languages)
        yield Running(scripted, info, translates=getattr(scripted, "translates", True))
    else:
        async with open_named(stage, table, name, settings, lambda progress: None) as opened:
            yield opened
