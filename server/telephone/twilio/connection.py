"""The WebSocket of a Twilio call."""

import asyncio
import logging

from fastapi import WebSocket
from starlette.types import Message

from pipeline.assistant import Assistant
from pipeline.audio.g711 import RATE_HZ, from_mulaw
from pipeline.errors import BadInput, ParleyError
from server.http.idle import Idle
from server.http.websocket_session import Ended, WebSocketSession
from server.telephone.call import Call
from server.telephone.twilio.line import TwilioLine
from server.telephone.twilio.messages import Start, key_of, mark_of, message_of, sound_of, start_of

log = logging.getLogger(__name__)

LEAD_MS = 500
"""How far ahead of real time sound is sent, in ms: more than a round trip to Twilio, whose marks say what was played.
`clear` drops what is ahead."""
START_S = 10.0
"""Timeout for the message `start`, in seconds."""
SILENT_S = 15.0
"""Timeout for any message, in seconds: Twilio sends sound 50 times a second, silence as well."""


class HungUp(ParleyError):
    """The user has hung up."""

    code = "hung_up"

    def __init__(self) -> None:
        super().__init__("The call is over.")


class TwilioConnection(WebSocketSession):
    """One call."""

    def __init__(self, socket: WebSocket, assistant: Assistant) -> None:
        self._assistant = assistant
        self._begun: asyncio.Future[tuple[Call, TwilioLine]] = asyncio.get_running_loop().create_future()
        super().__init__(socket, idle_s=SILENT_S)

    async def take(self, message: Message) -> None:
        told = message_of(message.get("text"))
        if not self._begun.done():
            if told["event"] == "start":
                self._begin(start_of(told))
            return
        call, line = self._begun.result()
        match told["event"]:
            case "media":
                call.hear(from_mulaw(sound_of(told)), RATE_HZ)
            case "dtmf":
                call.press(key_of(told))
            case "mark":
                if line.marked(mark_of(told)):
                    call.heard()
            case "stop":
                raise Ended(HungUp())
            case _:
                pass  # a later version of the protocol

    def _begin(self, start: Start) -> None:
        line, wanted = TwilioLine(start.stream), start.parameters
        call = Call(
            self._assistant,
            line,
            lead_ms=LEAD_MS,
            room=self.held,
            voice=wanted.get("voice"),
            language=wanted.get("language"),
            system=wanted.get("system"),
        )
        log.info("call %s is session %s", start.call[:64], call.session.conversation.id)
        self._begun.set_result((call, line))

    async def work(self) -> None:
        try:
            async with asyncio.timeout(START_S):
                call, line = await self._begun
        except TimeoutError:
            raise Idle from None
        async with call:
            async for message in line.outbox:
                await self.send(message)

    async def finish(self, reason: ParleyError) -> None:
        if not self._begun.done():
            raise Ended(reason)
        self._begun.result()[0].session.finish(reason)

    async def send_error(self, error: ParleyError) -> None:
        """End the call: the protocol has no message for an error."""
        log.info("a call by Twilio ends: %s", error.message)
        raise Ended(BadInput(error.message, code="unsupported_message"))

    def goodbye(self, reason: ParleyError) -> None:
        return None
