"""URLs from strangers: reachable addresses, and files that arrive complete or not at all."""

import ipaddress
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.addresses import Reachable
from jobs.client import open_client
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
    # IANA's special-purpose registries, and cloud services at addresses that look public.
    "http://192.0.0.192/", "http://192.0.0.8/", "http://192.0.0.170/", "http://168.63.129.16/metadata",
    "http://192.31.196.1/", "http://192.52.193.1/", "http://192.88.99.2/", "http://192.175.48.1/",
    "http://198.19.255.255/", "http://198.51.100.1/", "http://203.0.113.1/", "http://100.100.100.200/",
    "http://239.255.255.250/", "http://0.1.2.3/", "http://255.0.0.1/", "http://172.31.255.255/",
    "http://[fec0::1]/", "http://[feff::1]/", "http://[3fff::1]/", "http://[3fff:fff::1]/", "http://[5f00::1]/",
    "http://[100:0:0:1::1]/", "http://[2001:1::1]/", "http://[2001:2::1]/", "http://[2001:3::1]/",
    "http://[2001:4:112::1]/", "http://[2001:10::1]/", "http://[2001:20::1]/", "http://[2001:30::1]/",
    "http://[2001:1ff:ffff::1]/", "http://[2620:4f:8000::1]/", "http://[fd20:ce::254]/", "http://[4000::1]/",
    "http://[::ffff:0:808:808]/", "http://[::ffff:a83f:8110]/", "http://[::168.63.129.16]/",
    "http://[64:ff9b::192.0.0.192]/", "http://[64:ff9b:1::10.0.0.1]/", "http://[64:ff9b:1:a00:0:100::]/",
    "http://[64:ff9b:1:a:0:1::]/", "http://[64:ff9b:1::a:0:100:0]/", "http://[64:ff9b:1::]/",
    "http://[64:ff9b:2::8.8.8.8]/", "http://[2002:a83f:8110::1]/", "http://[2002:c000:c0::1]/",
    "http://[2001:0:808:808::f5ff:fffe]/", "http://[2001:0:a00:1::f7f7:f7f7]/",
    "http://[2606:4700::5efe:10.0.0.1]/", "http://[2606:4700::200:5efe:169.254.169.254]/",
]  # fmt: skip
BAD = [
    "file:///etc/passwd", "ftp://example.org/a.wav", "gopher://127.0.0.1:6379/_INFO", "data:audio/wav;base64,AAAA",
    "dict://127.0.0.1:11211/", "ldap://127.0.0.1/", "jar:http://x!/", "//example.org/a.wav", "example.org/a.wav", "",
    "http://", "http:///a.wav", "http://user:secret@example.org/", "http://user@example.org/",
    "http://example.org\\@127.0.0.1/", "http://exa mple.org/", "http://example.org/\r\nHost: x", "http://[::1/",
    "http://example.org:99999/", "http://example%2eorg/", "http://[fe80::1%25eth0]/", "http://example.org/\x00",
    "http://e/" + "a" * 5000, "HTTPS:/example.org",
    # Strings that pass as URLs but cannot be requested: invalid host names, invalid ports, text that cannot be encoded.
    "http://xn--a.example/", "http://xn--/", "http://xn--0.example/a", "http://a..example/", "http://.example/",
    "http://example../", f"http://{'a' * 64}.example/", f"http://{'a.' * 130}example/", "http://ex*mple.org/",
    "http://exa\"mple.org/", "http://[v1.a]/", "http://[::1]x/", "http://example.org:0/", "http://example.org:x/",
    f"http://example.org:{'9' * 4000}/", "http://\u2460.example:80/", "http://\ud800.example/",
    "http://example.org/\udfff", "http://\uff11\uff12\uff17.0.0.1/", "http://\u3002/", "http://@example.org/",
]  # fmt: skip
NAMES = ["http://localhost/", "http://LOCALHOST/"]
"""Names by which every machine knows itself."""


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "uploads", 400_000)


@pytest.fixture
def web() -> Iterator[Web]:
    with servers.serving() as running:
        running.data = DATA
        yield running


async def fetched(files: FileStore, url: str, rule: Reachable = HERE, timeout_s: float = 20.0) -> bytes:
    """Return the file's content, and check that no incoming file is left."""
    try:
        async with files.receive() as incoming:
            await fetch(url, incoming, rule, timeout_s=timeout_s)
            stored = await incoming.commit()
        return files.path(stored.sha256).read_bytes()
    finally:
        assert [path.name for path in (files.root / "incoming").glob("*/*")] == [".lock"]


@pytest.mark.parametrize("url", FORBIDDEN + BAD)
async def test_forbidden_urls_are_refused_before_a_connection(files: FileStore, url: str) -> None:
    with pytest.raises(Refused) as caught:
        PUBLIC.check(url)
    assert caught.value.code in ("forbidden_address", "bad_url")
    with pytest.raises(Refused):
        await fetched(files, url, PUBLIC)


async def test_forbidden_addresses_are_refused_by_the_connection_too() -> None:
    """As if the URL check had accepted the URLs."""
    async with open_client(PUBLIC, timeout_s=2) as client:
        for url in FORBIDDEN:
            with pytest.raises((Refused, FetchFailed, httpx.InvalidURL)):
                async with client.stream("GET", httpx.URL(url), {}):
                    pass


@pytest.mark.parametrize("url", NAMES)
async def test_names_are_judged_by_the_address_they_resolve_to(files: FileStore, url: str) -> None:
    with pytest.raises(Refused) as caught:
        await fetched(files, url, PUBLIC)
    assert caught.value.code == "forbidden_address"


PUBLIC_ADDRESSES = [
    "93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "2002:808:808::", "192.0.1.1", "192.0.3.1",
    "168.63.129.15", "168.63.129.17", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "198.17.255.255",
    "198.20.0.1", "223.255.255.255", "191.255.255.255", "192.31.197.1", "2001:200::1", "2001:db7::1", "2003::1",
    "2620:4f:8001::1", "3ffe::1", "2a00:1450:4001::200e", "64:ff9b::8.8.8.8", "64:ff9b:1::8.8.8.8",
    "64:ff9b:1:808:8:800::", "2001:0:808:808::f7f7:f7f7", "2606:4700::5efe:8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert PUBLIC.allows(ipaddress.ip_address(address))


def test_allowed_networks_may_be_reached() -> None:
    rule = Reachable("10.1.0.0/16, ::1")
    allowed = [rule.allows(ipaddress.ip_address(one)) for one in ("10.1.2.3", "::1", "10.2.0.1", "127.0.0.1")]
    assert allowed == [True, True, False, False]
    with pytest.raises(ConfigError):
        Reachable("ten")


async def test_the_checked_address_is_the_one_connected_to(
    files: FileStore, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that returns a public address first and a private one later is not asked a second time."""
    asked: list[str] = []
    ask = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *args: Any, **more: Any) -> list[Any]:
        if host != "rebinding.example":
            return ask(host, port, *args, **more)
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(2, 1, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    url = web.address.replace("127.0.0.1", "rebinding.example") + "/file"
    assert await fetched(files, url) == DATA
    assert asked == ["rebinding.example"]
    with pytest.raises(Refused):
        await fetched(files, url)


async def test_one_forbidden_address_among_several_is_refused(
    files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", ("127.0.0.1", port)), (2, 1, 6, "", ("127.0.0.2", port))]

    monkeypatch.setattr(socket, "getaddrinfo", both)
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


async def test_redirects_are_limited(files: FileStore, web: Web) -> None:
    web.redirects = {"/a": "/a"}
    with pytest.raises(Refused):
        await fetched(files, f"{web.address}/a")
    assert len(web.seen) < 10


async def test_proxies_from_the_environment_are_ignored(
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
async def test_a_download_stops_at_the_size_limit(files: FileStore, web: Web, length: bool) -> None:
    web.data, web.length = bytes(5_000_000), length
    with pytest.raises(TooLarge):
        await fetched(files, f"{web.address}/file")


async def test_an_interrupted_download_resumes(files: FileStore, web: Web) -> None:
    web.breaks = [100_000, 50_000]
    assert await fetched(files, f"{web.address}/file") == DATA
    assert [seen.headers.get("range") for seen in web.seen] == [None, "bytes=100000-", "bytes=150000-"]
    assert {seen.headers.get("if-range") for seen in web.seen[1:]} == {'"v1"'}


async def test_without_ranges_or_an_etag_the_download_restarts(files: FileStore, web: Web) -> None:
    for web.ranges, web.tagged in ((False, True), (True, False)):
        web.breaks = [100_000]
        assert await fetched(files, f"{web.address}/file") == DATA


async def test_a_range_that_was_not_requested_is_refused(files: FileStore, web: Web) -> None:
    web.statuses, web.headers = [206], {"Content-Range": "bytes 5-9/10"}
    with pytest.raises(Refused):
        await fetched(files, f"{web.address}/file")


async def test_compressed_responses_are_refused(files: FileStore, web: Web) -> None:
    web.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(Refused):
        await fetched(files, f"{web.address}/file")
    assert web.seen[0].headers["accept-encoding"] == "identity"


async def test_a_slow_server_is_abandoned_at_the_deadline(files: FileStore, web: Web) -> None:
    web.pause_s = 2.0  # otherwise it would take more than half a minute
    begun = time.monotonic()
    with pytest.raises(FetchFailed):
        await fetched(files, f"{web.address}/file", timeout_s=1.0)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(("status", "error"), [(404, Refused), (403, Refused), (503, FetchFailed), (429, FetchFailed)])
async def test_temporary_and_permanent_errors_are_distinguished(
    files: FileStore, web: Web, status: int, error: type[Exception]
) -> None:
    web.statuses = [status] * 20
    with pytest.raises(error):
        await fetched(files, f"{web.address}/file")


async def test_unreachable_servers_are_a_temporary_error(files: FileStore) -> None:
    with pytest.raises(FetchFailed):
        await fetched(files, "http://127.0.0.1:9/file")
    with pytest.raises(FetchFailed):
        await fetched(files, "http://absent.invalid/file")


async def test_a_playlist_behind_a_url_is_refused(files: FileStore, web: Web) -> None:
    web.data = b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n"
    with pytest.raises(Refused) as caught:
        await fetched(files, f"{web.address}/file")
    assert caught.value.code == "bad_audio"


async def test_the_server_can_name_the_file(files: FileStore, web: Web) -> None:
    web.redirects = {"/d?id=7": "/file"}
    web.headers = {"Content-Disposition": "attachment; filename=\"x.mp3\"; filename*=UTF-8''Ol%C3%A1.mp3"}
    web.breaks = [70_000]
    async with files.receive() as incoming:
        assert await fetch(f"{web.address}/d?id=7", incoming, HERE, timeout_s=20) == "Olá.mp3"
    web.headers = {}
    async with files.receive() as incoming:
        assert await fetch(f"{web.address}/file", incoming, HERE, timeout_s=20) is None
