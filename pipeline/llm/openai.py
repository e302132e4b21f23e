"""Any server with OpenAI's chat completions: vLLM, llama.cpp, LM Studio, or OpenAI itself."""

import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from pipeline.engines import Opened, Report
from pipeline.errors import ConfigError, EngineError, EngineUnavailable
from pipeline.llm import Message, ReplyDelta, Tool, ToolCall, Usage
from pipeline.llm.probing import PROBE_S, patiently
from pipeline.llm.streaming import WithoutThinking, in_the_users_language, in_time, one_line
from pipeline.settings import Settings

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk
    from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall


async def probe(settings: Settings) -> None:
    """Ask for the models; raises EngineUnavailable when the server is away, or wants another key."""
    await _models(settings)


async def _models(settings: Settings) -> list[str]:
    """What the server lists; [] when it lists nothing. Raises EngineUnavailable."""
    url = settings.llm_openai_url
    headers = {"Authorization": f"Bearer {settings.llm_openai_key}"} if settings.llm_openai_key else {}
    try:
        async with httpx.AsyncClient(timeout=2 * PROBE_S, headers=headers) as client:
            response = await patiently(partial(client.get, f"{url}/models"))
    except (httpx.HTTPError, TimeoutError):
        raise EngineUnavailable(
            f"No language model server answers at {url}.", remedy="Start it, or set LLM_OPENAI_URL to its address."
        ) from None
    if response.status_code in (401, 403):
        raise EngineUnavailable(f"The server at {url} refuses the key.", remedy="Set LLM_OPENAI_KEY.")
    try:
        return [str(model["id"]) for model in response.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return []


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened["OpenAIModel"]]:
    """A client of the server; nothing is loaded here."""
    # Imported only when it is wanted: it takes half a second.
    import openai

    listed = await _models(settings)
    model = settings.llm_openai_model or (listed[0] if listed else "")
    if not model:
        raise EngineUnavailable(
            f"The server at {settings.llm_openai_url} lists no models.", remedy="Set LLM_OPENAI_MODEL."
        )
    async with openai.AsyncOpenAI(
        base_url=settings.llm_openai_url,
        # The client insists on a key; servers without keys look at none.
        api_key=settings.llm_openai_key or "none",
        timeout=openai.Timeout(None, connect=settings.llm_connect_timeout_s),
        # A retry would be heard as a long silence; the turn says what went wrong instead.
        max_retries=0,
    ) as client:
        yield Opened(OpenAIModel(client, model, settings), model=model, device=urlsplit(settings.llm_openai_url).netloc)


class OpenAIModel:
    """One model of one server, for all sessions."""

    def __init__(self, client: "AsyncOpenAI", model: str, settings: Settings) -> None:
        self._client = client
        self._model = model
        self._settings = settings
        self._extra = _extra(settings.llm_openai_extra)
        self._count_tokens = True

    def reply(
        self, messages: Sequence[Message], *, tools: Sequence[Tool] = (), must_call: bool = False
    ) -> AsyncGenerator[ReplyDelta, None]:
        """Stream the reply; see `LanguageModel.reply`."""
        return in_time(self._deltas(messages, tools, must_call), server="The language model", settings=self._settings)

    async def _deltas(
        self, messages: Sequence[Message], tools: Sequence[Tool], must_call: bool
    ) -> AsyncGenerator[ReplyDelta, None]:
        """One delta for each chunk, empty while the model thinks."""
        from openai import OpenAIError

        answer = WithoutThinking()
        usage: Usage | None = None
        finished = False
        calls = _Calls()
        try:
            async with await self._open(messages, tools, must_call) as stream:
                async for chunk in stream:
                    if chunk.usage is not None:
                        usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
                    choice = chunk.choices[0] if chunk.choices else None
                    # `reasoning_content` is thinking, and is left out.
                    yield ReplyDelta(answer.feed((choice.delta.content if choice and choice.delta else None) or ""))
                    if choice and choice.delta:
                        calls.take(choice.delta.tool_calls or ())
                    finished = finished or bool(choice and choice.finish_reason)
        except OpenAIError as error:
            raise self._told(error) from error
        except (httpx.HTTPError, ValueError, AttributeError, TypeError) as error:
            raise EngineError(
                f"What answers at {self._settings.llm_openai_url} does not speak OpenAI's protocol."
            ) from error
        if not finished:
            raise EngineError("The language model broke off in mid-reply, without an end.")
        yield ReplyDelta(answer.finish(), usage, calls.whole())

    async def _open(
        self, messages: Sequence[Message], tools: Sequence[Tool], must_call: bool
    ) -> "AsyncStream[ChatCompletionChunk]":
        from openai import BadRequestError

        request: dict[str, Any] = {
            "model": self._model,
            "messages": [_message(message) for message in in_the_users_language(messages)],
            "temperature": self._settings.llm_temperature,
            "max_tokens": self._settings.llm_max_tokens,
            "extra_body": self._extra,
        }
        if tools:
            request["tools"] = [_tool(tool) for tool in tools]
            if must_call:
                request["tool_choice"] = "required"
        if self._count_tokens:
            try:
                return await self._create(**request, stream_options={"include_usage": True})
            except BadRequestError as error:
                if "stream_options" not in str(error.body):
                    raise
                # An older server: it does not count, from now on.
                self._count_tokens = False
        return await self._create(**request)

    async def _create(self, **request: Any) -> "AsyncStream[ChatCompletionChunk]":
        stream: AsyncStream[ChatCompletionChunk] = await self._client.chat.completions.create(**request, stream=True)
        return stream

    def _told(self, error: Exception) -> EngineError:
        """The error in one sentence that helps."""
        import openai

        url = self._settings.llm_openai_url
        if isinstance(error, openai.APITimeoutError):
            return EngineError(f"The language model server at {url} could not be connected to in time.", code="timeout")
        if isinstance(error, openai.APIConnectionError):
            return EngineError(f"The connection to the language model server at {url} failed.")
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return EngineError("The language model server refuses the key; check LLM_OPENAI_KEY.")
        if isinstance(error, openai.NotFoundError):
            return EngineError(f"The language model server does not have the model {self._model}.")
        if isinstance(error, openai.APIStatusError):
            if error.status_code in (429, 503):
                return EngineError("The language model server is busy; try again in a moment.")
            return EngineError(
                f"The language model server refused the request ({error.status_code}): {one_line(_reason(error))}."
            )
        return EngineError(f"The language model broke off in mid-reply: {one_line(error)}.")


def _reason(error: Any) -> str:
    """The server's own words, out of the several shapes that an error body has."""
    body = error.body
    if isinstance(body, Mapping):
        return str(body.get("message") or body.get("error") or body)
    return str(body or error)


def _extra(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        extra = json.loads(text)
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise ConfigError("LLM_OPENAI_EXTRA must be a JSON object.")
    return extra


class _Calls:
    """Calls of functions, which come in pieces."""

    def __init__(self) -> None:
        self._parts: dict[int, list[str]] = {}

    def take(self, pieces: "Sequence[ChoiceDeltaToolCall]") -> None:
        """The calls of the next chunk."""
        for piece in pieces:
            part = self._parts.setdefault(piece.index or 0, ["", "", ""])
            part[0] = part[0] or piece.id or ""
            if piece.function is not None:
                part[1] += piece.function.name or ""
                part[2] += piece.function.arguments or ""

    def whole(self) -> tuple[ToolCall, ...]:
        """All of them, in order."""
        parts = [self._parts[index] for index in sorted(self._parts)]
        return tuple(
            ToolCall(id or f"call_{secrets.token_hex(8)}", name, arguments) for id, name, arguments in parts if name
        )


def _message(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        told["content"] = message.content or None
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in message.calls
        ]
    if message.call_id is not None:
        told["tool_call_id"] = message.call_id
    return told


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}
