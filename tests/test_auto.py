"""Choice of an engine: "auto" takes the best one available now and notes why others fail; a name allows only itself."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from pipeline import stt
from pipeline.assistant import open_assistant
from pipeline.engines import open_best, open_named
from pipeline.errors import EngineUnavailable
from pipeline.llm import auto
from pipeline.llm.auto import open_auto
from pipeline.settings import Settings
from tests.questions import SUM, SUM_ANSWER, sample, spoken
from tests.server_process import ServerProcess, ask, constants, error_code, receive, serving, workers_of
from tests.servers.ollama import FakeOllama, Traps
from tests.servers.running import closed_port, running
from tests.stt.recordings import TRAINED


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as one:
        yield one


@pytest.fixture(scope="module")
def ollama_port() -> int:
    """Port at which Ollama is expected but does not run yet."""
    return closed_port()


@pytest.fixture(scope="module")
def automatic(tmp_path_factory: pytest.TempPathFactory, ollama_port: int) -> Iterator[ServerProcess]:
    with serving(
        tmp_path_factory.mktemp("auto"),
        **TRAINED, LLM_ENGINE="auto", LLAMA_ENDPOINT=f"http://127.0.0.1:{ollama_port}",
        **constants({"pipeline.llm.auto:RECHECK_S": 0.2}),
    ) as server:  # fmt: skip
        yield server


def language_model(server: ServerProcess) -> dict[str, Any]:
    """Return the language model's entry in `/health`."""
    health = httpx.get(f"{server.url}/health").raise_for_status().json()
    return dict(next(engine for engine in health["engines"] if engine["stage"] == "llm"))


def test_auto_follows_ollama_as_it_starts_and_stops(
    automatic: ServerProcess, portal: BlockingPortal, ollama_port: int
) -> None:
    assert "Ollama does not respond" in automatic.text  # logged at start
    assert "ollama serve" in automatic.text
    ollama = FakeOllama(reply="I am Ollama, and I am here.")
    with automatic.connect() as connection:
        assert ask(connection, spoken("my name is alice")).llama == "Nice to meet you, Alice."
        before = language_model(automatic)
        assert before["engine"] == "builtin"
        assert "ollama serve" in before["notes"][0]

        for _ in range(2):  # Ollama starts and stops twice
            with portal.wrap_async_context_manager(running(ollama.app(), ollama_port)):
                assert ask(connection, sample("hello")).llama == "I am Ollama, and I am here."
                there = language_model(automatic)
                assert (there["engine"], there["model"], there["notes"]) == ("ollama", "llama3.2", [])
                assert ask(connection, sample("hello")).llama == "I am Ollama, and I am here."
            assert SUM_ANSWER in ask(connection, spoken(SUM)).llama
            assert language_model(automatic)["engine"] == "builtin"
        # Both engines share one conversation.
        assert ask(connection, spoken("what is my name")).llama == "Your name is Alice."
    told = [message["content"] for message in ollama.requests[1]["messages"]]
    assert told[1:] == ["my name is alice", "Nice to meet you, Alice.", "hello"]


def test_ollama_is_used_once_its_model_is_pulled(
    automatic: ServerProcess, portal: BlockingPortal, ollama_port: int
) -> None:
    ollama = FakeOllama(models=["minilm:latest"], embedding={"minilm:latest"}, reply="Now I have it.")
    with portal.wrap_async_context_manager(running(ollama.app(), ollama_port)), automatic.connect() as connection:
        assert SUM_ANSWER in ask(connection, spoken(SUM)).llama
        assert "ollama pull llama3.2" in language_model(automatic)["notes"][0]
        ollama.models.append("llama3.2:latest")
        assert ask(connection, sample("hello")).llama == "Now I have it."


def test_another_model_of_ollama_is_used_until_it_is_removed(
    automatic: ServerProcess, portal: BlockingPortal, ollama_port: int
) -> None:
    ollama = FakeOllama(models=["qwen3:8b"], reply="I am another model.")
    with portal.wrap_async_context_manager(running(ollama.app(), ollama_port)), automatic.connect() as connection:
        ask(connection, sample("hello"))  # the Ollama of another test may still count as there
        assert ask(connection, sample("hello")).llama == "I am another model."
        told = language_model(automatic)
        assert told["model"] == "qwen3:8b"
        assert "LLAMA_MODEL is not set" in told["notes"][0]
        choice = httpx.get(f"{automatic.url}/llm-models").json()
        assert (choice["default"], choice["models"]) == ("qwen3:8b", ["qwen3:8b"])
        ollama.models, ollama.traps = ["llama3.2:latest"], Traps(status=404, message="model 'qwen3:8b' not found")
        assert SUM_ANSWER in ask(connection, spoken(SUM)).llama  # the built-in responder
        ollama.traps = Traps()
        assert ask(connection, sample("hello")).llama == "I am another model."
        assert language_model(automatic)["model"] == "llama3.2"


def test_errors_of_a_running_ollama_are_reported_without_fallback(
    automatic: ServerProcess, portal: BlockingPortal, ollama_port: int
) -> None:
    ollama = FakeOllama(reply="I am here again, all of me.")
    with portal.wrap_async_context_manager(running(ollama.app(), ollama_port)), automatic.connect() as connection:
        assert ask(connection, sample("hello")).llama == "I am here again, all of me."
        for trap in (Traps(status=500, message="out of memory"), Traps(error_after=3)):
            ollama.traps = trap
            connection.send(sample("hello"))
            assert error_code(receive(connection)) == "llm_unavailable"
        ollama.traps = Traps()
        assert ask(connection, sample("hello")).llama == "I am here again, all of me."


# --- a model that loads, in this process ---


async def test_loading_model_delays_turns_only_briefly_and_is_used_once_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "RECHECK_S", 0.01)
    ollama = FakeOllama(models=[], traps=Traps(load_s=3))
    async with (
        running(ollama.app()) as address,
        open_auto(settings(tmp_path, llama_endpoint=address), quiet) as model,
    ):
        ollama.models.append("llama3.2:latest")
        await asyncio.sleep(0.02)
        await asyncio.gather(*(model.look(patience_s=0.3) for _ in range(3)))
        assert model.info.engine == "builtin"  # did not wait for the load
        await model.look()
        assert model.info.engine == "ollama"
    assert len([request for request in ollama.requests if not request["messages"]]) == 1  # loaded once


async def test_closing_during_a_recheck_leaves_no_tasks_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "RECHECK_S", 0.01)
    ollama = FakeOllama(models=[], traps=Traps(load_s=2))
    async with running(ollama.app()) as address:
        async with open_auto(settings(tmp_path, llama_endpoint=address), quiet) as model:
            ollama.models.append("llama3.2:latest")
            await asyncio.sleep(0.02)
            await model.look(patience_s=0.3)
            assert ours()
        assert not ours()


def ours() -> list[str]:
    """Return the tasks of the assistant, not those of the servers in this process."""
    return [repr(task) for task in asyncio.all_tasks() if "/pipeline/" in repr(task)]


# --- choosing, without a server ---


def settings(tmp_path: Path, **changes: Any) -> Settings:
    return Settings(_env_file=None, models_dir=tmp_path, hf_hub_offline=True, **changes)  # type: ignore[call-arg]


def quiet(_: object) -> None:
    """Ignore the progress."""


async def test_first_working_engine_is_used_with_notes_on_earlier_ones(tmp_path: Path) -> None:
    async with open_best("stt", stt.ENGINES, stt.AUTO_ORDER, settings(tmp_path), quiet) as best:
        assert best.info.engine == "sphinx"
        assert best.info.ready_s > 0
        (why,) = best.info.notes
        assert why.startswith("whisper: ")
        assert "HF_HUB_OFFLINE" in why or "WHISPER_MODEL" in why


async def test_without_a_working_engine_the_error_gives_each_reason(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{closed_port()}/v1"
    with pytest.raises(EngineUnavailable) as raised:
        async with open_best(
            "stt", stt.ENGINES, ["whisper", "openai"], settings(tmp_path, stt_openai_url=nowhere), quiet
        ):
            pass
    assert "whisper: " in raised.value.message
    assert "openai: " in raised.value.message
    assert "STT_ENGINE" in raised.value.remedy


async def test_named_engine_does_not_fall_back(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable):
        async with open_named("stt", stt.ENGINES, "whisper", settings(tmp_path), quiet):
            pass


async def test_error_inside_the_block_is_not_treated_as_an_engine_failure(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="mine"):
        async with open_best("stt", stt.ENGINES, ["sphinx"], settings(tmp_path), quiet):
            raise EngineUnavailable("mine", remedy="")


async def test_failed_stage_closes_the_stages_opened_before_it(tmp_path: Path) -> None:
    before = set(workers_of(os.getpid()))
    nowhere = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(EngineUnavailable):
        async with open_assistant(
            settings(tmp_path, stt_engine="sphinx", llm_engine="ollama", tts_engine="espeak", llama_endpoint=nowhere)
        ):
            pass
    assert set(workers_of(os.getpid())) == before
