"""Hostile servers that callers name: the file arrives, or the job fails with a clear error."""

import asyncio
from pathlib import Path

import pytest

from jobs.addresses import Reachable
from jobs.client import FREE_PIECES, MAX_HEAD_BYTES, MAX_HEADER_CHARS
from jobs.errors import FetchFailed, Refused
from jobs.fetch import MAX_RESUMES, fetch
from jobs.files import FileStore
from tests.servers.hostile import Script, hostile, sends

HERE = Reachable("127.0.0.1")
OK = b"HTTP/1.1 200 OK\r\n"
WAV = b"RIFF and so on"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "uploads", 4_000_000)


async def fetched(files: FileStore, script: Script, timeout_s: float = 20.0) -> tuple[bytes, str | None]:
    """Fetch from a server that runs this script; return the body and the file name that the server gives."""
    async with hostile(script) as server, files.receive() as incoming:
        name = await fetch(f"{server.address}/file", incoming, HERE, timeout_s=timeout_s)
        stored = await incoming.commit()
    return files.path(stored.sha256).read_bytes(), name


def answer(*headers: bytes, body: bytes = WAV) -> bytes:
    return b"\r\n".join([OK.strip(), *headers, b"Content-Length: %d" % len(body), b"", body])


def chunked(*pieces: bytes) -> list[bytes]:
    return [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]


@pytest.mark.parametrize(
    "flood",
    [
        [INTERIM * 200_000],
        [INTERIM, *[b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"] * 2000],
        [OK + b'Content-Disposition: attachment; filename="' + b";" * 80_000 + b'"\r\n\r\n' + WAV],
        [OK, *[b"X-%d: y\r\n" % number for number in range(20_000)]],
        [b"HTTP/1.1 200 " + b"O" * 100_000],
        [b"\r\n" * 100_000],
    ],
    ids=["100 Continue", "early hints", "one header", "many headers", "reason", "empty lines"],
)
async def test_data_before_the_response_is_limited(files: FileStore, flood: list[bytes]) -> None:
    with pytest.raises(FetchFailed) as caught:
        await fetched(files, sends(*flood))
    assert "connection to the server failed" in caught.value.message


async def test_a_few_interim_responses_are_ignored(files: FileStore) -> None:
    assert await fetched(files, sends(INTERIM * 3, answer())) == (WAV, None)


async def test_an_overlong_header_counts_as_missing(files: FileStore) -> None:
    def named(count: int) -> bytes:
        return answer(b'Content-Disposition: attachment; filename="%s.wav"' % (b"a" * count))

    assert (await fetched(files, sends(named(100))))[1] == "a" * 100 + ".wav"
    assert (await fetched(files, sends(named(MAX_HEADER_CHARS))))[1] is None


async def test_resumes_with_long_names_are_limited(files: FileStore) -> None:
    sent = 0

    async def script(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        sent += 1
        name = b'attachment; filename="' + b'\\";' * (MAX_HEAD_BYTES // 4) + b'"'
        head = OK + b"Content-Length: 1000\r\nContent-Disposition: " + name[: MAX_HEAD_BYTES - 200] + b"\r\n\r\n"
        writer.write(head + WAV[:sent])
        await writer.drain()

    with pytest.raises(FetchFailed):
        await fetched(files, script)
    assert sent <= MAX_RESUMES + 1


@pytest.mark.parametrize(
    "location",
    [
        b"", b"http://[::1", b"http://xn--a.example/", b"http://example.org:99999/", b"http://a..b/", b"//", b"http:///x",
        b"http://" + b"a" * 70 + b".example/", b"\xff\xfe", b"javascript:alert(1)", b"http://e/" + b"a" * 5000,
        b"http://user@127.0.0.1/", b"http://%31.example/", b"\\\\127.0.0.1\\x", b"http://[fe80::1%25lo]/",
    ],
)  # fmt: skip
async def test_a_redirect_without_a_target_is_refused(files: FileStore, location: bytes) -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location
    with pytest.raises((Refused, FetchFailed)) as caught:
        await fetched(files, sends(moved))
    assert caught.value.code in ("bad_url", "forbidden_address", "fetch_refused", "fetch_failed")


@pytest.mark.parametrize("digits", [5_000, 4_000, 19])
async def test_numbers_of_any_length_are_handled(files: FileStore, digits: int) -> None:
    long = b"9" * digits
    for head in (
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %s-%s/%s\r\n\r\n" % (long, long, long),
        OK + b"Content-Length: %s\r\n\r\n" % long,
        b"HTTP/1.1 %s OK\r\n\r\n" % long,
    ):
        with pytest.raises((Refused, FetchFailed)):
            await fetched(files, sends(head + WAV))


async def test_one_byte_chunks_are_refused_and_normal_ones_are_not(files: FileStore) -> None:
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    with pytest.raises(FetchFailed) as caught:
        await fetched(files, sends(head, b"".join(chunked(*[b"x"] * 2 * FREE_PIECES))))
    assert "chunks" in caught.value.message
    body, _ = await fetched(files, sends(head, *chunked(*[b"x" * 160] * 2 * FREE_PIECES)))
    assert body == b"x" * 160 * 2 * FREE_PIECES


async def test_a_body_in_small_chunks_does_not_block_others(files: FileStore) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    working = asyncio.create_task(others())
    await fetched(files, sends(head + b"".join(chunked(*[b"x" * 16] * 20_000))))
    working.cancel()
    assert turns > 20_000 / 64


async def test_cookies_of_a_server_are_not_kept(files: FileStore) -> None:
    moved = b"HTTP/1.1 302 Found\r\nSet-Cookie: a=%s\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n" % (b"b" * 900)
    async with hostile(sends(moved)) as server, files.receive() as incoming:
        with pytest.raises(Refused):
            await fetch(f"{server.address}/a", incoming, HERE, timeout_s=20)
    assert len(server.heads) == 6
    assert not any(b"cookie" in head.lower() for head in server.heads)


@pytest.mark.parametrize(
    "garbage", [b"", b"\x00" * 2000, b"\x16\x03\x01" * 900, b"HTTP/9.9 200\r\n\r\n", b"HTTP/1.1 101 OK\r\n\r\n" + WAV]
)  # fmt: skip
async def test_garbage_is_a_failed_fetch(files: FileStore, garbage: bytes) -> None:
    with pytest.raises((Refused, FetchFailed)):
        await fetched(files, sends(garbage))
