"""Which functions a deployment has: the basic ones, those of installed packages, and those of MCP servers."""

import importlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from types import ModuleType

from pipeline.errors import EngineUnavailable
from pipeline.llm.builtin import time_zone
from pipeline.settings import Settings
from pipeline.tools import REGISTERED, Function, Toolbox
from pipeline.tools.basic import basic

log = logging.getLogger(__name__)

GROUP = "parley.tools"
"""Entry points of packages that bring functions."""


@asynccontextmanager
async def open_tools(settings: Settings) -> AsyncIterator[Toolbox]:
    """All functions of the deployment; connections to MCP servers are open meanwhile.

    Raises ConfigError or EngineUnavailable when MCP_SERVERS cannot be used at all. A server that is away is only warned
    of: the assistant can do without.
    """
    if not settings.tools:
        yield Toolbox()
        return
    functions = {**basic(time_zone(settings.time_zone)), **installed()}
    if not settings.mcp_servers:
        yield Toolbox(functions, limit_s=settings.tool_timeout_s)
        return
    try:
        mcp = importlib.import_module("pipeline.tools.mcp_servers")
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            "MCP_SERVERS is set, and the package mcp is not installed.", remedy='Run: pip install "parley[mcp]"'
        ) from error
    async with mcp.open_servers(settings) as more:
        yield Toolbox({**functions, **more}, limit_s=settings.tool_timeout_s)


def installed() -> Mapping[str, Function]:
    """The functions that installed packages declare. One that cannot be imported is left out, with a warning."""
    for point in entry_points(group=GROUP):
        try:
            loaded = point.load()
        except Exception:
            log.warning("the functions of %s cannot be loaded", point.value, exc_info=True)
            continue
        if not isinstance(loaded, ModuleType) and getattr(loaded, "__name__", None) not in REGISTERED:
            log.warning("%s declares no function with @tool", point.value)
    return dict(REGISTERED)
