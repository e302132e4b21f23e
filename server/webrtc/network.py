"""The addresses and ports at which calls receive UDP, and clients reach them: the settings WEBRTC_…, checked."""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from pipeline.errors import ConfigError
from pipeline.settings import Settings

ICE_SERVER = re.compile(
    r"(?P<scheme>stun|turns?):(?:(?P<name>[^:@\s]+):(?P<password>[^@\s]+)@)?"
    r"(?P<place>[\w.-]+(?::\d{1,5})?)(?P<transport>\?transport=(?:udp|tcp))?"
)


@dataclass(frozen=True, slots=True)
class IceServer:
    """A server for STUN or TURN."""

    url: str
    """stun:HOST[:PORT], turn:HOST[:PORT][?transport=tcp] or turns:…"""
    name: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """The addresses and ports of calls."""

    host: str = "127.0.0.1"
    """Address to listen on; empty: all addresses of this machine."""
    ports: range = range(0)
    """UDP ports to listen on; empty: any."""
    addresses: tuple[str, ...] = ()
    """Addresses that are advertised in addition to this machine's own."""
    servers: tuple[IceServer, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the network of these settings. Raises ConfigError."""
        addresses = tuple(_addresses(settings.webrtc_address))
        servers = tuple(_servers(settings.webrtc_ice_servers))
        # With these, clients come from elsewhere, although a reverse proxy on this machine may be all that uses HOST.
        host = "" if addresses or servers else _host(settings.host)
        return cls(host, _ports(settings.webrtc_udp_ports), addresses, servers)

    @property
    def local(self) -> bool:
        """Whether only clients on this machine can call."""
        return bool(self.host) and ipaddress.ip_address(self.host).is_loopback


def _host(host: str) -> str:
    """Return the one address to listen on; empty for 0.0.0.0, :: and names."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "127.0.0.1" if host == "localhost" else ""
    return "" if address.is_unspecified else str(address)


def _ports(text: str) -> range:
    if not text:
        return range(0)
    found = re.fullmatch(r"\s*(\d{1,5})(?:\s*-\s*(\d{1,5}))?\s*", text)
    if found:
        low, high = int(found[1]), int(found[2] or found[1])
        if 1024 <= low <= high <= 65_535:
            return range(low, high + 1)
    raise ConfigError(f"WEBRTC_UDP_PORTS={text!r} is not a range of ports from 1024 to 65535, such as 20000-20031.")


def _addresses(text: str) -> Iterator[str]:
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            yield str(ipaddress.ip_address(part))
        except ValueError:
            raise ConfigError(f"WEBRTC_ADDRESS: {part!r} is not an IP address.") from None


def _servers(text: str) -> Iterator[IceServer]:
    """Yield the servers; there is at most one of a kind, because aioice uses only one."""
    kinds: set[str] = set()
    for part in filter(None, map(str.strip, text.split(","))):
        found = ICE_SERVER.fullmatch(part)
        if found is None:
            raise ConfigError(
                "WEBRTC_ICE_SERVERS must be stun:HOST:PORT or turn:NAME:PASSWORD@HOST:PORT, separated by commas."
            )
        kind = found["scheme"][:4]
        if (kind == "turn") != bool(found["name"]) or (kind == "stun" and found["transport"]):
            raise ConfigError("WEBRTC_ICE_SERVERS: turn: needs NAME:PASSWORD@, and stun: only HOST:PORT.")
        if kind in kinds:
            raise ConfigError(f"WEBRTC_ICE_SERVERS: only one {kind}: server can be used.")
        kinds.add(kind)
        url = f"{found['scheme']}:{found['place']}{found['transport'] or ''}"
        yield IceServer(url, found["name"], found["password"])
