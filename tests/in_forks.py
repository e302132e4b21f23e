"""`pytest --forks 4`: run whole test files in forks of the process that has collected the tests.

Collecting takes many CPU seconds, and pytest-xdist does it again in each of its processes. A fork requests its next
file before the last test of the current one, so that fixtures of the session stay.
"""

import itertools
import multiprocessing
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any
from warnings import WarningMessage

import pytest

Files = deque[list[int]]
"""Indices of tests in `session.items`, by file."""


@dataclass
class Fork:
    """A running fork, as the process that collected sees it."""

    process: BaseProcess
    connection: Connection
    left: deque[int] = field(default_factory=deque)
    """Its tests that have not begun."""
    running: int | None = None


class InForks:
    """The plugin of the process that has collected the tests."""

    def __init__(self, count: int, file_of: Callable[[pytest.Item], str], begin: Callable[[], None]) -> None:
        """count: the number of forks. file_of: name of the file whose tests run in one fork. begin: called in each."""
        self._count = count
        self._file_of = file_of
        self._begin = begin

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed or session.config.option.collectonly:
            return None  # pytest reports it
        by_file = dict[str, list[int]]()
        for index, item in enumerate(session.items):
            by_file.setdefault(self._file_of(item), []).append(index)
        files: Files = deque(by_file.values())
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one folder for all forks
        forks: list[Fork] = []
        try:
            for _ in range(min(self._count, len(files))):
                forks.append(self._start(session, forks))
            while forks:
                for connection in wait([fork.connection for fork in forks]):
                    fork = next(one for one in forks if one.connection is connection)
                    try:
                        kind, told = fork.connection.recv()
                    except EOFError:
                        forks.remove(fork)
                        if _ended(session, fork, files):
                            forks.append(self._start(session, forks))
                    else:
                        _handle(session, fork, files, kind, told)
        finally:
            for fork in forks:
                fork.process.terminate()
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        return True

    def _start(self, session: pytest.Session, others: Sequence[Fork]) -> Fork:
        ours, theirs = multiprocessing.Pipe()
        inherited = [ours, *(fork.connection for fork in others)]
        process = multiprocessing.get_context("fork").Process(
            target=_run, args=(session, theirs, inherited, self._begin)
        )
        process.start()
        theirs.close()
        return Fork(process, ours)


def _handle(session: pytest.Session, fork: Fork, files: Files, kind: str, told: Any) -> None:
    hook = session.config.hook
    if kind == "next":
        file = files.popleft() if files and not session.shouldfail else None
        fork.left.extend(file or ())
        fork.connection.send(file)
    elif kind == "starts":
        fork.running = told
        fork.left.remove(told)
        item = session.items[told]
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    elif kind == "finished":
        fork.running = None
        item = session.items[told]
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    elif kind == "report":
        report = hook.pytest_report_from_serializable(config=session.config, data=told)
        hook.pytest_runtest_logreport(report=report)
    elif kind == "warning":
        hook.pytest_warning_recorded.call_historic(kwargs=told)


def _ended(session: pytest.Session, fork: Fork, files: Files) -> bool:
    """Report the test in which the fork ended, if it did; return whether another one must take over its tests."""
    fork.process.join()
    if fork.running is not None:
        item = session.items[fork.running]
        crashed = f"The process of this test ended with the exit code {fork.process.exitcode}."
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", crashed, "call")
        session.config.hook.pytest_runtest_logreport(report=report)
    if fork.left:
        files.appendleft(list(fork.left))
    return bool(fork.left) or (fork.running is not None and bool(files))


class InFork:
    """The plugin of a fork: sends what happens."""

    def __init__(self, config: pytest.Config, connection: Connection) -> None:
        self._config = config
        self._connection = connection
        self._begun = False

    def files(self) -> Iterator[list[int]]:
        """Ask for files until none is left."""
        while True:
            self._connection.send(("next", None))
            if (file := self._connection.recv()) is None:
                return
            yield file

    def run(self, items: Sequence[pytest.Item]) -> None:
        self._begun = True
        indices = itertools.chain.from_iterable(self.files())
        for index, following in itertools.pairwise(itertools.chain(indices, [None])):
            assert index is not None
            self._connection.send(("starts", index))
            nextitem = None if following is None else items[following]
            self._config.hook.pytest_runtest_protocol(item=items[index], nextitem=nextitem)
            self._connection.send(("finished", index))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._connection.send(("report", data))

    def pytest_warning_recorded(
        self, warning_message: WarningMessage, when: str, nodeid: str, location: tuple[str, int, str] | None
    ) -> None:
        if self._begun:  # pytest repeats earlier ones, which were recorded
            told = {"warning_message": warning_message, "when": when, "nodeid": nodeid, "location": location}
            with suppress(pickle.PicklingError, TypeError, AttributeError):
                self._connection.send(("warning", told))


def _run(
    session: pytest.Session, connection: Connection, inherited: Sequence[Connection], begin: Callable[[], None]
) -> None:
    """Be a fork. inherited: connections of the process that collected; a fork ends when that process closes its own."""
    for other in inherited:
        other.close()
    plugins = session.config.pluginmanager
    plugins.unregister(name="terminalreporter")
    capturing = plugins.getplugin("capturemanager")
    capturing.stop_global_capturing()  # into a file of its own, instead of that of all forks
    capturing.start_global_capturing()
    begin()
    fork = InFork(session.config, connection)
    plugins.register(fork)
    try:
        fork.run(session.items)
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # ends process pools, as at the end of any program
