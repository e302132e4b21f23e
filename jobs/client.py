"""The HTTP client for servers that callers name: files from a URL, webhooks.

It connects to checked addresses only, does not follow redirects and keeps neither cookies nor connections. It limits
what a server sends: the bytes before and in the head of a response, each header, and the number of chunks of a body.
Every failure becomes Refused or FetchFailed, whatever the server did.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpcore
import httpx

from jobs.addresses import RESOLVE_S, Reachable, forbidden, host_of, port_of
from jobs.errors import FetchFailed
from pipeline.errors import ParleyError

MAX_HEAD_BYTES = 32 * 1024
"""Maximum size of a response's head, including interim responses (1xx) before it."""
MAX_HEADER_CHARS = 1024
"""Maximum length of a header; a longer one is treated as missing."""
HEAD_PIECE_BYTES = 4 * 1024
BODY_PIECE_BYTES = 16 * 1024
"""Maximum size of one read from a connection: it is parsed without a pause, and a server can send chunks of one
byte."""
PAUSE_PIECES = 64
"""Number of body chunks after which other tasks run."""
FREE_PIECES = 4096
LEAST_PIECE_BYTES = 8
"""Minimum average chunk size of a body with more than FREE_PIECES chunks: smaller ones cost too much parsing time."""

_BROKEN = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)


class ServerResponse:
    """A server's response whose body has not been read."""

    def __init__(self, response: httpcore.Response) -> None:
        self.status = response.status
        self._response = response

    def header(self, name: str, most: int = MAX_HEADER_CHARS) -> str | None:
        """Return the first value of a header, or None if it is missing or longer than `most` characters."""
        wanted = name.lower().encode("ascii")
        found = next((value for key, value in self._response.headers if key.lower() == wanted), None)
        if found is None or len(found) > most:
            return None
        try:
            return found.decode("utf-8")
        except UnicodeDecodeError:
            return found.decode("latin-1")

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives, without decompressing it. Raises FetchFailed."""
        size = 0
        try:
            count = 0
            async for piece in self._response.aiter_stream():
                size, count = size + len(piece), count + 1
                if count > FREE_PIECES and size < count * LEAST_PIECE_BYTES:
                    raise FetchFailed("The server sends the file in chunks that are too small.")
                if count % PAUSE_PIECES == 0:
                    await asyncio.sleep(0)
                yield piece
        except _BROKEN as error:
            raise _failed(error) from error


class Client:
    """Sends requests to servers that callers name; open it with `open_client`."""

    def __init__(self, pool: httpcore.AsyncConnectionPool, timeout_s: float) -> None:
        self._pool = pool
        self._timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)

    @asynccontextmanager
    async def stream(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], content: bytes | None = None
    ) -> AsyncIterator[ServerResponse]:
        """Send one request. url: a URL that `Reachable.check` returned. Raises Refused, FetchFailed."""
        sent = [
            (b"Host", url.netloc),
            *((name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()),
        ]
        if content is not None:
            sent.append((b"Content-Length", str(len(content)).encode("ascii")))
        target = httpcore.URL(
            scheme=url.raw_scheme, host=host_of(url).encode("ascii"), port=port_of(url), target=url.raw_path
        )
        request = httpcore.Request(
            method, target, headers=sent, content=content, extensions={"timeout": self._timeouts}
        )
        try:
            response = await self._pool.handle_async_request(request)
        except ParleyError:
            raise
        except Exception as error:  # from the network, TLS or the parser: always the other server's fault
            raise _failed(error) from error
        try:
            connection = response.extensions.get("network_stream")
            if isinstance(connection, _Bounded):
                connection.head_is_over()
            yield ServerResponse(response)
        finally:
            await response.aclose()


@asynccontextmanager
async def open_client(rule: Reachable, *, timeout_s: float) -> AsyncIterator[Client]:
    """Open a client that obeys the rule. timeout_s: timeout for connecting, and between bytes. Proxies from the
    environment are not used: they would connect to any address."""
    async with httpcore.AsyncConnectionPool(
        ssl_context=_tls(),
        max_connections=None,
        max_keepalive_connections=0,  # the bytes of a head are counted per connection
        network_backend=_Checked(rule),
    ) as pool:
        yield Client(pool, timeout_s)


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _failed(error: Exception) -> FetchFailed:
    said = "".join(character if character.isprintable() else " " for character in str(error)[:120]).strip()
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return FetchFailed(f"The connection to the server failed ({what}).")


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that were just checked."""

    def __init__(self, rule: Reachable) -> None:
        self._rule = rule
        self._below = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failed: Exception | None = None
        for address in await self._rule.look_up(host, port, timeout or RESOLVE_S):
            try:
                connected = await self._below.connect_tcp(address, port, timeout, local_address, socket_options)
                return _Bounded(connected)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError("no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Sequence[Any] | None = None,  # type: ignore[override]
    ) -> httpcore.AsyncNetworkStream:
        raise forbidden()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Bounded(httpcore.AsyncNetworkStream):
    """A connection for one request, which limits the bytes up to the end of the response's head."""

    def __init__(self, below: httpcore.AsyncNetworkStream) -> None:
        self._below = below
        self._before: int | None = 0
        """Bytes received so far; None after the head."""

    def head_is_over(self) -> None:
        """Stop counting: the body follows, which has other limits."""
        self._before = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._before is None:
            return await self._below.read(min(max_bytes, BODY_PIECE_BYTES), timeout)
        if self._before >= MAX_HEAD_BYTES:
            raise httpcore.ReadError(f"more than {MAX_HEAD_BYTES} bytes before the response")
        data = await self._below.read(min(max_bytes, HEAD_PIECE_BYTES), timeout)
        self._before += len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._below.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._below.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Bounded(await self._below.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> object:
        return self._below.get_extra_info(info)
