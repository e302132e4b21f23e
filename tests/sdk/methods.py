"""The methods that the installed `openai` package has for the resources of this service, and how to call each."""

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import cached_property
from operator import attrgetter
from typing import Any

import openai
from openai._base_client import BasePage
from openai._legacy_response import HttpxBinaryResponseContent, LegacyAPIResponse
from openai._resource import AsyncAPIResource, SyncAPIResource
from openai._response import APIResponse, AsyncAPIResponse, AsyncStreamedBinaryAPIResponse, StreamedBinaryAPIResponse
from openai._streaming import Stream
from openai.lib.streaming.chat import ChatCompletionStream

RESOURCES = ("audio", "chat", "models", "realtime")
"""Resources of the client with methods that the service serves."""
VIEWS = ("with_raw_response", "with_streaming_response")
"""Other forms of the same methods."""

Client = openai.OpenAI | openai.AsyncOpenAI


def resources(kind: type[Client]) -> set[str]:
    """Return the names of all resources of a client."""
    return {name for name, value in inspect.getmembers_static(kind) if isinstance(value, cached_property)} - {*VIEWS}


def methods(client: Client) -> set[str]:
    """Return the methods of RESOURCES, such as `audio.speech.create`."""
    return {one for name in RESOURCES for one in _methods(getattr(client, name), name)}


def _methods(resource: object, name: str) -> Iterator[str]:
    for part in {one for one in dir(type(resource)) if not one.startswith("_")} - {*VIEWS}:
        value = getattr(resource, part)
        if isinstance(value, SyncAPIResource | AsyncAPIResource):
            yield from _methods(value, f"{name}.{part}")
        elif callable(value):
            yield f"{name}.{part}"


def forms(client: Client, method: str) -> list[str]:
    """Return the names of the forms that a method has: itself, and the same in VIEWS."""
    resource, _, name = method.rpartition(".")
    views = [f"{resource}.{view}" for view in VIEWS if hasattr(attrgetter(f"{resource}.{view}")(client), name)]
    return [method, *[f"{view}.{name}" for view in views]]


async def outcome(client: Client, form: str, sent: dict[str, Any]) -> Any:
    """Call a method, and return its result: an object, the events of a stream, the items of a list, or bytes."""
    async with AsyncExitStack() as stack:
        result = await called(attrgetter(form)(client), **sent)
        if hasattr(result, "__aenter__"):
            result = await stack.enter_async_context(result)
        elif hasattr(result, "__enter__"):
            result = stack.enter_context(result)
        if isinstance(result, StreamedBinaryAPIResponse | AsyncStreamedBinaryAPIResponse):
            return await called(result.read)
        if isinstance(result, LegacyAPIResponse | APIResponse | AsyncAPIResponse):
            assert result.headers["content-type"]
            result = await called(result.parse)
        if isinstance(result, HttpxBinaryResponseContent):
            return result.content
        if hasattr(result, "__aiter__"):
            return [one async for one in result]
        return list(result) if isinstance(result, BasePage | Stream | ChatCompletionStream) else result


async def called(method: Any, *given: Any, **named: Any) -> Any:
    """Call a method of either client. A method that blocks runs in a thread, so that a time limit applies."""
    if inspect.iscoroutinefunction(method):
        return await method(*given, **named)
    result = await asyncio.to_thread(method, *given, **named)
    return await result if inspect.isawaitable(result) else result
