"""Ollama, through its native API: local models, streamed.

This module does what Ollama leaves to the client: thinking is off, the model stays loaded and is warm before the first
turn, every wait has a timeout, and closing the reply closes the connection, which makes Ollama stop.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import cast
from urllib.parse import urlsplit

import httpx
from ollama import AsyncClient, ProgressResponse, ResponseError

from pipeline import llm
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.llm import Generation, LanguageModel, Message, Tool
from pipeline.llm.balanced import each_server, open_servers, probe_servers
from pipeline.llm.probing import PROBE_S, patiently
from pipeline.llm.reading import items, mapping, read_arguments, usage, written
from pipeline.llm.streaming import (
    CONNECT_TIMEOUT_S,
    ContextExceeded,
    Piece,
    ServedModel,
    is_too_long,
    one_line,
    with_deadlines,
)
from pipeline.llm.wire import NotTheProtocol, Refused, posted, values
from pipeline.settings import Settings
from pipeline.support.encodable import encodable, encodable_object
from pipeline.support.json_types import Json, JsonObject
from pipeline.support.progress import Progress, Report

ADDRESS = "llama_endpoint"
"""Setting with the servers' addresses."""
# Errors that can end a stream, in addition to Ollama's own. The last three mean that it is not Ollama's protocol.
_BROKEN = (ResponseError, httpx.HTTPError, ConnectionError, ValueError, AttributeError, TypeError)

KEEP_ALIVE_S = 1800.0
"""Time without a reply after which Ollama unloads the model, in seconds, if MODEL_IDLE_SECONDS is 0: its own 5 minutes
are shorter than the pauses in which users come back, and other programs may need the memory later."""
START_TIMEOUT_S = 120.0
"""Timeout for loading a model in Ollama, and for each step of pulling it, in seconds."""


async def probe(settings: Settings) -> None:
    """Request the version and the models. Raises EngineUnavailable when no Ollama is reachable and has the model."""
    await probe_servers(_servers(settings), _probe_one)


def _servers(settings: Settings) -> list[Settings]:
    """Return the settings for each server. Several have the same model, so none chooses another one."""
    servers = each_server(settings, ADDRESS)
    if len(servers) == 1:
        return servers
    return [server.model_copy(update={"llama_model": server.llama_model}) for server in servers]


async def _probe_one(settings: Settings) -> None:
    await _model_of(settings)


async def _model_of(settings: Settings) -> str:
    """Return the model to use: LLAMA_MODEL; if that was not set and is not there, the first one that can converse.
    Raises EngineUnavailable."""
    try:
        version, tags = await patiently(partial(_looked, settings))
    except (httpx.RequestError, TimeoutError):
        raise _away(settings) from None
    except (httpx.HTTPStatusError, ValueError):
        version, tags = {}, {}
    if "version" not in version:
        raise EngineUnavailable(
            f"The server at {settings.llama_endpoint} is not Ollama.",
            remedy="Set LLAMA_ENDPOINT to Ollama's address.",
        )
    if settings.llama_pull or _has(_names(tags), settings.llama_model):
        return settings.llama_model
    others = [] if "llama_model" in settings.model_fields_set else _names(tags)
    if not others:
        raise _missing(settings)
    return others[0]


async def installed(settings: Settings) -> list[str]:
    """Return the names of the models on the Ollama servers that can converse, sorted; none if no server responds."""
    found: set[str] = set()
    for server in each_server(settings, ADDRESS):
        with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, ValueError):
            found.update(_names((await _looked(server))[1]))
    return sorted(found)


def _names(tags: JsonObject) -> list[str]:
    """Return the names of the models that can converse, in the server's order: the latest first."""
    listed = [mapping(model) for model in items(tags.get("models"))]
    return [
        encodable(str(model.get("name") or model.get("model") or ""))
        for model in listed
        if not any("bert" in str(family) for family in items(mapping(model.get("details")).get("families")))
    ]


async def _looked(settings: Settings) -> tuple[JsonObject, JsonObject]:
    """Return the version and the models."""
    async with httpx.AsyncClient(base_url=settings.llama_endpoint, timeout=2 * PROBE_S) as client:
        return await _get(client, "/api/version"), await _get(client, "/api/tags")


async def _get(client: httpx.AsyncClient, path: str) -> JsonObject:
    response = await client.get(path)
    response.raise_for_status()
    body = response.json()
    if not isinstance(body, dict):
        raise ValueError("not an object")
    return body


def _away(settings: Settings) -> EngineUnavailable:
    return EngineUnavailable(
        f"Ollama does not respond at {settings.llama_endpoint}.",
        remedy="Install it from https://ollama.com and start it with: ollama serve",
    )


def _missing(settings: Settings) -> EngineUnavailable:
    model = settings.llama_model
    return EngineUnavailable(
        f"Ollama does not have the model {model}.", remedy=f"Run: ollama pull {model}, or set LLAMA_PULL=true."
    )


def _has(installed: Sequence[str], model: str) -> bool:
    return _tagged(model) in {_tagged(name) for name in installed}


def _tagged(model: str) -> str:
    """Return a model's name with the tag that Ollama implies."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def open_engine(settings: Settings, report: Report) -> AbstractAsyncContextManager[Opened[LanguageModel]]:
    """Open the model on each server: pull it if that is allowed, load it and warm it up."""
    return open_servers(_servers(settings), _open_one, _probe_one, report)


@asynccontextmanager
async def _open_one(settings: Settings, report: Report) -> AsyncIterator[Opened["OllamaModel"]]:
    model = await _model_of(settings)
    notes = []
    if model != settings.llama_model:
        notes = [f"LLAMA_MODEL is not set and Ollama does not have {settings.llama_model}, so {model} is used."]
        settings = settings.model_copy(update={"llama_model": model})
    # Only a timeout for connecting: httpx's other timeouts count bytes, not tokens.
    timeout = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=8)
    certificates = httpx.create_ssl_context()  # shared by both clients, because loading them takes a while
    async with (
        AsyncClient(host=settings.llama_endpoint, timeout=timeout, limits=limits, verify=certificates) as client,
        httpx.AsyncClient(
            base_url=settings.llama_endpoint, timeout=timeout, limits=limits, verify=certificates
        ) as chats,
    ):
        engine = OllamaModel(client, chats, settings)
        await engine.prepare(report)
        host = urlsplit(settings.llama_endpoint).netloc
        yield Opened(engine, model=settings.llama_model, device=host, notes=notes)


class OllamaModel(ServedModel):
    """One model on one Ollama server, for all sessions. Ollama queues requests that it cannot handle in parallel."""

    def __init__(self, client: AsyncClient, chats: httpx.AsyncClient, settings: Settings) -> None:
        """chats: client for replies, because Ollama's own client refuses the slightest deviation from its format."""
        super().__init__("Ollama", settings.llama_model, settings)
        self._client = client
        self._chats = chats
        self._think: bool | None = False
        self._calls_tools = True
        self._keep_alive = settings.model_idle_seconds or KEEP_ALIVE_S
        self._options = {
            "num_ctx": settings.context_tokens,
            "temperature": llm.TEMPERATURE,
            "num_predict": settings.llm_max_tokens,
        }

    def _sibling(self, name: str) -> "OllamaModel":
        """See `ServedModel`."""
        return OllamaModel(self._client, self._chats, self._settings.model_copy(update={"llama_model": name}))

    async def models(self) -> Sequence[str]:
        """Return the names of the models that can converse; see `pipeline.llm.offered`."""
        try:
            tags = await _get(self._chats, "/api/tags")
        except _BROKEN:
            raise _away(self._settings) from None
        return _names(tags)

    async def prepare(self, report: Report) -> None:
        """Make sure that the model is installed, and load it. Raises EngineUnavailable or EngineError."""
        limit = START_TIMEOUT_S
        try:
            async with asyncio.timeout(PROBE_S + CONNECT_TIMEOUT_S):
                installed = [model.model or "" for model in (await self._client.list()).models]
        except (*_BROKEN, TimeoutError):
            raise _away(self._settings) from None
        if not _has(installed, self._model):
            if not self._settings.llama_pull:
                raise _missing(self._settings)
            await self._pull(report, limit)
        report(Progress("load", self._model))
        try:
            async with asyncio.timeout(limit):
                # The same options as for replies: with others Ollama would load the model again.
                await self._client.chat(self._model, messages=[], keep_alive=self._keep_alive, options=self._options)
        except TimeoutError:
            raise EngineError(f"Ollama did not load {self._model} within {limit:g} s.", code="timeout") from None
        except _BROKEN as error:
            raise self._told(error) from error

    async def _pull(self, report: Report, silence_s: float) -> None:
        """Download the model; `report` counts the bytes of all its layers."""
        layers: dict[str, tuple[int, int]] = {}
        status = ""
        try:
            steps = await self._client.pull(self._model, stream=True)
            async for step in with_deadlines(
                cast(AsyncGenerator[ProgressResponse, None], steps),
                server="Ollama's download",
                first_s=silence_s,
                between_s=silence_s,
                speaks=lambda _: True,
            ):
                status = step.status or ""
                if step.digest:
                    layers[step.digest] = (step.completed or 0, step.total or 0)
                done, total = (sum(sizes) for sizes in zip(*layers.values(), strict=True)) if layers else (0, 0)
                report(Progress("download", self._model, done, total))
        except _BROKEN as error:
            reason = one_line(error.error if isinstance(error, ResponseError) else error)
            raise EngineUnavailable(
                f"Ollama could not pull {self._model}: {reason}.", remedy=f"Run by hand: ollama pull {self._model}"
            ) from error
        if status != "success":
            raise EngineUnavailable(
                f"Ollama stopped pulling {self._model} before its end.",
                remedy=f"Start the service again, or run: ollama pull {self._model}",
            )

    async def _pieces(
        self, messages: Sequence[Message], tools: Sequence[Tool], must_call: bool, generation: Generation
    ) -> AsyncGenerator[Piece, None]:
        """See `ServedModel`."""
        while True:
            body = self._body(messages, tools, must_call, generation)
            try:
                async with posted(self._chats, "/api/chat", body) as response, aclosing(values(response)) as chunks:
                    async for chunk in chunks:
                        yield _piece(chunk)
                return
            except Refused as refused:
                if not self._asks_for_less(refused, tools):
                    raise self._told(refused) from refused
            except (httpx.HTTPError, NotTheProtocol) as error:
                raise self._told(error) from error

    def _asks_for_less(self, error: Refused, tools: Sequence[Tool]) -> bool:
        """Whether the request can succeed without the part that was refused. That part is left out from now on."""
        refused = error.reason.lower() if error.status == 400 else ""
        # Servers and models without thinking refuse even the option that disables it; others cannot call functions.
        if self._think is not None and "think" in refused:
            self._think = None
            return True
        if self._calls_tools and tools and "tool" in refused:
            self._calls_tools = False
            return True
        return False

    def _body(
        self, messages: Sequence[Message], tools: Sequence[Tool], must_call: bool, generation: Generation
    ) -> JsonObject:
        body: JsonObject = {
            "model": self._model,
            "messages": _told_messages(self._dated(messages, tools, calls_tools=self._calls_tools)),
            "stream": True,
            "keep_alive": self._keep_alive,
            "options": self._options | _options(generation),
        }
        if generation.response_format is not None:
            body["format"] = _form(generation.response_format)
        if tools and self._calls_tools:
            body["tools"] = [tool.as_function() for tool in tools]
        if tools and must_call:
            body["format"] = _call_form(tools)
        if self._think is not None:
            body["think"] = self._think
        return encodable_object(body)

    def _told(self, error: Exception) -> EngineError:
        """Turn an exception into an error with one helpful sentence."""
        endpoint = self._settings.llama_endpoint
        if isinstance(error, ResponseError | Refused):
            status = error.status_code if isinstance(error, ResponseError) else error.status
            whole = error.error if isinstance(error, ResponseError) else error.reason
            reason = one_line(whole)
            if status == 404:
                return EngineError(f"Ollama does not have the model {self._model}; run: ollama pull {self._model}")
            if is_too_long(status, whole):
                return ContextExceeded(f"The conversation is too long for {self._model} in Ollama: {reason}.")
            if status == 503:
                return EngineError("Ollama is busy and its queue is full; retry in a moment.")
            if status is None or status == -1:
                return EngineError(f"Ollama failed during the reply: {reason}.")
            return EngineError(f"Ollama refused the request ({status}): {reason}.")
        if isinstance(error, httpx.ConnectTimeout):
            return EngineError(
                f"Connecting to Ollama at {endpoint} took longer than {CONNECT_TIMEOUT_S:g} s.", code="timeout"
            )
        if isinstance(error, httpx.ConnectError | ConnectionError):
            return EngineError(f"Ollama does not respond at {endpoint}; start it with: ollama serve")
        if isinstance(error, httpx.HTTPError):
            return EngineError("The connection to Ollama broke during the reply.")
        return EngineError(f"The server at {endpoint} does not speak Ollama's protocol; check LLAMA_ENDPOINT.")


def _told_messages(messages: Sequence[Message]) -> list[JsonObject]:
    names = {call.id: call.name for message in messages for call in message.calls}
    told: list[JsonObject] = []
    for message in messages:
        told.append({"role": message.role, "content": message.content})
        if message.calls:
            told[-1]["tool_calls"] = [
                {"function": {"name": call.name, "arguments": read_arguments(call.arguments)}} for call in message.calls
            ]
        if message.call_id in names:
            told[-1]["tool_name"] = names[message.call_id]
    return told


def _piece(chunk: Mapping[str, object] | None) -> Piece:
    """Parse a line of the stream; None is the end as other servers send it. `thinking` is left out."""
    if chunk is None:
        return Piece(finished=True)
    message = mapping(chunk.get("message"))
    done = bool(chunk.get("done"))
    counted = usage(chunk.get("prompt_eval_count"), chunk.get("eval_count")) if done else None
    cut = chunk.get("done_reason") == "length"
    return Piece(written(message.get("content")), items(message.get("tool_calls")), counted, finished=done, cut=cut)


def _options(generation: Generation) -> JsonObject:
    """Return Ollama's options for one reply. None of them makes it load the model again."""
    names = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")
    options: JsonObject = {name: value for name in names if (value := getattr(generation, name)) is not None}
    return options | {"num_predict": generation.max_tokens}


def _form(response_format: Mapping[str, Json]) -> Json:
    """Return Ollama's `format` for OpenAI's: a JSON schema, or "json"."""
    schema = mapping(response_format.get("json_schema")).get("schema")
    return cast(JsonObject, schema) if isinstance(schema, dict) else "json"


def _call_form(tools: Sequence[Tool]) -> JsonObject:
    """Return a JSON schema for a call of one of the tools: Ollama can require a schema, but not a call."""
    calls: list[JsonObject] = [
        {
            "type": "object",
            "description": tool.description,
            "properties": {"name": {"const": tool.name}, "arguments": dict(tool.parameters)},
            "required": ["name", "arguments"],
        }
        for tool in tools
    ]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}
