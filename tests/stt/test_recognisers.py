"""Models besides the loaded one: their names, loading on demand, and the memory budget."""

import asyncio
import io
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.engines import open_named
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import Settings
from pipeline.stt import ENGINES, FileRequest
from pipeline.stt.recognisers import Recognisers, UnknownModel, open_recognisers
from pipeline.transcripts.refine import Refiners
from pipeline.transcripts.transcriber import Transcriber, TranscriptionRequest
from pipeline.workers.hardware import Gpu, Hardware
from pipeline.workers.residents import DoesNotFit
from tests.clips import recording
from tests.jobs.test_endpoints import done
from tests.server_process import ServerProcess, serving
from tests.servers.hub import Hub
from tests.stt.recordings import MODEL

TEXT = "what time is it"
SMALL = Hardware("CPU", 2, 8_000, ("avx2",), ("float32", "int8"), ())
LARGE = Hardware(
    "CPU", 16, 64_000, ("avx2",), ("float32", "int8"), (Gpu("GPU", 24_000, 23_000, "8.9", ("float16", "int8")),)
)


@pytest.fixture
def settings(tmp_path: Path, babbling_whisper: Path) -> Settings:
    """Settings with the trained model loaded, and two more models available."""
    folder = tmp_path / "models"
    for name, model in (
        ("mine", MODEL),
        ("babbling", babbling_whisper),
        ("Systran--faster-whisper-tiny", babbling_whisper),
    ):
        shutil.copytree(model, folder / name)
    (folder / "empty").mkdir()
    return Settings(
        whisper_model=str(MODEL),
        models_dir=folder,
        hf_hub_offline=True,
        model_host="thread",
        stt_replicas=1,
        whisper_context_s=30.0,
    )


@asynccontextmanager
async def opened(settings: Settings, hardware: Hardware = SMALL) -> AsyncIterator[Recognisers]:
    async with (
        open_named("stt", ENGINES, "whisper", settings, lambda progress: None) as own,
        open_recognisers(settings, own, hardware) as recognisers,
    ):
        yield recognisers


async def heard(recognisers: Recognisers, name: str | None, *, or_own: bool = False) -> tuple[str, str]:
    """(text, model)"""
    wav, _ = recording(0)
    transcriber = Transcriber(recognisers, Refiners(Settings()), 60)
    wanted = TranscriptionRequest(FileRequest("en"), model=name, or_own=or_own)
    found = await transcriber.transcribe(io.BytesIO(wav), wanted)
    return found.text, found.model


async def test_model_names_resolve_to_models_or_are_refused(settings: Settings) -> None:
    async with opened(settings) as recognisers:
        for name in (None, "", "whisper-1", "gpt-4o-transcribe", "whisper", "Whisper-Tiny-Words", str(MODEL)):
            assert recognisers.find(name).settings is None, name
        same = [recognisers.find(name) for name in ("tiny", "whisper-tiny", "openai/whisper-tiny",
                                                    "Systran/faster-whisper-tiny", "TINY")]  # fmt: skip
        assert len(set(same)) == 1
        assert same[0].settings is not None
        ids = [one.choice.id for one in recognisers.runnable]
        assert ids == ["distil_large_v3_ptbr", "faster_large-v3_int8"]
        model = recognisers.find(ids[1]).settings
        assert model is not None
        assert (model.whisper_model, model.whisper_compute_type, model.whisper_device) == ("large-v3", "int8", "cpu")
        for name in ("huge", "faster_medium_fp16", "empty", "absent/nothing",
                     "../models/mine", "/etc", "..", ".", "~", "models/mine", str(settings.models_dir / "mine"),
                     "mine/", "a\0b"):  # fmt: skip
            with pytest.raises(UnknownModel) as told:
                recognisers.find(name)
            assert str(settings.models_dir) not in told.value.message.partition(";")[2]
        assert {"tiny", "mine", "babbling", *ids} <= set(recognisers.names())
        assert "small" not in recognisers.names()
        assert len({recognisers.engine_of(name) for name in (None, "mine", "tiny", "small", *ids)}) == 6


async def test_offered_models_follow_the_device_and_the_settings(settings: Settings) -> None:
    async with opened(settings) as recognisers:
        own = recognisers._own
        on_gpu = Recognisers(settings, own, LARGE)
        assert on_gpu.find("faster_medium_fp16").settings is not None
        kept = Recognisers(settings.model_copy(update={"whisper_device": "cpu"}), own, LARGE)
        assert [one.device for one in kept.runnable] == ["cpu", "cpu"]
        alone = Recognisers(settings.model_copy(update={"model_memory_mb": 1}), own, LARGE)
        for name in ("tiny", "mine", "faster_medium_fp16"):
            with pytest.raises(UnknownModel):
                alone.find(name)


async def test_models_load_when_named_and_the_configured_one_stays(settings: Settings) -> None:
    async with opened(settings) as recognisers:
        assert await heard(recognisers, None) == (TEXT, "whisper-tiny-words (int8)")
        assert recognisers.residents.loaded == []
        text, model = await heard(recognisers, "tiny")
        assert (text != TEXT, model) == (True, "tiny (int8)")
        assert await heard(recognisers, "mine") == (TEXT, "mine (int8)")
        both = await asyncio.gather(heard(recognisers, "mine"), heard(recognisers, "babbling"))
        assert [model for _, model in both] == ["mine (int8)", "babbling (int8)"]
        assert len(recognisers.residents.loaded) == 3


async def test_models_are_unloaded_to_stay_within_the_memory_budget(settings: Settings) -> None:
    one_mb = 310
    tight = settings.model_copy(update={"model_memory_mb": 2 * one_mb})
    async with opened(tight) as recognisers:
        for name in ("tiny", "mine"):
            await heard(recognisers, name)
            assert len(recognisers.residents.loaded) == 1
        assert await heard(recognisers, None) == (TEXT, "whisper-tiny-words (int8)")
        with pytest.raises(DoesNotFit, match="large-v3"):
            await heard(recognisers, "faster_large-v3_int8", or_own=True)


async def test_a_model_that_cannot_be_downloaded_is_an_error(settings: Settings) -> None:
    async with opened(settings) as recognisers:
        with pytest.raises(EngineUnavailable, match="HF_HUB_OFFLINE"):
            await heard(recognisers, "small")
        assert await heard(recognisers, "small", or_own=True) == (TEXT, "whisper-tiny-words (int8)")


async def test_the_configured_model_can_replace_a_damaged_one(settings: Settings) -> None:
    weights = settings.models_dir / "mine" / "model.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    async with opened(settings) as recognisers:
        with pytest.raises(EngineError):
            await heard(recognisers, "mine")
        assert await heard(recognisers, "mine", or_own=True) == (TEXT, "whisper-tiny-words (int8)")


async def test_a_model_from_the_hub_is_downloaded_once(
    settings: Settings, model_hub: Hub, babbling_whisper: Path
) -> None:
    model_hub.repos["Systran/faster-whisper-small"] = babbling_whisper
    online = settings.model_copy(update={"hf_hub_offline": False, "hf_endpoint": model_hub.address})
    async with opened(online) as recognisers:
        told = await asyncio.gather(*(heard(recognisers, "small") for _ in range(3)))
        assert {model for _, model in told} == {"small (int8)"}
        assert "small" in recognisers.names()
        assert (
            sum(one.path.endswith("model.bin") and not one.path.startswith("/storage") for one in model_hub.seen) == 1
        )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, babbling_whisper: Path) -> Iterator[ServerProcess]:
    """A service with one model at a time besides the configured one."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(babbling_whisper, folder / "babbling")
    shutil.copytree(babbling_whisper, folder / "Systran--faster-whisper-tiny")
    with serving(
        folder,
        STT_ENGINE="whisper",
        WHISPER_MODEL=str(MODEL),
        WHISPER_CONTEXT_S="30",
        MODELS_DIR=str(folder),
        MODEL_MEMORY_MB="620",
        STT_REPLICAS="1",
    ) as running:
        yield running


def test_each_api_accepts_model_names_and_reports_unknown_ones(served: ServerProcess) -> None:
    wav, _ = recording(0)
    loaded = len(served.workers())

    def openai(model: str, **fields: str) -> httpx.Response:
        return httpx.post(
            f"{served.url}/v1/audio/transcriptions", files={"file": ("a.wav", wav)},
            data={"model": model, "language": "en", **fields}, timeout=60,
        )  # fmt: skip

    def whisperx(model: str) -> httpx.Response:
        return httpx.post(
            f"{served.url}/transcribe/", files={"audio_file": ("a.wav", wav)},
            data={"model_name": model, "language": "en"}, timeout=60,
        )  # fmt: skip

    assert openai("whisper-1").json()["text"] == TEXT
    assert len(served.workers()) == loaded
    assert openai("babbling").json()["text"] != TEXT
    assert len(served.workers()) == loaded + 1
    told = [line for line in openai("tiny", stream="true").text.splitlines() if line.startswith("data: {")]
    assert json.loads(told[-1].removeprefix("data: "))["text"] != TEXT
    assert len(served.workers()) == loaded + 1  # the other model was unloaded
    assert whisperx("babbling").json()["model"] == "babbling (int8)"

    unknown = openai("huge")
    assert unknown.status_code == 404
    assert unknown.json()["error"].items() >= {"code": "model_not_found", "param": "model"}.items()
    assert (whisperx("huge").status_code, whisperx("huge").json()["error"]["code"]) == (404, "model_not_found")
    large = openai("faster_large-v3_int8", stream="true")
    assert (large.status_code, large.json()["error"]["code"]) == (400, "model_too_large")
    assert "MODEL_MEMORY_MB" in whisperx("large-v3").json()["detail"]

    ids = {one["id"] for one in httpx.get(f"{served.url}/v1/models").json()["data"]}
    assert {"whisper-1", "whisper-tiny-words", "babbling", "tiny"} <= ids
    assert httpx.get(f"{served.url}/v1/models/babbling").status_code == 200


def test_jobs_use_the_model_that_they_name(served: ServerProcess) -> None:
    wav, _ = recording(0)
    with httpx.Client(base_url=served.url, timeout=60) as client:

        def job(**fields: str) -> httpx.Response:
            return client.post("/jobs", files={"files": ("a.wav", wav)}, data={"language": "en", **fields})

        def ended(answer: httpx.Response) -> Any:
            return done(client, answer.raise_for_status().json()["jobs"][0]["job_id"])

        own, other, again = (
            ended(job(**fields)) for fields in ({}, {"model_id": "babbling"}, {"model_id": "whisper-1"})
        )
        assert (own["result"]["text"], own["result"]["engine"]) == (TEXT, "whisper: whisper-tiny-words (int8)")
        assert other["result"]["text"] != TEXT
        assert other["result"]["engine"].startswith("whisper: babbling ")
        assert other["model_id"] == "babbling"
        assert again["result"] == own["result"]
        listed = {model["id"]: model for model in client.get("/models").json()["models"]}
        assert (listed["whisper-tiny-words"]["default"], listed["whisper-tiny-words"]["compute_type"]) == (True, "int8")
        assert [listed[name]["loaded"] for name in ("whisper-tiny-words", "babbling", "tiny")] == [True, True, False]
        assert listed["whisper-tiny-words"]["languages"] == ["en"]
        assert listed["faster_large-v3_int8"]["languages"] == [], "unknown before it is loaded"
        too_large = ended(job(model_id="faster_large-v3_int8"))
        assert (too_large["status"], too_large["error"]["code"]) == ("failed", "model_too_large")
        before = client.get("/queues").json()["total"]
        for answer in (
            job(model_id="huge"),
            client.post("/api/v1/upload/file", files={"file": ("a.wav", wav)}, data={"model_id": "huge"}),
            client.post("/api/v1/upload/url", json={"url": "http://127.0.0.1:1/a.wav", "model_id": "huge"}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
            assert "babbling" in answer.json()["detail"]
        assert client.get("/queues").json()["total"] == before
