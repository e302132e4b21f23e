"""Check and download models from a hub with Hugging Face's API; a broken download is resumed.

This does not use `huggingface_hub`, because its version 2 discards an incomplete file when its process ends: a 3 GB
model would never arrive over an unreliable connection. Files go to `<folder>.partial/` under names that contain the
hash of their content; when all are complete and verified, the folder is renamed. A folder without `.partial` is
therefore always complete.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.support.progress import Progress, Report
from pipeline.support.storage_errors import storage_error

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 1.5
"""Timeout of `Hub.check`."""
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 30.0
"""Timeouts of a download in seconds; after READ_TIMEOUT_S without a byte it counts as broken off."""
ATTEMPTS = 4
"""Attempts at one request without progress before it fails."""
FIRST_WAIT_S = 0.5
"""Wait before the first retry, doubled each time."""
CHUNK_BYTES = 1 << 20
MANY_FILES = 1_000
"""Limit of files in a plausible model."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a model in the hub's listing."""

    name: str
    size: int
    """Size in bytes."""
    sha256: str
    """Hex digest, "" for the small files that the hub keeps in git."""
    version: str
    """Revision; changes with the content."""


class _Broken(Exception):
    """A failed attempt that can be retried."""


@dataclass(frozen=True, slots=True)
class Hub:
    """One hub and our credentials for it."""

    endpoint: str
    token: str = ""
    offline: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "Hub":
        return cls(settings.hf_endpoint, settings.hf_token, settings.hub_offline)

    async def check(self, repo: str, file: str = "config.json") -> None:
        """Check that the hub is reachable and grants access to this model ("owner/name"); takes at most 2 s. Raises
        EngineUnavailable otherwise. file: one that the model has."""
        self._need_online(repo)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S), self._client() as client:
                self._raise_for_status(await client.head(f"/{repo}/resolve/main/{file}"), repo)
        except (httpx.HTTPError, TimeoutError, _Broken) as error:
            raise self._unreachable(repo, error) from error

    async def files(self, repo: str, wanted: Callable[[str], bool]) -> list[RemoteFile]:
        """Return the files of the model's newest version whose names are `wanted`. Raises EngineUnavailable."""
        self._need_online(repo)
        async with self._client() as client:
            response = await self._patiently(repo, lambda: client.get(f"/api/models/{repo}", params={"blobs": "true"}))
        try:
            listing = response.json()
            commit = str(listing["sha"])
            found = [entry for entry in listing["siblings"][:MANY_FILES] if wanted(entry["rfilename"])]
            return [
                RemoteFile(
                    name=entry["rfilename"],
                    size=int(entry["size"]),
                    sha256=(entry.get("lfs") or {}).get("sha256", ""),
                    version=commit,
                )
                for entry in found
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise EngineUnavailable(
                f"{self.endpoint} does not respond like a model hub.", remedy="Check HF_ENDPOINT."
            ) from error

    async def fetch(self, repo: str, files: list[RemoteFile], folder: Path, report: Report) -> None:
        """Download the files into `folder`, which appears when all are complete; `report` gets the bytes of all files.

        Raises EngineUnavailable when the hub refuses access or stays unreachable, or the disk is full. After a
        cancellation or failure, received bytes are kept and the next call resumes the download.
        """
        partial = folder.with_name(folder.name + ".partial")
        total = sum(file.size for file in files)
        done = 0
        try:
            partial.mkdir(parents=True, exist_ok=True)
            for file in files:
                progress = _Counter(repo, done, total, report)
                await self._fetch_file(repo, file, partial / Path(file.name).name, progress)
                done += file.size
            _rename(partial, folder)
        except OSError as error:
            raise EngineUnavailable(
                f"The model {repo} cannot be stored: {error.strerror or error}.",
                remedy="Free some space in MODELS_DIR, or set it to a writable folder.",
                code=storage_error(error, "MODELS_DIR").code,
            ) from error
        report(Progress("download", repo, total, total))

    async def _fetch_file(self, repo: str, file: RemoteFile, target: Path, progress: "_Counter") -> None:
        if _size(target) == file.size:
            return  # renamed to its final name only when it was complete and verified
        part = target.with_name(f"{target.name}.{(file.sha256 or file.version)[:16]}.part")
        wait_s, tries, most = FIRST_WAIT_S, 0, _size(part) or 0
        while True:
            try:
                await self._append(repo, file, part, progress)
                break
            except _Broken as broken:
                have = _size(part) or 0
                # Progress resets the count of attempts, so that a connection that breaks every few megabytes still
                # succeeds.
                wait_s, tries = (FIRST_WAIT_S, 1) if have > most else (wait_s * 2, tries + 1)
                most = max(most, have)
                if tries >= ATTEMPTS:
                    raise self._unreachable(repo, broken) from broken
                log.info("download of %s was interrupted (%s) and is resumed", file.name, broken)
                await asyncio.sleep(wait_s)
        if file.sha256 and await asyncio.to_thread(_sha256, part) != file.sha256:
            _remove(part)
            raise EngineUnavailable(
                f"{file.name} of {repo} does not match the hub's checksum.", remedy="Start again to download it."
            )
        _rename(part, target)

    async def _append(self, repo: str, file: RemoteFile, part: Path, progress: "_Counter") -> None:
        """Fetch the missing rest of one file. Raises _Broken when the connection broke or the hub had an error."""
        have = _size(part) or 0
        if _size(part) == file.size:
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        headers["Accept-Encoding"] = "identity"  # so that lengths and ranges refer to the file
        url = f"/{repo}/resolve/{file.version}/{file.name}"
        try:
            async with self._client() as client, client.stream("GET", url, headers=headers) as response:
                if response.status_code == 416:  # longer than the file: the part belongs to another one
                    _remove(part)
                    raise _Broken("the hub has no such range")
                self._raise_for_status(response, repo)
                resumed = response.status_code == 206
                have = have if resumed else 0
                with part.open("ab" if resumed else "wb", buffering=CHUNK_BYTES) as out:
                    progress.at(have)
                    # Write bytes as they arrive: an incomplete chunk of a fixed size would be lost when the connection
                    # breaks.
                    async for piece in response.aiter_bytes():
                        out.write(piece)  # into memory; to the disk in a thread
                        have += len(piece)
                        if have % CHUNK_BYTES < len(piece):
                            await asyncio.to_thread(out.flush)
                            progress.at(have)
                    progress.at(have)
        except httpx.TransportError as error:
            raise _Broken(type(error).__name__) from error
        if have > file.size:
            _remove(part)
        if have != file.size:
            raise _Broken(f"{have} of {file.size} bytes")

    async def _patiently(self, repo: str, request: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        wait_s = FIRST_WAIT_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = await request()
                self._raise_for_status(response, repo)
                return response
            except (httpx.TransportError, _Broken) as error:
                if attempt == ATTEMPTS:
                    raise self._unreachable(repo, error) from error
                await asyncio.sleep(wait_s)
                wait_s *= 2
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        # httpx drops the token when the hub redirects to the host that stores the bytes.
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        async with httpx.AsyncClient(
            base_url=self.endpoint, headers=headers, timeout=timeout, follow_redirects=True
        ) as client:
            yield client

    def _need_online(self, repo: str) -> None:
        if self.offline:
            raise EngineUnavailable(
                f"The model {repo} is not installed, and HF_HUB_OFFLINE or MODEL_SOURCES forbids downloading it.",
                remedy="Unset HF_HUB_OFFLINE, add hub to MODEL_SOURCES, or put the model's folder into MODELS_DIR.",
            )

    def _raise_for_status(self, response: httpx.Response, repo: str) -> None:
        """Raise EngineUnavailable if the hub refuses the request, or _Broken for a temporary error."""
        status, reason = response.status_code, response.headers.get("X-Error-Code", "")
        if status < 400:
            return
        if status == 429 or status >= 500:
            raise _Broken(f"HTTP {status}")
        # The hub also responds with 401 for a model that does not exist, if the client is unknown.
        if status == 404 or reason == "RepoNotFound":
            raise EngineUnavailable(
                f"The hub has no model {repo}, or it is private.",
                remedy="Check the model's name; for a private one set HF_TOKEN.",
            )
        if status in (401, 403):
            raise EngineUnavailable(
                f"The hub refuses access to {repo}.",
                remedy=f"Accept its terms at {self.endpoint}/{repo} and set HF_TOKEN to a token with read permission.",
            )
        raise EngineUnavailable(f"The hub responded with HTTP {status} for {repo}.", remedy="Check HF_ENDPOINT.")

    def _unreachable(self, repo: str, error: Exception) -> EngineUnavailable:
        log.debug("%s: %r", self.endpoint, error)
        return EngineUnavailable(
            f"The model {repo} is not installed, and the hub {self.endpoint} cannot be reached.",
            remedy="Connect to the internet, set HF_ENDPOINT to a mirror, or put the model's folder into MODELS_DIR.",
        )


@dataclass(frozen=True, slots=True)
class _Counter:
    """Reports the bytes of one file as bytes of all files."""

    model: str
    before: int
    total: int
    report: Report

    def at(self, done: int) -> None:
        self.report(Progress("download", self.model, self.before + done, self.total))


def _size(path: Path) -> int | None:
    """Size in bytes; None when the file does not exist."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _rename(path: Path, to: Path) -> None:
    """Rename unless another process was faster."""
    if not to.exists():
        path.rename(to)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
