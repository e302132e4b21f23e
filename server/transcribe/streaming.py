"""`WS /api/v1/streaming`: a recording in chunks, then `{"action": "stop"}`, then `{"transcription": …}`.

The chunks form one file of any format, or raw 16-bit mono PCM with `?rate=16000`. With `?partials=1` the service also
sends `{"partial": …}` whenever more of the text is stable. After the transcription, the client can send the next
recording.
"""

import asyncio
import contextlib
import logging
from contextlib import ExitStack, aclosing
from tempfile import SpooledTemporaryFile
from typing import Any

from fastapi import APIRouter, Depends, WebSocket
from starlette.websockets import WebSocketState

from pipeline.assistant import Assistant
from pipeline.audio.clip import MAX_RATE_HZ, MIN_RATE_HZ
from pipeline.audio.decode import Recording
from pipeline.errors import BadInput, Overloaded, ParleyError, StorageError
from pipeline.stt import FileRequest
from pipeline.support.json_text import BadJson, parsed
from pipeline.support.storage_errors import TEMPORARY, storing
from pipeline.transcripts.growing import GrowingFile, Whole, transcribe_growing
from pipeline.transcripts.transcribe import transcription
from server.access import Budgets, Revoked, budgets_of, caller_of, require_key, stay_of
from server.access.revocation import CLOSE_CODE as REVOKED_CODE
from server.errors import BadField, as_json
from server.http.draining import CLOSE_CODE, Leaving
from server.http.idle import next_message
from server.http.send_json import send_json
from server.http.websocket_protocol import limit_text
from server.parameters import language_code
from server.state import state_of

log = logging.getLogger(__name__)
router = APIRouter(dependencies=[Depends(require_key)])

IN_MEMORY = 2**20
"""Largest recording kept in memory, in bytes; larger ones go to disk."""
MAX_TEXT_CHARS = 1024
"""Longest text message."""
GOODBYE_S = 1.0
"""Timeout in seconds for sending the reason and closing a connection."""
TRUE = ("1", "true", "yes")


@router.websocket("/api/v1/streaming")
async def streaming(socket: WebSocket) -> None:
    """Serve one connection."""
    limit_text(socket.scope, MAX_TEXT_CHARS)
    await socket.accept()
    try:
        connection = StreamingSocket(socket, state_of(socket).assistant, budgets_of(socket))
    except ParleyError as error:
        await send_json(socket, as_json(error))
        await socket.close(1008, error.message[:120])
        return
    await connection.run()


class Incoming:
    """One recording while it arrives."""

    def __init__(self) -> None:
        # The file has no name on disk, so it disappears when it is closed.
        self.file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  # closed by `close`
        self.size = 0
        self.place = ExitStack()
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
        with contextlib.suppress(OSError):  # flushing the buffer to a full disk fails, too
            self.file.close()
        self.place.close()


class StreamingSocket:
    """A connection. It keeps reading during a transcription, so that a disconnect is noticed."""

    def __init__(self, socket: WebSocket, assistant: Assistant, budgets: Budgets) -> None:
        """Raises BadInput for invalid query parameters."""
        query = socket.query_params
        rate = query.get("rate")
        if rate is not None and not (
            rate.isascii() and rate.isdigit() and len(rate) < 8 and MIN_RATE_HZ <= int(rate) <= MAX_RATE_HZ
        ):
            raise BadField("rate", f"rate must be from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz.")
        self._rate_hz = int(rate) if rate else None
        self._partials = query.get("partials", "").lower() in TRUE
        self._request = FileRequest(language_code(query.get("language")), prompt=query.get("prompt"))
        self._socket, self._assistant, self._budgets = socket, assistant, budgets
        self._incoming = Incoming()
        self._answering: asyncio.Task[None] | None = None
        self._draining = state_of(socket).draining
        self._quiet = asyncio.Event()
        """Set while no recording is arriving or being transcribed."""
        self._quiet.set()

    async def run(self) -> None:
        """Run until the client disconnects, then stop all work of the connection."""
        reading, *watching = (asyncio.create_task(work) for work in (self._read(), self._leave(), self._expel()))
        try:
            await asyncio.wait([reading, *watching], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, *watching):
                task.cancel()
            await asyncio.wait([reading, *watching])
        if not reading.cancelled():
            reading.result()

    async def _leave(self) -> None:
        """Finish the current recording when the service stops, then close the connection."""
        await self._draining.begun.wait()
        await self._quiet.wait()
        with contextlib.suppress(Exception):  # already disconnected
            await self._socket.close(CLOSE_CODE, Leaving().message)

    async def _expel(self) -> None:
        """Close the connection when its key is revoked, even in the middle of a recording."""
        await stay_of(self._socket).end()
        why = Revoked()
        with contextlib.suppress(Exception):  # already disconnected, or the client does not read
            async with asyncio.timeout(GOODBYE_S):
                await self._send(as_json(why))
                await self._socket.close(REVOKED_CODE, why.message)

    async def _read(self) -> None:
        try:
            idle_s = self._assistant.settings.idle_timeout_s
            while (message := await next_message(self._socket, idle_s, self._busy))["type"] != "websocket.disconnect":
                try:
                    if message.get("bytes") is not None:
                        await self._take(message["bytes"])
                    else:
                        self._told(message.get("text") or "")
                except ParleyError as error:
                    await self._send(as_json(error))
                    if error.code == "file_too_large":
                        await self._socket.close(1009)
                        return
        finally:
            if self._answering is not None:
                self._answering.cancel()
                await asyncio.wait([self._answering])
            await self._incoming.close()

    def _busy(self) -> bool:
        return self._answering is not None and not self._answering.done()

    async def _take(self, data: bytes) -> None:
        incoming = self._incoming
        if incoming.refused or not data:
            return
        if not incoming.size:
            try:
                incoming.place.enter_context(self._budgets.uploads.one(caller_of(self._socket)))
            except Overloaded:
                incoming.refused = True
                raise
        incoming.size += len(data)
        self._quiet.clear()
        most = self._assistant.settings.max_file_size
        if incoming.size > most:
            raise BadInput(f"The recording is larger than {most} bytes; see MAX_FILE_SIZE.", code="file_too_large")
        if incoming.broken:
            return
        try:
            with storing(TEMPORARY):
                if incoming.size > IN_MEMORY:
                    await asyncio.to_thread(incoming.file.write, data)
                else:
                    incoming.file.write(data)
        except StorageError:
            await incoming.give_up()
            raise
        if self._partials:
            if incoming.live is None:
                incoming.live = asyncio.create_task(self._listen(incoming.growing))
            await incoming.growing.wait_for_room()  # also returns when `live` ends
            if not incoming.live.done():  # otherwise no task reads these bytes; the file has them
                incoming.growing.put(data)

    def _told(self, text: str) -> None:
        try:
            action = parsed(text, most_chars=MAX_TEXT_CHARS).get("action")
        except (BadJson, AttributeError):
            action = None
        if action != "stop":
            raise BadInput('Send audio as bytes, then {"action": "stop"}.', code="unsupported_message")
        if self._incoming.refused:  # the client was notified by an error
            self._incoming = Incoming()
            return
        if self._busy():
            raise Overloaded("The recording before this one is still being transcribed.")
        incoming, self._incoming = self._incoming, Incoming()
        if incoming.broken:  # the client was notified when it happened
            self._quiet.set()
            return
        self._answering = asyncio.create_task(self._answer(incoming))

    async def _answer(self, incoming: Incoming) -> None:
        try:
            if not incoming.size:
                raise BadInput("There was no audio before the stop.", code="empty_message")
            with self._budgets.recordings.one(caller_of(self._socket)):
                text = await incoming.heard_live()
                if text is None:
                    text = await self._heard(incoming)
            await self._send({"transcription": text})
        except ParleyError as error:
            await self._send(as_json(error))
        except Exception:
            log.exception("a recording failed")
            await self._send(as_json(ParleyError("Something went wrong inside the service.")))
        finally:
            await incoming.close()
            if not self._incoming.size:
                self._quiet.set()

    async def _heard(self, incoming: Incoming) -> str:
        with storing(TEMPORARY):
            incoming.file.seek(0)
        most_s = self._assistant.settings.max_file_seconds
        recording = Recording(incoming.file, max_seconds=most_s, raw_rate_hz=self._rate_hz)
        try:
            return (await transcription(self._assistant.stages.stt, recording, self._request)).text
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
                    await self._send({"partial": shown})
        raise AssertionError("transcribe_growing must end with Whole")

    async def _send(self, body: dict[str, Any]) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(Exception):  # disconnected: `_read` handles it
                await send_json(self._socket, body)
