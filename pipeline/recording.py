"""Turns that are kept, where RECORD says so: what the user said and was answered, as sound and text.

RECORDINGS_DIR/SESSION/TURN.json, TURN.user.wav and TURN.reply.wav; TURN.json comes last, so that what has one is
complete. A session's folder is there from its beginning, so that it can be known by its id. Who erases a session also
forbids to record more of it: a mark under `.erased`, which services and commands on other machines see, too. Kept are
the turns that the user was answered in; not what was prepared in vain, and not what was only written down.
"""

import asyncio
import json
import logging
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import events
from pipeline.audio import Clip, encode_wav
from pipeline.encodable import encodable
from pipeline.errors import BadInput
from pipeline.events import Event
from pipeline.private import opener, private_folder
from pipeline.settings import Settings
from pipeline.storing import storage_error

log = logging.getLogger(__name__)

SETTING = "RECORDINGS_DIR"
SESSION = re.compile(r"[0-9a-f]{16}")
"""An id of a conversation: nothing else becomes a path."""
WRITES_AHEAD = 32
"""Turns that may wait to be written; a further one is not kept: the disk must not hold up who talks."""
SWEEP_S = 3600.0
EMPTY_S = 86_400.0
"""The folder of a session of which nothing was kept is removed when it is so old: no conversation is so long silent."""
ERASED = ".erased"

Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one session."""

    session: str
    turns: int
    bytes: int
    last_at: float
    """When its last turn was kept, in seconds since 1970."""


class Recordings:
    """The recordings of one deployment, as they lie on the disk. All of it blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, session: str) -> None:
        """A session that is recorded begins, or goes on. Raises OSError."""
        if not self._mark(session).exists():
            private_folder(self._folder / session)

    def keep(self, session: str, turn: str, told: dict[str, object], user: Clip | None, reply: Clip | None) -> bool:
        """Write a turn; false: its session was erased, and nothing of it is kept any more. Raises OSError."""
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
            for half in place.glob(f"{turn}.*"):  # it would fill the disk for nothing
                half.unlink(missing_ok=True)
            raise
        if self._mark(session).exists():  # erased meanwhile
            shutil.rmtree(place, ignore_errors=True)
            return False
        return True

    def list(self) -> Iterator[Kept]:
        """What there is, a session at a time."""
        for place in sorted(self._folder.glob("*/")):
            stats = {file.name: file.stat() for file in place.iterdir()} if SESSION.fullmatch(place.name) else {}
            if stats:
                turns = [stat.st_mtime for name, stat in stats.items() if name.endswith(".json")]
                size = sum(stat.st_size for stat in stats.values())
                yield Kept(place.name, len(turns), size, max(turns, default=place.stat().st_mtime))

    def erase(self, session: str) -> bool:
        """Remove what is kept of a session and keep nothing more of it; whether there is such a session. An id that was
        never recorded leaves no mark. Raises BadInput for what is no session's id, OSError."""
        if not SESSION.fullmatch(session):
            raise BadInput("This is no id of a session.", code="bad_parameter")
        place = self._folder / session
        if not place.is_dir():
            return False
        try:
            self._forbid(session)
        except OSError:  # on a full disk there is room for the mark only when something was removed
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
        """Remove what is older than so many days (0: nothing is), and folders in which nothing was kept; how many
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
    """Keeps the turns of running conversations, beside them."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings
        self._writing: set[asyncio.Task[None]] = set()

    async def begin(self, session: str) -> None:
        """A conversation that is recorded begins: before anybody is told its id."""
        try:
            await asyncio.to_thread(self._recordings.begin, session)
        except OSError as error:  # its turns will say so, too
            log.warning("a session's folder cannot be made: %s", storage_error(error, SETTING).message)

    def of(self, session: str, utterance: Clip | None, then: Emit) -> Emit:
        """What takes the events of one turn, keeps the turn, and hands them on. utterance: what the user said."""
        turn = _Turn(self, session, utterance)

        def take(event: Event) -> None:
            turn.take(event)
            then(event)

        return take

    def write(self, session: str, turn: str, told: dict[str, object], user: Clip | None, reply: list[Clip]) -> None:
        """Soon, in a thread."""
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
    """A turn that is going on."""

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
    """None where RECORD is off. What is older than RECORD_DAYS is removed then, too, while the block lasts."""
    recordings = Recordings(settings.recordings_dir)
    recorder = Recorder(recordings) if settings.record else None
    sweeps = settings.record or settings.record_days
    sweeping = asyncio.create_task(_sweep(recordings, settings.record_days)) if sweeps else None
    try:
        yield recorder
    finally:
        if sweeping is not None:
            sweeping.cancel()
            await asyncio.wait([sweeping])
        if recorder is not None:
            await recorder.close()


async def _sweep(recordings: Recordings, days: float) -> None:
    while True:
        try:
            if removed := await asyncio.to_thread(recordings.sweep, days):
                log.info("%d recorded turns were older than RECORD_DAYS and are removed", removed)
        except OSError as error:
            log.warning("old recordings cannot be removed: %s", storage_error(error, SETTING).message)
        await asyncio.sleep(SWEEP_S)


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb", opener=opener) as file:
        file.write(data)
