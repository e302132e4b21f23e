"""The cost of observing a turn: CPU time of turns without instruments, with metrics, and with metrics and traces.

    python -m bench.telemetry_cost [--turns 200] [--rounds 7]

The stages are scripted and take no time, so that a turn is only our own work: three sentences, about seventy chunks of
sound. "Without" replaces every instrument by one that does nothing. Traces go through OpenTelemetry's batches to an
exporter that encodes them as it would for a collector, and discards them. The variants alternate, round by round; the
median of the rounds is printed.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import pipeline.conversation.turn
from bench.rows import Rows
from pipeline.audio.clip import Clip
from pipeline.conversation import events
from pipeline.conversation.history import Conversation
from pipeline.conversation.turn import Stages, Turn
from pipeline.settings import Settings
from pipeline.telemetry import metrics, tracing
from tests.scripted import VOICE, ScriptedLLM, ScriptedSTT, ScriptedTTS

UTTERANCE = Clip(np.zeros(16_000, np.float32), 16_000)


class Encoded(SpanExporter):
    """Does everything that an exporter does, except sending."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


class Nothing:
    """An instrument, a stage, and a turn that records nothing."""

    id = "0" * 16

    def inc(self, amount: float = 1) -> None: ...
    def first(self) -> None: ...
    def end(self, *args: object, **more: object) -> None: ...

    def current(self) -> AbstractContextManager[None]:
        return nullcontext()


@contextmanager
def unobserved() -> Iterator[None]:
    """Turn off all instruments during the block."""
    nothing = Nothing()
    muted: Any = SimpleNamespace(
        turn=lambda: None, TurnWatch=lambda *_: nothing, stage=lambda _: nullcontext(nothing), TRANSCRIBED=nothing,
        SPOKEN=nothing, PROMPT_TOKENS=nothing, COMPLETION_TOKENS=nothing,
    )  # fmt: skip
    pipeline.conversation.turn.metrics = muted  # type: ignore[attr-defined]
    try:
        yield
    finally:
        pipeline.conversation.turn.metrics = metrics  # type: ignore[attr-defined]


@contextmanager
def traced() -> Iterator[None]:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Encoded()))
    with tracing.tracing_to(provider):
        yield
    provider.shutdown()


async def turns(count: int) -> float:
    """CPU seconds of one turn, threads included."""
    stages = Stages(
        ScriptedSTT(seconds=0), ScriptedLLM(first_token_s=0, tokens_per_s=1e9), ScriptedTTS(first_s=0, rtf=0)
    )
    settings = Settings()
    began = time.process_time()
    for _ in range(count):
        turn = Turn(stages, settings, voice=VOICE, language=None)
        async for event in turn.run(UTTERANCE, Conversation("system", budget_tokens=1000)):
            assert not isinstance(event, events.TurnFailed), event
    return (time.process_time() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=200, help="turns in a round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    variants: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "without": unobserved, "metrics": nullcontext, "metrics and traces": traced
    }  # fmt: skip
    took: dict[str, list[float]] = {name: [] for name in variants}
    asyncio.run(turns(20))
    for _ in range(options.rounds):
        for name, variant in variants.items():
            with variant():
                took[name].append(asyncio.run(turns(options.turns)) * 1000)
    rows = Rows("variant", "ms a turn", "over without")
    plain = statistics.median(took["without"])
    for name, values in took.items():
        middle = statistics.median(values)
        rows.add(name, f"{middle:.2f}", f"{middle - plain:+.2f} ms")


if __name__ == "__main__":
    main()
