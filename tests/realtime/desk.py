"""A Realtime session on scripted stages and virtual time, with the times of all its events.

The real endpoint runs from the ASGI messages on; only the network is left out.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, cast

from fastapi import APIRouter, FastAPI

import server.realtime.connection  # noqa: F401  # before: no thread moves the virtual clock
from jobs.service import Jobs
from pipeline.assistant import Assistant
from pipeline.conversation.turn import Stages
from pipeline.conversation.turn_end import SmartTurnHere
from pipeline.engines import EngineInfo
from pipeline.listening.detector import VoiceActivity
from pipeline.listening.smart_turn import TurnEnd
from pipeline.settings import Settings
from pipeline.tools import Toolbox
from pipeline.voices.catalogue import Voices
from server.access import Access, AccessMiddleware
from server.http.draining import Draining
from server.openai.chat.recent import Recent
from server.ops.upgrades import Upgrades
from server.realtime.parsing import Events
from server.realtime.route import router
from server.state import State, keep_state
from server.talk.resume import Resumable
from server.webrtc.network import Network
from server.webrtc.registry import Calls
from tests import virtual_time
from tests.dialogue import LoudIsSpeech, tone
from tests.realtime.client import SERVER_EVENTS
from tests.scripted import Running, ScriptedLLM, ScriptedSTT, ScriptedTTS

RATE_HZ = 24_000
FRAME_MS = 20
Message = MutableMapping[str, Any]


class ScriptedSmartTurn(SmartTurnHere):
    """Scripted estimates in place of Smart Turn."""

    def __init__(self, settings: Settings, turn_end: TurnEnd | None) -> None:
        super().__init__(settings)
        self._scripted = turn_end

    @property
    def turn_end(self) -> TurnEnd | None:
        return self._scripted


class ScriptedAssistant(Assistant):
    """A deployment of scripted engines; loud sound is speech."""

    def activity(self) -> VoiceActivity:
        return LoudIsSpeech()


def assistant(stages: Stages, settings: Settings, tools: Toolbox | None = None) -> Assistant:
    info = EngineInfo("stt", "scripted", "scripted", "cpu", 0.0)
    return ScriptedAssistant(settings, stages, Voices.load(settings), lambda: (info,), tools)


@dataclass
class Desk:
    """A client of one session. Times are seconds of virtual time since its start."""

    stages: Stages
    running: Running
    log: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    inbox: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    closed: tuple[int, str] | None = None
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared while the client does not read and its socket accepts nothing."""
    count: int = 0
    over: bool = False
    """Whether the server has finished with this connection."""
    draining: Draining = field(default_factory=Draining)
    path: ClassVar[str] = "/v1/realtime"
    router: ClassVar[APIRouter] = router
    server_events: ClassVar[Events] = SERVER_EVENTS
    appends: ClassVar[str] = "input_audio_buffer.append"
    """Event that carries sound."""

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- the client's side of the socket ---

    async def receive(self) -> Message:
        return await self.inbox.get()

    async def deliver(self, message: Message) -> None:
        await self.reads.wait()
        if message["type"] == "websocket.send":
            event = json.loads(message["text"])
            parsed = self.server_events[event["type"]].model_validate(event)
            assert not parsed.model_extra, (event["type"], parsed.model_extra)
            self.log.append((self.now, event))
        elif message["type"] == "websocket.close":
            self.closed = (message["code"], message.get("reason") or "")
            self.inbox.put_nowait({"type": "websocket.disconnect", "code": message["code"]})

    # --- client actions ---

    def text(self, text: str) -> None:
        self.inbox.put_nowait({"type": "websocket.receive", "text": text})

    def send(self, kind: str, **fields: Any) -> str:
        """Send a client event; return its event_id."""
        self.count += 1
        event_id = f"client_{self.count}"
        self.text(json.dumps({"type": kind, "event_id": event_id, **fields}))
        return event_id

    async def update(self, **session: Any) -> dict[str, Any]:
        """Send session.update and return the updated session."""
        self.send("session.update", session={"type": "realtime", **session})
        event = await self.until("session.updated")
        told: dict[str, Any] = event["session"]
        return told

    async def speak(self, ms: int) -> float:
        return await self._feed(ms, 0.2)

    async def silence(self, ms: int) -> float:
        return await self._feed(ms, 0.0)

    def append(self, ms: int, level: float = 0.2) -> None:
        """Append sound in one event."""
        pcm = tone(RATE_HZ * ms // 1000, int(level * 32767)).astype("<i2").tobytes()
        self.send(self.appends, audio=base64.b64encode(pcm).decode())

    async def _feed(self, ms: int, level: float) -> float:
        for _ in range(ms // FRAME_MS):
            await asyncio.sleep(FRAME_MS / 1000)
            self.append(FRAME_MS, level)
        await asyncio.sleep(0)
        return self.now

    async def until(self, kind: str, *, within_s: float = 60.0, count: int | None = None) -> dict[str, Any]:
        """Wait without sending sound until the next event of that type, or the `count`-th of all."""
        start = len(self.of(kind)) if count is None else count - 1
        deadline = self.now + within_s
        while len(self.of(kind)) <= start:
            assert self.now < deadline, f"no {kind} within {within_s} s: {self.kinds}"
            await asyncio.sleep(0.01)
        return self.of(kind)[start]

    async def error(self, event_id: str) -> dict[str, Any]:
        """Return the error for that event; fail if there is none."""
        for _ in range(3000):
            for event in self.of("error"):
                if event["error"]["event_id"] == event_id:
                    told: dict[str, Any] = event["error"]
                    return told
            await asyncio.sleep(0.01)
        raise AssertionError(f"no error for {event_id}: {self.kinds}")

    # --- received events ---

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.log if event["type"] == kind]

    def at(self, kind: str) -> float:
        return next(at for at, event in self.log if event["type"] == kind)

    @property
    def kinds(self) -> list[str]:
        kinds = [event["type"] for _, event in self.log]
        return [kind for i, kind in enumerate(kinds) if not (i and kind == kinds[i - 1] and kind.endswith("delta"))]

    @property
    def told(self) -> list[tuple[str, str]]:
        """The messages of the language model's last call."""
        asked = self.stages.llm.asked[-1]  # type: ignore[attr-defined]
        return [(message.role, message.content) for message in asked]

    async def item(self, item_id: str) -> dict[str, Any]:
        """Retrieve an item from the server."""
        self.send("conversation.item.retrieve", item_id=item_id)
        event = await self.until("conversation.item.retrieved")
        item: dict[str, Any] = event["item"]
        return item

    async def words(self, item_id: str) -> str:
        """The words of a message as the server stores it."""
        content = (await self.item(item_id))["content"][0]
        return str(content.get("transcript") or content.get("text") or "")


def application(assistant: Assistant, draining: Draining | None = None) -> tuple[FastAPI, Access]:
    """Return an application without routes and jobs, and its access control."""
    app, access = FastAPI(), Access(assistant.settings)
    app.add_middleware(AccessMiddleware, access=access)
    resumable, without_jobs, without_upgrades = Resumable(0.0, most=4), cast("Jobs", None), cast("Upgrades", None)
    keep_state(
        app,
        State(
            assistant=assistant,
            access=access,
            draining=(draining := draining or Draining()),
            jobs=without_jobs,
            resumable=resumable,
            calls=Calls(draining, Network()),
            recent=Recent(),
            upgrades=without_upgrades,
            started=0,
        ),
    )
    return app, access


def scope(app: FastAPI, query: str = "", subprotocols: tuple[str, ...] = (), path: str = Desk.path) -> dict[str, Any]:
    headers = [(b"host", b"test")]
    return {
        "type": "websocket", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": headers, "subprotocols": list(subprotocols), "app": app, "extensions": {}, "root_path": "",
        "scheme": "ws", "client": ("test", 1), "server": ("test", 80),
    }  # fmt: skip


D = TypeVar("D", bound=Desk)


def hold(script: Callable[[Desk], Awaitable[None]], **options: Any) -> Desk:
    """Run a script with a conversation; see `hold_at`."""
    return hold_at(Desk, script, **options)


def hold_at(
    kind: type[D],
    script: Callable[[D], Awaitable[None]],
    *,
    stt: ScriptedSTT | None = None,
    llm: ScriptedLLM | None = None,
    tts: ScriptedTTS | None = None,
    tools: Toolbox | None = None,
    query: str = "model=test",
    turn_end: TurnEnd | None = None,
    **settings: Any,
) -> D:
    """Run a script at an endpoint. The client disconnects at its end, and then nothing of the session may still run."""

    async def run() -> D:
        running = Running()
        stages = Stages(stt or ScriptedSTT(), llm or ScriptedLLM(), tts or ScriptedTTS())
        for stage in (stages.stt, stages.llm, stages.tts):
            stage.running = running  # type: ignore[union-attr]
        numbers = Settings(**{"idle_timeout_s": 0} | settings)
        desk = kind(stages, running)
        served = assistant(stages, numbers, tools)
        served.smart_turn = ScriptedSmartTurn(numbers, turn_end)
        app, _ = application(served, desk.draining)
        app.include_router(desk.router)
        desk.reads.set()
        desk.inbox.put_nowait({"type": "websocket.connect"})

        async def serve() -> None:
            await app(scope(app, query, path=desk.path), desk.receive, desk.deliver)
            desk.over = True

        serving = asyncio.create_task(serve())

        async def play() -> None:
            await desk.until("session.created", count=1)
            await script(desk)

        playing = asyncio.create_task(play())
        try:
            await asyncio.wait([serving, playing], return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():  # the server has ended the connection, but the script can continue
                await asyncio.wait([playing], timeout=600)
            playing.result()
        finally:
            playing.cancel()
            desk.inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
            desk.reads.set()
            await asyncio.wait([serving], timeout=30)
            assert serving.done(), "the session outlives its client"
            serving.result()
        assert running.now == []
        return desk

    return virtual_time.run(run())
