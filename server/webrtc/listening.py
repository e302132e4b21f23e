"""The UDP sockets of calls, and their ICE candidates: aioice alone can neither choose ports nor advertise others."""

import asyncio
import errno
import ipaddress
import logging
import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from aioice import Candidate, Connection, stun
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import StunProtocol, get_host_addresses, relayed_candidate, server_reflexive_candidate
from aioice.turn import UDP_SOCKET_BUFFER_SIZE
from aiortc import rtcicetransport

from pipeline.errors import Overloaded
from server.webrtc.network import Network

log = logging.getLogger(__name__)

_network: ContextVar[Network | None] = ContextVar("_network", default=None)

MAX_DATAGRAMS = 512
"""Maximum number of received datagrams that wait; more are dropped."""
MAX_ADDRESSES = 128
"""Maximum number of addresses of a caller, including those that it calls from."""
SERVERS_S = 2.0
"""Timeout in seconds for the servers for STUN and TURN; a call begins without those that do not respond."""
RETRY_S = 10.0
"""Seconds after which a client may try again when all ports are in use."""


class _Protocol(StunProtocol):
    """Receives the datagrams of one address."""

    def __init__(self, receiver: Connection, allowed: frozenset[str] | None) -> None:
        """allowed: the addresses that may send; None: all."""
        super().__init__(receiver)
        self._allowed = allowed

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        if self._allowed is None or addr[0] in self._allowed:
            super().datagram_received(data, addr)


class _Connection(Connection):
    """Listens where `listening` says, and limits what a peer can make it keep."""

    async def get_component_candidates(self, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        network = _network.get()
        if network is None:  # a connection of other code in this process
            found: list[Candidate] = await super().get_component_candidates(component, addresses, timeout)
            return found
        protocols = await self._listen(network, addresses)
        candidates = []
        for protocol in protocols:
            host, port = protocol.transport.get_extra_info("sockname")[:2]
            own = protocol.local_candidate = _candidate("host", component, host, port)
            candidates.append(own)
            for address in network.addresses:
                if address not in addresses and (":" in address) == (":" in host):
                    candidates.append(_candidate("srflx", component, address, port, of=own))
        return candidates + await self._from_servers(component, protocols)

    async def _listen(self, network: Network, addresses: Sequence[str]) -> list[StunProtocol]:
        """Open a socket on each address. Raises Overloaded if no port is free."""
        allowed = None
        if network.local:
            # Firefox calls no loopback address, but it does call those of the machine that it runs on.
            addresses = [network.host, *addresses]
            allowed = frozenset(addresses)
        elif network.host:
            addresses = [network.host]
        protocols: list[StunProtocol] = []
        for address in addresses:
            try:
                sock = _bound(address, network.ports)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise Overloaded(
                        "All of WEBRTC_UDP_PORTS are in use by other calls.", retry_after_s=RETRY_S
                    ) from None
                log.info("calls cannot listen on %s: %s", address, error)
                continue
            _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Protocol(self, allowed), sock=sock
            )
            protocols.append(protocol)
            self._protocols.append(protocol)
        return protocols

    async def _from_servers(self, component: int, protocols: Sequence[StunProtocol]) -> list[Candidate]:
        """Return the candidates that the servers for STUN and TURN provide in time."""
        asked: list[asyncio.Task[tuple[Candidate, StunProtocol | None]]] = []
        if self.stun_server:
            asked += [
                asyncio.create_task(server_reflexive_candidate(protocol, self.stun_server))
                for protocol in protocols
                if ":" not in protocol.local_candidate.host
            ]
        if self.turn_server:
            relayed = relayed_candidate(
                component=component,
                hide_related_address=True,
                protocol_factory=lambda: StunProtocol(self),
                turn_server=self.turn_server,
                turn_username=self.turn_username,
                turn_password=self.turn_password,
                turn_ssl=self.turn_ssl,
                turn_transport=self.turn_transport,
            )
            asked.append(asyncio.create_task(relayed))
        if not asked:
            return []
        done, late = await asyncio.wait(asked, timeout=SERVERS_S)
        for task in late:
            task.cancel()
        candidates = []
        for task in done:
            if (error := task.exception()) is not None:
                log.warning("a server of WEBRTC_ICE_SERVERS cannot be used: %s", error or type(error).__name__)
                continue
            candidate, protocol = task.result()
            candidates.append(candidate)
            if protocol is not None:
                self._protocols.append(protocol)
        if late:
            log.warning("a server of WEBRTC_ICE_SERVERS did not respond within %g s", SERVERS_S)
        return candidates

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
def listening(network: Network) -> Iterator[None]:
    """Connections that gather their candidates in the block use this network."""
    token = _network.set(network)
    try:
        yield
    finally:
        _network.reset(token)


def is_here(host: str) -> bool:
    """Whether a client with this address runs on this machine; also for names, which Unix sockets have."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True
    return address.is_loopback or str(address) in get_host_addresses(use_ipv4=True, use_ipv6=True)


def _bound(address: str, ports: range) -> socket.socket:
    """Return a socket on a free port. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_SOCKET_BUFFER_SIZE)
        sock.setblocking(False)
        # In any order, so that the late packets of an ended call do not meet the next one.
        *others, last = random.sample(ports, len(ports)) or [0]
        for port in others:
            try:
                sock.bind((address, port))
                return sock
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        sock.bind((address, last))
        return sock
    except OSError:
        sock.close()
        raise


def _candidate(kind: str, component: int, host: str, port: int, *, of: Candidate | None = None) -> Candidate:
    """Return a candidate of this type. of: the candidate of the socket behind it."""
    return Candidate(
        foundation=candidate_foundation(kind, "udp", of.host if of else host),
        component=component,
        transport="udp",
        priority=candidate_priority(component, kind),
        host=host,
        port=port,
        type=kind,
        related_address=of.host if of else None,
        related_port=of.port if of else None,
    )
