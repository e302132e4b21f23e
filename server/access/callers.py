"""Who calls, and what they may do."""

import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from starlette.requests import HTTPConnection

from pipeline.errors import ParleyError

SCOPE = "parley.caller"
"""Where in an ASGI scope the door leaves the caller."""


class Right(StrEnum):
    """What a key may be good for."""

    TALK = "talk"
    """Conversations and speech."""
    TRANSCRIBE = "transcribe"
    """Recordings into text, and jobs."""
    ADMIN = "admin"
    """All of that, and what changes or shows the deployment."""


ALL = frozenset(Right)
USE = frozenset((Right.TALK, Right.TRANSCRIBE))


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request."""

    name: str
    """Of the key, not of the person; "" for who has none."""
    rights: frozenset[Right]
    kind: str = "key"
    """key, jwt, page or anonymous."""
    address: str = ""
    """Where the caller is, as `address_of` writes it."""
    until: float = math.inf
    """When the key expires, in Unix time."""
    proof: str = field(default="", repr=False)
    """Which of the keys of its name it is: what is kept of that key; of a page's token, a mark of it."""

    @property
    def known(self) -> bool:
        """Whether this caller has shown a key."""
        return self.kind != "anonymous"

    @property
    def counted_as(self) -> tuple[str, str] | None:
        """By what limits tell callers apart: the key, or the address of who has none; None: this machine's own, whom
        they do not mean."""
        if self.known:
            return (self.kind, self.name)
        return ("address", self.address) if self.address else None

    @property
    def account(self) -> str:
        """Name under which models count this caller's calls; "" for this machine's own, whose sessions count alone."""
        return ":".join(self.counted_as or ())

    def may(self, right: Right | None) -> bool:
        """None: whatever any key is good for."""
        return right is None or right in self.rights or Right.ADMIN in self.rights

    def at(self, address: str) -> Self:
        """The same caller, there."""
        return replace(self, address=address)


def rights_of(names: Iterable[str]) -> frozenset[Right]:
    """Those of these names that are rights; others are for other services."""
    known = {right.value for right in Right}
    return frozenset(Right(name) for name in names if name in known)


def address_of(connection: HTTPConnection) -> str:
    """Where the caller is: an IPv4 address, the /64 of an IPv6 one (one customer has at least so many), "" for this
    machine and for what is no address: limits by address are not meant for those."""
    return address_in(connection.client.host if connection.client else "")


def address_in(host: str) -> str:
    """The same, of what a socket says."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif not address.is_loopback:
            return str(ipaddress.ip_network((address, 64), strict=False))
    return "" if address.is_loopback else str(address)


def caller_of(connection: HTTPConnection) -> Caller:
    """Whom the door let in. Raises ParleyError (unauthorized) where there is no door: a route that was mounted past it
    is shut, not open."""
    caller = connection.scope.get(SCOPE)
    if not isinstance(caller, Caller):
        raise ParleyError("Send a key: Authorization: Bearer KEY.", code="unauthorized")
    return caller


async def require_key(connection: HTTPConnection) -> None:
    """For `Depends`, on the routers of what is not for everybody. Raises ParleyError: unauthorized."""
    caller_of(connection)
