"""Metrics of turns, and the metrics endpoint of a running service."""

import asyncio
import logging
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.conversation import events
from pipeline.engines import EngineInfo
from pipeline.errors import ConfigError, EngineError
from pipeline.settings import HOME
from pipeline.telemetry import metrics
from pipeline.telemetry.prometheus import exposed
from pipeline.workers import Load
from tests.dialogue import Dialogue, hold
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import HEARS, done
from tests.questions import sample
from tests.scripted import ScriptedLLM, ScriptedTTS
from tests.server_process import ask, serving
from tests.servers.running import closed_port

MOST_SERIES = 600
"""Limit for the series of all metrics together, whatever clients do."""


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Growth:
    """The growth of samples since this object was created."""

    def __init__(self) -> None:
        self._before = self._now()

    @staticmethod
    def _now() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for metric in REGISTRY.collect()
            for sample in metric.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return self._now().get(key, 0.0) - self._before.get(key, 0.0)


async def _one_turn(d: Dialogue) -> None:
    await d.speak(1000)
    await d.until(events.TurnCompleted)


def test_turn_is_counted_once_with_its_stages() -> None:
    grown = Growth()
    d = hold(_one_turn)
    assert grown("parley_turns_total", kind="live", outcome="completed") == 1
    assert grown("parley_stage_seconds_count", stage="stt") == 1
    assert grown("parley_stage_seconds_count", stage="llm") == 1
    assert grown("parley_stage_first_seconds_count", stage="llm") == 1
    assert grown("parley_stage_seconds_count", stage="tts") == len(d.stages.tts.spoken)  # type: ignore[attr-defined]
    assert grown("parley_tokens_total", kind="prompt") == 10
    assert grown("parley_tokens_total", kind="completion") == len(ScriptedLLM().reply_text.split())
    assert grown("parley_first_audio_seconds_count", kind="live") == 1
    [completed] = d.of(events.TurnCompleted)
    assert grown("parley_first_audio_seconds_sum", kind="live") == pytest.approx(
        completed.timings_ms["first_sound"] / 1000, abs=1e-3
    )
    last = metrics.recent[-1]
    assert (last.id, last.session) == (d.of(events.TurnStarted)[0].turn_id, d.session.conversation.id)
    assert last.timings_ms == completed.timings_ms


def test_series_of_alerts_exist_from_the_start() -> None:
    """Prometheus sees no increase in a series that first appears with the value 1."""
    script = "import pipeline.telemetry.metrics, prometheus_client as p; print(p.generate_latest().decode())"
    told = subprocess.run([sys.executable, "-c", script], cwd=HOME, capture_output=True, text=True, check=True).stdout
    for series in (
        'parley_turns_total{kind="live",outcome="failed"}',
        'parley_turn_failures_total{code="llm_unavailable"}',
        'parley_turn_failures_total{code="other"}',
        'parley_first_audio_seconds_count{kind="live"}',
    ):
        assert f"{series} 0.0\n" in told


def test_discarded_speculative_reply_is_counted_as_abandoned() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.silence(460)
        await _one_turn(d)

    grown = Growth()
    hold(script, adaptive_endpointing=False)
    assert grown("parley_turns_total", kind="live", outcome="abandoned") == 1
    assert grown("parley_turns_total", kind="live", outcome="completed") == 1
    assert grown("parley_first_audio_seconds_count", kind="live") == 1


def test_interruptions_and_resumed_replies_are_counted() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(1000)
        await d.until(events.SpeechChunk)
        await d.silence(300)
        await d.speak(120)
        await d.until(events.SpeechResumed)
        await d.speak(1500)
        await d.until(events.TurnInterrupted)

    grown = Growth()
    hold(script)
    assert grown("parley_interruptions_total", what="resumed") == 1
    assert grown("parley_interruptions_total", what="cut_off") == 1
    assert grown("parley_turns_total", kind="live", outcome="interrupted") == 1


def test_replies_cancelled_at_once_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(1000)
        await d.until(events.SpeechChunk)
        d.session.interrupt()
        for _ in range(20):
            d.session.respond()
            await asyncio.sleep(0)
            d.session.interrupt()

    caplog.set_level(logging.INFO)
    grown = Growth()
    hold(script)
    assert grown("parley_turns_total", kind="live", outcome="interrupted") == 21
    assert caplog.text.count("turn interrupted") == 1


def test_failures_are_counted_by_code() -> None:
    async def failing(d: Dialogue) -> None:
        await d.speak(1000)
        await d.until(events.TurnFailed)

    grown = Growth()
    hold(failing, llm=ScriptedLLM(error=EngineError("No.", code="some_code_of_a_server")), speculations=0)
    assert grown("parley_stage_failures_total", stage="llm", code="other") == 1
    assert grown("parley_turn_failures_total", code="llm_unavailable") == 1
    assert grown("parley_turns_total", kind="live", outcome="failed") == 1
    hold(_one_turn, tts=ScriptedTTS(error=EngineError("No.")), speculations=0)
    assert grown("parley_stage_failures_total", stage="tts", code="tts_failed") == 1
    assert grown("parley_turns_total", kind="live", outcome="completed") == 1


def test_metrics_endpoint_is_complete_and_requires_a_key(tmp_path: Path) -> None:
    with serving(tmp_path, **HEARS, API_KEYS="right") as server:
        assert httpx.get(f"{server.url}/metrics").status_code == 401
        headers = {"Authorization": "Bearer right"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
            with server.connect("?language=en", additional_headers=headers) as connection:
                connection.send(b"no audio")
                connection.recv(timeout=60)
                ask(connection, sample("hello"))
                told = client.get("/metrics")
            files = {"files": ("a.wav", recording(2))}
            job = client.post("/jobs", files=files, data={"language": "en"}).json()["jobs"][0]["job_id"]
            done(client, job)
            for number in range(5):  # values chosen by clients must not become labels
                client.get(f"/jobs/{number}")
                client.get("/voices", headers={"User-Agent": f"agent {number}"})
            later = client.get("/metrics")
        assert f"job {job} completed after" in server.text
    assert told.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(told.text)
        for sample in family.samples
    }
    assert found["parley_turns_total", "completed", "whole"] == 1
    assert found["parley_first_audio_seconds_count", "whole"] == 1
    assert found["parley_sessions",] == 1
    assert found["parley_model_replicas", "loaded", "tts"] == 1
    assert found["parley_queue_wait_seconds_count", "espeak", "now"] >= 1
    assert found["parley_model_busy_seconds_total", "whisper"] > 0
    assert found["parley_audio_seconds_total", "tts"] > 0.5
    assert found["process_resident_memory_bytes",] > 1e6
    exposed = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(later.text)
        if family.name.startswith("parley_")
    }
    manual = (HOME / "docs/operations.md").read_text("utf-8")
    table = manual[manual.index("| metric |") : manual.index("### Traces")]
    assert set(re.findall(r"parley_\w+", table)) == exposed, "docs/operations.md lists exactly these"
    jobs = [family for family in text_string_to_metric_families(later.text) if family.name == "parley_jobs"]
    assert {sample.labels["state"]: sample.value for sample in jobs[0].samples}["completed"] == 1
    series = [sample for family in text_string_to_metric_families(later.text) for sample in family.samples]
    assert len(series) < MOST_SERIES
    assert len({(one.name, *sorted(one.labels.items())) for one in series}) == len(series)


async def test_process_without_a_server_has_its_own_metrics_port() -> None:
    port = closed_port()
    load = Load(waiting=2, running=1, replicas=1, loaded=1, restarts=3)
    info = EngineInfo("stt", "whisper", "tiny", "cpu", 0.0, load=load)
    address = f"http://127.0.0.1:{port}/metrics"
    async with exposed(f"127.0.0.1:{port}", lambda: (info,)):
        told = (await asyncio.to_thread(httpx.get, address)).text
        assert 'parley_model_calls{stage="stt",state="waiting"} 2.0' in told
        assert 'parley_model_restarts_total{stage="stt"} 3.0' in told
        assert "parley_turns_total" in told
        with pytest.raises(ConfigError, match="Cannot listen on"):
            async with exposed(f"127.0.0.1:{port}", lambda: ()):
                pass
    with pytest.raises(httpx.ConnectError):
        await asyncio.to_thread(httpx.get, address)
    async with exposed("", lambda: (info,)):
        assert 'state="waiting"} 2.0' not in generate_latest(REGISTRY).decode()


@pytest.mark.parametrize("address", ["9464", "localhost", "localhost:", ":9464", "localhost:0", "localhost:70000"])
async def test_an_incomplete_metrics_address_is_rejected(address: str) -> None:
    with pytest.raises(ConfigError, match="must be a host and a port"):
        async with exposed(address, lambda: ()):
            pass
