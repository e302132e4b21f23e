"""Memory of a session's audio is freed as soon as the session ends."""

import asyncio
import base64
import gc
import json
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest

from pipeline.audio.clip import Clip, encode_wav
from pipeline.conversation.turn import Stages
from pipeline.settings import Settings
from pipeline.stt import Hinted, Spoken, Transcript
from server.realtime import route as realtime
from server.realtime.translations import route as translations
from server.talk import turns
from tests.dialogue import tone
from tests.realtime.desk import Desk, application, assistant, hold
from tests.scripted import Running, ScriptedLLM, ScriptedSTT, ScriptedTTS

SECONDS = 4
LARGE_BYTES = 50_000
Message = dict[str, Any]


class RememberingSTT(ScriptedSTT):
    """Scripted STT that tracks its audio by weak references."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.given: list[weakref.ref[Any]] = []

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        sound: Any = clip.samples
        while isinstance(sound, np.ndarray):
            self.given.append(weakref.ref(sound))
            sound = sound.base
        del sound
        return await super().transcribe(clip, language=language, prompt=prompt, words=words)

    @property
    def alive(self) -> int:
        return sum(ref() is not None for ref in self.given)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Turn off the cycle collector, which runs late if there are few objects, even large ones."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def large_in_cycles() -> list[str]:
    """Return the types of large objects that only the cycle collector would free."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found = [one for garbage in gc.garbage for one in (garbage, *gc.get_referents(garbage))]
    return [type(one).__name__ for one in found if _bytes(one) > LARGE_BYTES]


def _bytes(one: object) -> int:
    if isinstance(one, np.ndarray):
        return one.nbytes
    return len(one) if isinstance(one, bytes | bytearray | str) else 0


# --- the Realtime API, on virtual time ---


def sound_item(desk: Desk) -> None:
    pcm = base64.b64encode(bytes(24_000 * 2 * SECONDS)).decode()
    content = [{"type": "input_audio", "audio": pcm}]
    desk.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})


async def items(desk: Desk) -> None:
    sound_item(desk)
    await desk.until("conversation.item.input_audio_transcription.completed")


async def items_that_wait(desk: Desk) -> None:
    """Add items; the client leaves before they are transcribed."""
    for _ in range(3):
        sound_item(desk)
    await desk.until("conversation.item.done", count=3)


async def a_turn(desk: Desk) -> None:
    await desk.speak(1500)
    await desk.silence(1500)
    await desk.until("response.done")


async def a_turn_broken_off(desk: Desk) -> None:
    await desk.speak(1500)
    await desk.silence(1500)
    await desk.until("response.created", count=1)


async def committed(desk: Desk) -> None:
    await desk.update(audio={"input": {"turn_detection": None}})
    desk.append(2000)
    desk.send("input_audio_buffer.commit")
    desk.append(2000)
    await desk.until("input_audio_buffer.committed")


@pytest.mark.parametrize("script", [items, items_that_wait, a_turn, a_turn_broken_off, committed])
def test_no_audio_outlives_its_realtime_session(script: Callable[[Desk], Awaitable[None]], uncollected: None) -> None:
    stt = RememberingSTT(seconds=2.0 if script is items_that_wait else 0.08)
    hold(script, stt=stt)
    assert stt.given
    assert stt.alive == 0


# --- all WebSocket endpoints, with a client that leaves during a transcription ---


def message(content: bytes | dict[str, Any]) -> Message:
    sent = {"bytes": content} if isinstance(content, bytes) else {"text": json.dumps(content)}
    return {"type": "websocket.receive", **sent}


async def converse(path: str, query: str, stt: ScriptedSTT, sent: list[Message]) -> None:
    """Connect as a client that sends these messages, waits until the transcription has begun, and leaves."""
    settings = Settings(idle_timeout_s=0)
    running = Running()
    stages = Stages(stt, ScriptedLLM(running=running), ScriptedTTS(running=running))
    app, access = application(assistant(stages, settings))
    for module in (turns, realtime, translations):
        app.include_router(module.router)
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    for one in ({"type": "websocket.connect"}, *sent):
        inbox.put_nowait(one)
    sent.clear()

    async def deliver(told: Any) -> None:
        if told["type"] == "websocket.send" and not told.get("bytes"):
            assert "error" not in json.loads(told["text"]), told

    scope = {
        "type": "websocket", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [(b"host", b"localhost")], "subprotocols": [], "app": app, "extensions": {}, "root_path": "",
        "scheme": "ws", "client": ("test", 1), "server": ("test", 80),
    }  # fmt: skip
    serving = asyncio.create_task(app(scope, inbox.get, deliver))
    while not stt.running.calls:
        assert not serving.done()
        await asyncio.sleep(0.01)
    inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await serving
    assert access.budgets.memory.held == 0
    assert access.budgets.uploads.taken == access.budgets.recordings.taken == 0


LOUD = Clip(tone(16_000 * SECONDS, 0.2), 16_000)
QUIET = Clip(np.zeros(32_000, np.float32), 16_000)


@pytest.mark.parametrize(
    ("path", "query"),
    [("/ws", ""), ("/ws", "stream=1&rate=16000"), ("/ws", "stream=1"), ("/v1/realtime", ""), (translations.PATH, "")],
)
def test_no_audio_outlives_a_disconnected_client(path: str, query: str, uncollected: None) -> None:
    stt = RememberingSTT(seconds=30.0)
    if path == "/v1/realtime":
        item = {"type": "message", "role": "user", "content": [{"type": "input_audio"}]}
        item["content"][0]["audio"] = base64.b64encode(LOUD.pcm16()).decode()  # type: ignore[index]
        sent = [message({"type": "conversation.item.create", "item": item})] * 2
    elif path == translations.PATH:
        audio = base64.b64encode(LOUD.pcm16()).decode()
        sent = [message({"type": "session.input_audio_buffer.append", "audio": audio})]
    elif "rate" in query:
        sent = [message(LOUD.pcm16()), message(QUIET.pcm16())]
    else:
        sent = [message(encode_wav(LOUD))] * (1 if query else 3)  # without a stream, two of them wait
    asyncio.run(converse(path, query, stt, sent))
    assert stt.given
    assert stt.alive == 0
    assert large_in_cycles() == []
