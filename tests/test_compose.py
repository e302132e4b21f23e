"""The Compose files: permissions of the containers, names, and how the services find each other."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from pipeline.settings import HOME, Settings, names
from pipeline.support.openai_names import MODELS
from server.access.rules import Open, rule_for
from tests.test_kubernetes import OF_RAY as RAYS_OWN

SMALL, OPEN_WEBUI = HOME / "deploy" / "compose.yml", HOME / "deploy" / "compose.open-webui.yml"
CLUSTER = HOME / "docker-compose.cluster.yml"
FILES = (HOME / "docker-compose.yml", HOME / "docker-compose.gpu.yml", CLUSTER, SMALL, OPEN_WEBUI)
CAPABILITIES = {
    "postgres": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"},
    "redis": {"CHOWN", "SETGID", "SETUID"},
}
"""Capabilities of images that start as root and then switch to their own user, unless the file names it."""


def services(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text("utf-8"))["services"]
    return found


@pytest.mark.parametrize(("path", "name"), [(path, name) for path in (FILES[0], CLUSTER) for name in services(path)])
def test_containers_have_only_the_capabilities_they_need(path: Path, name: str) -> None:
    service = services(path)[name]
    assert service["cap_drop"] == ["ALL"]
    needed = set() if "user" in service else CAPABILITIES.get(name, set())
    assert set(service.get("cap_add", ())) == needed
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


def test_cluster_has_no_secret_of_its_own_and_does_not_start_without_them() -> None:
    text = CLUSTER.read_text("utf-8")
    secrets = {"RAY_AUTH_TOKEN", "API_KEYS", "REDIS_PASSWORD", "POSTGRES_PASSWORD"}
    assert set(re.findall(r"\$\{(\w+):\?", text)) == secrets
    for name in secrets:
        assert not re.search(rf"\$\{{{name}:?-", text), f"{name} has a default"
    # Nothing else in an environment is a secret: each is a word, a path, or an address without a password.
    for service in services(CLUSTER).values():
        for name, value in service.get("environment", {}).items():
            rest = re.sub(r"\$\{\w+:?\??[^}]*\}", "", str(value))
            assert re.fullmatch(r"|[\w*.]+|[\w+]+://[\w.:@/-]*|(/[\w.]+)+|[\w-]+:\d+", rest), (name, rest)


def test_cluster_publishes_only_the_balancer_and_ray_asks_for_its_token() -> None:
    there = services(CLUSTER)
    assert [name for name, service in there.items() if "ports" in service] == ["balancer"]
    for name in ("front", "ray-head", "ray-node"):
        environment = there[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")
        # The same image, because a node runs the code of the service, and pickles pass between them.
        assert (there[name]["image"], there[name]["build"]) == (there["front"]["image"], there["front"]["build"])
    assert {"ray", "redis", "postgres"} == set(
        there["front"]["build"]["args"]["EXTRAS"].removeprefix("${EXTRAS:-").removesuffix("}").split(",")
    )
    assert not any(
        "API_KEYS" in there[name]["environment"] or "env_file" in there[name] for name in ("ray-head", "ray-node")
    )


def test_cluster_has_two_fronts_that_find_what_they_need() -> None:
    there = services(CLUSTER)
    front, environment = there["front"], there["front"]["environment"]
    assert front["scale"] == 2
    addresses = {
        "RAY_ADDRESS": "ray-head", "REDIS_URL": "redis", "DATABASE_URL": "postgres", "LLAMA_ENDPOINT": "ollama-ai",
    }  # fmt: skip
    for name, host in addresses.items():
        assert re.search(rf"(?:^|[/@]){host}(?:[:/]|$)", re.sub(r"^\$\{\w+:-|\}$", "", environment[name])), name
        assert host in there
    known = {name for field in Settings.model_fields for name in names(field)}
    assert {name for name in environment if name not in known} == RAYS_OWN
    assert int(re.sub(r"\D", "", front["stop_grace_period"])) > Settings().drain_seconds + 8
    head = " ".join(there["ray-head"]["command"])
    assert f"--port={environment['RAY_ADDRESS'].partition(':')[2]}" in head
    assert "--num-cpus=0" in head
    assert f"--address={environment['RAY_ADDRESS']}" in front["command"][-1]
    assert f"--address={environment['RAY_ADDRESS']}" in there["ray-node"]["command"]


def test_cluster_outlives_its_head() -> None:
    there = services(CLUSTER)
    head, store = there["ray-head"], there["ray-redis"]
    assert head["environment"]["RAY_REDIS_ADDRESS"] == "ray-redis:6379"
    assert '--redis-password="$$REDIS_PASSWORD"' in head["command"][-1]
    assert (head["restart"], store["restart"]) == ("unless-stopped", "unless-stopped")
    # A tmpfs would end with the container, and a limit would drop some of it.
    assert store["volumes"] == ["/data"]
    assert "/data" not in store["tmpfs"]
    assert "--appendonly yes" in store["command"][-1]
    assert "maxmemory" not in store["command"][-1]


def test_cluster_waits_until_its_parts_are_healthy() -> None:
    there = services(CLUSTER)
    waited_for = {
        needed: how
        for service in there.values()
        if isinstance(service.get("depends_on"), dict)
        for needed, how in service["depends_on"].items()
    }
    assert set(waited_for) == {"ray-head", "ray-redis", "redis", "postgres"}
    for name, how in waited_for.items():
        assert how == {"condition": "service_healthy"}
        assert there[name]["healthcheck"]["test"][0] == "CMD"
    # The fronts have that of the image.
    assert {name for name, service in there.items() if "healthcheck" not in service} == {"front", "balancer"}


def test_balancer_asks_the_fronts_whether_they_are_ready() -> None:
    text = (HOME / "deploy" / "haproxy.cfg").read_text("utf-8")
    [path] = re.findall(r"option httpchk GET (\S+)", text)
    assert rule_for(path, "GET").needed is Open.ALL
    [found] = re.findall(r"server-template \w+ \d+ ([\w-]+):(\d+)", text)
    assert found == ("front", services(CLUSTER)["front"]["environment"]["PORT"])
    for seconds in re.findall(r"timeout (?:client|server|tunnel) (\d+)s", text):
        assert int(seconds) > Settings().idle_timeout_s
    # A client cannot choose the address that its limits count for.
    assert text.index("del-header X-Forwarded-For") < text.index("option forwardfor")


def test_open_webui_offers_only_models_that_chat() -> None:
    """Otherwise the model of a new user is the first of Parley's list, which can be one that transcribes."""
    environment = services(OPEN_WEBUI)["open-webui"]["environment"]
    offered = json.loads(environment["OPENAI_API_CONFIGS"])["0"]["model_ids"]
    assert set(offered) <= set(MODELS["llm"])
    assert environment["DEFAULT_MODELS"] in offered
