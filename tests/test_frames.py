"""WebSocket bytes cut at frame boundaries: the parser sees the same messages, and only the beginning of long texts."""

import random
from collections.abc import Iterator

import pytest
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from server.http.websocket_frames import Frames

LIMIT = 400
LARGEST = 1_000_000


def sent(*frames: Frame) -> bytes:
    return b"".join(frame.serialize(mask=True) for frame in frames)


def parsed(data: bytes, *, limit: int | None, seed: int = 0) -> tuple[list[Frame], Protocol]:
    """Frames that the `websockets` package reads from `data`, which comes in random pieces."""
    protocol, frames, chance = Protocol(SERVER, state=OPEN, max_size=LARGEST), Frames(LARGEST), random.Random(seed)
    frames.text_limit = limit
    found: list[Frame] = []

    def pieces() -> Iterator[bytes]:
        at = 0
        while at < len(data):
            size = chance.choice((1, 2, 3, 13, 500, 70_000))
            yield data[at : at + size]
            at += size

    for piece in pieces():
        frames.feed(piece)
        while taken := frames.take():
            protocol.receive_data(taken)
            found += [one for one in protocol.events_received() if isinstance(one, Frame)]
    return found, protocol


def same(frames: list[Frame]) -> list[tuple[Opcode, bytes, bool]]:
    return [(frame.opcode, bytes(frame.data), frame.fin) for frame in frames]


@pytest.mark.parametrize("seed", range(20))
def test_frames_within_the_limit_arrive_unchanged(seed: int) -> None:
    chance = random.Random(seed)
    frames = []
    for _ in range(30):
        size = chance.choice((0, 1, 125, 126, 127, 300, 65_535, 65_536, 100_000))
        kind = chance.choice((Opcode.BINARY, Opcode.TEXT, Opcode.PING))
        size = min(size, {Opcode.TEXT: LIMIT, Opcode.PING: 125}.get(kind, size))
        if kind is Opcode.PING or chance.random() < 0.5:
            frames.append(Frame(kind, b"a" * size))
            continue
        frames += [Frame(kind, b"a" * (size // 2), fin=False), Frame(Opcode.PING, b""), Frame(Opcode.CONT, b"b" * 9)]
    found, _ = parsed(sent(*frames), limit=LIMIT, seed=seed)
    assert same(found) == same(frames)


@pytest.mark.parametrize("size", [LIMIT + 1, 70_000, 900_000])
def test_only_the_beginning_of_a_long_text_is_passed_on(size: int) -> None:
    after = Frame(Opcode.TEXT, b"short")
    found, _ = parsed(sent(Frame(Opcode.TEXT, b"x" * size), after), limit=LIMIT, seed=size)
    assert same(found) == [(Opcode.TEXT, b"x" * LIMIT, True), *same([after])]


def test_fragments_of_a_long_text_share_the_limit() -> None:
    frames = [Frame(Opcode.TEXT, b"a" * 300, fin=False), *[Frame(Opcode.CONT, b"b" * 300, fin=False)] * 3]
    found, _ = parsed(sent(*frames, Frame(Opcode.CONT, b"c"), Frame(Opcode.BINARY, b"d" * 500)), limit=LIMIT)
    assert [len(frame.data) for frame in found] == [300, 100, 0, 0, 0, 500]


def test_long_texts_pass_whole_without_a_limit() -> None:
    found, _ = parsed(sent(Frame(Opcode.TEXT, b"x" * 900_000)), limit=None)
    assert [len(frame.data) for frame in found] == [900_000]


def test_messages_over_the_largest_size_are_left_to_the_parser() -> None:
    _, protocol = parsed(sent(Frame(Opcode.TEXT, b"x" * (LARGEST + 1))), limit=LIMIT)
    assert protocol.close_sent is not None
    assert protocol.close_sent.code == CloseCode.MESSAGE_TOO_BIG
