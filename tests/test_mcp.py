"""Tools of real MCP servers over both transports, also after a restart of the server."""

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.errors import ConfigError
from pipeline.llm import ToolCall
from pipeline.settings import Settings
from pipeline.tools import Outcome, Toolbox
from pipeline.tools.loading import open_tools
from tests.servers.running import closed_port, wait_for_port

MCP_SERVER = '''
import sys

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("garden")

@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def moisture(bed: str) -> str:
    """How moist a bed is."""
    return f"{bed} is at 40 percent"

@server.tool()
def water(bed: str) -> str:
    """Water a bed."""
    raise ValueError("the tap is closed")

if len(sys.argv) > 1:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    server.run("stdio")
'''


class Garden:
    """An MCP server over HTTP if `port` is set, else a child process of the service."""

    def __init__(self, folder: Path, port: int) -> None:
        self._program = folder / "server.py"
        self._program.write_text(MCP_SERVER)
        self._port = port
        self._own: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def config(self) -> dict[str, Any]:
        if self._port:
            return {"url": f"http://127.0.0.1:{self._port}/mcp"}
        return {"command": sys.executable, "args": [str(self._program)]}

    def start(self) -> None:
        if not self._port:
            return  # the service starts it
        self._own = subprocess.Popen([sys.executable, str(self._program), str(self._port)], stderr=subprocess.DEVNULL)
        wait_for_port(self._port)

    def kill(self) -> None:
        if self._own is not None:
            self._own.kill()
            self._own.wait()
            return
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):  # another test's child that has just ended
                if str(self._program) in child.cmdline():
                    child.kill()
                    child.wait()


@pytest.fixture(params=["stdio", "http"])
def garden(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Garden]:
    made = Garden(tmp_path, closed_port() if request.param == "http" else 0)
    yield made
    made.kill()


@asynccontextmanager
async def opened(folder: Path, servers: dict[str, Any]) -> AsyncIterator[Toolbox]:
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    async with open_tools(Settings(tools=folder / "mcp.json")) as toolbox:
        yield toolbox


async def call(toolbox: Toolbox, name: str) -> Outcome:
    return await toolbox.call(ToolCall("c", f"garden_{name}", '{"bed": "The rose bed"}'), None)


MOIST = Outcome("The rose bed is at 40 percent")


async def test_tools_are_called_also_after_a_restart_of_the_server(garden: Garden, tmp_path: Path) -> None:
    async with opened(tmp_path, {"garden": garden.config, "gone": {"command": "parley-no-such-command"}}) as toolbox:
        names = {name for name, function in toolbox.functions.items() if function.server == "garden"}
        assert names == {"garden_moisture", "garden_water"}
        assert not toolbox.functions["garden_moisture"].side_effects
        assert toolbox.functions["garden_water"].side_effects
        assert await call(toolbox, "moisture") == MOIST
        failed = await call(toolbox, "water")
        assert failed.failed
        assert "water" in failed.output
        garden.kill()
        garden.start()
        assert await call(toolbox, "moisture") == MOIST
        garden.kill()
        garden.start()
        lost = await call(toolbox, "water")  # has side effects, so it is not retried
        assert lost.failed
        assert "the function may or may not have run" in lost.output
        assert await call(toolbox, "moisture") == MOIST


async def test_missing_server_fails_its_calls_and_other_tools_work(garden: Garden, tmp_path: Path) -> None:
    async with opened(tmp_path, {"garden": garden.config}) as toolbox:
        garden.kill()
        (tmp_path / "server.py").unlink()
        assert (await call(toolbox, "moisture")).failed
        assert not (await toolbox.call(ToolCall("c", "current_time", "{}"), None)).failed


@pytest.mark.parametrize("text", ["", "[]", '{"mcpServers": []}', '{"mcpServers": {"a": {}}}'])
async def test_invalid_server_file_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "mcp.json").write_text(text)
    with pytest.raises(ConfigError):
        async with open_tools(Settings(tools=tmp_path / "mcp.json")):
            pass
