"""The process of one engine: `python -m pipeline.workers.child FD NAME NICENESS`, started only by `process.py`. The
name is for people who look at a list of processes.

Builds the engine that it receives, then runs calls or batches one at a time in the main thread. A second thread reads
further calls and cancellations from the socket. The process ends when the other end of the socket is closed.
"""

import os
import queue
import signal
import socket
import sys
import threading
from typing import Any

from pipeline.workers.run_calls import build, run
from pipeline.workers.wire import LENGTH, Batch, Call, Cancel, Failed, Ready, pack, unpack


class Calls:
    """Calls and cancellations, passed from the reading thread to the main thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._cancelled: set[int] = set()
        # The parent sends one call or batch at a time; the limit is a safeguard, not a buffer.
        self.queue: queue.Queue[Call | Batch] = queue.Queue(maxsize=64)

    def receive(self) -> Any:
        size = LENGTH.unpack(self._exactly(LENGTH.size))[0]
        return unpack(self._exactly(size))

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        got = 0
        while got < size:
            try:
                n = self._sock.recv_into(view[got:])
            except OSError:  # the parent was killed with results unread
                n = 0
            if n == 0:
                # The parent is gone: end at once, even in a long call into C code.
                os._exit(0)
            got += n
        return data

    def read_for_ever(self) -> None:
        while True:
            message = self.receive()
            if isinstance(message, Cancel):
                self._cancelled.add(message.number)
            else:
                self.queue.put(message)

    def cancelled(self, number: int) -> bool:
        return number in self._cancelled

    def forget(self, number: int) -> None:
        """Forget this call and all earlier ones: they have ended."""
        self._cancelled = {other for other in self._cancelled if other > number}


def main() -> None:
    for asked_to_stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked_to_stop, signal.SIG_IGN)  # the parent handles them, and then closes the socket
    os.nice(int(sys.argv[3]))
    sock = socket.socket(fileno=int(sys.argv[1]))
    calls = Calls(sock)
    spec = calls.receive()
    try:
        engine = build(spec)
    except Exception as error:
        sock.sendall(pack(Failed(0, error)))
        return
    sock.sendall(pack(Ready()))
    threading.Thread(target=calls.read_for_ever, daemon=True).start()
    while True:
        call = calls.queue.get()
        wanted = call.calls if isinstance(call, Batch) else [call]
        for message in run(engine, wanted, calls.cancelled):
            sock.sendall(pack(message))
        calls.forget(wanted[-1].number)


if __name__ == "__main__":
    main()
