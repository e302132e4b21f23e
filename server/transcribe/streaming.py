"""`WS /api/v1/streaming`: a recording in chunks, then `{"action": "stop"}`, then `{"transcription": …}`.

The chunks form one file of any format, or raw 16-bit mono PCM with `?rate=16000`. With `?partials=1` the service also
sends `{"partial": …}` whenever more of the text is stable. After the transcription, the client can send the next
recording.
"""

import asyncio
import logging
from contextlib import ExitStack, aclosing

from fastapi import APIRouter, Depends, WebSocket
from starlette.types import Message

from pipeline.assistant import Assistant
from pipeline.audio.clip import MAX_RATE_HZ, MIN_RATE_HZ
from pipeline.audio.decode import Recording
from pipeline.errors import BadInput, Overloaded, ParleyError, StorageError
from pipeline.stt import FileRequest
from pipeline.support.channel import Channel
from pipeline.support.json_text import BadJson, parsed
from pipeline.transcripts.growing import GrowingFile, Whole, transcribe_growing
from pipeline.transcripts.transcriber import TranscriptionRequest
from server.access import Budgets, budgets_of, caller_of, require_key
from server.errors import BadField
from server.http.uploads import Upload, discard
from server.http.websocket_protocol import limit_text
from server.http.websocket_session import Ended, WebSocketSession, refuse
from server.parameters import language_code
from server.state import state_of

log = logging.getLogger(__name__)
router = APIRouter(dependencies=[Depends(require_key)])

MAX_TEXT_CHARS = 1024
"""Longest text message."""
TRUE = ("1", "true", "yes")


@router.websocket("/api/v1/streaming")
async def streaming(socket: WebSocket) -> None:
    """Serve one connection."""
    limit_text(socket.scope, MAX_TEXT_CHARS)
    try:
        connection = StreamingSocket(socket, state_of(socket).assistant, budgets_of(socket))
    except ParleyError as error:
        await refuse(socket, error)
        return
    await socket.accept()
    await connection.run()


class Incoming:
    """One recording while it arrives."""

    def __init__(self) -> None:
        self.stored = Upload.open()
        self.size = 0
        """Bytes received, also those that are discarded."""
        self.slot = ExitStack()
        """Upload slot, held from the first byte until `close`."""
        self.refused = False
        """Whether no upload slot was free; further bytes are discarded."""
        self.growing = GrowingFile()
        self.live: asyncio.Task[str] | None = None
        """Task that transcribes the recording while it arrives."""
        self.broken = False
        """Whether storing failed; further bytes are discarded."""

    async def heard_live(self) -> str | None:
        """Return the text transcribed during the upload. Return None if the format can only be read as a whole or if
        the transcription failed; the caller then transcribes the stored file."""
        if self.live is None:
            return None
        self.growing.end()
        try:
            return await self.live
        except BadInput:
            return None
        except Exception as error:  # the stored recording can still be transcribed
            log.warning("transcribing a recording again as a whole: %s: %s", type(error).__name__, error)
            return None

    async def give_up(self) -> None:
        """Discard the recording after a storage error, and free its space."""
        self.broken = True
        await self.close()

    async def close(self) -> None:
        self.growing.end()
        if self.live is not None:
            self.live.cancel()
            await asyncio.wait([self.live])
        try:
            await discard([self.stored])
        finally:
            self.slot.close()


class StreamingSocket(WebSocketSession):
    """A connection: while a recording is transcribed, the next one can arrive."""

    def __init__(self, socket: WebSocket, assistant: Assistant, budgets: Budgets) -> None:
        """Raises BadInput for invalid query parameters."""
        super().__init__(socket, idle_s=assistant.settings.idle_timeout_s)
        query = socket.query_params
        rate = query.get("rate")
        if rate is not None and not (
            rate.isascii() and rate.isdigit() and len(rate) < 8 and MIN_RATE_HZ <= int(rate) <= MAX_RATE_HZ
        ):
            raise BadField("rate", f"rate must be from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz.")
        self._rate_hz = int(rate) if rate else None
        self._partials = query.get("partials", "").lower() in TRUE
        self._request = FileRequest(language_code(query.get("language")), prompt=query.get("prompt"))
        assistant.recognisers.check(None, self._request)
        self._assistant, self._budgets = assistant, budgets
        self._caller = caller_of(socket)
        self._incoming = Incoming()
        self._stopped: Channel[Incoming] = Channel(1)
        self._transcribing: Incoming | None = None
        """The recording from its stop until its text is known."""
        self._responding = False
        """Whether the client waits for a response; it is sent after the recording was discarded, because the client may
        send its next recording as soon as it reads the response."""
        self._quiet = asyncio.Event()
        """Set while no recording is arriving or being transcribed."""
        self._quiet.set()

    async def run(self) -> None:
        """Run until one side ends the connection, then discard its recordings."""
        try:
            await super().run()
        finally:
            for incoming in filter(None, (self._transcribing, self._incoming)):
                await incoming.close()

    async def take(self, message: Message) -> None:
        """Take a chunk of a recording, or its stop."""
        if message.get("bytes") is not None:
            await self._take(message["bytes"])
        else:
            self._stop(message.get("text") or "")

    async def work(self) -> None:
        """Transcribe the recordings."""
        async for incoming in self._stopped:
            self._responding = True
            await self.report(self._respond(incoming))
            self._responding = False
            if not self._incoming.size and self._transcribing is None:
                self._quiet.set()

    async def finish(self, reason: ParleyError) -> None:
        """End the connection after the current recording."""
        await self._quiet.wait()
        raise Ended(reason)

    def busy(self) -> bool:
        return self._responding or self._transcribing is not None

    async def _take(self, data: bytes) -> None:
        incoming = self._incoming
        if incoming.refused or not data:
            return
        if not incoming.size:
            try:
                incoming.slot.enter_context(self._budgets.uploads.one(self._caller))
            except Overloaded:
                incoming.refused = True
                raise
        incoming.size += len(data)
        self._quiet.clear()
        most = self._assistant.settings.max_file_size
        if incoming.size > most:
            told = f"The recording is larger than {most} bytes; see MAX_FILE_SIZE."
            raise Ended(BadInput(told, code="file_too_large"))
        if incoming.broken:
            return
        try:
            await incoming.stored.write(data)
        except StorageError:
            await incoming.give_up()
            raise
        if self._partials:
            if incoming.live is None:
                incoming.live = asyncio.create_task(self._listen(incoming.growing))
            await incoming.growing.wait_for_room()  # also returns when `live` ends
            if not incoming.live.done():  # otherwise no task reads these bytes; the file has them
                incoming.growing.put(data)

    def _stop(self, text: str) -> None:
        try:
            message = parsed(text, most_chars=MAX_TEXT_CHARS)
        except BadJson:
            message = None
        if not isinstance(message, dict) or message.get("action") != "stop":
            raise BadInput('Send audio as bytes, then {"action": "stop"}.', code="unsupported_message")
        if self._incoming.refused:  # the client was notified by an error
            self._incoming = Incoming()
            return
        if self._transcribing is not None:
            raise Overloaded("The recording before this one is still being transcribed.")
        incoming, self._incoming = self._incoming, Incoming()
        if incoming.broken:  # the client was notified when it happened
            self._quiet.set()
            return
        self._transcribing = incoming
        self._stopped.offer(incoming)

    async def _respond(self, incoming: Incoming) -> None:
        try:
            text = await self._text(incoming)
        finally:
            await incoming.close()
            self._transcribing = None
        await self.send({"transcription": text})

    async def _text(self, incoming: Incoming) -> str:
        if not incoming.size:
            raise BadInput("There was no audio before the stop.", code="empty_message")
        with self._budgets.recordings.one(self._caller):
            text = await incoming.heard_live()
            return await self._heard(incoming) if text is None else text

    async def _heard(self, incoming: Incoming) -> str:
        await incoming.stored.rewind()
        wanted = TranscriptionRequest(self._request, raw_rate_hz=self._rate_hz)
        try:
            return (await self._assistant.transcriber.transcribe(incoming.stored.file, wanted)).text
        except BadInput as error:
            if error.code == "bad_audio" and self._rate_hz is None:
                told = f"{error.message} For raw 16-bit mono PCM, add its rate to the URL: ?rate=16000."
                raise BadInput(told, code=error.code) from error
            raise

    async def _listen(self, growing: GrowingFile) -> str:
        """Transcribe the recording while it arrives, and send the stable text."""
        most_s = self._assistant.settings.max_file_seconds
        recording = Recording(growing, max_seconds=most_s, raw_rate_hz=self._rate_hz)
        events = transcribe_growing(self._assistant.stages.stt, recording, growing, self._request)
        shown = ""
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Whole):
                    return event.text
                if event.text != shown:
                    shown = event.text
                    await self.send({"partial": shown})
        raise AssertionError("transcribe_growing must end with Whole")
