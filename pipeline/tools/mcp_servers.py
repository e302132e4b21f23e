"""The operator's MCP servers, from a JSON file in the format that other MCP clients use:

    {"mcpServers": {"files": {"command": "npx", "args": ["-y", "…"], "env": {"KEY": "…"}},
                    "home": {"url": "http://localhost:8123/mcp", "headers": {"Authorization": "Bearer …"}}}}

Their functions are named SERVER_FUNCTION. A function counts as having side effects unless its server marks it as
read-only.
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

from pipeline.errors import ConfigError, cause_of
from pipeline.llm import Tool
from pipeline.support.on_demand import OnDemand
from pipeline.tools import Company, Function, ToolError

log = logging.getLogger(__name__)

OPEN_S = 20.0
"""Timeout for a server to start and to list its functions; a slower one is skipped."""
PING_S = 2.0
"""Timeout for a ping, after which the connection counts as lost."""
_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@asynccontextmanager
async def open_servers(file: Path) -> AsyncIterator[Mapping[str, Function]]:
    """Yield the functions of all reachable servers that the file names. Raises ConfigError for an invalid one."""
    servers = [Server(name, config) for name, config in _read(file).items()]
    try:
        functions: dict[str, Function] = {}
        opened = await asyncio.gather(*(server.open() for server in servers), return_exceptions=True)
        for server, found in zip(servers, opened, strict=True):
            if isinstance(found, BaseException):
                log.warning("the MCP server %s cannot be used: %s", server.name, _reason(found))
            else:
                functions |= {function.tool.name: function for function in found}
        yield functions
    finally:
        await asyncio.gather(*(server.close() for server in servers))


def _read(path: Path) -> dict[str, dict[str, object]]:
    try:
        servers = json.loads(path.read_text(encoding="utf-8"))["mcpServers"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError('TOOLS must be true, false, or a JSON file with an object "mcpServers".') from None
    if not isinstance(servers, dict):
        raise ConfigError('"mcpServers" in the file of TOOLS must be an object.')
    for name, server in servers.items():
        if not isinstance(server, dict) or not (server.get("command") or server.get("url")):
            raise ConfigError(f'The MCP server {name[:40]!r} needs a "command" or a "url".')
    return servers


class Server:
    """One server; the client reconnects after the server restarts."""

    def __init__(self, name: str, config: dict[str, Any]) -> None:
        self.name = name
        self._config = config
        self._connection = OnDemand(self._connected)
        self._in_doubt = False
        """The last call ended in a way that does not show whether the connection still works."""

    async def open(self) -> list[Function]:
        """Connect and return the server's functions. Raises whatever prevents the connection."""
        session = await self._connection.get()
        async with asyncio.timeout(OPEN_S):
            listed = await session.list_tools()
        return [self._function(found) for found in listed.tools]

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    def _function(self, found: types.Tool) -> Function:
        reads_only = bool(found.annotations and found.annotations.read_only_hint)

        async def run(arguments: Mapping[str, object], _: Company | None) -> str:
            return await self._call(found.name, dict(arguments), again=reads_only)

        tool = Tool(_NAME.sub("_", f"{self.name}_{found.name}")[:64], found.description or "", found.input_schema)
        return Function(tool, run, side_effects=not reads_only, server=self.name)

    async def _call(self, name: str, arguments: dict[str, object], *, again: bool) -> str:
        """Call a function. again: whether to retry when the connection was lost meanwhile."""
        if self._in_doubt:
            await self._lives()
        self._in_doubt = True
        session = await self._connection.get()
        try:
            result = await session.call_tool(name, arguments)
        except Exception as error:
            if await self._lives():
                raise ToolError(_reason(error)) from error
            log.warning("the connection to the MCP server %s was lost: %s", self.name, _reason(error))
            if not again:
                raise ToolError("The connection was lost; the function may or may not have run.") from error
            result = await (await self._connection.get()).call_tool(name, arguments)
        self._in_doubt = False
        if not isinstance(result, types.CallToolResult):
            raise ToolError("The MCP server's response could not be understood.")
        text = "\n".join(part.text for part in result.content if isinstance(part, types.TextContent))
        if result.is_error:
            raise ToolError(text or "The function failed.")
        return text

    async def _lives(self) -> bool:
        """Return whether there is a connection that works; close one that does not."""
        session = self._connection.value
        if session is None:
            return False
        try:
            async with asyncio.timeout(PING_S):
                await session.send_ping()
        except Exception:
            if self._connection.value is session:  # else a concurrent call has closed it
                await self.close()
            return False
        return True

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[ClientSession]:
        config = self._config
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(OPEN_S):
                if url := config.get("url"):
                    timeout = httpx2.Timeout(OPEN_S, read=None)  # calls have their own timeout
                    client = await stack.enter_async_context(
                        httpx2.AsyncClient(headers=config.get("headers"), timeout=timeout)
                    )
                    read, write = await stack.enter_async_context(streamable_http_client(url, http_client=client))
                else:
                    parameters = StdioServerParameters(
                        command=config["command"],
                        args=[str(argument) for argument in config.get("args") or ()],
                        env=config.get("env"),  # in addition to PATH and the like: the server must not see our own keys
                    )
                    read, write = await stack.enter_async_context(stdio_client(parameters))
                session = await stack.enter_async_context(ClientSession(read, write))
                await session.initialize()
            yield session


def _reason(error: BaseException) -> str:
    error = cause_of(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
