"""OpenTelemetry's SDK, configured by its standard environment variables. Needs the extra `otel`."""

import importlib.metadata
import os

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


class WithoutQueries(SpanProcessor):
    """Redact the queries of URLs, which contain prompts, tokens and signatures."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.attributes and "url.query" in span.attributes:
            span.set_attribute("url.query", "REDACTED")


def provider_of_environment() -> TracerProvider:
    """Return a provider that exports by OTLP over HTTP. OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
    OTEL_TRACES_SAMPLER, OTEL_BSP_… and OTEL_EXPORTER_OTLP_… have their standard meaning; the default service name is
    parley."""
    try:
        version = importlib.metadata.version("parley")
    except importlib.metadata.PackageNotFoundError:  # run from the source folder
        version = "0"
    named = {"service.version": version}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        named["service.name"] = "parley"
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(WithoutQueries())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
