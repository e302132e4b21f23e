"""Callers and their permissions."""

import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from starlette.requests import HTTPConnection

from pipeline.errors import ParleyError

SCOPE = "parley.caller"
"""Key in an ASGI scope under which `AccessMiddleware` stores the caller."""


class Permission(StrEnum):
    """A permission of a key."""

    TALK = "talk"
    """Conversations and speech."""
    TRANSCRIBE = "transcribe"
    """Transcription of recordings, and jobs."""
    ADMIN = "admin"
    """Everything, including changes to and figures of the deployment."""


ALL = frozenset(Permission)
USE = frozenset((Permission.TALK, Permission.TRANSCRIBE))


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated or anonymous sender of a request."""

    name: str
    """Name of the key, not of a person; "" without a key."""
    permissions: frozenset[Permission]
    kind: str = "key"
    """key, jwt, page or anonymous."""
    address: str = ""
    """Network address, as `address_of` returns it."""
    until: float = math.inf
    """Expiry of the key, in Unix time."""
    proof: str = field(default="", repr=False)
    """Distinguishes keys with the same name: the stored hash of the key; for a page token, a mark made from that
    hash."""

    @property
    def known(self) -> bool:
        """Whether this caller has a key."""
        return self.kind != "anonymous"

    @property
    def counted_as(self) -> tuple[str, str] | None:
        """Identity for limits per caller: the key, or the address without a key. None for callers on this machine
        without a key, which these limits do not apply to."""
        if self.known:
            return (self.kind, self.name)
        return ("address", self.address) if self.address else None

    @property
    def account(self) -> str:
        """Name under which models count this caller's calls; "" for this machine's own, whose sessions count alone."""
        return ":".join(self.counted_as or ())

    def may(self, right: Permission | None) -> bool:
        """Whether this caller has the permission. right: None for what any key permits."""
        return right is None or right in self.permissions or Permission.ADMIN in self.permissions

    def at(self, address: str) -> Self:
        """Return this caller with another address."""
        return replace(self, address=address)


def permissions_of(names: Iterable[str]) -> frozenset[Permission]:
    """Return the permissions among these names; other names are meant for other services."""
    known = {right.value for right in Permission}
    return frozenset(Permission(name) for name in names if name in known)


def address_of(connection: HTTPConnection) -> str:
    """Return the caller's address for limits: an IPv4 address, or the /64 network of an IPv6 address (one customer has
    at least a /64). "" for this machine and for a host that is not an address: limits per address do not apply to
    those."""
    return address_in(connection.client.host if connection.client else "")


def address_in(host: str) -> str:
    """Return the same as `address_of`, for the host that a socket reports."""
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
    """Return the caller that `AccessMiddleware` admitted. Raises ParleyError (unauthorized) if the connection did
    not pass through it, so that a route mounted past it is closed, not open."""
    caller = connection.scope.get(SCOPE)
    if not isinstance(caller, Caller):
        raise ParleyError("Send a key: Authorization: Bearer KEY.", code="unauthorized")
    return caller


async def require_key(connection: HTTPConnection) -> None:
    """Dependency for the routers of non-public endpoints. Raises ParleyError: unauthorized."""
    caller_of(connection)
