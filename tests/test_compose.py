"""The Compose files: permissions of the containers, names, and how the services find each other."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from pipeline.settings import HOME, Settings
from pipeline.support.openai_names import MODELS

SMALL, OPEN_WEBUI = HOME / "deploy" / "compose.yml", HOME / "deploy" / "compose.open-webui.yml"
FILES = (HOME / "docker-compose.yml", HOME / "docker-compose.gpu.yml", SMALL, OPEN_WEBUI)
CAPABILITIES = {
    "postgres": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"},
    "redis": {"CHOWN", "SETGID", "SETUID"},
}
"""Capabilities of images that start as root and then switch to their own user."""


def services(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text("utf-8"))["services"]
    return found


@pytest.mark.parametrize("name", services(FILES[0]))
def test_containers_have_only_the_capabilities_they_need(name: str) -> None:
    service = services(FILES[0])[name]
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", ())) == CAPABILITIES.get(name, set())
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    assert not service.get("privileged")
    written = [place.rpartition(":")[2] for place in service.get("tmpfs", ())] + service.get("volumes", [])
    assert "/tmp" in written


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_ports_are_bound_to_localhost_and_names_are_free(path: Path) -> None:
    """A fixed container name would allow one such stack on a machine."""
    for service in services(path).values():
        assert "container_name" not in service
        for port in service.get("ports", ()):
            assert "127.0.0.1" in port


def test_small_file_is_for_people_without_the_source() -> None:
    assert len(SMALL.read_text("utf-8").splitlines()) == 12
    parley, ollama = services(SMALL)["parley"], services(SMALL)["ollama"]
    assert not any("build" in one for one in (parley, ollama))
    assert not any(volume.startswith(".") for one in (parley, ollama) for volume in one["volumes"])
    assert parley["env_file"] == [{"path": ".env", "required": False}]
    assert ollama["profiles"] == ["ollama"]
    assert (parley["cap_drop"], parley["read_only"]) == (["ALL"], True)
    assert parley["security_opt"] == ["no-new-privileges:true"]
    assert int(parley["stop_grace_period"].removesuffix("s")) > Settings().drain_seconds + 10
    assert "//ollama:" in parley["environment"]["LLAMA_ENDPOINT"]
    # The same image of Ollama as in the large file.
    assert ollama["image"] == services(FILES[0])["ollama-ai"]["image"]


def test_open_webui_finds_parley_and_ollama() -> None:
    there = services(SMALL)
    environment = services(OPEN_WEBUI)["open-webui"]["environment"]
    port = "${PORT:-8000}"
    assert there["parley"]["environment"]["PORT"] == port
    addresses = {
        name: urlsplit(value.replace(port, "8000")) for name, value in environment.items() if name.endswith("_URL")
    }
    assert {name.rpartition("_OPENAI")[0] for name in addresses} == {"", "AUDIO_STT", "AUDIO_TTS", "AUDIO_REALTIME"}
    for name, address in addresses.items():
        assert address.hostname in there
        assert (address.port, address.path) == ((11434, "") if name == "OLLAMA_BASE_URL" else (8000, "/v1"))
    assert services(OPEN_WEBUI)["parley"]["environment"] == {"PUBLIC_LISTS": "true"}
    assert re.search(r":v[\d.]+}$", services(OPEN_WEBUI)["open-webui"]["image"])


def test_open_webui_offers_only_models_that_chat() -> None:
    """Otherwise the model of a new user is the first of Parley's list, which can be one that transcribes."""
    environment = services(OPEN_WEBUI)["open-webui"]["environment"]
    offered = json.loads(environment["OPENAI_API_CONFIGS"])["0"]["model_ids"]
    assert set(offered) <= set(MODELS["llm"])
    assert environment["DEFAULT_MODELS"] in offered
