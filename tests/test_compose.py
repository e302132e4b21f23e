"""Permissions of the containers in docker-compose.yml."""

from typing import Any

import pytest
import yaml

from pipeline.settings import HOME

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((HOME / "docker-compose.yml").read_text("utf-8"))["services"]
CAPABILITIES = {
    "postgres": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"},
    "redis": {"CHOWN", "SETGID", "SETUID"},
}
"""Capabilities of images that start as root and then switch to their own user."""


@pytest.mark.parametrize("name", SERVICES)
def test_containers_have_only_the_capabilities_they_need(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", ())) == CAPABILITIES.get(name, set())
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    assert not service.get("privileged")
    written = [place.rpartition(":")[2] for place in service.get("tmpfs", ())] + service.get("volumes", [])
    assert "/tmp" in written


def test_published_ports_are_bound_to_localhost() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert "127.0.0.1" in port
