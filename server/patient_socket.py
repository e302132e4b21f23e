"""uvicorn's WebSocket protocol with limits on buffered bytes and on the time a client does not read."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from pipeline.settings import Settings
from server.access.counted import HELD, Share
from server.draining import CLOSE_CODE, Leaving
from server.stalling import Stall, refuse_head

PIECE_BYTES = 1 << 14
"""Bytes parsed at a time. A frame has at least 6 bytes, but needs about 400 as a message, so one network read could
become 17 MB."""
FREE_BYTES = 1 << 20
"""Bytes of an incoming message that are not counted: half a minute of speech is always accepted."""
MAX_TEXT_BYTES = 1 << 21
"""Longest text that is not ASCII: one character can make all others of its string four bytes wide. A longer text is cut
here, and then refused for its length."""
TOO_MANY_CODE = 1013
""""Try Again Later"."""


class PatientSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol with limits.

    Parsing pauses while a message waits for the application. The bytes of a message count in its caller's budget while
    it arrives and waits. Of the pings that arrive while the client does not read, only the newest gets a pong.
    """

    settings: Settings

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stall = Stall(self.settings.stall_timeout_s)
        self._unparsed = bytearray()
        self._waiting_bytes = 0
        """Bytes of messages that the application has not received yet."""
        self._counted = 0
        """Bytes held in the budget for arriving and waiting messages."""
        self._pongs = b""
        """The pong to send when the client reads again."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._stall.end()
        self._unparsed.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unparsed += data
        self._parse()

    def _parse(self) -> None:
        """Parse until a message waits for the application."""
        while self._unparsed and not self.read_paused and not self.transport.is_closing():
            size = PIECE_BYTES if self.handshake_initiated else len(self._unparsed)
            piece = bytes(self._unparsed[:size])
            del self._unparsed[:size]
            super().data_received(piece)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                refuse_head(self.transport, len(piece.partition(b"\r\n")[0]))  # uvicorn does not respond to these
            self._count()

    def _count(self) -> None:
        """Hold incoming bytes beyond FREE_BYTES in the budget. End the connection if the budget is exhausted."""
        held: Share | None = getattr(self, "scope", {}).get(HELD)
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
        # One buffer for all continuation frames: a list of one-byte fragments would be far larger than the message.
        if len(self.frames) < 2:
            self.frames.append(bytearray())  # type: ignore[arg-type]  # joined like bytes
        self.frames[1] += event.data
        if event.fin:
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            text = b"".join(self.frames)
            if len(text) > MAX_TEXT_BYTES and not text.isascii():
                text = text[:MAX_TEXT_BYTES].decode(errors="ignore").encode()
            self.frames = [text]
            try:
                text.decode()
            except UnicodeDecodeError:  # close like uvicorn, but without its traceback in the log
                self.frames = []
                if not self.close_sent and self.conn.close_rcvd is None:
                    self.conn.send_close(1007)
                    self.handle_parser_exception()
                return
        self._waiting_bytes += sum(map(len, self.frames))
        super().send_receive_event_to_app()

    async def receive(self) -> Any:
        message = await super().receive()
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
        """Abort the connection of a client that has not read its close frame."""
        self.transport.abort()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # a refusal is not an error, but uvicorn would log each as one
        if self.close_sent:
            self._parse()  # the unparsed bytes can contain the client's close

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
