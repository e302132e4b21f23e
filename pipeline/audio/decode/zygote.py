"""The process that decoding processes are forked from, started by `processes`.

It has imported and warmed up the decoder, which takes a third of a second, so that each fork starts within some
milliseconds. It opens no file from outside, has one thread, no network and none of the service's secrets.
"""

import array
import gc
import io
import os
import signal
import socket
import sys

import numpy as np

from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode.decoding import decoded
from pipeline.audio.decode.sandbox import die_with_parent, leave_network, work
from pipeline.audio.decode.wire import Request
from pipeline.support.threads import NICENESS as MODELS

MAX_REQUEST_BYTES = 4096
DESCRIPTORS = 3
"""Descriptors sent with each request: the file, the socket for the frames, and the pipe whose closing ends the
process."""
NICENESS = MODELS + 4
"""Niceness of the decoding processes relative to the service: many short files must not slow down the models' calls."""


def main() -> None:
    """Serve requests until the service has ended."""
    for asked_to_stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked_to_stop, signal.SIG_IGN)  # the service handles them, and then closes the socket
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets a process that has ended
    die_with_parent(int(sys.argv[2]))
    leave_network()
    os.nice(NICENESS)
    control = socket.socket(fileno=int(sys.argv[1]))
    _warm_up()
    gc.freeze()  # keeps the memory pages of these objects shared with the forks
    while (message := _received(control)) is not None:
        _fork(control, *message)


def _warm_up() -> None:
    sound = encode_wav(Clip(np.zeros(16_000, np.float32), 48_000))
    for _ in decoded(io.BytesIO(sound), Request(10.0, 16_000, None, True, 1.0, 1.0, 0)):
        pass


def _received(control: socket.socket) -> tuple[Request, list[int]] | None:
    data, told, _, _ = control.recvmsg(MAX_REQUEST_BYTES, socket.CMSG_SPACE(4 * DESCRIPTORS))
    if not data:
        return None
    fds = array.array("i")
    for _, _, body in told:
        fds.frombytes(body[: len(body) // 4 * 4])
    return Request.unpacked(data), list(fds)


def _fork(control: socket.socket, request: Request, fds: list[int]) -> None:
    parent = os.getpid()
    if os.fork() == 0:
        try:
            die_with_parent(parent)
            control.close()
            for asked_to_stop in (signal.SIGINT, signal.SIGTERM):
                signal.signal(asked_to_stop, signal.SIG_DFL)
            nothing = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(nothing, standard)
            work(request, *fds)
        finally:
            os._exit(0)
    for fd in fds:
        os.close(fd)


if __name__ == "__main__":
    main()
