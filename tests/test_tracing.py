"""Traces at a collector: each turn is a trace with a span for each stage, including work of other processes. A job and
its webhook continue the trace of the request."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pipeline.conversation import events
from pipeline.errors import EngineError
from pipeline.telemetry import tracing
from tests.dialogue import Dialogue, hold
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import HEARS, done
from tests.questions import sample
from tests.scripted import ScriptedLLM
from tests.server_process import ask, constants, serving
from tests.servers import web as servers

TRACE = "0af7651916cd43dd8448eb211c80319c"
"""Trace ID of the client that sends a job."""
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def exported(web: servers.Web) -> list[Span]:
    """Return all spans that a collector received."""
    found: list[Span] = []
    for request in web.seen:
        if request.path == "/v1/traces":
            body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                assert any(one.key == "service.name" for one in resource.resource.attributes)
                for scope in resource.scope_spans:
                    found += scope.spans
    return found


RETRIES = constants({"jobs.webhooks:RETRY_S": 0.2})


def attributes(span: Span) -> dict[str, str | int | float]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in span.attributes}


def test_collector_gets_turns_and_jobs_across_processes(tmp_path: Path) -> None:
    with servers.serving() as web, servers.serving() as hook:
        web.answer = lambda _: 200
        with serving(tmp_path, **HEARS, OTEL_EXPORTER_OTLP_ENDPOINT=web.address, **RETRIES) as server:
            children = {child.pid for child in server.workers()}
            with server.connect("?language=en&system=a+secret+prompt") as connection:
                ask(connection, sample("hello"))
            with httpx.Client(base_url=server.url, timeout=60) as client:
                client.post("/asr?initial_prompt=secret", files={"audio_file": ("a.wav", recording(1))})
                answer = client.post(
                    "/jobs", files={"files": ("a.wav", recording(2))}, headers={"traceparent": PARENT},
                    data={"language": "en", "webhook_url": f"{hook.address}/hook"},
                )  # fmt: skip
                done(client, answer.json()["jobs"][0]["job_id"])
        spans = exported(web)  # the last spans are sent at shutdown
    by_name = {span.name: span for span in spans}
    by_id = {span.span_id: span for span in spans}
    turn = by_name["turn"]
    assert turn.parent_span_id == b""
    assert attributes(turn)["parley.outcome"] == "completed"
    assert float(attributes(turn)["parley.first_audio_ms"]) > 0
    assert [by_id[link.span_id].name for link in turn.links] == ["WS /ws"]
    inside = [span for span in spans if span.trace_id == turn.trace_id and span is not turn]
    assert {span.name for span in inside} == {"stt", "llm", "tts", "whisper.transcribe", "espeak.speak"}
    for name, around in (("stt", "turn"), ("whisper.transcribe", "stt"), ("llm", "turn"), ("espeak.speak", "tts")):
        [first, *_] = [span for span in inside if span.name == name]
        assert by_id[first.parent_span_id].name == around
        assert turn.start_time_unix_nano <= first.start_time_unix_nano <= first.end_time_unix_nano
    workers = {attributes(span)["process.pid"] for span in inside if "." in span.name}
    assert workers <= children
    assert len(workers) == 2
    ours = [span for span in spans if span.trace_id.hex() == TRACE]
    assert {span.name for span in ours} == {"POST /jobs", "job", "whisper.segments", "webhook"}
    job, webhook = by_name["job"], by_name["webhook"]
    assert by_id[job.parent_span_id].name == by_id[webhook.parent_span_id].name == "POST /jobs"
    assert by_id[next(span for span in ours if span.name == "whisper.segments").parent_span_id].name == "job"
    [told] = [request for request in hook.seen if request.path == "/hook"]
    assert told.headers["traceparent"] == f"00-{TRACE}-{webhook.span_id.hex()}-01"
    everything = json.dumps([[span.name, attributes(span)] for span in spans])
    assert "secret" not in everything
    assert "hello" not in everything.lower()
    assert not any("/health" in span.name or "/metrics" in span.name for span in spans)


def test_unreachable_collector_delays_nothing(tmp_path: Path) -> None:
    settings = {**HEARS, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with serving(tmp_path, **settings) as server, server.connect() as connection:
        assert ask(connection, sample("what_is_two_plus_three")).transcription == "what is two plus three"


@contextmanager
def collecting() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with tracing.tracing_to(provider):
        yield exporter


def test_each_turn_of_a_live_conversation_is_one_trace() -> None:
    async def script(d: Dialogue) -> None:
        for count in (1, 2):
            await d.speak(800)
            await d.until(events.TurnCompleted, count=count)

    with collecting() as exporter:
        d = hold(script)
    spans = exporter.get_finished_spans()
    turns = [span for span in spans if span.name == "turn"]
    assert [(span.attributes or {})["parley.turn"] for span in turns] == [
        event.turn_id for event in d.of(events.TurnStarted)
    ]
    assert len({span.context.trace_id for span in turns}) == 2
    for turn in turns:
        within = [span for span in spans if span.context.trace_id == turn.context.trace_id and span is not turn]
        assert {span.name for span in within} == {"stt", "llm", "tts"}
        assert {span.parent.span_id for span in within if span.parent} == {turn.context.span_id}


def test_failed_spans_have_their_error_code() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(800)
        await d.until(events.TurnFailed)

    with collecting() as exporter:
        hold(script, llm=ScriptedLLM(error=EngineError("The model said something private.")), speculations=0)
    failed = {span.name: span for span in exporter.get_finished_spans() if not span.status.is_ok}
    assert {name: (span.attributes or {}).get("error.type") for name, span in failed.items() if name != "stt"} == {
        "llm": "engine_error", "turn": "llm_unavailable"
    }  # fmt: skip
    assert "private" not in "".join(span.to_json() for span in exporter.get_finished_spans())


def test_nothing_is_traced_without_a_collector() -> None:
    assert not tracing.on()
    assert not tracing.start("turn").is_recording()
    assert tracing.headers() == {}
    with tracing.span("stt") as span:
        assert not span.is_recording()


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_standard_variables_turn_tracing_on(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.wanted(environment) is wanted


def test_work_of_another_process_is_traced_only_inside_a_span() -> None:
    with collecting() as exporter, tracing.span("connection"):
        tracing.happened("engine.transcribe", tracing.around(), 1, 2, {"process.pid": 7})
        with tracing.untraced():  # partial transcripts: a long connection has thousands
            tracing.happened("engine.partial", tracing.around(), 1, 2, {})
    assert [span.name for span in exporter.get_finished_spans()] == ["engine.transcribe", "connection"]
