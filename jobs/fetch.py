"""Download of a file from a URL: checks every redirect, limits the size, and resumes after an interruption."""

import asyncio
import re
from contextlib import aclosing
from urllib.parse import urljoin

from jobs.addresses import MAX_URL_CHARS, Reachable
from jobs.client import Client, ServerResponse, open_client
from jobs.errors import FetchFailed, Refused, TooLarge
from jobs.files import Incoming
from jobs.names import name_in_disposition
from pipeline.support.untrusted import whole_number

MAX_REDIRECTS = 5
MAX_RESUMES = 8
"""Maximum number of resumptions after connections that broke after delivering data."""
SILENT_S = 20.0
"""Timeout between bytes of a server, in seconds."""
URL_TIMEOUT_S = 1800.0
"""Timeout for fetching a file, in seconds: the largest one takes half an hour at 2 Mbit/s."""
REDIRECTS = {301, 302, 303, 307, 308}
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
IDENTITY = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "parley"}
"""Request headers. No compression: a few bytes could expand to many, and positions would not match the file's."""
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)")
_TAG = re.compile(r"[\x21-\x7e]+")
"""An entity tag (RFC 9110, 8.8.3), with or without the quotes that some servers omit. ASCII, because it is sent back.
"""
_DATE = re.compile(r"[\x20-\x7e]{1,64}")


async def fetch(url: str, incoming: Incoming, rule: Reachable, *, timeout_s: float = URL_TIMEOUT_S) -> str | None:
    """Download the file at this URL into `incoming`; return the name that its server gives it, or None. timeout_s:
    timeout for the whole download.

    Raises Refused for permanent errors (bad_url, forbidden_address, file_too_large, fetch_refused), FetchFailed for
    errors after which a retry may succeed.
    """
    try:
        async with asyncio.timeout(timeout_s), open_client(rule, timeout_s=SILENT_S) as client:
            fetching = _Fetching(url, incoming, rule, client)
            await fetching.run()
            return fetching.name
    except TimeoutError:
        raise FetchFailed(f"The download took longer than {timeout_s:g} seconds.") from None


class _Fetching:
    def __init__(self, url: str, incoming: Incoming, rule: Reachable, client: Client) -> None:
        self._url = url
        self._incoming = incoming
        self._rule = rule
        self._client = client
        self._tag: str | None = None
        """The server's tag for this version of the file; without it a download cannot be resumed."""
        self._total: int | None = None
        self.name: str | None = None
        """The file's name from `Content-Disposition`."""

    async def run(self) -> None:
        for attempt in range(MAX_RESUMES + 1):
            before = self._incoming.size_bytes
            try:
                await self._request()
                return
            except FetchFailed:
                stuck = self._incoming.size_bytes == before and attempt > 0
                if stuck or not self._incoming.size_bytes or attempt == MAX_RESUMES:
                    raise

    async def _request(self) -> None:
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            target = self._rule.check(url)
            async with self._client.stream("GET", target, {**IDENTITY, **self._range()}) as response:
                if response.status not in REDIRECTS:
                    await self._read(response)
                    return
                url = _joined(str(target), response.header("location", MAX_URL_CHARS))
        raise Refused(f"The URL redirects more than {MAX_REDIRECTS} times.", code="fetch_refused")

    def _range(self) -> dict[str, str]:
        if not self._incoming.size_bytes or self._tag is None:
            return {}
        return {"Range": f"bytes={self._incoming.size_bytes}-", "If-Range": self._tag}

    async def _read(self, response: ServerResponse) -> None:
        self._check(response)
        resumed = response.status == 206
        if self._incoming.size_bytes and not resumed:
            await self._incoming.restart()
        if not resumed:
            self._tag = _tag(response)
            self._total = whole_number(response.header("content-length"))
            self.name = name_in_disposition(response.header("content-disposition") or "")
        if self._total is not None and self._total > self._incoming.max_bytes:
            raise TooLarge(f"The file has {self._total} bytes; {self._incoming.max_bytes} are allowed (MAX_FILE_SIZE).")
        async with aclosing(response.pieces()) as pieces:
            async for data in pieces:
                await self._incoming.write(data)
        if self._total is not None and self._incoming.size_bytes < self._total:
            raise FetchFailed("The download was incomplete.")

    def _check(self, response: ServerResponse) -> None:
        status = response.status
        if status in TEMPORARY:
            raise FetchFailed(f"The URL's server returned status {status}.")
        if status not in (200, 206):
            raise Refused(f"The URL's server returned status {status}.", code="fetch_refused")
        if (response.header("content-encoding") or "identity").lower() != "identity":
            raise Refused("The URL's server sent a compressed file despite the request.", code="fetch_refused")
        if status == 206:
            found = _RANGE.fullmatch(response.header("content-range") or "")
            if found is None or int(found[1]) != self._incoming.size_bytes or not self._incoming.size_bytes:
                raise Refused("The URL's server sent a range that was not requested.", code="fetch_refused")


def _joined(url: str, location: str | None) -> str:
    """Return the target of a redirect. Raises Refused."""
    try:
        if location:
            return urljoin(url, location)
    except ValueError:
        pass
    raise Refused("The URL redirects to an invalid URL.", code="bad_url")


def _tag(response: ServerResponse) -> str | None:
    tag = response.header("etag")
    if tag is not None and not tag.startswith("W/"):
        return tag if _TAG.fullmatch(tag) else None
    modified = response.header("last-modified")
    return modified if modified and _DATE.fullmatch(modified) else None
