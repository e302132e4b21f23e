"""A server with Ollama's API, with configurable faults: `python -m tests.servers.ollama --port 11434`.

It needs only starlette and uvicorn, so it can also run in a container beside the service.
"""

import argparse
import asyncio
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.servers import strict

DEFAULT_REPLY = "Hello! I am a small language model on your own machine. What can I do for you?"


@dataclass
class Traps:
    """Faults. All off: a well-behaved server."""

    load_s: float = 0.0
    """Seconds that loading the model takes."""
    first_token_s: float = 0.0
    """Silence before the first token."""
    stall_after: int | None = None
    """Tokens after which nothing more is sent, with the connection left open."""
    error_after: int | None = None
    """Tokens after which an error line ends the stream."""
    cut_after: int | None = None
    """Tokens after which the stream ends without `done`."""
    garbage_after: int | None = None
    """Tokens after which a line is sent that is not JSON."""
    status: int | None = None
    """Respond to every chat with this status and `message`."""
    message: str = "trap"
    refuse_think: bool = False
    """Status 400 for every request with `think` in it, as from an older server."""
    refuse_tools: bool = False
    """Status 400 for every request with `tools`, as for a model that cannot call any."""
    thinking: str = ""
    """Text that a thinking model writes in `message.thinking` first."""
    think_in_content: str = ""
    """Text that it writes between <think> tags in `message.content` first."""
    slow_api_s: float = 0.0
    """Delay of /api/version and /api/tags."""
    raw: Sequence[str] | None = None
    """Lines to send unchanged instead of a reply."""
    raw_type: str = "application/x-ndjson"
    endless: bool = False
    """Ignore `num_predict`, and repeat the reply for ever."""
    strict: bool = False
    """Status 400 for messages that a strict chat template refuses."""
    context: int | None = None
    """Status 400 for more words than this, with `message`."""
    pull_error: str = ""
    pull_cut: bool = False
    pull_waits: threading.Event | None = None
    """A download stops in its middle until this is set."""


@dataclass
class FakeOllama:
    """The server's state; tests read and change it while it runs."""

    models: list[str] = field(default_factory=lambda: ["llama3.2:latest"])
    reply: str = DEFAULT_REPLY
    tokens_per_second: float = 0.0
    """0: as fast as the client reads."""
    traps: Traps = field(default_factory=Traps)
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of /api/chat, in order."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a reply is requested."""
    embedding: set[str] = field(default_factory=set)
    """Models that make embeddings and cannot converse."""
    listed: int = 0
    """Number of requests of the list of models."""
    pulls: list[str] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client disconnects during a reply."""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Functions that are called before a user's message gets a reply, if the client offers them."""
    finished: int = 0
    """Replies that were read to their end."""

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/", lambda _: PlainTextResponse("Ollama is running")),
                Route("/api/version", self._version),
                Route("/api/tags", self._tags),
                Route("/api/ps", self._ps),
                Route("/api/chat", self._chat, methods=["POST"]),
                Route("/api/pull", self._pull, methods=["POST"]),
            ]
        )

    async def _version(self, _: Request) -> Response:
        await asyncio.sleep(self.traps.slow_api_s)
        return JSONResponse({"version": "0.33.0"})

    async def _tags(self, _: Request) -> Response:
        await asyncio.sleep(self.traps.slow_api_s)
        self.listed += 1
        listed = [
            {
                "name": name, "model": name, "size": 1,
                "details": {"families": ["bert" if name in self.embedding else "llama"]},
            }
            for name in self.models
        ]  # fmt: skip
        return JSONResponse({"models": listed})

    async def _ps(self, _: Request) -> Response:
        return JSONResponse({"models": [{"name": name, "model": name} for name in sorted(self.loaded)]})

    async def _chat(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.requests.append(body)
        model = body["model"] if ":" in body["model"] else f"{body['model']}:latest"
        if self.traps.status is not None:
            return JSONResponse({"error": self.traps.message}, self.traps.status)
        if model not in self.models:
            return JSONResponse({"error": f"model '{body['model']}' not found"}, 404)
        if self.traps.refuse_think and "think" in body:
            return JSONResponse({"error": f'"{body["model"]}" does not support thinking'}, 400)
        if self.traps.refuse_tools and body.get("tools"):
            return JSONResponse({"error": f"registry.ollama.ai/library/{body['model']} does not support tools"}, 400)
        if self.traps.strict and body.get("messages") and (why := strict.refused(body["messages"])):
            return JSONResponse({"error": why}, 400)
        if self.traps.context is not None and strict.tokens(body["messages"]) > self.traps.context:
            return JSONResponse({"error": self.traps.message}, 400)
        if model not in self.loaded:
            await asyncio.sleep(self.traps.load_s)
        self.loaded.add(model)
        if not body.get("messages"):
            return JSONResponse(_line(model, "", done=True, done_reason="load"))
        self.asked.set()
        if body.get("stream", True):
            return StreamingResponse(self._stream(request, model, body), media_type=self.traps.raw_type)
        return JSONResponse({**_line(model, self.reply, done=True, done_reason="stop"), **_stats(body, self.reply)})

    async def _stream(self, request: Request, model: str, body: dict[str, Any]) -> AsyncIterator[str]:
        """Stream a reply as NDJSON. A client stops the server by closing the stream before its end."""
        traps = self.traps
        ended = False
        try:
            await asyncio.sleep(traps.first_token_s)
            if traps.raw is not None:
                for piece in traps.raw:
                    yield piece
                    await asyncio.sleep(0)
                ended = True
                return
            if traps.thinking:
                yield json.dumps(_line(model, "", thinking=traps.thinking)) + "\n"
            if called := self._called(body):
                ended = True
                yield json.dumps(_line(model, "", tool_calls=called)) + "\n"
                yield json.dumps({**_line(model, "", done=True, done_reason="stop"), **_stats(body, "")}) + "\n"
                return
            text = (f"<think>{traps.think_in_content}</think>\n\n" if traps.think_in_content else "") + self.reply
            limit = int((body.get("options") or {}).get("num_predict") or 10**6)
            tokens = itertools.cycle(_tokens(f"{text} ")) if traps.endless else _tokens(text)[:limit]
            for count, token in enumerate(tokens):
                if count == traps.stall_after:
                    await asyncio.sleep(3600)
                if count == traps.error_after:
                    ended = True
                    yield json.dumps({"error": traps.message}) + "\n"
                    return
                if count == traps.cut_after:
                    ended = True
                    return
                if count == traps.garbage_after:
                    ended = True
                    yield "<html>\n"
                    return
                yield json.dumps(_line(model, token)) + "\n"
                await asyncio.sleep(1 / self.tokens_per_second if self.tokens_per_second else 0)
            ended = True
            self.finished += 1
            yield json.dumps({**_line(model, "", done=True, done_reason="stop"), **_stats(body, text)}) + "\n"
        finally:
            if not ended:
                self.disconnected.set()

    def _called(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        offered = {tool["function"]["name"] for tool in body.get("tools") or ()}
        if body["messages"][-1]["role"] == "tool":
            return []
        return [{"function": {"name": name, "arguments": given}} for name, given in self.calls if name in offered]

    async def _pull(self, request: Request) -> Response:
        name = json.loads(await request.body())["model"]
        self.pulls.append(name)

        async def lines() -> AsyncIterator[str]:
            yield json.dumps({"status": "pulling manifest"}) + "\n"
            for digest, total in (("sha256:aa", 4000), ("sha256:bb", 1000)):
                for done in range(0, total + 1, total // 4):
                    line = {"status": f"pulling {digest[-2:]}", "digest": digest, "total": total, "completed": done}
                    yield json.dumps(line) + "\n"
                    waits = self.traps.pull_waits if done == total // 2 else None
                    while waits and not waits.is_set():  # noqa: ASYNC110  # set by another thread
                        await asyncio.sleep(0.02)
                if self.traps.pull_error:
                    yield json.dumps({"error": self.traps.pull_error}) + "\n"
                    return
                if self.traps.pull_cut:
                    return
            self.models.append(name if ":" in name else f"{name}:latest")
            yield json.dumps({"status": "success"}) + "\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")


def _tokens(text: str) -> list[str]:
    """Words with the space before them, as a language model writes them."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


def _line(
    model: str, content: str, *, thinking: str = "", tool_calls: Any = None, done: bool = False, **extra: Any
) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **({"thinking": thinking} if thinking else {})}
    if tool_calls:
        message["tool_calls"] = tool_calls
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"model": model, "created_at": created, "message": message, "done": done, **extra}


def _stats(body: dict[str, Any], reply: str) -> dict[str, int]:
    asked = sum(len((message.get("content") or "").split()) for message in body["messages"])
    return {
        "total_duration": 1_000_000, "load_duration": 1, "prompt_eval_count": asked, "prompt_eval_duration": 1,
        "eval_count": len(_tokens(reply)), "eval_duration": 1,
    }  # fmt: skip


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11434)
    parser.add_argument("--model", default="llama3.2")
    parser.add_argument("--tokens-per-second", type=float, default=40.0)
    parser.add_argument("--reply", default=DEFAULT_REPLY)
    options = parser.parse_args()
    model = options.model if ":" in options.model else f"{options.model}:latest"
    server = FakeOllama(models=[model], reply=options.reply, tokens_per_second=options.tokens_per_second)
    uvicorn.run(server.app(), host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
