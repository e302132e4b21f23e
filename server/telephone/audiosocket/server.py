"""The TCP server of AudioSocket. The protocol has no keys: addresses have permission."""

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from pipeline.assistant import Assistant
from pipeline.errors import ConfigError, Overloaded
from pipeline.settings import Settings
from pipeline.workers.caller import calling
from server.access.budgets import Budgets
from server.access.callers import USE, Caller, address_in
from server.http.draining import Draining
from server.http.tcp_server import linger, listening, write
from server.telephone.audiosocket.connection import AudioSocketConnection
from server.telephone.audiosocket.frames import HANGUP, Frame

log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@asynccontextmanager
async def open_audiosocket(
    settings: Settings, assistant: Assistant, budgets: Budgets, draining: Draining
) -> AsyncIterator[None]:
    """Listen on AUDIOSOCKET_ADDRESS while the block runs; do nothing if it is empty. Raises ConfigError.

    budgets: a call takes a slot of the conversations.
    """
    if not settings.audiosocket_address:
        yield
        return
    host, port = _address(settings.audiosocket_address)
    allowed = networks(settings.audiosocket_allowed)
    slots = budgets.conversations

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        if not peer or not _within(peer[0], allowed):
            return
        caller = Caller("", USE, kind="anonymous", address=address_in(peer[0]))
        try:
            with budgets.memory.share(caller) as held, calling(account=caller.account):
                await AudioSocketConnection(reader, writer, assistant, draining, held, lambda: slots.one(caller)).run()
        except Overloaded as error:
            log.info("a call by AudioSocket is refused: %s", error.message)
        write(writer, Frame(HANGUP).encoded())
        await linger(reader, writer)

    setting = f"AUDIOSOCKET_ADDRESS={settings.audiosocket_address}"
    async with listening(
        host, port, serve, setting=setting, most=settings.max_connections, draining=draining
    ) as address:
        log.info("AudioSocket listens on %s:%d", *address)
        yield


def networks(text: str) -> Sequence[Network]:
    """Return the networks of AUDIOSOCKET_ALLOWED. Raises ConfigError."""
    try:
        return [ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ConfigError(f"AUDIOSOCKET_ALLOWED must be addresses and networks (10.0.0.0/8): {error}.") from None


def _within(host: str, allowed: Sequence[Network]) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in allowed)


def _address(text: str) -> tuple[str, int]:
    """Return the host and the port of AUDIOSOCKET_ADDRESS. Raises ConfigError."""
    try:
        found = urlsplit(f"//{text}")
        host, port = found.hostname, found.port
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise ConfigError("AUDIOSOCKET_ADDRESS must be like 127.0.0.1:9092.")
    return host, port
