"""A data channel that looks like a WebSocket to the code of a session."""

import asyncio
from collections import deque

from aiortc import RTCDataChannel
from starlette.types import Message

from server.access.limits import Share

MAX_WAITING = 4096
"""Maximum number of received messages that wait: a client can restore a long history at once."""
MAX_UNSENT_BYTES = 1 << 20
"""Bytes that wait in the channel before a sender waits, too."""


class DataChannel:
    """The ASGI side of a WebSocket, `receive` and `send`, over a data channel that opens later.

    A client that sends faster than its messages are handled, or more than its share of the memory, is disconnected.
    """

    def __init__(self, held: Share) -> None:
        """held: counts the messages that wait."""
        self._held = held
        self._channel: RTCDataChannel | None = None
        self._messages: deque[Message] = deque([{"type": "websocket.connect"}])
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self.opened = asyncio.Event()
        """Set when the client's channel is open."""
        self._closed = False

    def attach(self, channel: RTCDataChannel) -> None:
        """Use this channel, which the client has opened; only the first one counts."""
        if self._channel is not None or self._closed:
            return
        self._channel = channel
        channel.bufferedAmountLowThreshold = MAX_UNSENT_BYTES // 2
        channel.on("message", self._take)
        channel.on("bufferedamountlow", self._writable.set)
        channel.on("close", self.close)
        self.opened.set()

    def close(self) -> None:
        """End the messages: the session sees a disconnect."""
        if not self._closed:
            self._closed = True
            self._messages.append({"type": "websocket.disconnect", "code": 1001, "reason": ""})
            self._readable.set()
            self._writable.set()

    def _take(self, data: str | bytes) -> None:
        if self._closed:
            return
        if len(self._messages) >= MAX_WAITING or not self._held.take(len(data)):
            self.close()
            return
        self._messages.append({"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data})
        self._readable.set()

    async def receive(self) -> Message:
        """Return the next message, in ASGI's form."""
        while not self._messages:
            self._readable.clear()
            await self._readable.wait()
        message = self._messages.popleft()
        if data := message.get("text") or message.get("bytes"):
            self._held.give_back(len(data))
        return message

    async def send(self, message: Message) -> None:
        """Send a message in ASGI's form; raises OSError after the end, as a WebSocket's server does."""
        if message["type"] == "websocket.close":
            self.close()
            return
        if message["type"] != "websocket.send":
            return
        channel = self._channel
        while channel is not None and channel.bufferedAmount > MAX_UNSENT_BYTES and not self._closed:
            self._writable.clear()
            await self._writable.wait()
        if self._closed or channel is None or channel.readyState != "open":
            raise OSError("The data channel is closed.")
        try:
            channel.send(message.get("text") or message.get("bytes") or b"")
        except ValueError:  # longer than the client says it accepts
            self.close()
            raise OSError("The client does not accept messages of this size.") from None
