"""Grafana's dashboard and Prometheus's rules use metrics that a service exposes, and Compose connects them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pipeline.settings import HOME
from tests.questions import sample
from tests.server_process import ServerProcess, ask

DASHBOARD = json.loads((HOME / "deploy/grafana/dashboards/parley.json").read_text("utf-8"))
ALERTS = yaml.safe_load((HOME / "deploy/prometheus/alerts.yml").read_text("utf-8"))
COMPOSE = yaml.safe_load((HOME / "docker-compose.yml").read_text("utf-8"))
SCRAPED = {"instance", "job", "le"}
"""Labels that Prometheus adds to every series."""
UNTIL_SOMETHING_FAILS = {"parley_stage_failures_total"}
"""Metrics that have no series before a failure; their labels are in `pipeline.telemetry.metrics`."""


def queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for rule in ALERTS["groups"][0]["rules"]:
        yield rule["alert"], rule["expr"]


@pytest.fixture(scope="module")
def told(server: ServerProcess) -> dict[str, set[str]]:
    """Names of all series of a service after a turn, with the names of their labels."""
    with server.connect() as connection:
        ask(connection, sample("hello"))
    found: dict[str, set[str]] = {name: {"stage", "code"} for name in UNTIL_SOMETHING_FAILS}
    for family in text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text):
        for one in family.samples:
            found.setdefault(one.name, set()).update(one.labels)
    return found


@pytest.mark.parametrize(("title", "query"), queries())
def test_every_query_uses_existing_metrics_and_labels(told: dict[str, set[str]], title: str, query: str) -> None:
    plain = re.sub(r'"[^"]*"', '""', query)
    for opening, closing in ("()", "{}", "[]"):
        assert plain.count(opening) == plain.count(closing)
    asked = re.findall(r"\b((?:parley|process)_\w+)(?:\{([^}]*)\})?", plain)
    assert asked or "up{" in plain, title
    known: set[str] = set(SCRAPED)
    for name, selector in asked:
        assert name in told, name
        labels = set(re.findall(r"(\w+)\s*[=!]", selector))
        assert labels <= told[name] | SCRAPED, (name, labels)
        known |= told[name]
    for grouping in re.findall(r"\bby \(([^)]*)\)", plain):
        assert {label.strip() for label in grouping.split(",")} <= known, grouping


def test_every_metric_is_shown_or_listed_as_not_shown(told: dict[str, set[str]]) -> None:
    shown = " ".join(query for _, query in queries())
    names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in told if name.startswith("parley_")}
    assert {name for name in names if name not in shown} == {
        "parley_engine", "parley_started_seconds", "parley_draining", "parley_requests_running",
        "parley_recordings_running", "parley_jobs_readable", "parley_tasks", "parley_held_bytes",
        "parley_event_streams", "parley_uploads_running", "parley_processes",
    }  # fmt: skip


def test_grafana_provisioning_matches_compose() -> None:
    provisioning = HOME / "deploy/grafana/provisioning"
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text("utf-8"))["datasources"]
    [provider] = yaml.safe_load((provisioning / "dashboards/parley.yml").read_text("utf-8"))["providers"]
    grafana, prometheus = COMPOSE["services"]["grafana"], COMPOSE["services"]["prometheus"]
    mounts = dict(reversed(volume.removesuffix(":ro").split(":")) for volume in grafana["volumes"])
    assert mounts[provider["options"]["path"]] == "./deploy/grafana/dashboards"
    assert mounts["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    assert source["url"] == "http://prometheus:9090"
    assert {json.dumps(panel["datasource"]) for panel in DASHBOARD["panels"]} == {
        json.dumps({"type": "prometheus", "uid": source["uid"]})
    }
    assert grafana["profiles"] == prometheus["profiles"] == ["observe"]
    assert all(not str(one["image"]).endswith(("latest", "}")) or ":-" in one["image"] for one in (grafana, prometheus))
    assert all(port.startswith("127.0.0.1:") for port in grafana["ports"])
    assert "ports" not in prometheus


def test_prometheus_scrapes_the_service_and_job_workers() -> None:
    scraped: dict[str, Any] = yaml.safe_load((HOME / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
    job, workers = scraped["scrape_configs"]
    [found] = workers["dns_sd_configs"]
    assert found["names"] == ["worker"]
    # In its container, 127.0.0.1 would be unreachable for Prometheus.
    assert COMPOSE["services"]["worker"]["command"][-2:] == ["--metrics", f"0.0.0.0:{found['port']}"]
    assert job["metrics_path"] == "/metrics"
    script = COMPOSE["services"]["prometheus"]["command"][0]
    [target] = job["static_configs"][0]["targets"]
    assert f"s/{target}/api:$$API_PORT/" in script
    assert f"> {job['authorization']['credentials_file']}" in script
    assert "api" in COMPOSE["services"]
    assert all((HOME / "deploy/prometheus" / name.rpartition("/")[2]).is_file() for name in scraped["rule_files"])


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (column, row)
            for column in range(place["x"], place["x"] + place["w"])
            for row in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
