"""The main process of a service with several fronts (PROCESSES): it owns the models, accepts the connections, keeps
what the fronts share, starts a front again that has ended, and replaces all of them on SIGHUP."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.folders import HOME
from pipeline.settings import Settings
from pipeline.support.background import background
from pipeline.workers import hosting_of
from pipeline.workers.sharing import AskOthers, Relay
from pipeline.workers.sharing.link import Link
from pipeline.workers.sharing.models import SharedModels
from server.fronts.doors import Doors
from server.fronts.messages import Accepts, Leaving, Ready, StopNow, Welcome
from server.fronts.process import Front, result_of
from server.fronts.state import SharedState
from server.http.hatch import HTTP, Busy, Door, Listen

log = logging.getLogger(__name__)

LIFE_S = 10.0
"""Time that a front must have served so that its successor is started without a delay, in seconds."""
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 10.0
"""Delay before a front is started that has failed to start; doubles each time."""
END_S = 10.0
"""Time that a front has in addition to DRAIN_SECONDS to end, in seconds."""
CLOSE_S = 2.0
"""Timeout for unloading the models, in seconds. Their processes end with this one."""
FRONT = "commands.front"
"""Module of a front's process."""
KEPT = ("processes", "host", "port", "model_host", "model_idle_seconds")
"""Settings of the main process itself, which SIGHUP does not change."""


class MainProcess:
    """The main process. `run` returns when the service was asked to stop and has ended."""

    def __init__(
        self,
        settings: Settings,
        listening: socket.socket,
        announce: Callable[[], None],
        read_again: Callable[[], Settings | None],
    ) -> None:
        """announce: called once all fronts are ready. read_again: reads the settings again; returns None after it has
        shown why it cannot. Raises ConfigError for settings that fronts cannot share."""
        _check(settings)
        self._settings = settings
        self._announce = announce
        self._read_again = read_again
        self._models = SharedModels(hosting_of(settings))
        self._state = SharedState()
        self._fronts: list[Front] = []
        self._doors = Doors(self._takers)
        self._doors.add((settings.host, settings.port), listening)
        self._started = 0
        self._lost: list[Link] = []
        """Links of ended fronts whose models are kept until their successors have opened them."""
        self._was_ready = False
        """Whether a front has ever been ready."""
        self._announced = False
        self._successors: dict[Front, Front] = {}
        """Front that ends → the one that has replaced it."""
        self._ending: set[asyncio.Task[None]] = set()
        """Tasks that kill fronts that do not end in time."""
        self._asked_to_renew = asyncio.Event()
        self._stopping = asyncio.Event()
        self.code = 0
        """Exit code of the service."""

    async def run(self) -> None:
        """Run the fronts until the service was asked to stop. If the first one cannot start, the service ends with its
        exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        # In a terminal it means that the terminal is gone.
        if not os.isatty(0):
            loop.add_signal_handler(signal.SIGHUP, self.renew)
        with tempfile.TemporaryDirectory(prefix="parley-metrics-") as metrics:
            self._metrics = metrics
            try:
                async with background(self._models.watch()), background(self._state.sweep()):
                    await self._run()
            finally:
                self._doors.close()
                try:
                    async with asyncio.timeout(CLOSE_S):
                        await self._models.close()
                except TimeoutError:
                    log.warning("the models are not unloaded in time; the process ends without it")

    async def _run(self) -> None:
        # The first one measures, downloads and migrates; the others find that done.
        first = await self._start()
        if not await self._became_ready(first):
            await self._gone(first)
            code = first.process.returncode or 0
            self.code = 0 if self._stopping.is_set() else code if code >= 0 else 1
            return
        async with asyncio.TaskGroup() as group:
            for front in [first, *[None] * (self._settings.processes - 1)]:
                group.create_task(self._keep(front))
            group.create_task(self._renew_when_asked())

    async def _keep(self, front: Front | None) -> None:
        """Run one front, and another one in its place whenever it has ended, until the service stops."""
        backoff_s = 0.0
        while front is not None or not self._stopping.is_set():
            try:
                front = front or await self._start()
            except OSError as error:
                log.error("a process that serves connections cannot be started: %s", error.strerror)
            else:
                if await self._became_ready(front):
                    ready_at = time.monotonic()
                    self._announce_once()
                    await _either(front.process.wait(), front.replaced.wait())
                    if time.monotonic() - ready_at >= LIFE_S:
                        backoff_s = 0.0
                if (successor := self._successors.pop(front, None)) is not None:
                    front = successor
                    continue
                await self._gone(front)
                code = front.process.returncode
                front = None
                if self._stopping.is_set():
                    return
                level = logging.ERROR if code else logging.INFO  # without an error, it was drained alone
                log.log(level, "a process that serves connections has ended (%s); another one is started", _told(code))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff_s):
                    await self._stopping.wait()
            backoff_s = min(MAX_BACKOFF_S, max(FIRST_BACKOFF_S, backoff_s * 2))

    def _announce_once(self) -> None:
        if not self._announced and sum(one.takes for one in self._fronts) >= self._settings.processes:
            self._announced = True
            self._announce()

    def _takers(self) -> list[Front]:
        """Return the fronts that take connections now: those that respond, if there is one; those that refuse them if
        all are draining; and during the start of the service the one that shows its progress."""
        takers = [front for front in self._fronts if front.takes]
        responding = [front for front in takers if front.responds]
        if found := responding or takers or [front for front in self._fronts if front.ready.is_set()]:
            return found
        return [] if self._was_ready else [front for front in self._fronts if front.accepts]

    async def _renew_when_asked(self) -> None:
        """Replace the fronts each time when asked to, until the service stops."""
        while True:
            await self._asked_to_renew.wait()
            self._asked_to_renew.clear()
            if self._stopping.is_set():
                return
            try:
                settings = await asyncio.to_thread(self._read_again)
                if settings is not None:
                    settings = self._tell_changes(settings)
                    _check(settings)
                    await self._renew(settings)
                    continue
            except (ConfigError, OSError) as error:
                log.error("SIGHUP: %s", error)
            except Exception:  # whatever it is, running conversations need not end
                log.exception("SIGHUP: unexpected error")
            log.error("SIGHUP: the processes that serve connections go on with their settings")

    def _tell_changes(self, settings: Settings) -> Settings:
        """Log the names of the settings that have changed; return the settings without changes of KEPT."""
        fields = sorted(type(settings).model_fields)
        changed = [one for one in fields if getattr(settings, one) != getattr(self._settings, one)]
        if kept := [one.upper() for one in changed if one in KEPT]:
            log.warning("SIGHUP: %s cannot change before the service is restarted", ", ".join(kept))
        if new := [one.upper() for one in changed if one not in KEPT]:
            log.info("SIGHUP: changed settings: %s", ", ".join(new))
        elif not kept:
            log.warning("SIGHUP: no setting has changed. Only %s is read again, and variables of the environment go "
                        "before it", Path(".env").absolute())  # fmt: skip
        return settings.model_copy(update={one: getattr(self._settings, one) for one in KEPT})

    async def _renew(self, settings: Settings) -> None:
        """Replace the fronts, one after the other, by new ones with these settings. Each drains when its successor
        serves; its conversations go on in the others. Models that only the new settings have are loaded meanwhile, and
        those that only the old ones had are unloaded at the end."""
        while True:
            alive = [one for one in self._fronts if one.process.returncode is None and not one.replaced.is_set()]
            # Those that serve first: once one new front does, a front that ends while it starts has a new successor.
            alive.sort(key=lambda one: not one.ready.is_set())
            old = next((one for one in alive if one.settings is not settings), None)
            if old is None and self._settings is settings:
                break
            lost = old is not None and not await self._became_ready(old)
            if self._stopping.is_set():
                return
            if lost and self._settings is settings:
                continue
            new = await self._start(settings)
            if not await self._became_ready(new):
                await self._gone(new)
                if not self._stopping.is_set():
                    log.error("SIGHUP: a new process cannot start (%s); the others go on with their settings",
                              _told(new.process.returncode))  # fmt: skip
                return
            self._settings = settings
            leaving = new  # if the old one has died meanwhile, another one takes its place
            if old is not None and old.process.returncode is None and not self._stopping.is_set():
                leaving = old
                self._successors[old] = new
                old.replaced.set()
            self._takes(leaving, takes=False)  # it refuses new clients before it can tell so
            with contextlib.suppress(ProcessLookupError):
                leaving.process.terminate()
            await self._end_in_time(leaving)
            await self._gone(leaving)
            if self._stopping.is_set():
                return
        self._doors.keep({HTTP}.union(*(one.doors for one in self._fronts)))
        log.info("SIGHUP: all processes that serve connections are new")

    async def _end_in_time(self, front: Front) -> None:
        """Wait until a front has drained; kill it if it does not end in time."""
        try:
            async with asyncio.timeout(front.settings.drain_seconds + END_S):
                await front.process.wait()
        except TimeoutError:
            log.error("a process that serves connections does not end; it is killed")
            with contextlib.suppress(ProcessLookupError):
                front.process.kill()
            await front.process.wait()

    async def _start(self, settings: Settings | None = None) -> Front:
        """Start a front. settings: None: those of the service when its process has begun, so that one that starts
        during a renewal does not keep old ones."""
        ours, theirs = socket.socketpair()
        channel, hatch = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.setblocking(False)
        with theirs, hatch:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", FRONT, str(theirs.fileno()), str(hatch.fileno()),
                pass_fds=[theirs.fileno(), hatch.fileno()], stdin=asyncio.subprocess.DEVNULL,
                # Of its own, so that Ctrl-C reaches only this process, which drains the fronts.
                start_new_session=True,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(HOME), os.environ.get("PYTHONPATH", "")]),
                    # prometheus_client adds up the counters of all processes that have them in this folder.
                    "PROMETHEUS_MULTIPROC_DIR": self._metrics,
                },
            )  # fmt: skip
        link = await Link.over(ours)
        settings = settings or self._settings
        self._started += 1
        front = Front(str(self._started), settings, process, link, channel, self._models.join(link))
        self._fronts.append(front)
        self._state.join(link, front.name)
        link.on(Busy, front.told)
        link.on(Accepts, lambda _: self._accepts(front))
        link.on(Ready, lambda _: self._takes(front, takes=True))
        link.on(Leaving, lambda _: self._takes(front, takes=False))
        link.on(Relay, lambda relay: self._state.relay(link, relay.message))
        link.answer(Listen, lambda wanted: self._listen(front, wanted))
        link.answer(AskOthers, lambda asked: self._ask_others(link, asked.request))
        link.post(Welcome(settings, self._started == 1, front.name))
        if self._stopping.is_set():
            self._end(front)
        return front

    async def _became_ready(self, front: Front) -> bool:
        """Wait until a front is ready; return False if it has ended instead."""
        await _either(front.ready.wait(), front.process.wait())
        return front.ready.is_set()

    def _accepts(self, front: Front) -> None:
        front.accepts = True
        self._doors.changed()

    def _takes(self, front: Front, *, takes: bool) -> None:
        front.takes = takes
        if takes:
            front.ready.set()
            self._was_ready = True
        self._doors.changed()
        self._forget_if_complete()

    def _forget_if_complete(self) -> None:
        """Unload models of lost fronts that no other one uses, once all successors have opened theirs."""
        if len(self._fronts) == self._settings.processes and all(one.takes for one in self._fronts):
            self._forgetting = asyncio.create_task(self._forget())

    async def _forget(self) -> None:
        lost, self._lost = self._lost, []
        for link in lost:
            await self._models.forget(link)

    async def _gone(self, front: Front) -> None:
        """Clean up after a front that has ended."""
        self._fronts.remove(front)
        await front.close()
        self._doors.changed()
        self._state.left(front.link)
        self._lost.append(front.link)
        self._forget_if_complete()  # after a renewal

    def renew(self) -> None:
        """Read the settings again and replace all fronts, as on SIGHUP."""
        self._asked_to_renew.set()

    def stop(self) -> None:
        """Ask all fronts to stop; when called again, to stop at once."""
        again = self._stopping.is_set()
        if not again:
            self._stopping.set()
            self._asked_to_renew.set()
        for front in self._fronts:
            if again:
                front.link.post(StopNow())
            self._end(front)

    def _end(self, front: Front) -> None:
        """Ask a front to stop, and kill it if it does not end in time."""
        with contextlib.suppress(ProcessLookupError):
            front.process.terminate()
        ending = asyncio.create_task(self._end_in_time(front))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _listen(self, front: Front, wanted: Listen) -> Door:
        door = await self._doors.listen(wanted)
        front.doors.add(door.number)
        return door

    async def _ask_others(self, link: Link, request: object) -> list[object]:
        """Return the results of all other fronts that respond in time."""
        others = [front.link for front in self._fronts if front.takes and front.link is not link]
        found = await asyncio.gather(*(result_of(other, request) for other in others))
        return [result for results in found for result in results]


def _check(settings: Settings) -> None:
    """Raise ConfigError for settings that fronts cannot share."""
    if settings.model_host == "ray" and not settings.ray_address:
        raise ConfigError("PROCESSES with MODEL_HOST=ray needs RAY_ADDRESS: the cluster that all processes use.")


async def _either(*these: Coroutine[object, object, object]) -> None:
    """Wait until one of these has returned; cancel the others."""
    tasks = [asyncio.create_task(one) for one in these]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _told(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
