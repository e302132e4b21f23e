"""The names of a home as hints: read from a server with Home Assistant's endpoint for templates."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.audio.clip import Clip
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Hints
from pipeline.stt.home_names import MAX_CHARS, MAX_NAMES, HomeNames, at_home, open_home_names, spoken_names
from tests.scripted import ScriptedSTT
from tests.servers.running import running
from tests.waiting import eventually

CLIP = Clip(np.zeros(16_000, np.float32), 16_000)
HOME: dict[str, Any] = {
    "areas": ["Wintergarten", "Kitchen"],
    "floors": ["Attic"],
    "entities": ["person.ada", "light.bed", "switch.pump"],
    "names": ["Ada", "Reading  lamp", "Pump"],
}
NAMES = ("Wintergarten", "Kitchen", "Attic", "Reading lamp", "Pump", "Ada")


@dataclass
class Home:
    """Home Assistant's side."""

    answer: Any = field(default_factory=lambda: HOME)
    status: int = 200
    keys: list[str] = field(default_factory=list)

    async def render(self, request: Request) -> Response:
        self.keys.append(request.headers["authorization"])
        assert "areas()" in (await request.json())["template"]
        return JSONResponse(self.answer, self.status)


@asynccontextmanager
async def opened(home: Home) -> AsyncIterator[HomeNames]:
    app = Starlette(routes=[Route("/api/template", home.render, methods=["POST"])])
    async with running(app) as url, open_home_names(Settings(hass_url=f"{url}/", hass_token="secret")) as names:
        assert names is not None
        yield names


async def asked(home: Home, times: int) -> None:
    """Wait until Home Assistant was asked this often, and the answer before was used."""
    await eventually(lambda: len(home.keys) > times)


async def test_every_transcript_expects_the_current_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.stt.home_names.REFRESH_S", 0.01)
    home, stt = Home(), ScriptedSTT(seconds=0)
    async with opened(home) as names:
        engine = at_home(stt, names)
        await engine.transcribe(CLIP, language="en", prompt="Hello.", words=False)
        assert stt.requests[-1].keywords in ((), NAMES)
        await asked(home, 1)
        assert set(home.keys) == {"Bearer secret"}
        for prompt, keywords in (("Hello.", ()), (Hints(("Parley",), "Hello."), ("Parley",))):
            await engine.transcribe(CLIP, language="en", prompt=prompt, words=False)
            assert stt.requests[-1] == FileRequest("en", "Hello.", keywords=(*keywords, *NAMES))
        assert [one async for one in engine.segments(CLIP, FileRequest(keywords=("Parley",)))]
        assert stt.requests[-1].keywords == ("Parley", *NAMES)
        home.answer = {**HOME, "areas": ["Cellar"]}
        await asked(home, len(home.keys) + 1)
        assert names.names[0] == "Cellar"


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [({}, 401, "HASS_TOKEN"), ({}, 500, "500"), ([1], 200, "no names"), ({"areas": ["x" * 2_000_000]}, 200, "longer")],
)
async def test_a_failure_is_one_line_in_the_log(
    answer: Any, status: int, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pipeline.stt.home_names.RETRY_S", 0.01)
    home, stt = Home(answer, status), ScriptedSTT(seconds=0)
    async with opened(home) as names:
        await asked(home, 2)
        await at_home(stt, names).transcribe(CLIP, language="en", prompt=None, words=False)
    assert stt.requests[-1].prompt is None
    [line] = [record.getMessage() for record in caplog.records if "HASS_URL" in record.getMessage()]
    assert reason in line
    assert "secret" not in caplog.text


def test_names_are_limited_to_what_a_recogniser_can_use() -> None:
    names = spoken_names({"areas": [f"Room {n}" for n in range(500)], "entities": [7, None], "names": "x"})
    assert len(names) == MAX_NAMES
    long = spoken_names({"areas": ["y" * 51, "", *("z" * 40 + str(n) for n in range(500))]})
    assert sum(map(len, long)) <= MAX_CHARS
    assert long[0].startswith("z")


async def test_without_an_address_nothing_changes() -> None:
    stt = ScriptedSTT()
    async with open_home_names(Settings(hass_url="")) as names:
        assert at_home(stt, names) is stt
