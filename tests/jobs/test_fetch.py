"""URLs from strangers: what may be reached, and files that come whole or not at all."""

import asyncio
import ipaddress
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jobs.addresses import Reachable, checked_client
from jobs.errors import FetchFailed, Refused, TooLarge
from jobs.fetch import fetch
from jobs.files import FileStore
from pipeline.errors import ConfigError
from tests.servers import web as servers
from tests.servers.web import Web

DATA = os.urandom(300_000)
PUBLIC = Reachable("")
HERE = Reachable("127.0.0.1")
"""127.0.0.1 may be reached, 127.0.0.2 may not: both are this machine."""

FORBIDDEN = [
    "http://127.0.0.1/", "http://127.0.0.1:8000/health", "http://127.1/", "http://127.255.255.254/",
    "http://2130706433/", "http://0x7f000001/", "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://017700000001/",
    "http://0/", "http://0.0.0.0/", "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.1.1/",
    "http://100.64.0.1/", "http://169.254.169.254/latest/meta-data/", "http://2852039166/", "http://224.0.0.1/",
    "http://255.255.255.255/", "http://192.0.2.1/", "http://198.18.0.1/", "http://240.0.0.1/",
    "http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/",
    "http://[::ffff:169.254.169.254]/", "http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::169.254.169.254]/", "http://[2002:7f00:1::]/", "http://[2002:a9fe:a9fe::1]/",
    "http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://[fe80::1]/", "http://[ff02::1]/",
    "http://[2001:0:7f00:1::]/", "http://[2001:db8::1]/", "http://[100::1]/",
]  # fmt: skip
BAD = [
    "file:///etc/passwd", "ftp://example.org/a.wav", "gopher://127.0.0.1:6379/_INFO", "data:audio/wav;base64,AAAA",
    "dict://127.0.0.1:11211/", "ldap://127.0.0.1/", "jar:http://x!/", "//example.org/a.wav", "example.org/a.wav", "",
    "http://", "http:///a.wav", "http://user:secret@example.org/", "http://user@example.org/",
    "http://example.org\\@127.0.0.1/", "http://exa mple.org/", "http://example.org/\r\nHost: x", "http://[::1/",
    "http://example.org:99999/", "http://example%2eorg/", "http://[fe80::1%25eth0]/", "http://example.org/\x00",
    "http://e/" + "a" * 5000, "HTTPS:/example.org",
]  # fmt: skip
NAMES = ["http://localhost/", "http://LOCALHOST/"]
"""Names that every machine knows as itself."""


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "uploads", 400_000)


@pytest.fixture
def web() -> Iterator[Web]:
    with servers.serving() as running:
        running.data = DATA
        yield running


async def fetched(files: FileStore, url: str, rule: Reachable = HERE, timeout_s: float = 20.0) -> bytes:
    """The file's content; whatever happens, nothing is left incoming."""
    try:
        async with files.receive() as incoming:
            await fetch(url, incoming, rule, timeout_s=timeout_s)
            stored = await incoming.commit()
        return files.path(stored.sha256).read_bytes()
    finally:
        assert [path.name for path in (files.root / "incoming").glob("*/*")] == [".lock"]


@pytest.mark.parametrize("url", FORBIDDEN + BAD)
async def test_refused_before_anybody_is_asked(files: FileStore, url: str) -> None:
    with pytest.raises(Refused) as caught:
        PUBLIC.check(url)
    assert caught.value.code in ("forbidden_address", "bad_url")
    with pytest.raises(Refused):
        await fetched(files, url, PUBLIC)


@pytest.mark.parametrize("url", FORBIDDEN)
async def test_refused_also_by_the_connection_itself(url: str) -> None:
    """As if the check of the URL had let it through."""
    async with checked_client(PUBLIC, timeout_s=2) as client:
        with pytest.raises((Refused, FetchFailed, httpx.InvalidURL)):
            await client.get(url)


@pytest.mark.parametrize("url", NAMES)
async def test_a_name_is_what_it_resolves_to(files: FileStore, url: str) -> None:
    with pytest.raises(Refused) as caught:
        await fetched(files, url, PUBLIC)
    assert caught.value.code == "forbidden_address"


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "2002:808:808::"])
def test_public_addresses_may_be_reached(address: str) -> None:
    assert PUBLIC.allows(ipaddress.ip_address(address))


def test_what_is_allowed_besides() -> None:
    rule = Reachable("10.1.0.0/16, ::1")
    allowed = [rule.allows(ipaddress.ip_address(one)) for one in ("10.1.2.3", "::1", "10.2.0.1", "127.0.0.1")]
    assert allowed == [True, True, False, False]
    with pytest.raises(ConfigError):
        Reachable("ten")


async def test_the_address_that_was_checked_is_the_one_connected_to(
    files: FileStore, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that answers with a public address first and a private one after that finds nobody asking."""
    loop, asked = asyncio.get_running_loop(), []

    async def rebinding(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(2, 1, 6, "", (address, port))]

    monkeypatch.setattr(type(loop), "getaddrinfo", lambda self, *a, **k: rebinding(*a, **k), raising=False)
    url = web.address.replace("127.0.0.1", "rebinding.example") + "/file"
    assert await fetched(files, url) == DATA
    assert asked == ["rebinding.example"]
    with pytest.raises(Refused):
        await fetched(files, url)


async def test_one_forbidden_address_among_several_is_enough(files: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(host: str, port: int, **_: object) -> list[object]:
        return [(2, 1, 6, "", ("127.0.0.1", port)), (2, 1, 6, "", ("127.0.0.2", port))]

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(type(loop), "getaddrinfo", lambda self, *a, **k: both(*a, **k), raising=False)
    with pytest.raises(Refused):
        await fetched(files, "http://both.example/")


async def test_redirects_are_followed_and_each_is_checked(files: FileStore, web: Web) -> None:
    web.redirects = {"/a": "/b", "/b": f"{web.address}/file"}
    assert await fetched(files, f"{web.address}/a") == DATA
    with servers.serving("127.0.0.2") as inside:
        inside.data = b"secret"
        for to in (inside.address, "http://169.254.169.254/", "file:///etc/passwd", "http://[::ffff:127.0.0.2]/"):
            web.redirects = {"/a": to}
            with pytest.raises(Refused):
                await fetched(files, f"{web.address}/a")
        assert inside.seen == []


async def test_redirects_have_an_end(files: FileStore, web: Web) -> None:
    web.redirects = {"/a": "/a"}
    with pytest.raises(Refused):
        await fetched(files, f"{web.address}/a")
    assert len(web.seen) < 10


async def test_a_proxy_of_the_environment_is_not_asked(
    files: FileStore, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.serving("127.0.0.2") as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.address)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert await fetched(files, f"{web.address}/file") == DATA
        assert proxy.seen == []


@pytest.mark.parametrize("length", [True, False])
async def test_too_large_a_file_is_left_in_the_middle(files: FileStore, web: Web, length: bool) -> None:
    web.data, web.length = bytes(5_000_000), length
    with pytest.raises(TooLarge):
        await fetched(files, f"{web.address}/file")


async def test_what_broke_off_is_gone_on_with(files: FileStore, web: Web) -> None:
    web.breaks = [100_000, 50_000]
    assert await fetched(files, f"{web.address}/file") == DATA
    assert [seen.headers.get("range") for seen in web.seen] == [None, "bytes=100000-", "bytes=150000-"]
    assert {seen.headers.get("if-range") for seen in web.seen[1:]} == {'"v1"'}


async def test_without_ranges_or_a_tag_it_begins_anew(files: FileStore, web: Web) -> None:
    for web.ranges, web.tagged in ((False, True), (True, False)):
        web.breaks = [100_000]
        assert await fetched(files, f"{web.address}/file") == DATA


async def test_a_part_that_was_not_asked_for_is_refused(files: FileStore, web: Web) -> None:
    web.statuses, web.headers = [206], {"Content-Range": "bytes 5-9/10"}
    with pytest.raises(Refused):
        await fetched(files, f"{web.address}/file")


async def test_compressed_answers_are_refused(files: FileStore, web: Web) -> None:
    web.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(Refused):
        await fetched(files, f"{web.address}/file")
    assert web.seen[0].headers["accept-encoding"] == "identity"


async def test_a_server_that_drips_is_left_in_time(files: FileStore, web: Web) -> None:
    web.pause_s = 2.0  # it would be more than half a minute
    begun = time.monotonic()
    with pytest.raises(FetchFailed):
        await fetched(files, f"{web.address}/file", timeout_s=1.0)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(("status", "error"), [(404, Refused), (403, Refused), (503, FetchFailed), (429, FetchFailed)])
async def test_what_may_get_better_is_told_apart(
    files: FileStore, web: Web, status: int, error: type[Exception]
) -> None:
    web.statuses = [status] * 20
    with pytest.raises(error):
        await fetched(files, f"{web.address}/file")


async def test_nobody_there_may_get_better(files: FileStore) -> None:
    with pytest.raises(FetchFailed):
        await fetched(files, "http://127.0.0.1:9/file")
    with pytest.raises(FetchFailed):
        await fetched(files, "http://nobody.invalid/file")


async def test_a_playlist_behind_a_url_is_refused(files: FileStore, web: Web) -> None:
    web.data = b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n"
    with pytest.raises(Refused) as caught:
        await fetched(files, f"{web.address}/file")
    assert caught.value.code == "bad_audio"


async def test_the_server_may_say_what_the_file_is_called(files: FileStore, web: Web) -> None:
    web.redirects = {"/d?id=7": "/file"}
    web.headers = {"Content-Disposition": "attachment; filename=\"x.mp3\"; filename*=UTF-8''Ol%C3%A1.mp3"}
    web.breaks = [70_000]
    async with files.receive() as incoming:
        assert await fetch(f"{web.address}/d?id=7", incoming, HERE, timeout_s=20) == "Olá.mp3"
    web.headers = {}
    async with files.receive() as incoming:
        assert await fetch(f"{web.address}/file", incoming, HERE, timeout_s=20) is None
