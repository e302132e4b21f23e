"""Which addresses may be reached for a user: an HTTP client that connects to public ones only.

The check is in the connection itself: the name is resolved once, what came out is checked, and that very address is
connected to. Nothing is looked up a second time, and there is no way around it for a redirect or a second request.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore
import httpx

from jobs.errors import FetchFailed, Refused
from pipeline.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_URL_CHARS = 4096
RESOLVE_S = 5.0
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)


class Reachable:
    """The rule: public addresses, and those that the deployment allows besides."""

    def __init__(self, allowed: str) -> None:
        """allowed: comma-separated addresses and networks. Raises ConfigError."""
        try:
            self._allowed = [
                ipaddress.ip_network(one.strip(), strict=False) for one in allowed.split(",") if one.strip()
            ]
        except ValueError as error:
            raise ConfigError(f"URL_ALLOW: {error}.") from None

    def allows(self, address: Address) -> bool:
        """Whether this address may be connected to, whatever it is written as."""
        if self._named(address):
            return True
        for form in _forms(address):
            if self._named(form):
                continue
            if not form.is_global or form.is_multicast or form.is_reserved or form.is_unspecified:
                return False
        return True

    def _named(self, address: Address) -> bool:
        return any(address in network for network in self._allowed if network.version == address.version)

    def check(self, url: str) -> SplitResult:
        """What can be said of a URL without asking anybody. Raises Refused: bad_url, forbidden_address."""
        if len(url) > MAX_URL_CHARS or any(character <= " " or character == "\x7f" for character in url):
            raise Refused("The URL is too long or has spaces in it.", code="bad_url")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise Refused("This is not a URL.", code="bad_url") from None
        if parts.scheme not in ("http", "https"):
            raise Refused("Only http and https URLs are fetched.", code="bad_url")
        if not host or "\\" in url or "%" in parts.netloc:
            raise Refused("The URL has no host that can be used.", code="bad_url")
        if parts.username is not None or parts.password is not None:
            raise Refused("URLs with a name or password in them are not fetched.", code="bad_url")
        literal = _literal(host)
        if literal is None and _NUMERIC.fullmatch(host):
            # 2130706433, 0x7f.1, 0177.0.0.1: spellings of addresses that only those use who want to hide one.
            raise Refused("Write the address as four decimal numbers.", code="forbidden_address")
        if literal is not None and not self.allows(literal):
            raise forbidden()
        return parts

    async def look_up(self, host: str, port: int, timeout_s: float = RESOLVE_S) -> list[str]:
        """The addresses of a host, all of which may be connected to. Raises Refused, FetchFailed."""
        literal = _literal(host)
        if literal is None:
            try:
                async with asyncio.timeout(timeout_s):
                    loop = asyncio.get_running_loop()
                    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, TimeoutError, UnicodeError) as error:
                raise FetchFailed("The host of the URL was not found.") from error
            names = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        else:
            names = [host]
        # One that is forbidden among them is reason enough: who answers with both is up to something.
        if not names or not all(self.allows(ipaddress.ip_address(name.split("%")[0])) for name in names):
            raise forbidden()
        return names


def forbidden() -> Refused:
    return Refused("This address may not be reached; only public ones may (URL_ALLOW).", code="forbidden_address")


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _forms(address: Address) -> Iterable[Address]:
    """The address, and the IPv4 addresses that it stands for inside IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64 or int(address) >> 32 == 0:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        found = [form for form in inner if form is not None]
        if found:
            # Mapped and NAT64 prefixes are not global themselves, yet lead to what they carry.
            yield from found
            return
    yield address


class _Checked(httpcore.AsyncNetworkBackend):
    """Connections to addresses that were checked a moment ago, and to no others."""

    def __init__(self, rule: Reachable) -> None:
        self._rule = rule
        self._below = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failed: Exception | None = None
        for address in await self._rule.look_up(host, port, timeout or RESOLVE_S):
            try:
                return await self._below.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError("no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Sequence[Any] | None = None,  # type: ignore[override]
    ) -> httpcore.AsyncNetworkStream:
        raise forbidden()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def checked_client(rule: Reachable, *, timeout_s: float) -> AsyncIterator[httpx.AsyncClient]:
    """A client that keeps to the rule and follows no redirect by itself. timeout_s: to connect, and between bytes.

    Requests raise Refused and FetchFailed as well as httpx.HTTPError. Proxies of the environment are not asked: they
    would connect to whatever they are told.
    """
    transport = httpx.AsyncHTTPTransport(trust_env=False, retries=0)
    transport._pool._network_backend = _Checked(rule)  # httpx has no way of its own to say it
    timeout = httpx.Timeout(timeout_s)
    async with httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client:
        yield client
