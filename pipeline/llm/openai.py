"""Models on any server with OpenAI's chat completions API: vLLM, llama.cpp, LM Studio, or OpenAI itself."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import httpx

from pipeline import llm
from pipeline.engines import Opened
from pipeline.errors import ConfigError, EngineError, EngineUnavailable
from pipeline.llm import Generation, LanguageModel, Message, Tool, ToolCall
from pipeline.llm.balanced import each_server, open_servers, probe_servers
from pipeline.llm.probing import PROBE_S, patiently
from pipeline.llm.reading import items, mapping, read_arguments, usage, written
from pipeline.llm.streaming import CONNECT_TIMEOUT_S, ContextExceeded, Piece, ServedModel, is_too_long, one_line
from pipeline.llm.wire import NotTheProtocol, Refused, posted, values
from pipeline.settings import Settings
from pipeline.support.encodable import encodable, encodable_object
from pipeline.support.json_types import JsonObject
from pipeline.support.progress import Report

ADDRESS = "llm_openai_url"
"""Setting with the servers' addresses."""
PASSED_ON = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "response_format")
"""Fields of `Generation` that are OpenAI's."""


async def probe(settings: Settings) -> None:
    """Request the list of models. Raises EngineUnavailable when no server is reachable and accepts the key."""
    await probe_servers(each_server(settings, ADDRESS), _probe_one)


async def _probe_one(settings: Settings) -> None:
    await _models(settings)


async def _models(settings: Settings) -> list[str]:
    """Return the models that the server lists; [] when it lists none. Raises EngineUnavailable."""
    url = settings.llm_openai_url
    headers = {"Authorization": f"Bearer {settings.llm_openai_key}"} if settings.llm_openai_key else {}
    try:
        async with httpx.AsyncClient(timeout=2 * PROBE_S, headers=headers) as client:
            response = await patiently(partial(client.get, f"{url}/models"))
    except (httpx.HTTPError, TimeoutError):
        raise EngineUnavailable(
            f"No language model server responds at {url}.", remedy="Start it, or set LLM_OPENAI_URL to its address."
        ) from None
    if response.status_code in (401, 403):
        raise EngineUnavailable(f"The server at {url} refuses the key.", remedy="Set LLM_OPENAI_KEY.")
    try:
        return [encodable(str(model["id"])) for model in response.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return []


def open_engine(settings: Settings, report: Report) -> AbstractAsyncContextManager[Opened[LanguageModel]]:
    """Open a client of each server; nothing is loaded here."""
    return open_servers(each_server(settings, ADDRESS), _open_one, _probe_one, report)


@asynccontextmanager
async def _open_one(settings: Settings, report: Report) -> AsyncIterator[Opened["OpenAIModel"]]:
    listed = await _models(settings)
    model = settings.llm_openai_model or (listed[0] if listed else "")
    if not model:
        raise EngineUnavailable(
            f"The server at {settings.llm_openai_url} lists no models.", remedy="Set LLM_OPENAI_MODEL."
        )
    async with httpx.AsyncClient(
        base_url=settings.llm_openai_url,
        headers={"Authorization": f"Bearer {settings.llm_openai_key}"} if settings.llm_openai_key else {},
        # Only a timeout for connecting: httpx's other timeouts count bytes, not tokens.
        timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
        follow_redirects=True,
    ) as client:
        yield Opened(OpenAIModel(client, model, settings), model=model, device=urlsplit(settings.llm_openai_url).netloc)


class OpenAIModel(ServedModel):
    """One model on one server, for all sessions."""

    def __init__(self, client: httpx.AsyncClient, model: str, settings: Settings) -> None:
        super().__init__("The language model", model, settings)
        self._client = client
        self._extra = _extra(settings.llm_openai_extra)
        self._count_tokens = True

    def _sibling(self, name: str) -> "OpenAIModel":
        """See `ServedModel`."""
        return OpenAIModel(self._client, name, self._settings)

    async def models(self) -> Sequence[str]:
        """Return the names of the server's models; see `pipeline.llm.offered`. A model that the settings name is the
        only one, unless LLM_MODELS names others: a server that is paid for lists some that cost more."""
        if self._settings.llm_openai_model and not self._settings.llm_models:
            return [self._settings.llm_openai_model]
        return await _models(self._settings)

    async def _pieces(
        self, messages: Sequence[Message], tools: Sequence[Tool], must_call: bool, generation: Generation
    ) -> AsyncGenerator[Piece, None]:
        """See `ServedModel`. Failed requests are not retried, because the user would hear a long silence."""
        while True:
            body = self._body(messages, tools, must_call, generation)
            try:
                async with (
                    posted(self._client, "chat/completions", body) as response,
                    aclosing(values(response)) as chunks,
                ):
                    async for chunk in chunks:
                        yield _piece(chunk)
                return
            except Refused as refused:
                if refused.status != 400 or not self._count_tokens or "stream_options" not in refused.reason:
                    raise self._told(refused) from refused
                # An older server: stop requesting the token count.
                self._count_tokens = False
            except (httpx.HTTPError, NotTheProtocol) as error:
                raise self._told(error) from error

    def _body(
        self, messages: Sequence[Message], tools: Sequence[Tool], must_call: bool, generation: Generation
    ) -> JsonObject:
        body: JsonObject = {
            "model": self._model,
            "messages": [_message(message) for message in self._dated(messages, tools)],
            "temperature": llm.TEMPERATURE,
            "max_tokens": generation.max_tokens,
            "stream": True,
        }
        for name in PASSED_ON:
            if (value := getattr(generation, name)) is not None:
                body[name] = value
        if tools:
            body["tools"] = [tool.as_function() for tool in tools]
            if must_call:
                body["tool_choice"] = "required"
        if self._count_tokens:
            body["stream_options"] = {"include_usage": True}
        return encodable_object(body | self._extra)

    def _told(self, error: Exception) -> EngineError:
        """Turn an exception into an error with one helpful sentence."""
        url = self._settings.llm_openai_url
        if isinstance(error, httpx.ConnectTimeout):
            return EngineError(f"Connecting to the language model server at {url} took too long.", code="timeout")
        if isinstance(error, httpx.HTTPError):
            return EngineError(f"The connection to the language model server at {url} failed.")
        if not isinstance(error, Refused):
            return EngineError(f"The server at {url} does not speak OpenAI's protocol.")
        status, reason = error.status, one_line(error.reason)
        if is_too_long(status, error.reason):
            return ContextExceeded(f"The conversation is too long for the language model server ({status}): {reason}.")
        if status in (401, 403):
            return EngineError("The language model server refuses the key; check LLM_OPENAI_KEY.")
        if status == 404:
            return EngineError(f"The language model server does not have the model {self._model}.")
        if status in (429, 503):
            return EngineError("The language model server is busy; retry in a moment.")
        if status is None:
            return EngineError(f"The language model failed during the reply: {reason}.")
        return EngineError(f"The language model server refused the request ({status}): {reason}.")


def _extra(text: str) -> JsonObject:
    if not text:
        return {}
    try:
        extra = json.loads(text)
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise ConfigError("LLM_OPENAI_EXTRA must be a JSON object.")
    return extra


def _piece(chunk: Mapping[str, object] | None) -> Piece:
    """Parse a chunk; None is the end of the stream. A server that does not stream sends a single chunk.

    `reasoning_content` and `reasoning` contain thinking and are left out.
    """
    if chunk is None:
        return Piece(finished=True)
    choice = mapping(next(iter(items(chunk.get("choices"))), None))
    whole = "delta" not in choice and "message" in choice
    delta = mapping(choice.get("message" if whole else "delta"))
    text = written(delta.get("content")) or written(delta.get("refusal")) or written(choice.get("text"))
    counted = chunk.get("usage")
    return Piece(
        text,
        [*items(delta.get("tool_calls")), *items(delta.get("function_call"))],
        usage(counted.get("prompt_tokens"), counted.get("completion_tokens")) if isinstance(counted, dict) else None,
        finished=whole or bool(choice.get("finish_reason")),
        cut=choice.get("finish_reason") == "length",
    )


def _message(message: Message) -> JsonObject:
    told: JsonObject = {"role": message.role, "content": message.content}
    if message.calls:
        told["content"] = message.content or None
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _arguments(call)}}
            for call in message.calls
        ]
    if message.call_id is not None:
        told["tool_call_id"] = message.call_id
    return told


def _arguments(call: ToolCall) -> str:
    """Return a call's arguments as a JSON object: some servers parse them, and refuse every later turn if the model
    wrote malformed ones."""
    return json.dumps(read_arguments(call.arguments))
