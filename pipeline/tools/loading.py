"""Loads a deployment's functions: the basic ones, those of installed packages, and those of MCP servers."""

import importlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.support.local_time import local_time
from pipeline.tools import REGISTERED, Function, Toolbox
from pipeline.tools.basic import basic

log = logging.getLogger(__name__)

GROUP = "parley.tools"
"""Entry point group for packages that add functions."""


@asynccontextmanager
async def open_tools(settings: Settings) -> AsyncIterator[Toolbox]:
    """Yield all functions of the deployment, and keep the connections to MCP servers open meanwhile.

    Raises ConfigError or EngineUnavailable when the file in TOOLS cannot be used at all. A server that cannot be
    reached only causes a warning: the assistant works without it.
    """
    if not settings.tools:
        yield Toolbox()
        return
    functions = {**basic(local_time), **installed()}
    if not isinstance(settings.tools, Path):
        yield Toolbox(functions)
        return
    try:
        mcp = importlib.import_module("pipeline.tools.mcp_servers")
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            "TOOLS names MCP servers, but the package mcp is not installed.", remedy='Run: pip install "parley[mcp]"'
        ) from error
    async with mcp.open_servers(settings.tools) as more:
        yield Toolbox({**functions, **more})


def installed() -> Mapping[str, Function]:
    """Return the functions that installed packages declare. One that cannot be imported is skipped with a warning."""
    for point in entry_points(group=GROUP):
        try:
            loaded = point.load()
        except Exception:
            log.warning("the functions of %s cannot be loaded", point.value, exc_info=True)
            continue
        if not isinstance(loaded, ModuleType) and getattr(loaded, "__name__", None) not in REGISTERED:
            log.warning("%s declares no function with @tool", point.value)
    return dict(REGISTERED)
