"""The TCP server of the Wyoming protocol, beside the HTTP one."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from wyoming.error import Error

from pipeline.assistant import Assistant
from pipeline.errors import ConfigError, Overloaded
from pipeline.settings import Settings
from pipeline.workers.scheduler import calling
from server.access.budgets import Budgets
from server.access.callers import ALL, Caller, address_in
from server.http.draining import Draining
from server.wyoming.connection import Connection
from server.wyoming.conversations import Conversations
from server.wyoming.wire import encoded, linger

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
    places = budgets.wyoming
    open_now: set[asyncio.Task[None]] = set()
    converting = asyncio.Lock()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # asyncio runs each connection in one
        open_now.add(task)
        caller = _caller(writer)
        try:
            if len(open_now) > settings.max_connections:
                return
            places.check(caller)
            with budgets.memory.share(caller) as held, calling(account=caller.account):
                await Connection(
                    reader, writer, assistant, conversations, draining, held, lambda: places.one(caller), converting
                ).run()
        except Overloaded as error:
            writer.write(encoded(Error(error.message, error.code).event()))
            await linger(reader, writer)
        except OSError:
            pass  # disconnected
        except asyncio.CancelledError:
            pass  # the service is stopping
        finally:
            open_now.discard(task)
            writer.close()

    try:
        server = await asyncio.start_server(serve, host, port)
    except OSError as error:
        raise ConfigError(f"Cannot listen on WYOMING_URI={settings.wyoming_uri}: {error.strerror}.") from None
    closing = asyncio.create_task(_close_when_draining(server, draining))
    log.info("Wyoming listens on tcp://%s:%d", *server.sockets[0].getsockname()[:2])
    try:
        yield
    finally:
        closing.cancel()
        server.close()
        for task in open_now:
            task.cancel()
        await asyncio.wait([closing, *open_now])


async def _close_when_draining(server: asyncio.Server, draining: Draining) -> None:
    await draining.begun.wait()
    server.close()


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
