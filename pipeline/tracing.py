"""Traces: what a turn or a job waited for, sent to whom OpenTelemetry's standard environment variables name.

Nothing is traced, and nothing is spent on it, unless `exporting` was opened with OTEL_EXPORTER_OTLP_ENDPOINT (or
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) set and the extra `otel` installed. Spans hold times, names of engines and error
codes; never what was said.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer

from pipeline.errors import ParleyError

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
LAST_MS = 3000
"""At the end of the process, what is not sent yet is given so long."""

Attributes = Mapping[str, str | int | float | bool]

_tracer: Tracer | None = None


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether these variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() != "otlp":
        return False
    return any(environment.get(name, "").strip() for name in ENDPOINTS)


@contextmanager
def exporting() -> Iterator[None]:
    """Trace what happens in the block, if the environment says where to; what is left is sent at its end."""
    if not wanted(os.environ):
        yield
        return
    try:
        from pipeline.otlp import provider_of_environment
    except ImportError:
        log.warning("OpenTelemetry's variables are set, but the extra `otel` is not installed: nothing is traced")
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
    """Trace what happens in the block to this provider."""
    global _tracer
    before, _tracer = _tracer, provider.get_tracer("parley")
    try:
        yield
    finally:
        _tracer = before


def on() -> bool:
    """Whether anything is traced."""
    return _tracer is not None


def start(name: str, attributes: Attributes | None = None, *, began_ns: int | None = None) -> Span | None:
    """A span that begins a trace of its own, linked with the one it came out of; None: nothing is traced.

    began_ns: of the system's clock; None: now. Whoever has it ends it.
    """
    if _tracer is None:
        return None
    around = trace.get_current_span().get_span_context()
    links = [Link(around)] if around.is_valid else []
    return _tracer.start_span(name, Context(), attributes=attributes, links=links, start_time=began_ns)


@contextmanager
def inside(span: Span | None) -> Iterator[None]:
    """What is traced in the block, and by tasks that are created in it, is part of this span."""
    if span is None:
        yield
        return
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        yield


@contextmanager
def untraced() -> Iterator[None]:
    """What is done in the block is part of no trace: a connection of hours would have one without end."""
    if _tracer is None:
        yield
        return
    token = contexts.attach(Context())
    try:
        yield
    finally:
        contexts.detach(token)


@contextmanager
def span(
    name: str, attributes: Attributes | None = None, *, within: str | None = None, outgoing: bool = False
) -> Iterator[Span | None]:
    """The block as a part of the trace that goes on; an error that leaves it is noted by its code, a cancellation is
    none.

    within: a `traceparent`, in place of what is around the block. outgoing: the block asks another service.
    """
    if _tracer is None:
        yield None
        return
    parent = propagate.extract({"traceparent": within}) if within else None
    kind = SpanKind.CLIENT if outgoing else SpanKind.INTERNAL
    with _tracer.start_as_current_span(
        name, parent, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as error:
            fail(current, error.code if isinstance(error, ParleyError) else type(error).__name__)
            raise


def fail(span: Span | None, code: str) -> None:
    """What the span is about has failed."""
    if span is not None:
        span.set_attribute("error.type", code)
        span.set_status(Status(StatusCode.ERROR, code))


def around() -> Context | None:
    """Where this task is in its trace, for `happened`; None: nothing is traced."""
    return None if _tracer is None else contexts.get_current()


def happened(name: str, parent: Context | None, began_ns: int, ended_ns: int, attributes: Attributes) -> None:
    """Something that was measured elsewhere, in another process of this machine say, by the system's clock; not told
    when it is part of nothing."""
    if _tracer is not None and parent is not None and trace.get_current_span(parent).get_span_context().is_valid:
        _tracer.start_span(name, parent, start_time=began_ns, attributes=attributes).end(ended_ns)


def traceparent() -> str | None:
    """Where this task is in its trace (W3C Trace Context), for who goes on with it; None: nowhere."""
    return headers().get("traceparent")


def headers() -> dict[str, str]:
    """What a request to another service takes along, so that its part joins the trace; nothing where nothing is
    traced."""
    carrier: dict[str, str] = {}
    if _tracer is not None:
        propagate.inject(carrier)
    return carrier


def trace_id() -> str | None:
    """Of the trace that goes on here, for logs."""
    if _tracer is None:
        return None
    found = trace.get_current_span().get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else None
