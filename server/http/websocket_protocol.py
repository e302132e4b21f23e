"""uvicorn's WebSocket protocol with bounds on what it holds and on how long a client may not read."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from pipeline.settings import Settings
from server.access.limits import FRAME_BYTES, HELD, Share
from server.http.draining import CLOSE_CODE, Leaving
from server.http.stalling import Stall, refuse_head
from server.http.websocket_frames import Frames

FREE_BYTES = 1 << 20
"""Bytes of a message in transit that are not counted: half a minute of speech is always accepted."""
STEP_FRAMES = 32
"""Frames that are parsed before other connections have their turn: a network read can contain 40,000."""
MAX_TEXT_BYTES = 1 << 21
"""Longest text that is not ASCII. One character can make all others of its string four bytes wide. A longer text is
passed on up to here, and is refused for its length."""
TOO_MANY_CODE = 1013
""""Try Again Later"."""
TEXT_LIMIT = "parley.text_limit"
"""Key in a connection's scope: the longest text message that its route reads, in characters."""


def limit_text(scope: MutableMapping[str, object], chars: int) -> None:
    """Announce, before the connection is accepted, the longest text that its route reads: more is not even parsed.

    The route still gets more than `chars` characters of a longer text, and refuses it.
    """
    scope[TEXT_LIMIT] = chars


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol with bounds.

    Frames are parsed one by one, and not while a message waits for the application or the caller sends faster than its
    pace. The bytes of a message count in the budget of its caller while they come and wait. Of pings that come while
    the client does not read, the newest is answered.
    """

    settings: Settings

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stall = Stall()
        self._unparsed = Frames(self.settings.max_message_bytes)
        self._waiting_bytes = 0
        """Size of the message that the application has not taken yet."""
        self._counted = 0
        """Bytes held in the budget for what is coming or waits."""
        self._pongs = b""
        """The pong that cannot be sent at the moment."""
        self._step_end = STEP_FRAMES
        """Number of the frame after which others have their turn. An application that finds each message waiting does
        not let them have it."""
        self._pause: asyncio.TimerHandle | None = None
        """Ends the time in which nothing is read or parsed, because the caller sends faster than its pace or others
        have their turn."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._stall.end()
        self._unparsed.clear()
        if self._pause is not None:
            self._pause.cancel()
        super().connection_lost(exc)
        # The protocol and its parser refer to each other: the last message, and half of the next one, would stay until
        # the next full collection.
        self.conn.parser.close()
        self.conn.reader.buffer.clear()
        self.frames = []

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                refuse_head(self.transport, len(data.partition(b"\r\n")[0]))  # uvicorn does not respond to these
            return
        self._unparsed.feed(data)
        self._step_end = self._unparsed.begun + STEP_FRAMES
        self._came(len(data))
        self._parse()

    def _came(self, size: int) -> None:
        """Count bytes in the pace of the caller."""
        held: Share | None = self._in_scope(HELD)
        if held is not None and (seconds := held.sent(size)) > 0:
            self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        """Read and parse nothing for this time."""
        if self._pause is None and not self.transport.is_closing():
            self.transport.pause_reading()
            self._pause = asyncio.get_running_loop().call_later(seconds, self._read_on)

    def _read_on(self) -> None:
        """Parse and read again, unless a message still waits for the application."""
        self._pause = None
        self._step_end = self._unparsed.begun + STEP_FRAMES
        self._parse()
        if self._pause is None and not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _parse(self) -> None:
        """Parse frames until the application has one to take."""
        if self._unparsed.text_limit is None and (chars := self._in_scope(TEXT_LIMIT)) is not None:
            self._unparsed.text_limit = 4 * (chars + 1)  # bytes of its longest form in UTF-8
        while not self.read_paused and self._pause is None and not self.transport.is_closing():
            before = self._unparsed.begun
            data = self._unparsed.take()
            if self._unparsed.begun > before:
                self._came(FRAME_BYTES)
            if not data:
                return
            super().data_received(data)
            self._count()
            if self._unparsed.begun >= self._step_end:
                self._wait(0.0)

    def _in_scope(self, name: str) -> Any:
        """Value in the scope of the connection; None for a connection whose handshake was refused."""
        return getattr(self, "scope", {}).get(name)

    def _count(self) -> None:
        """Hold incoming bytes beyond FREE_BYTES in the budget. End the connection if the budget is exhausted."""
        held: Share | None = self._in_scope(HELD)
        if held is None or self.close_sent:
            return
        coming = len(self.conn.reader.buffer) + sum(map(len, self.frames)) + self._waiting_bytes
        more = max(0, coming - FREE_BYTES) - self._counted
        if more > 0 and not held.take(more):
            self.conn.fail(TOO_MANY_CODE, "Too many bytes of messages are being received; retry soon.")
            self.handle_parser_exception()
            return
        if more < 0:
            held.give_back(-more)
        self._counted += more

    # --- messages ---

    def handle_cont(self, event: Frame) -> None:
        # One buffer for all that follows: a list of fragments of a byte would be far larger than the message.
        if len(self.frames) < 2:
            self.frames.append(bytearray())  # type: ignore[arg-type]  # joined like bytes
        self.frames[1] += event.data
        if event.fin:
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self._decode():
            self.frames = []
            if not self.close_sent and self.conn.close_rcvd is None:
                self.conn.send_close(1007)  # as uvicorn does, which also logs a traceback for each
                self.handle_parser_exception()
            return
        self._waiting_bytes += sum(map(len, self.frames))
        super().send_receive_event_to_app()

    def _decode(self) -> bool:
        """Make the frames of a text one that decodes; False if they are not UTF-8."""
        text = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        if text.isascii():
            self.frames = [text]
            return True
        cut = self._unparsed.cut or len(text) > MAX_TEXT_BYTES
        try:
            decoded = text[:MAX_TEXT_BYTES].decode(errors="ignore" if cut else "strict")
        except UnicodeDecodeError:
            return False
        self.frames = [decoded.encode()]
        return True

    async def receive(self) -> Any:
        message = await super().receive()
        if self._pause is not None and not self.transport.is_closing():
            self.transport.pause_reading()  # uvicorn resumes when its queue is empty
        if self.queue.empty():
            self._waiting_bytes = 0
            self._count()
            self._parse()
        return message

    # --- the other side ---

    def shutdown(self) -> None:
        """Close with a reason when the service ends; uvicorn sends none."""
        if self.handshake_complete and not self.close_sent and not self.transport.is_closing():
            self.queue.put_nowait({"type": "websocket.disconnect", "code": CLOSE_CODE})
            self.conn.send_close(CLOSE_CODE, Leaving().message)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        super().shutdown()

    def cut(self) -> None:
        """Abort a connection whose client has not read its close."""
        self.transport.abort()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # a refusal is not an error, but uvicorn would log each as one
        if self.close_sent:
            self._parse()  # the other side's close may be in it

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            self._pongs = b"".join(self.conn.data_to_send())

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.begin(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stall.end()
        if self._pongs and not self.close_sent:
            self.transport.write(self._pongs)
        self._pongs = b""
