"""A server with OpenAI's chat completions, with configurable faults."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.servers import strict


@dataclass
class ChatTraps:
    """Faults. All off: a well-behaved server."""

    first_token_s: float = 0.0
    stall_after: int | None = None
    error_after: int | None = None
    cut_after: int | None = None
    """Tokens after which the stream ends without finish_reason."""
    garbage_after: int | None = None
    status: int | None = None
    message: str = "trap"
    refuse_stream_options: bool = False
    reasoning: str = ""
    """Text that a thinking model writes in `reasoning_content` first."""
    think_in_content: str = ""
    raw: Sequence[str] | None = None
    """Lines to send unchanged instead of a reply."""
    raw_type: str = "text/event-stream"
    endless: bool = False
    """Ignore `max_tokens`, and repeat the reply for ever."""
    strict: bool = False
    """Status 400 for messages that a strict chat template refuses."""
    context: int | None = None
    """Status 400 with `too_long` and `message` for more words than this."""
    too_long: int = 400


@dataclass
class FakeChat:
    """The server's state; tests read and change it while it runs."""

    models: list[str] = field(default_factory=lambda: ["tiny", "other"])
    reply: str = "I am a small model. I run here."
    reply_to: Callable[[list[dict[str, Any]]], str] | None = None
    """Makes the reply from the messages of a request, in place of `reply`."""
    key: str = ""
    """Key that every client must send, when set."""
    tokens_per_second: float = 0.0
    traps: ChatTraps = field(default_factory=ChatTraps)
    requests: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Functions that are called before a user's message gets a reply, if the client offers them."""
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client disconnects during a reply."""

    def app(self) -> Starlette:
        """The ASGI application; its API is under /v1."""
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )

    def _refused(self, request: Request) -> Response | None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "Incorrect API key"}}, 401)
        return None

    async def _models(self, request: Request) -> Response:
        listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
        return self._refused(request) or JSONResponse(listed)

    async def _chat(self, request: Request) -> Response:
        try:
            body = json.loads(await request.body())
        except ClientDisconnect:
            return Response()
        self.requests.append(body)
        if refused := self._refused(request):
            return refused
        if self.traps.status is not None:
            return JSONResponse({"error": {"message": self.traps.message}}, self.traps.status)
        if body["model"] not in self.models:
            return JSONResponse({"error": {"message": "no such model"}}, 404)
        if self.traps.refuse_stream_options and "stream_options" in body:
            return JSONResponse({"error": {"message": "unknown field: stream_options"}}, 400)
        if self.traps.strict and (why := strict.refused(body["messages"])):
            return JSONResponse({"error": {"message": why}}, 400)
        if self.traps.context is not None and strict.tokens(body["messages"]) > self.traps.context:
            return JSONResponse({"error": {"message": self.traps.message}}, self.traps.too_long)
        return StreamingResponse(self._stream(body), media_type=self.traps.raw_type)

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[str]:
        traps, ended = self.traps, False
        thought = f"<think>{traps.think_in_content}</think>" if traps.think_in_content else ""
        reply = self.reply_to(body["messages"]) if self.reply_to is not None else self.reply
        words = (thought + reply).split(" ")
        try:
            await asyncio.sleep(traps.first_token_s)
            if traps.raw is not None:
                for piece in traps.raw:
                    yield piece
                    await asyncio.sleep(0)
                ended = True
                return
            if traps.reasoning:
                yield _event(body, {"reasoning_content": traps.reasoning})
            offered = {tool["function"]["name"] for tool in body.get("tools") or ()}
            called = (
                [call for call in self.calls if call[0] in offered] if body["messages"][-1]["role"] == "user" else []
            )
            for index, (name, given) in enumerate(called):
                text = json.dumps(given)
                yield _event(body, {"tool_calls": [_piece(index, text[:3], id=f"call_{index}", name=name)]})
                yield _event(body, {"tool_calls": [_piece(index, text[3:])]})
            if called:
                words = []
            for count, word in enumerate(itertools.cycle(words) if traps.endless else words):
                if count == traps.stall_after:
                    await asyncio.sleep(3600)
                if count == traps.error_after:
                    ended = True
                    yield "data: " + json.dumps({"error": {"message": traps.message}}) + "\n\n"
                    return
                if count in (traps.cut_after, traps.garbage_after):
                    ended = True
                    if count == traps.garbage_after:
                        yield "data: <html>\n\n"
                    return
                yield _event(body, {"content": word if count == 0 else f" {word}"})
                await asyncio.sleep(1 / self.tokens_per_second if self.tokens_per_second else 0)
            ended = True
            yield _event(body, {}, finish_reason="stop")
            if (body.get("stream_options") or {}).get("include_usage"):
                usage = {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 7 + len(words)}
                yield "data: " + json.dumps({**_chunk(body), "choices": [], "usage": usage}) + "\n\n"
            yield "data: [DONE]\n\n"
        finally:
            if not ended:
                self.disconnected.set()


def _chunk(body: dict[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}


def _piece(index: int, arguments: str, **named: str) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": named["name"]} if named else {})}
    return {"index": index, "function": function, **({"id": named["id"], "type": "function"} if named else {})}


def _event(body: dict[str, Any], delta: dict[str, Any], finish_reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return "data: " + json.dumps({**_chunk(body), "choices": [choice]}) + "\n\n"
