"""Forks of a process that serves requests for them, and their exit codes."""

import contextlib
import os
import select
import socket
import struct

CODE = struct.Struct("i")
"""Form of an exit code."""
MAX_REQUEST_BYTES = 2**17


class Children:
    """The running forks of this process; the exit code of each is written to its own descriptor."""

    def __init__(self, control: socket.socket) -> None:
        """control: the socket that requests come from."""
        self._running: dict[int, tuple[int, int]] = {}  # pidfd → pid, descriptor for the exit code
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    @property
    def descriptors(self) -> list[int]:
        """Open descriptors, which a further fork inherits."""
        return [*self._running, *(told for _, told in self._running.values())]

    def add(self, pid: int, told: int) -> None:
        """Report the exit code of this fork to the descriptor `told`."""
        own = os.pidfd_open(pid)
        self._running[own] = pid, told
        self._poll.register(own, select.POLLIN)

    def report_until_request(self) -> None:
        """Report the exit codes of forks until a request has come."""
        requested = False
        while not requested:
            for ready, _ in self._poll.poll():
                if ready in self._running:
                    self._report(ready)
                else:
                    requested = True

    def _report(self, own: int) -> None:
        self._poll.unregister(own)
        pid, told = self._running.pop(own)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(BrokenPipeError):
            os.write(told, CODE.pack(code))
        for fd in (own, told):
            os.close(fd)
