"""MCP servers of the operator's, from a JSON file in the form that other programs have, too:

    {"mcpServers": {"files": {"command": "npx", "args": ["-y", "…"], "env": {"KEY": "…"}},
                    "home": {"url": "http://localhost:8123/mcp", "headers": {"Authorization": "Bearer …"}}}}

Their functions are named SERVER_FUNCTION. All of them count as having side effects unless they say that they only read.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from pipeline.errors import ConfigError
from pipeline.keeping import Keeper
from pipeline.llm import Tool
from pipeline.settings import Settings
from pipeline.tools import Company, Function, ToolError

log = logging.getLogger(__name__)

OPEN_S = 20.0
"""A server that takes longer to start and to list its functions is done without."""
_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@asynccontextmanager
async def open_servers(settings: Settings) -> AsyncIterator[Mapping[str, Function]]:
    """The functions of all servers that can be reached, by name. Raises ConfigError for a file that makes no sense."""
    servers = _read(Path(settings.mcp_servers))
    keepers = {name: Keeper(_open(name, server)) for name, server in servers.items()}
    try:
        functions: dict[str, Function] = {}
        opened = await asyncio.gather(*(keeper.open() for keeper in keepers.values()), return_exceptions=True)
        for name, found in zip(keepers, opened, strict=True):
            if isinstance(found, BaseException):
                log.warning("the MCP server %s cannot be used: %s", name, _reason(found))
            else:
                functions |= {function.tool.name: function for function in found}
        yield functions
    finally:
        await asyncio.gather(*(keeper.close() for keeper in keepers.values()))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        servers = json.loads(path.read_text(encoding="utf-8"))["mcpServers"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError('MCP_SERVERS must name a JSON file with an object "mcpServers".') from None
    if not isinstance(servers, dict):
        raise ConfigError('"mcpServers" in the file of MCP_SERVERS must be an object.')
    for name, server in servers.items():
        if not isinstance(server, dict) or not (server.get("command") or server.get("url")):
            raise ConfigError(f'The MCP server {name[:40]!r} needs a "command" or a "url".')
    return servers


@asynccontextmanager
async def _open(name: str, server: dict[str, Any]) -> AsyncIterator[list[Function]]:
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(OPEN_S):
            if url := server.get("url"):
                timeout = httpx2.Timeout(OPEN_S, read=None)  # calls have a limit of their own
                client = await stack.enter_async_context(
                    httpx2.AsyncClient(headers=server.get("headers"), timeout=timeout)
                )
                read, write = await stack.enter_async_context(streamable_http_client(url, http_client=client))
            else:
                parameters = StdioServerParameters(
                    command=server["command"],
                    args=[str(argument) for argument in server.get("args") or ()],
                    env=server.get("env"),  # beside PATH and the like: our own keys are none of its business
                )
                read, write = await stack.enter_async_context(stdio_client(parameters))
            session = await stack.enter_async_context(ClientSession(read, write))
            await session.initialize()
            listed = await session.list_tools()
        yield [_function(name, session, found) for found in listed.tools]


def _function(server: str, session: ClientSession, found: types.Tool) -> Function:
    reads_only = bool(found.annotations and found.annotations.read_only_hint)

    async def run(arguments: Mapping[str, Any], _: Company | None) -> str:
        result = await session.call_tool(found.name, dict(arguments))
        if not isinstance(result, types.CallToolResult):
            raise ToolError("It answered in a way that is not understood here.")
        text = "\n".join(part.text for part in result.content if isinstance(part, types.TextContent))
        if result.is_error:
            raise ToolError(text or "It failed.")
        return text

    tool = Tool(_NAME.sub("_", f"{server}_{found.name}")[:64], found.description or "", found.input_schema)
    return Function(tool, run, side_effects=not reads_only, server=server)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
