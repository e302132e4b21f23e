"""The TCP server of the Wyoming protocol, beside the HTTP one."""

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from urllib.parse import urlsplit

from wyoming.error import Error

from pipeline.assistant import Assistant
from pipeline.errors import ConfigError, Overloaded
from pipeline.settings import Settings
from pipeline.workers.caller import calling
from server.access.budgets import Budgets
from server.access.callers import ALL, Caller, address_in
from server.http.draining import Draining
from server.http.tcp_server import linger, listening, write
from server.wyoming.connection import Connection
from server.wyoming.conversations import Conversations
from server.wyoming.discovery import announced
from server.wyoming.wire import encoded

log = logging.getLogger(__name__)

CONVERSATION_S = 600.0
"""Seconds after its last turn until a conversation is dropped."""


@asynccontextmanager
async def open_wyoming(
    settings: Settings, assistant: Assistant, budgets: Budgets, draining: Draining
) -> AsyncIterator[None]:
    """Listen on WYOMING_URI while the block runs; do nothing if it is empty. Raises ConfigError if listening fails.

    budgets: slots for connections, and memory for the sound kept. The protocol has no keys: every client that can reach
    the address is accepted.
    """
    if not settings.wyoming_uri:
        yield
        return
    host, port = _address(settings.wyoming_uri)
    conversations = Conversations(assistant.conversation, most=settings.max_sessions, seconds=CONVERSATION_S)
    slots = budgets.wyoming
    converting = asyncio.Lock()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = _caller(writer)
        try:
            slots.check(caller)
            with budgets.memory.share(caller) as held, calling(account=caller.account):
                await Connection(
                    reader, writer, assistant, conversations, draining, held, lambda: slots.one(caller), converting
                ).run()
        except Overloaded as error:
            write(writer, encoded(Error(error.message, error.code).event()))
            await linger(reader, writer)

    setting = f"WYOMING_URI={settings.wyoming_uri}"
    async with listening(
        host, port, serve, setting=setting, most=settings.max_connections, draining=draining, one_front=True
    ) as address:
        log.info("Wyoming listens on tcp://%s:%d", *address)
        lock = settings.upload_dir / "wyoming.lock"
        own = ipaddress.ip_address(address[0].partition("%")[0]).is_loopback
        async with nullcontext() if own else announced(*address, draining, lock):
            yield


def _address(uri: str) -> tuple[str, int]:
    """Return host and port of a tcp:// URI. Raises ConfigError."""
    try:
        parts = urlsplit(uri)
        if parts.scheme == "tcp" and parts.hostname and parts.port is not None:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise ConfigError("WYOMING_URI must be like tcp://127.0.0.1:10300.")


def _caller(writer: asyncio.StreamWriter) -> Caller:
    peer = writer.get_extra_info("peername")
    return Caller("", ALL, kind="anonymous", address=address_in(str(peer[0])) if peer else "")
