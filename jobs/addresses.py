"""Restriction of outgoing requests for callers: to public addresses, and to others that the deployment allows.

A URL is checked and built once (`Reachable.check`), and requests are sent to the built URL. Its host is looked up once
per connection, and `jobs.client` connects only to the addresses that were checked.
"""

import asyncio
import ipaddress
import re
import socket
import threading
from collections.abc import Iterator

import httpx

from jobs.errors import FetchFailed, Refused
from pipeline.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_URL_CHARS = 4096
MAX_HOST_CHARS = 253
MAX_PORT = 65_535
RESOLVE_S = 5.0
MAX_LOOKUPS = 32
"""Maximum number of simultaneous look-ups. Each has its own thread: the resolver cannot be cancelled, and a caller's
name server may take half a minute, which must not occupy the threads that the rest of the service uses."""

SPECIAL_IPV4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
            "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
            "168.63.129.16/32",
        ),
    )
)  # fmt: skip
"""All blocks of the IANA IPv4 Special-Purpose Address Registry, and multicast. The globally reachable blocks (anycast
relays, AS112) do not serve files. The last one is Azure's host service, at a public address on every machine."""
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The range from which IANA has assigned hosts' addresses. Outside it are loopback, unique local, link-local,
site-local and multicast addresses, the discard prefix, SRv6 and unassigned blocks."""
SPECIAL_IPV6 = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
"""The blocks of the IANA IPv6 Special-Purpose Address Registry inside GLOBAL_UNICAST. For Teredo (in 2001::/23) and
6to4 (2002::/16) the embedded IPv4 addresses decide (`_carried`)."""
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_NUMERIC_LABEL = re.compile(r"0x[0-9a-f]*|[0-9]+")


class Reachable:
    """The rule: public addresses, and others that the deployment allows."""

    def __init__(self, allowed: str) -> None:
        """allowed: comma-separated addresses and networks. Raises ConfigError."""
        try:
            self._allowed = [
                ipaddress.ip_network(one.strip(), strict=False) for one in allowed.split(",") if one.strip()
            ]
        except ValueError as error:
            raise ConfigError(f"URL_ALLOW: {error}.") from None

    def allows(self, address: Address) -> bool:
        """Whether connections to this address are allowed, in any notation."""
        if self._named(address):
            return True
        if isinstance(address, ipaddress.IPv4Address):
            return not any(address in block for block in SPECIAL_IPV4)
        carried = _carried(address)
        if carried is not None:
            # Mapped, NAT64 and tunnel prefixes are not public themselves, but lead to the embedded addresses.
            return bool(carried) and all(self.allows(inner) for inner in carried)
        if address not in GLOBAL_UNICAST or any(address in block for block in SPECIAL_IPV6):
            return False
        isatap = int(address) >> 32 & 0xFFFF_FFFF in _ISATAP
        return not isatap or self.allows(_low_32(address))

    def _named(self, address: Address) -> bool:
        return any(address in network for network in self._allowed if network.version == address.version)

    def check(self, url: str) -> httpx.URL:
        """Return the URL as it will be requested. Raises Refused (bad_url, forbidden_address) if it is unusable, or is
        forbidden as far as can be known without a name server."""
        built = _built(url)
        host = host_of(built)
        literal = _literal(host)
        if literal is not None:
            if not self.allows(literal):
                raise forbidden()
            return built
        if len(host) > MAX_HOST_CHARS or _NAME.fullmatch(host) is None:
            raise Refused("The URL does not have a usable host.", code="bad_url")
        if all(_NUMERIC_LABEL.fullmatch(label) for label in host.rstrip(".").split(".")):
            # 2130706433, 0x7f.1, 0177.0.0.1: notations that only serve to hide an address.
            raise Refused("Write the address as four decimal numbers.", code="forbidden_address")
        return built

    async def look_up(self, host: str, port: int, timeout_s: float = RESOLVE_S) -> list[str]:
        """Return the addresses of a host, all of which are allowed. Raises Refused, FetchFailed."""
        literal = _literal(host)
        if literal is None:
            try:
                async with asyncio.timeout(timeout_s):
                    found = await _resolved(host, port)
            except (OSError, TimeoutError, ValueError) as error:
                raise FetchFailed("The host of the URL was not found.") from error
            names = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        else:
            names = [host]
        # Reject all if any is forbidden: a name server that returns both kinds is suspicious.
        if not names or not all(self.allows(ipaddress.ip_address(name.split("%")[0])) for name in names):
            raise forbidden()
        return names


def forbidden() -> Refused:
    return Refused("Only public addresses are allowed (URL_ALLOW).", code="forbidden_address")


def host_of(url: httpx.URL) -> str:
    """Return the host as it is looked up and sent: ASCII, lower case, an IPv6 address without brackets."""
    return url.raw_host.decode("ascii")


def counted_host(url: str) -> str:
    """Return the host of a URL, which identifies a receiver for limits; "" for an invalid URL."""
    try:
        return host_of(httpx.URL(url))[:MAX_HOST_CHARS]
    except (httpx.InvalidURL, ValueError):
        return ""


def port_of(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _built(url: str) -> httpx.URL:
    if len(url) > MAX_URL_CHARS or any(character <= " " or character == "\x7f" for character in url):
        raise Refused("The URL is too long or contains spaces.", code="bad_url")
    try:
        built = httpx.URL(url)
        # Read every part that a request needs: a host can be valid ASCII but not a name (xn--a).
        told = (built.host, built.raw_host, built.netloc, built.raw_path, built.port)
        again = httpx.URL(str(built))
    except (httpx.InvalidURL, ValueError, TypeError):
        raise Refused("This is not a URL.", code="bad_url") from None
    if built.scheme not in ("http", "https"):
        raise Refused("Only http and https URLs are fetched.", code="bad_url")
    if built.userinfo or "@" in _authority(url):
        raise Refused("URLs that contain a name or password are not fetched.", code="bad_url")
    if not built.host or "\\" in url or "%" in _authority(url):
        raise Refused("The URL does not have a usable host.", code="bad_url")
    if built.port is not None and not 0 < built.port <= MAX_PORT:
        raise Refused(f"The port of a URL must be from 1 to {MAX_PORT}.", code="bad_url")
    if told != (again.host, again.raw_host, again.netloc, again.raw_path, again.port):
        raise Refused("This URL is ambiguous.", code="bad_url")
    return built


def _authority(url: str) -> str:
    """Return host and port as they were sent: the text between // and the path."""
    return re.split(r"[/?#]", url.partition("//")[2], maxsplit=1)[0]


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _low_32(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def _carried(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address] | None:
    """Return the IPv4 addresses that this address leads to, or None if it is not of such a kind."""
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    if address in _NAT64 or address in _COMPATIBLE:
        return [_low_32(address)]
    if address in _LOCAL_NAT64:
        return [inner for inner in _translated(int(address)) if inner not in _THIS_NETWORK]
    return None


def _translated(number: int) -> Iterator[ipaddress.IPv4Address]:
    """Yield the IPv4 addresses that an address of the local NAT64 prefix may embed (RFC 6052, 2.2). The position of the
    bits depends on the length of the translator's own prefix, which is unknown here. Bits 64 to 71 are always skipped.
    """
    without_u = number >> 64 << 56 | number & (1 << 56) - 1  # 120 bits
    for prefix in (48, 56, 64):
        yield ipaddress.IPv4Address(without_u >> 120 - prefix - 32 & 0xFFFF_FFFF)
    yield ipaddress.IPv4Address(number & 0xFFFF_FFFF)


_lookups = threading.BoundedSemaphore(MAX_LOOKUPS)


Found = list[
    tuple[
        socket.AddressFamily,
        socket.SocketKind,
        int,
        str,
        tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
    ]
]
"""Result of `socket.getaddrinfo`; the last part of each entry is its address."""


async def _resolved(host: str, port: int) -> Found:
    """Call `socket.getaddrinfo` in a thread that ends by itself. Raises OSError, UnicodeError."""
    if not _lookups.acquire(blocking=False):
        raise OSError("too many names are being looked up")
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Found] = loop.create_future()

    def tell(found: Found | Exception) -> None:
        if result.done():
            return
        if isinstance(found, Exception):
            result.set_exception(found)
        else:
            result.set_result(found)

    def ask() -> None:
        found: Found | Exception
        try:
            found = [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except Exception as error:
            found = error
        finally:
            _lookups.release()
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return await result
