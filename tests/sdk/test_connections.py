"""Every method of the connections that the installed `openai` package opens, blocking and asynchronous: Realtime and
live translation."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.realtime.client import EVENT_S, Talk
from tests.sdk.methods import Client, called
from tests.server_process import Service
from tests.strict_client import strict_async_client, strict_client
from tests.translation.client import PATIENT, Listener

TENTH_S = base64.b64encode(bytes(4_800)).decode()
"""A tenth of a second of silence at 24 kHz."""
BY_HAND: Any = {"type": "realtime", "output_modalities": ["text"], "audio": {"input": {"turn_detection": None}}}
SPANISH: Any = {"audio": {"output": {"language": "es"}}}
TYPED: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello."}]}


def methods_of(whole: object) -> set[str]:
    """Return the methods of a connection, or of its manager, and of its parts (`conversation.item.create`)."""
    names = {name for name in {*dir(type(whole)), *vars(whole)} if not name.startswith("_")}
    found = {name: getattr(whole, name) for name in names}
    return {
        inside
        for name, value in found.items()
        for inside in ({f"{name}.{one}" for one in methods_of(value)} if _is_part(value) else {name})
    }


def _is_part(value: object) -> bool:
    return type(value).__module__.startswith("openai.") and type(value).__name__.endswith("Resource")


class Called:
    """Stands for a connection or a part of it: awaits its methods, blocking or not, and notes the called ones."""

    def __init__(self, whole: Any, noted: set[str], prefix: str = "") -> None:
        self.whole, self._noted, self._prefix = whole, noted, prefix

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.whole, name)
        if _is_part(value):
            return Called(value, self._noted, f"{self._prefix}{name}.")

        async def call(*given: Any, **named: Any) -> Any:
            self._noted.add(f"{self._prefix}{name}")
            return await called(value, *given, **named)

        return call


class Connecting:
    """A connection that is opened by its manager's methods, with all that was called."""

    def __init__(self, manager: Any) -> None:
        self._called: tuple[set[str], set[str]] = set(), set()
        self.manager = Called(manager, self._called[0])

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Any]:
        """Open it; at the end, check that every method was called."""
        async with asyncio.timeout(EVENT_S):
            whole = await self.manager.enter()
            try:
                yield Called(whole, self._called[1])
            finally:
                await called(whole.close)
        assert self._called == (methods_of(self.manager.whole), methods_of(whole))


async def handlers(over: Any, happened: list[str]) -> None:
    """Register handlers, and remove one."""
    await over.once("event", lambda event: happened.append(f"once {event.type}"))
    await over.on("event", lambda event: happened.append(event.type))
    await over.on("error", happened.append)
    await over.off("error", happened.append)


@pytest.fixture(params=["blocking", "asynchronous"])
async def client(request: pytest.FixtureRequest, service: Service) -> AsyncIterator[Client]:
    if request.param == "blocking":
        with strict_client(service) as blocking:
            yield blocking
    else:
        async with strict_async_client(service) as asynchronous:
            yield asynchronous


async def prepared(manager: Any, session: Any) -> tuple[Connecting, list[str]]:
    """Return a connection to open, which is to send the session at once, and the list of what its handlers get."""
    connecting, happened = Connecting(manager), list[str]()
    await handlers(connecting.manager, happened)
    await connecting.manager.send({"type": "session.update", "session": session})
    return connecting, happened


async def test_every_method_of_a_realtime_connection(client: Client) -> None:
    connecting, happened = await prepared(client.realtime.connect(model="gpt-realtime"), BY_HAND)
    async with connecting.opened() as connection:
        talk = Talk(connection)
        created = await connection.recv()
        assert (created.type, created.session.type) == ("session.created", "realtime")
        updated = await connection.parse_event(await connection.recv_bytes())
        assert (updated.type, updated.session.output_modalities) == ("session.updated", ["text"])
        await connection.session.update(session={**BY_HAND, "instructions": "Be brief."})
        assert (await talk.until("session.updated"))["session"]["instructions"] == "Be brief."

        await connection.conversation.item.create(item=TYPED)
        typed = (await talk.until("conversation.item.done"))["item"]["id"]
        await connection.conversation.item.retrieve(item_id=typed)
        assert (await talk.until("conversation.item.retrieved"))["item"]["content"] == TYPED["content"]
        await connection.response.create(response={"output_modalities": ["audio"]})
        (reply,) = (await talk.until("response.done"))["response"]["output"]
        assert talk.heard()
        await connection.conversation.item.truncate(item_id=reply["id"], content_index=0, audio_end_ms=100)
        assert (await talk.until("conversation.item.truncated"))["item_id"] == reply["id"]
        await connection.conversation.item.delete(item_id=typed)
        assert (await talk.until("conversation.item.deleted"))["item_id"] == typed

        await connection.input_audio_buffer.append(audio=TENTH_S)
        await connection.input_audio_buffer.clear()
        await talk.until("input_audio_buffer.cleared")
        await connection.input_audio_buffer.append(audio=TENTH_S)
        await connection.input_audio_buffer.commit()
        await talk.until("input_audio_buffer.committed")
        await talk.until("conversation.item.input_audio_transcription.completed")
        await connection.response.cancel()
        assert (await talk.error())["code"] == "response_cancel_not_active"
        await connection.output_audio_buffer.clear()
        assert "WebRTC" in (await talk.error())["message"]

        await handlers(connection, happened)
        await connection.on("response.done", lambda event: connection.whole.close())
        await connection.send({"type": "response.create", "response": {"output_modalities": ["text"]}})
        await connection.send_raw(json.dumps({"type": "input_audio_buffer.clear"}))
        await connection.dispatch_events()
        assert {"response.created", "response.output_text.delta", "response.done"} <= set(happened)
        assert sum(kind.startswith("once ") for kind in happened) == 2  # of the manager and of the connection
        await connection.close()


async def test_every_method_of_a_translation_connection(client: Client) -> None:
    made = client.realtime.translations.connect(model="gpt-realtime-translate", websocket_connection_options=PATIENT)
    connecting, happened = await prepared(made, SPANISH)
    async with connecting.opened() as connection:
        listener = Listener(connection)
        created = await connection.recv()
        assert (created.type, created.session.model) == ("session.created", "gpt-realtime-translate")
        updated = await connection.parse_event(await connection.recv_bytes())
        assert (updated.type, updated.session.audio.output.language) == ("session.updated", "es")
        await connection.session.update(session={"audio": {"output": {"language": "fr"}}})
        assert (await listener.until("session.updated"))["session"]["audio"]["output"]["language"] == "fr"
        await connection.session.input_audio_buffer.append(audio=TENTH_S)
        appended: Any = {"type": "session.input_audio_buffer.append", "audio": TENTH_S}
        await connection.send(appended)
        await connection.send_raw(json.dumps(appended))
        await handlers(connection, happened)
        await connection.on("session.closed", lambda event: connection.whole.close())
        await connection.session.close()
        await connection.dispatch_events()
        assert happened[-1] == "session.closed"
        assert sum(kind.startswith("once ") for kind in happened) == 2
        await connection.close()


async def test_a_call_over_sip_cannot_be_joined(client: Client) -> None:
    manager = client.realtime.connect(call_id="rtc_absent")
    with pytest.raises(InvalidStatus) as refused:
        await called(manager.enter)
    assert refused.value.response.status_code == 400
    assert json.loads(refused.value.response.body)["error"]["message"] == "Telephone calls are not supported."
