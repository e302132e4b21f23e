"""The task of one watched folder: look into it, write the results that are due, and create jobs for complete files.

It looks at intervals instead of waiting for events of the kernel: network drives and mounted folders of containers have
none, a new file is not complete yet, and libraries for such events follow links.

The folder is the queue: only a few jobs wait at a time, so a thousand recordings neither fill UPLOAD_DIR nor delay a
user. One process does this for each folder, the holder of a lock file.
"""

import asyncio
import hashlib
import logging
import os
from contextlib import ExitStack, suppress
from pathlib import PurePosixPath

from jobs.archives import is_archive
from jobs.errors import Refused
from jobs.file_kinds import HEAD_BYTES, plainly
from jobs.folders import looking, mounts
from jobs.folders.folder import UNEXPECTED, Folder
from jobs.folders.looking import Stamp
from jobs.folders.result_writer import Away, CannotWrite, ResultWriter
from jobs.folders.rows import Known
from jobs.folders.settling import Settling
from jobs.job import Submission
from jobs.names import safe_name
from pipeline.errors import Overloaded, ParleyError, StorageError
from pipeline.support.encodable import encodable
from pipeline.support.file_lock import locked, open_lock
from pipeline.support.storage_errors import storing

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""Time between two looks into a folder, in seconds."""
SHARE = 20.0
"""Least time between two looks as a multiple of the time that a look takes, so that it costs 5 % of a core at most."""
RETRY_S = 15.0
"""Time after which a folder is tried again that cannot be used, in seconds."""
AHEAD = 4
"""Jobs of watched folders that wait at a time."""
UNREADABLE_S = 60.0
"""Time after which a file is tried again that cannot be read, in seconds."""
KNOWN_AT_ONCE = 500
READ_BYTES = 1 << 20


class Watcher:
    """The task of one watched folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._settling = Settling()
        self._writer = ResultWriter(folder)

    async def run(self) -> None:
        """Watch the folder until cancelled."""
        try:
            while True:
                try:
                    await self._locked()
                except OSError as error:
                    self._folder.say("unavailable", f"it cannot be read: {error.strerror or type(error).__name__}")
                except StorageError as error:
                    self._folder.say("blocked", error.message)
                except Exception:
                    log.exception("the watched folder %s failed; retrying in %g s", self._folder.root, RETRY_S)
                    self._folder.say("blocked", UNEXPECTED)
                await asyncio.sleep(RETRY_S)
        finally:
            self._folder.close()

    async def _locked(self) -> None:
        """Watch while this process holds the folder's lock. Raises OSError when the folder cannot be read: another
        process, for which it can be, then watches it."""
        await self._folder.io(looking.identity, self._folder.root)
        name = hashlib.sha256(os.fsencode(self._folder.root)).hexdigest()[:16]
        with ExitStack() as stack:
            with storing("UPLOAD_DIR"):
                lock = await asyncio.to_thread(open_lock, self._folder.doors.files.root / f"watch-{name}.lock")
                file = stack.enter_context(lock)
                while not locked(file):  # nothing tells of it
                    self._folder.say("elsewhere", None)
                    await asyncio.sleep(LOOK_S)
            await self._watch()

    async def _watch(self) -> None:
        loop, root = asyncio.get_running_loop(), self._folder.root
        seen: tuple[int, int] | None = None
        while True:
            if (now := await self._folder.io(looking.identity, root)) != seen:  # such as a drive that is back
                await self._folder.rows.now()
                seen = now
            began = loop.time()
            found = await self._folder.io(looking.look, root)
            took_s = loop.time() - began
            self._settling.seen(found, loop.time())
            if len(found) >= looking.MAX_FILES:
                log.warning("the watched folder %s has more than %d files; others wait", root, looking.MAX_FILES)
            wait_s = max(LOOK_S, SHARE * took_s)
            drive = None if found else await self._folder.io(mounts.missing, root)
            try:
                await self._writer.write_due()
                await self._begin_jobs()
                if drive is None:
                    self._folder.say("watching", None)
                else:
                    self._folder.say("unavailable", f"its drive {drive} is not mounted")
            except CannotWrite as error:
                self._folder.say("blocked", str(error))
                wait_s = max(RETRY_S, wait_s)
            except ParleyError as error:  # such as a missing engine, or one that lacks the language
                self._folder.say("blocked", error.full_message)
                wait_s = max(RETRY_S, wait_s)
            self._folder.shown.waiting = self._settling.waiting
            await asyncio.sleep(wait_s)

    async def _begin_jobs(self) -> None:
        """Create jobs for complete files while there is room for them."""
        now = asyncio.get_running_loop().time()
        ready = self._settling.settled(now)
        if not ready:
            return
        await self._folder.doors.check(self._folder.wanted.options)  # the same for all files
        room = AHEAD - await self._folder.rows.queued()
        if room <= 0:
            return
        for at in range(0, len(ready), KNOWN_AT_ONCE):
            files = ready[at : at + KNOWN_AT_ONCE]
            known = await self._folder.rows.known(files)
            for path, stamp in files:
                if path in known:
                    self._settling.done(path)
                    continue
                if room <= 0:
                    return
                await self._writer.ensure_writable()  # before the work, not after it
                room -= await self._begin(path, stamp)

    async def _begin(self, path: str, stamp: Stamp) -> bool:
        """Create the job of a file; return whether there is one now."""
        try:
            descriptor = await self._folder.io(looking.open_file, self._folder.root, path)
            try:
                return await self._take(path, stamp, descriptor)
            except Refused as error:
                await self._refuse(path, stamp, error.message)
            finally:
                self._folder.close_file(descriptor)
        except FileNotFoundError:  # gone since the look, or a link now
            pass
        except OSError as error:
            log.warning("%r in the watched folder %s cannot be read: %s", path, self._folder.root, error.strerror)
            self._later(path)
        except (StorageError, Overloaded, CannotWrite):
            raise
        except ParleyError as error:  # such as a missing engine
            log.warning("%r in the watched folder %s gets no job: %s", path, self._folder.root, error.full_message)
            self._later(path)
        except Exception:  # of this file: the others go on
            log.exception("%r in the watched folder %s gets no job", path, self._folder.root)
            self._later(path)
        return False

    def _later(self, path: str) -> None:
        self._settling.again(path, asyncio.get_running_loop().time() + UNREADABLE_S)

    async def _take(self, path: str, stamp: Stamp, descriptor: int) -> bool:
        """Copy a file and create its job. Raises Refused for a file that is not accepted."""
        loop = asyncio.get_running_loop()
        if stamp.size_bytes > self._folder.doors.files.max_bytes:
            raise Refused(f"The file is larger than {self._folder.doors.files.max_bytes} bytes (MAX_FILE_SIZE).")
        if await self._folder.io(looking.is_being_written, descriptor):
            self._settling.again(path, loop.time())
            return False
        head = await self._folder.io(os.pread, descriptor, HEAD_BYTES, 0)
        if plainly(head) is not None:  # pictures, texts, and the results themselves
            self._settling.done(path)
            return False
        if is_archive(head):
            raise Refused("Archives are not unpacked here; put the recordings themselves into the folder.")
        async with self._folder.doors.files.receive() as incoming:
            while data := await self._folder.io(os.read, descriptor, READ_BYTES):
                await incoming.write(data)
            if not await self._folder.io(self._is_same, path, stamp, descriptor):
                self._settling.again(path, loop.time())
                return False
            stored = await incoming.commit()
        name = safe_name(encodable(PurePosixPath(path).name)) or "audio"
        one = Submission(name, self._folder.wanted.options, stored.sha256, stored.size_bytes, background=True)
        with suppress(Known):
            await self._folder.doors.submit(one, self._folder.rows.recorder(path, stamp))
            log.info("%r in the watched folder %s is being transcribed", path, self._folder.root)
        self._settling.done(path)
        return True

    def _is_same(self, path: str, stamp: Stamp, descriptor: int) -> bool:
        """Whether the file that was read is still the one at this path, and has not changed while it was read."""
        return Stamp.of(os.fstat(descriptor)) == stamp == looking.stamp_of(self._folder.root, path)

    async def _refuse(self, path: str, stamp: Stamp, message: str) -> None:
        """Leave a file alone that is not accepted, and write why. Raises CannotWrite."""
        log.warning("%r in the watched folder %s: %s", path, self._folder.root, message)
        with suppress(Away):
            if await self._writer.refuse(path, stamp, message):
                self._settling.done(path)
            else:
                self._later(path)
