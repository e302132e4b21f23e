"""What docker-compose.yml grants to its containers."""

from typing import Any

import pytest
import yaml

from pipeline.settings import HOME

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((HOME / "docker-compose.yml").read_text("utf-8"))["services"]
CAPABILITIES = {
    "postgres": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"},
    "redis": {"CHOWN", "SETGID", "SETUID"},
}
"""Of images that begin as root and then become a user of their own."""


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_has_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", ())) == CAPABILITIES.get(name, set())
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    assert not service.get("privileged")
    written = [place.rpartition(":")[2] for place in service.get("tmpfs", ())] + service.get("volumes", [])
    assert "/tmp" in written


def test_only_this_machine_reaches_what_is_published() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert "127.0.0.1" in port
