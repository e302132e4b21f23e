"""Calls on virtual time: the real endpoints and the telephones of the tests, with memory in place of the network."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from pipeline.assistant import Assistant
from pipeline.conversation.turn import Stages
from pipeline.settings import Settings
from pipeline.voices.catalogue import Voices
from server.access.callers import USE, Caller
from server.access.limits import Budget
from server.http.draining import Draining
from server.telephone.audiosocket.connection import AudioSocketConnection
from server.telephone.twilio.route import MEDIA, router
from tests import virtual_time
from tests.realtime.desk import application, scope
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS
from tests.telephone.asterisk import CALL, AsteriskPhone, frame
from tests.telephone.phone import RATE_HZ, Phone
from tests.telephone.twilio import TOKEN, TwilioPhone, signed

Script = Callable[[Phone], Awaitable[None]]


class _Socket:
    """The client's end of a WebSocket in memory."""

    close_code: int | None = None
    close_reason: str | None = None

    def __init__(self) -> None:
        self.to_service: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.to_client: asyncio.Queue[str | None] = asyncio.Queue()
        self.to_service.put_nowait({"type": "websocket.connect"})

    async def send(self, text: str) -> None:
        self.to_service.put_nowait({"type": "websocket.receive", "text": text})

    def __aiter__(self) -> "_Socket":
        return self

    async def __anext__(self) -> str:
        text = await self.to_client.get()
        if text is None:
            raise StopAsyncIteration
        return text

    async def deliver(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            self.to_client.put_nowait(message["text"])
        elif message["type"] == "websocket.close":
            self.close_code, self.close_reason = message["code"], message.get("reason")
            self.to_client.put_nowait(None)
            self.to_service.put_nowait({"type": "websocket.disconnect", "code": 1000})


class _Writer:
    """One end of a TCP connection in memory, which feeds the reader of the other end."""

    def __init__(self, other: asyncio.StreamReader) -> None:
        self.other, self.transport = other, self

    def write(self, data: bytes) -> None:
        self.other.feed_data(data)

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def get_extra_info(self, name: str) -> "_Writer":
        return self

    def is_closing(self) -> bool:
        return False

    def setsockopt(self, *option: object) -> None:
        """Do nothing: there is no buffer."""

    def set_write_buffer_limits(self, high: int) -> None:
        """Do nothing, likewise."""


@asynccontextmanager
async def _twilio(assistant: Assistant) -> AsyncIterator[TwilioPhone]:
    app, _ = application(assistant)
    app.include_router(router)
    socket = _Socket()
    asked = {**scope(app), "path": MEDIA, "raw_path": MEDIA.encode()}
    headers = signed(f"ws://test{MEDIA}").items()
    asked["headers"] = [(b"host", b"test"), *((name.lower().encode(), value.encode()) for name, value in headers)]
    serving = asyncio.create_task(app(asked, socket.to_service.get, socket.deliver))
    phone = TwilioPhone(cast("Any", socket))
    await phone.start()
    try:
        yield phone
    finally:
        await phone.hang_up()
        await asyncio.wait([serving])
        serving.result()


@asynccontextmanager
async def _asterisk(assistant: Assistant) -> AsyncIterator[AsteriskPhone]:
    to_service, to_client = asyncio.StreamReader(), asyncio.StreamReader()
    caller = Caller("", USE, kind="anonymous")
    with Budget(10**8).share(caller) as held:
        connection = AudioSocketConnection(
            to_service, cast("Any", _Writer(to_client)), assistant, Draining(), held, lambda: Budget(1).share(caller)  # type: ignore[arg-type, return-value]
        )  # fmt: skip
        serving = asyncio.create_task(connection.run())
        phone = AsteriskPhone(to_client, cast("Any", _Writer(to_service)), RATE_HZ)
        phone.writer.write(frame(0x01, CALL.bytes))
        try:
            yield phone
        finally:
            await phone.hang_up()
            await asyncio.wait([serving])
            serving.result()


REPLY = "Most rivers begin as springs. They grow with every valley. At last they reach a bay."
"""A reply that shares no words with what the caller says: those would count as its echo."""


def call(
    transport: str,
    script: Script,
    *,
    stt: ScriptedSTT | None = None,
    deployment: type[Assistant] = Assistant,
    **values: Any,
) -> None:
    """Hold a call on virtual time, with scripted stages and, unless the deployment has another, the real voice activity
    detector. values: settings."""

    async def run() -> None:
        settings = Settings(twilio_auth_token=TOKEN, **values)
        stages = Stages(stt or ScriptedSTT(), ScriptedLLM(REPLY), ScriptedTTS())
        assistant = deployment(settings, stages, Voices.load(settings), lambda: ())
        opened = _twilio(assistant) if transport == "twilio" else _asterisk(assistant)
        async with opened as phone:
            tasks = [asyncio.create_task(phone.listen()), asyncio.create_task(phone.run())]
            try:
                await script(phone)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    virtual_time.run(run())
