"""Traces of turns and jobs, exported as OpenTelemetry's standard environment variables specify.

Tracing is off, and OpenTelemetry's API does nothing, unless `exporting` was opened with OTEL_EXPORTER_OTLP_ENDPOINT (or
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) set and the extra `otel` installed. Spans contain times, engine names and error
codes, never the words of a conversation.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer

from pipeline.errors import ParleyError

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
LAST_MS = 3000
"""Timeout for sending the last spans at the end of the process."""

Attributes = Mapping[str, str | int | float | bool]

_tracer: Tracer = NoOpTracer()


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether these variables request traces."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() != "otlp":
        return False
    return any(environment.get(name, "").strip() for name in ENDPOINTS)


@contextmanager
def exporting() -> Iterator[None]:
    """Trace the block, if the environment names an endpoint; remaining spans are sent at its end."""
    if not wanted(os.environ):
        yield
        return
    try:
        from pipeline.telemetry.otlp import provider_of_environment
    except ImportError:
        log.warning("OpenTelemetry's variables are set, but the extra `otel` is not installed: tracing is off")
        yield
        return
    provider = provider_of_environment()
    trace.set_tracer_provider(provider)  # for FastAPI, which traces requests by itself
    try:
        with tracing_to(provider):
            yield
    finally:
        provider.force_flush(LAST_MS)
        provider.shutdown()


@contextmanager
def tracing_to(provider: "TracerProvider") -> Iterator[None]:
    """Trace the block to this provider."""
    global _tracer
    before, _tracer = _tracer, provider.get_tracer("parley")
    try:
        yield
    finally:
        _tracer = before


def on() -> bool:
    """Whether tracing is on."""
    return not isinstance(_tracer, NoOpTracer)


def start(name: str, attributes: Attributes | None = None, *, began_ns: int | None = None) -> Span:
    """Start a span of a new trace, linked with the current one.

    began_ns: system time; None: now. The caller must end the span.
    """
    around = trace.get_current_span().get_span_context()
    links = [Link(around)] if around.is_valid else []
    return _tracer.start_span(name, Context(), attributes=attributes, links=links, start_time=began_ns)


@contextmanager
def inside(span: Span) -> Iterator[None]:
    """Make spans in the block, and in tasks that it creates, part of this span."""
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        yield


@contextmanager
def untraced() -> Iterator[None]:
    """Exclude the block from tracing: a connection of many hours would have an endless trace."""
    token = contexts.attach(Context())
    try:
        yield
    finally:
        contexts.detach(token)


@contextmanager
def span(
    name: str, attributes: Attributes | None = None, *, within: str | None = None, outgoing: bool = False
) -> Iterator[Span]:
    """Trace the block as part of the current trace; an error that leaves it is recorded by its code, a cancellation is
    not.

    within: a `traceparent` to use as parent instead of the current span. outgoing: the block is a request to another
    service.
    """
    parent = propagate.extract({"traceparent": within}) if within and on() else None
    kind = SpanKind.CLIENT if outgoing else SpanKind.INTERNAL
    with _tracer.start_as_current_span(
        name, parent, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as error:
            fail(current, error.code if isinstance(error, ParleyError) else type(error).__name__)
            raise


def fail(span: Span, code: str) -> None:
    """Mark the span as failed."""
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR, code))


def around() -> Context:
    """Return the current trace context, for `happened`."""
    return contexts.get_current()


def happened(name: str, parent: Context, began_ns: int, ended_ns: int, attributes: Attributes) -> None:
    """Add a span that was measured elsewhere, for example in another process of this machine, by the system's clock;
    without effect if it has no parent."""
    if trace.get_current_span(parent).get_span_context().is_valid:
        _tracer.start_span(name, parent, start_time=began_ns, attributes=attributes).end(ended_ns)


def traceparent() -> str | None:
    """Return this task's trace context (W3C Trace Context) to pass on; None: there is none."""
    return headers().get("traceparent")


def headers() -> dict[str, str]:
    """Return headers that let another service join the trace; empty if tracing is off."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def trace_id() -> str | None:
    """Return the id of the current trace, for logs."""
    found = trace.get_current_span().get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else None
