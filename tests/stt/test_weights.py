"""Sources of Whisper's weights: folders, MODELS_DIR, and a hub on a real socket, with and without faults."""

import asyncio
import shutil
from pathlib import Path

import pytest

from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.stt import weights, whisper
from pipeline.support import model_hub as hub_module
from pipeline.support.progress import Progress, Report
from tests.servers.hub import Hub

REPO = "Systran/faster-whisper-base"
STORE = "Systran--faster-whisper-base"
FILES = {"config.json", "model.bin", "preprocessor_config.json", "tokenizer.json", "vocabulary.json"}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def settings(tmp_path: Path, model_hub: Hub, random_whisper: Path) -> Settings:
    model_hub.repos[REPO] = random_whisper
    return Settings(models_dir=tmp_path / "models", hf_endpoint=model_hub.address, whisper_model="base")


def ignore(progress: Progress) -> None:
    pass


async def fetch(settings: Settings, report: Report) -> Path:
    return await weights.fetch(await weights.choose(settings), report)


def same(folder: Path, model: Path) -> bool:
    names = {file.name for file in folder.iterdir()}
    return names == FILES and all((folder / name).read_bytes() == (model / name).read_bytes() for name in names)


async def test_a_model_is_downloaded_once(settings: Settings, model_hub: Hub, random_whisper: Path) -> None:
    (random_whisper / "README.md").write_text("not wanted")
    told: list[Progress] = []
    try:
        folder = await fetch(settings, told.append)
    finally:
        (random_whisper / "README.md").unlink()
    assert folder == settings.models_dir / STORE
    assert same(folder, random_whisper)
    total = sum(file.stat().st_size for file in folder.iterdir())
    assert told[-1].done == told[-1].total == total
    assert [step.done for step in told] == sorted(step.done for step in told)
    assert {step.total for step in told} == {total}
    assert len({step.done for step in told}) > len(FILES)  # within a file, too
    requests = len(model_hub.seen)
    assert await fetch(settings, ignore) == folder
    assert len(model_hub.seen) == requests


async def test_the_token_goes_to_the_hub_and_not_to_its_storage(settings: Settings, model_hub: Hub) -> None:
    model_hub.needs_token = "hf_secret"
    with pytest.raises(EngineUnavailable, match="refuses access") as refused:
        await fetch(settings, ignore)
    assert "HF_TOKEN" in refused.value.remedy
    with pytest.raises(EngineUnavailable, match="refuses access"):
        await weights.check(settings)
    known = settings.model_copy(update={"hf_token": "hf_secret"})
    await weights.check(known)
    await fetch(known, ignore)
    storage = [seen for seen in model_hub.seen if seen.path.startswith("/storage")]
    assert storage
    assert not any(seen.token for seen in storage)


async def test_an_interrupted_download_resumes(settings: Settings, model_hub: Hub, random_whisper: Path) -> None:
    size = (random_whisper / "model.bin").stat().st_size
    model_hub.breaks = [300_000, 500_000, 100_000]
    folder = await fetch(settings, ignore)
    assert same(folder, random_whisper)
    ranges = [seen.range for seen in model_hub.seen if seen.path.startswith("/storage")]
    assert len(ranges) == 4
    assert ranges[0] == ""
    assert all(wanted.startswith("bytes=") for wanted in ranges[1:])
    assert model_hub.sent_bytes < size + 3 * hub_module.CHUNK_BYTES


async def test_a_hub_that_dies_leaves_no_model_but_a_partial_download(
    settings: Settings, model_hub: Hub, random_whisper: Path
) -> None:
    model_hub.breaks = [2_000_000, *[0] * 10]
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await fetch(settings, ignore)
    assert weights.find(settings) is None
    model_hub.breaks = []
    model_hub.sent_bytes = 0
    assert same(await fetch(settings, ignore), random_whisper)
    assert model_hub.sent_bytes < 1_500_000


async def test_a_cancelled_download_stops_at_once_and_is_resumed(
    settings: Settings, model_hub: Hub, random_whisper: Path
) -> None:
    model_hub.pause_s = 0.06  # 1 MB/s
    some = asyncio.Event()
    task = asyncio.create_task(fetch(settings, lambda step: some.set() if step.done > step.total * 0.6 else None))
    await some.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert weights.find(settings) is None
    model_hub.pause_s = 0.0
    model_hub.sent_bytes = 0
    assert same(await fetch(settings, ignore), random_whisper)
    assert model_hub.sent_bytes < (random_whisper / "model.bin").stat().st_size


async def test_a_slow_hub_does_not_block_the_event_loop(settings: Settings, model_hub: Hub) -> None:
    model_hub.pause_s = 0.02
    download = asyncio.create_task(fetch(settings, ignore))
    rounds = 0
    while not download.done():
        await asyncio.sleep(0.005)
        rounds += 1
    await download
    assert rounds > 20


async def test_wrong_bytes_are_refused(settings: Settings, model_hub: Hub) -> None:
    model_hub.corrupt = True
    with pytest.raises(EngineUnavailable, match="does not match the hub's checksum"):
        await fetch(settings, ignore)
    assert weights.find(settings) is None
    model_hub.corrupt = False
    await fetch(settings, ignore)
    assert weights.find(settings)


async def test_a_failing_hub_is_retried(settings: Settings, model_hub: Hub) -> None:
    model_hub.status = 503
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await weights.fetch(weights.Choice(settings), ignore)
    assert len(model_hub.seen) == hub_module.ATTEMPTS
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await weights.check(settings)


async def test_a_file_shorter_than_listed_is_an_error(
    settings: Settings, model_hub: Hub, tmp_path: Path, random_whisper: Path
) -> None:
    listed = await hub_module.Hub.of(settings).files(REPO, lambda name: name == "model.bin")
    shorter = tmp_path / "shorter"
    shutil.copytree(random_whisper, shorter)
    (shorter / "model.bin").write_bytes(b"short")
    model_hub.repos[REPO] = shorter
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await hub_module.Hub.of(settings).fetch(REPO, listed, tmp_path / "target", ignore)
    assert not (tmp_path / "target").exists()


async def test_a_missing_model_is_an_error(settings: Settings, model_hub: Hub) -> None:
    absent = settings.model_copy(update={"whisper_model": "absent/nothing"})
    for ask in (weights.check(absent), fetch(absent, ignore)):
        with pytest.raises(EngineUnavailable, match="has no model absent/nothing"):
            await ask
    await weights.check(settings)


async def test_a_model_that_is_not_a_whisper_is_refused(settings: Settings, model_hub: Hub, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    model_hub.repos["someone/else"] = other
    with pytest.raises(EngineUnavailable, match=r"lacks model\.bin and tokenizer\.json"):
        await fetch(settings.model_copy(update={"whisper_model": "someone/else"}), ignore)


async def test_missing_and_silent_hubs_fail_quickly(settings: Settings, model_hub: Hub) -> None:
    import threading

    model_hub.hang = threading.Event()
    for endpoint in (model_hub.address, "http://127.0.0.1:9", "http://no-such-host.invalid"):
        async with asyncio.timeout(20):  # longer than the client waits for a silent hub
            with pytest.raises(EngineUnavailable, match="cannot be reached") as raised:
                await weights.check(settings.model_copy(update={"hf_endpoint": endpoint}))
        assert "HF_ENDPOINT" in raised.value.remedy


async def test_offline_mode_makes_no_request(settings: Settings, model_hub: Hub) -> None:
    offline = settings.model_copy(update={"hf_hub_offline": True})
    for ask in (weights.check(offline), fetch(offline, ignore)):
        with pytest.raises(EngineUnavailable, match="HF_HUB_OFFLINE"):
            await ask
    assert not model_hub.seen


async def test_a_folder_needs_no_hub(settings: Settings, model_hub: Hub, random_whisper: Path) -> None:
    shutil.copytree(random_whisper, settings.models_dir / "mine")
    for name in ("mine", str(random_whisper)):
        local = settings.model_copy(update={"whisper_model": name})
        await weights.check(local)
        assert same(await fetch(local, ignore), random_whisper)
    assert not model_hub.seen


@pytest.mark.parametrize("name", ["huge", "a/b/c", "./base/x", ""])
async def test_an_unknown_name_is_explained(settings: Settings, name: str) -> None:
    with pytest.raises(EngineUnavailable, match="not a size, a hub name or a folder") as raised:
        await weights.check(settings.model_copy(update={"whisper_model": name or "nonsense"}))
    assert "large-v3" in raised.value.remedy


async def test_a_folder_without_a_model_is_explained(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="has no faster-whisper model"):
        await weights.check(settings.model_copy(update={"whisper_model": str(tmp_path)}))


async def test_a_full_disk_is_explained(settings: Settings, tmp_path: Path) -> None:
    settings.models_dir.write_text("a file where the folder should be")
    with pytest.raises(EngineUnavailable, match="cannot be stored") as raised:
        await fetch(settings, ignore)
    assert "MODELS_DIR" in raised.value.remedy


async def test_the_engine_opens_from_the_hub(settings: Settings) -> None:
    told: list[Progress] = []
    await whisper.probe(settings)
    async with whisper.open_engine(settings, told.append) as opened:
        assert (opened.model, opened.device) == ("base (int8)", "cpu")
    assert told[-1].done == told[-1].total > 0
