"""Many speakers at little cost: they share the cores with the service that they measure.

They do what `bench.load.Speaker` does, on plain sockets in one thread, with frames that are made once. A message has
20 ms of sound. While a speaker waits for its first audio, its socket is read as soon as something comes, and otherwise
ten times a second. Of what it is sent, only the headers of frames and the types of text messages are read.
"""

import base64
import json
import os
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from bench.load import PATIENCE_S, RATE_HZ, THINKING_S, Question, Seen

FRAME = RATE_HZ // 50
FRAME_S = FRAME / RATE_HZ
READ_FRAMES = 5
"""Frames sent between two reads of a speaker that does not wait for audio."""
SPREAD_S = 4.0
"""Time in which all begin: about the length of one turn."""
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
OVER = (b"turn_completed", b"turn_failed", b"error", b"utterance_ignored", b"turn_interrupted", b"session_ended")
"""Messages after which the next question follows."""


class Refused(Exception):
    """The service has not accepted the connection."""


class Talker:
    """One conversation."""

    def __init__(self, port: int, question: Question, seen: Seen, late_s: float) -> None:
        """Connect. late_s: time of silence before the first question. Raises OSError, Refused."""
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.waits_for_audio = False
        self.closed = False
        self._seen = seen
        self._received = bytearray()
        self._spoke = 0.0
        self._over = False
        self._frames = self._script(question, late_s)
        self._since_read = 0
        self._connect(port)

    def _connect(self, port: int) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self.connection.sendall(
            f"GET /ws?stream=1&rate={RATE_HZ} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._received:
            data = self.connection.recv(1 << 16)
            if not data:
                raise Refused
            self._received += data
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise Refused
        self.connection.settimeout(None)  # with one, a read would wait although it must not

    def _script(self, question: Question, late_s: float) -> Iterator[bytes]:
        """Yield a frame for each 20 ms: questions, and silence until the reply is over and a second more."""
        silence = question.silence
        for _ in range(round(late_s / FRAME_S)):
            yield silence
        while True:
            yield from question.frames[:-1]
            self._over, self.waits_for_audio = False, True
            self._spoke = time.monotonic()
            yield question.frames[-1]
            while not self._over:
                yield silence
                if time.monotonic() > self._spoke + PATIENCE_S:
                    self._fail("silence")
            for _ in range(round(THINKING_S / FRAME_S)):
                yield silence

    def send(self) -> None:
        """Send the next frame."""
        if self.closed:
            return
        try:
            self.connection.send(next(self._frames))
        except OSError as error:
            self._close(type(error).__name__)
        self._since_read += 1
        if not self.waits_for_audio and self._since_read >= READ_FRAMES:
            self.read()

    def read(self) -> None:
        """Take what has come."""
        self._since_read = 0
        try:
            data = self.connection.recv(1 << 18, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            self._close(type(error).__name__)
            return
        if not data:
            self._close("closed")
            return
        received = self._received
        received += data
        at = 0
        while len(received) >= at + 2:
            size = received[at + 1]
            start = at + {126: 4, 127: 10}.get(size, 2)
            if size >= 126 and len(received) >= start:
                size = int.from_bytes(received[at + 2 : start], "big")
            if len(received) < start + size:
                break
            self._take(received[at] & 15, received, start, start + size)
            at = start + size
        del received[:at]

    def _take(self, opcode: int, received: bytearray, start: int, end: int) -> None:
        """Take a message of the service."""
        if opcode == BINARY and self.waits_for_audio:
            self._seen.first_audio_s.append(time.monotonic() - self._spoke)
            self.waits_for_audio = False
        elif opcode == TEXT and received[start : start + 60].partition(b'"type":"')[2].startswith(OVER):
            told = json.loads(received[start:end])
            if told["type"] == "turn_completed":
                self._seen.completed += 1
                self._over = True
            else:
                self._fail(told.get("code") or told.get("reason") or told["type"])
        elif opcode == PING:
            self.connection.send(bytes([0x8A, 0x80 | (end - start), 0, 0, 0, 0]) + received[start:end])  # a pong
        elif opcode == CLOSE:
            self._close("closed")

    def _fail(self, code: str) -> None:
        if code == "overloaded":
            self._seen.refused += 1
        else:
            self._seen.failed[code] += 1
        self._over, self.waits_for_audio = True, False

    def _close(self, code: str) -> None:
        if not self.closed:
            self._fail(code)
            self.closed = True


def speak(ports: Sequence[int], speakers: int, seconds: float) -> Seen:
    """Let the speakers talk to these services in turn, for this time; return what they have seen."""
    seen, question = Seen(), Question(FRAME)
    with ExitStack() as stack:
        talkers = []
        for number in range(speakers):
            try:
                talker = Talker(ports[number % len(ports)], question, seen, SPREAD_S * number / speakers)
            except Refused:
                seen.refused += 1
                continue
            stack.enter_context(talker.connection)
            talkers.append(talker)
        poll = stack.enter_context(select.epoll())
        by_descriptor = {talker.connection.fileno(): talker for talker in talkers}
        waiting: set[Talker] = set()
        began = time.monotonic()
        for turn in range(round(seconds / FRAME_S)):
            for number, talker in enumerate(talkers):
                due = began + (turn + number / len(talkers)) * FRAME_S
                while (left_s := due - time.monotonic()) > 0:
                    for descriptor, _ in poll.poll(left_s):
                        by_descriptor[descriptor].read()
                talker.send()
                if talker.waits_for_audio and talker not in waiting:
                    waiting.add(talker)
                    poll.register(talker.connection, select.EPOLLIN)
                elif talker in waiting and not talker.waits_for_audio:
                    waiting.remove(talker)
                    poll.unregister(talker.connection)
    return seen
