"""The address on which calls receive UDP: aioice alone listens on every address of the machine but 127.0.0.1."""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from aioice import Candidate, Connection, stun
from aioice.ice import StunProtocol
from aiortc import rtcicetransport

_host: ContextVar[str] = ContextVar("_host", default="")
"""Address to listen on; empty: all."""


MAX_DATAGRAMS = 512
"""Maximum number of received datagrams that wait; more are dropped."""
MAX_ADDRESSES = 128
"""Maximum number of addresses of a caller, including those that it calls from."""


class _Connection(Connection):
    """Listens on one address if `listening_on` says so, and limits what a peer can make it keep."""

    async def get_component_candidates(self, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        host = _host.get()
        return await super().get_component_candidates(component, [host] if host else addresses, timeout)

    def data_received(self, data: bytes, component: int) -> None:
        # Before the handshake these can be anyone's.
        if self._queue.qsize() < MAX_DATAGRAMS:
            super().data_received(data, component)

    def check_incoming(self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        known = any((one._network_host, one.port) == addr for one in self._remote_candidates)
        if known or len(self._remote_candidates) < MAX_ADDRESSES:
            super().check_incoming(message, addr, protocol)


rtcicetransport.Connection = _Connection  # type: ignore[attr-defined]


@contextmanager
def listening_on(host: str) -> Iterator[None]:
    """Connections that are made in the block listen on `host`; on all addresses if it is 0.0.0.0, :: or a name."""
    try:
        address = ipaddress.ip_address(host)
        chosen = "" if address.is_unspecified else str(address)
    except ValueError:
        chosen = "127.0.0.1" if host == "localhost" else ""
    token = _host.set(chosen)
    try:
        yield
    finally:
        _host.reset(token)
