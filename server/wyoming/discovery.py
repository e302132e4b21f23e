"""Announce the Wyoming service on the local network by zeroconf (mDNS), where Home Assistant discovers it."""

import asyncio
import contextlib
import importlib
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import ifaddr

from pipeline.support.background import background
from pipeline.support.file_lock import locked, open_lock
from server.http.draining import Draining

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncZeroconf

log = logging.getLogger(__name__)

TYPE = "_wyoming._tcp.local."
REGISTER_S, WITHDRAW_S = 30.0, 3.0
"""Timeouts for the announcement and for its withdrawal, in seconds; the network is asked three times for each."""
MAX_NAME_CHARS = 40
LOOK_S = 5.0
"""Interval in which a further process of the service looks whether it should announce, in seconds."""
OF_CONTAINERS = ("docker", "br-", "veth", "virbr", "cni", "podman")
"""Beginnings of the names of network interfaces that other machines do not reach."""


@asynccontextmanager
async def announced(host: str, port: int, draining: Draining, lock: Path) -> AsyncIterator[None]:
    """Announce the service beside the block, until the service drains. A failure is logged: users can still enter
    the address. host: the IP address on which it listens; 0.0.0.0 and :: stand for all addresses of this machine.
    lock: a file; of several processes of the service, its holder announces it."""
    async with background(_announce(host, port, draining, lock)):
        yield


async def _announce(host: str, port: int, draining: Draining, lock: Path) -> None:
    try:
        file = await asyncio.to_thread(open_lock, lock)
    except OSError as error:
        log.warning("Wyoming cannot be announced on the network: %s", error)
        return
    with file:
        try:
            while not locked(file):  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(LOOK_S)
        except OSError as error:
            log.warning("Wyoming cannot be announced on the network: %s", error)
            return
        await _registered(host, port, draining)


async def _registered(host: str, port: int, draining: Draining) -> None:
    """Announce the service until it drains."""
    try:
        await asyncio.to_thread(importlib.import_module, "zeroconf.asyncio")  # takes a while
    except ImportError as error:
        log.warning("Wyoming cannot be announced on the network: %s", error)
        return
    import zeroconf
    from zeroconf.asyncio import AsyncServiceInfo

    try:
        addresses = await asyncio.to_thread(_addresses, host)
        async with _open(addresses) as network:
            name = socket.gethostname().partition(".")[0][:MAX_NAME_CHARS]
            service = AsyncServiceInfo(TYPE, f"Parley on {name}.{TYPE}", port=port, parsed_addresses=addresses)
            async with asyncio.timeout(REGISTER_S):
                await (await network.async_register_service(service, allow_name_change=True))
            log.info("Wyoming is announced as %r", service.name.removesuffix(f".{TYPE}"))
            await draining.begun.wait()
    except (OSError, TimeoutError, zeroconf.Error) as error:
        reason = str(error) or type(error).__name__
        log.warning("Wyoming cannot be announced on the network: %s", reason)


@asynccontextmanager
async def _open(addresses: list[str]) -> AsyncIterator["AsyncZeroconf"]:
    """Open zeroconf's sockets on these addresses; withdraw what was announced after the block."""
    from zeroconf.asyncio import AsyncZeroconf

    network = AsyncZeroconf(interfaces=addresses)
    try:
        yield network
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WITHDRAW_S):
                await network.async_close()


def _addresses(host: str) -> list[str]:
    """Return the addresses to announce. Raises OSError if there is none."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if not address.is_unspecified:
        return [str(address)]
    adapters = [adapter for adapter in ifaddr.get_adapters() if not adapter.nice_name.startswith(OF_CONTAINERS)]
    all_of = [ip.ip for adapter in adapters for ip in adapter.ips if isinstance(ip.ip, str)]
    found = [one for one in all_of if not ipaddress.ip_address(one).is_loopback]
    if not found:
        raise OSError("this machine has no network address")
    return found
