"""Kept conversations, where RECORD is on: the user's words and the replies, as audio and text.

Files are RECORDINGS_DIR/SESSION/TURN.json, TURN.user.wav and TURN.reply.wav; TURN.json is written last, so that a turn
with it is complete. A session's folder is created at the session's start, so that its id is known from then on. Erasing
a session also stops recording it, by a mark under `.erased`, which services and commands on other machines see, too.
Only turns with a reply are kept; abandoned speculative replies and utterances without a reply are not.
"""

import asyncio
import json
import logging
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pipeline.audio.clip import Clip, encode_wav
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.errors import BadInput
from pipeline.settings import Settings
from pipeline.support.background import background
from pipeline.support.encodable import encodable
from pipeline.support.private_files import opener, private_folder
from pipeline.support.storage_errors import storage_error

log = logging.getLogger(__name__)

SETTING = "RECORDINGS_DIR"
SESSION = re.compile(r"[0-9a-f]{16}")
"""Pattern of a conversation's id: only a match is used in a path."""
WRITES_AHEAD = 32
"""Limit of turns that wait to be written; further ones are not kept, because the disk must not delay a conversation."""
SWEEP_S = 3600.0
EMPTY_S = 86_400.0
"""Age in seconds after which an empty session folder is removed: a conversation is not silent for that long."""
ERASED = ".erased"

Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """Summary of a kept session."""

    session: str
    turns: int
    bytes: int
    last_at: float
    """Time of the last kept turn, in seconds since 1970."""


class Recordings:
    """The kept conversations of one deployment on disk. All methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, session: str) -> None:
        """Create the folder of a session that starts or continues. Raises OSError."""
        if not self._mark(session).exists():
            private_folder(self._folder / session)

    def keep(self, session: str, turn: str, told: dict[str, object], user: Clip | None, reply: Clip | None) -> bool:
        """Write a turn. Returns False if its session was erased and must not be kept. Raises OSError."""
        if self._mark(session).exists():
            return False
        place = self._folder / session
        private_folder(place)
        try:
            for name, clip in (("user", user), ("reply", reply)):
                if clip is not None:
                    _write(place / f"{turn}.{name}.wav", encode_wav(clip))
            _write(place / f"{turn}.json", encodable(json.dumps(told, ensure_ascii=False, indent=1)).encode())
        except OSError:
            for half in place.glob(f"{turn}.*"):  # an incomplete turn would only fill the disk
                half.unlink(missing_ok=True)
            raise
        if self._mark(session).exists():  # erased meanwhile
            shutil.rmtree(place, ignore_errors=True)
            return False
        return True

    def list(self) -> Iterator[Kept]:
        """Yield a summary of each kept session."""
        for place in sorted(self._folder.glob("*/")):
            stats = {file.name: file.stat() for file in place.iterdir()} if SESSION.fullmatch(place.name) else {}
            if stats:
                turns = [stat.st_mtime for name, stat in stats.items() if name.endswith(".json")]
                size = sum(stat.st_size for stat in stats.values())
                yield Kept(place.name, len(turns), size, max(turns, default=place.stat().st_mtime))

    def erase(self, session: str) -> bool:
        """Remove a kept session and stop recording it. Returns whether the session exists. An id that was never
        recorded leaves no mark. Raises BadInput for an invalid session id, OSError."""
        if not SESSION.fullmatch(session):
            raise BadInput("This is not a session id.", code="bad_parameter")
        place = self._folder / session
        if not place.is_dir():
            return False
        try:
            self._forbid(session)
        except OSError:  # a full disk has room for the mark only after something was removed
            shutil.rmtree(place)
            self._forbid(session)
        else:
            shutil.rmtree(place)
        return True

    def _forbid(self, session: str) -> None:
        mark = self._mark(session)
        private_folder(mark.parent)
        mark.touch()

    def sweep(self, days: float) -> int:
        """Remove files that are older than `days` (0: keep all), and old empty folders. Returns the number of removed
        turns."""
        now, removed = time.time(), 0
        before = now - days * 86_400 if days else 0.0
        for place in self._folder.glob("*/"):
            quiet = place.stat().st_mtime < now - EMPTY_S
            for file in place.iterdir():
                if file.stat().st_mtime < before:
                    removed += file.suffix == ".json" and place.name != ERASED
                    file.unlink(missing_ok=True)
            if quiet and not any(place.iterdir()):
                place.rmdir()
        return removed

    def _mark(self, session: str) -> Path:
        return self._folder / ERASED / session


class Recorder:
    """Keeps the turns of live conversations in the background."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings
        self._writing: set[asyncio.Task[None]] = set()

    async def begin(self, session: str) -> None:
        """Create the folder of a recorded conversation, before its id is made known."""
        try:
            await asyncio.to_thread(self._recordings.begin, session)
        except OSError as error:  # writing its turns will also report this
            log.warning("a session's folder cannot be created: %s", storage_error(error, SETTING).message)

    def of(self, session: str, utterance: Clip | None, then: Emit) -> Emit:
        """Return a receiver for the events of one turn; it keeps the turn and passes the events to `then`. utterance:
        the user's audio."""
        turn = _Turn(self, session, utterance)

        def take(event: Event) -> None:
            turn.take(event)
            then(event)

        return take

    def write(self, session: str, turn: str, told: dict[str, object], user: Clip | None, reply: list[Clip]) -> None:
        """Write a turn soon, in a thread."""
        if len(self._writing) >= WRITES_AHEAD:
            log.warning("a turn is not recorded: the disk is too slow")
            return
        task = asyncio.create_task(self._write(session, turn, told, user, reply))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(
        self, session: str, turn: str, told: dict[str, object], user: Clip | None, reply: list[Clip]
    ) -> None:
        def work() -> None:
            spoken = Clip.join(reply, reply[0].rate_hz) if reply else None
            self._recordings.keep(session, turn, told, user, spoken)

        try:
            await asyncio.to_thread(work)
        except OSError as error:
            log.warning("a turn is not recorded: %s", storage_error(error, SETTING).message)

    async def close(self) -> None:
        """Wait until everything is written."""
        if self._writing:
            await asyncio.wait(self._writing)


class _Turn:
    """Collects the events of a running turn."""

    def __init__(self, recorder: Recorder, session: str, utterance: Clip | None) -> None:
        self._recorder = recorder
        self._session = session
        self._utterance = utterance
        self._id = ""
        self._told: dict[str, object] = {"session": session}
        self._reply: list[Clip] = []

    def take(self, event: Event) -> None:
        match event:
            case events.TurnStarted(turn_id):
                self._id = turn_id
                self._told |= {"turn": turn_id, "began": time.time()}
            case events.TranscriptFinal(text, language):
                self._told |= {"said": text, "language": language}
            case events.SpeechChunk(clip):
                self._reply.append(clip)
            case events.TurnCompleted():
                self._end("completed", reply=event.reply, timings_ms=dict(event.timings_ms))
            case events.TurnInterrupted():
                heard = {"reply": event.heard_text, "heard_ms": event.heard_ms}
                self._end("interrupted", **heard, timings_ms=dict(event.timings_ms))
            case events.TurnFailed():
                self._end("failed", code=event.code, timings_ms=dict(event.timings_ms))
            case _:
                pass

    def _end(self, outcome: str, **told: object) -> None:
        if self._id:
            whole = {**self._told, "outcome": outcome, **told, "ended": time.time()}
            self._recorder.write(self._session, self._id, whole, self._utterance, self._reply)


@asynccontextmanager
async def open_recorder(settings: Settings) -> AsyncIterator[Recorder | None]:
    """Yield a recorder; None where RECORD is off. While the block runs, files older than RECORD_DAYS are removed in
    either case."""
    recordings = Recordings(settings.recordings_dir)
    recorder = Recorder(recordings) if settings.record else None
    sweeps = settings.record or settings.record_days
    async with background(_sweep(recordings, settings.record_days)) if sweeps else nullcontext():
        try:
            yield recorder
        finally:
            if recorder is not None:
                await recorder.close()


async def _sweep(recordings: Recordings, days: float) -> None:
    while True:
        try:
            if removed := await asyncio.to_thread(recordings.sweep, days):
                log.info("removed %d recorded turns older than RECORD_DAYS", removed)
        except OSError as error:
            log.warning("old recordings cannot be removed: %s", storage_error(error, SETTING).message)
        await asyncio.sleep(SWEEP_S)


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb", opener=opener) as file:
        file.write(data)
