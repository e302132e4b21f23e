"""Measurements of this process: its metrics, its turns, and a list of the last turns.

The metrics are Prometheus's and belong to the process, as its memory and threads do; `server/ops/metrics.py` decides
how they are served. Labels have few values, all defined here: never an address, a name chosen by a client, or a text.
"""

import logging
import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import Counter, Histogram

from pipeline.errors import ParleyError
from pipeline.telemetry import tracing

log = logging.getLogger(__name__)

STAGES = ("stt", "llm", "tts", "tool")
OUTCOMES = ("completed", "interrupted", "failed", "left", "abandoned", "ignored")
"""Outcomes of a turn: the reply was completed; the user interrupted it; a stage failed; the client disconnected; it was
speculative and the user continued; there was nothing to reply to."""
CODES = frozenset(
    {"stt_failed", "llm_unavailable", "tts_failed", "timeout", "overloaded", "worker_crashed", "engine_error"}
    | {"engine_unavailable", "unsupported_language", "internal"}
)
"""Error codes with their own label; all others become "other"."""
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 30.0, 60.0)
"""Histogram buckets around latencies that a conversation tolerates."""

stage_seconds = Histogram("parley_stage_seconds", "Duration of a stage's call.", ["stage"], buckets=SECONDS)
stage_first_seconds = Histogram(
    "parley_stage_first_seconds",
    "Time from a stage's call to its first output: a token, a sound.",
    ["stage"],
    buckets=SECONDS,
)
stage_failures = Counter("parley_stage_failures", "Calls of a stage that failed.", ["stage", "code"])
first_audio_seconds = Histogram(
    "parley_first_audio_seconds",
    "Time from the user's last speech to the first sound of the reply that was sent (live), or from the whole "
    "utterance to the first sound that was made (whole).",
    ["kind"],
    buckets=SECONDS,
)
turns = Counter("parley_turns", "Turns that have ended.", ["kind", "outcome"])
turn_failures = Counter("parley_turn_failures", "Turns that failed.", ["code"])
interruptions = Counter(
    "parley_interruptions",
    "Replies that were interrupted, and replies that resumed after a sound that was not a barge-in.",
    ["what"],
)
tokens = Counter("parley_tokens", "Tokens that the language model counted.", ["kind"])
audio_seconds = Counter("parley_audio_seconds", "Seconds of audio that a stage processed.", ["stage"])
queue_wait_seconds = Histogram(
    "parley_queue_wait_seconds",
    "Time that a call waited for a model.",
    ["model", "urgency"],
    buckets=SECONDS,
)
queue_refusals = Counter("parley_queue_refusals", "Calls refused because too many were waiting.", ["model"])
model_busy_seconds = Counter("parley_model_busy_seconds", "Seconds in which a model's replicas were busy.", ["model"])

Kind = Literal["live", "whole"]
_STAGE_SECONDS = {stage: stage_seconds.labels(stage) for stage in STAGES}
_FIRST_SECONDS = {stage: stage_first_seconds.labels(stage) for stage in STAGES}
TRANSCRIBED, SPOKEN = audio_seconds.labels("stt"), audio_seconds.labels("tts")
PROMPT_TOKENS, COMPLETION_TOKENS = tokens.labels("prompt"), tokens.labels("completion")
CUT_OFF, RESUMED = interruptions.labels("cut_off"), interruptions.labels("resumed")


def _begin_at_zero() -> None:
    """Create all series with 0: Prometheus sees no increase in a series that first appears with 1, so the first failure
    would not raise an alert."""
    for kind in ("live", "whole"):
        first_audio_seconds.labels(kind)
        for outcome in OUTCOMES:
            turns.labels(kind, outcome)
    for code in (*sorted(CODES), "other"):
        turn_failures.labels(code)


_begin_at_zero()


def bounded(code: str) -> str:
    """Return the label of an error code."""
    return code if code in CODES else "other"


class Stage:
    """Measures one call of a stage while it runs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = time.perf_counter()
        self._first = False

    def first(self) -> None:
        """Record the first output; later calls have no effect."""
        if not self._first:
            self._first = True
            _FIRST_SECONDS[self._name].observe(time.perf_counter() - self._began)

    def ended(self) -> None:
        _STAGE_SECONDS[self._name].observe(time.perf_counter() - self._began)


@contextmanager
def stage(name: str) -> Iterator[Stage]:
    """Measure the block as a call of a stage (one of STAGES). A cancelled call counts neither as completed nor as
    failed."""
    with tracing.span(name):
        watch = Stage(name)
        try:
            yield watch
        except Exception as error:
            code = error.code if isinstance(error, ParleyError) else "internal"
            stage_failures.labels(name, bounded("timeout" if isinstance(error, TimeoutError) else code)).inc()
            raise
        watch.ended()


@dataclass(frozen=True, slots=True)
class Ended:
    """An ended turn, without its words."""

    id: str
    session: str
    kind: Kind
    at: float
    """Time of the end, in seconds since 1970."""
    outcome: str
    code: str | None
    timings_ms: Mapping[str, float] = field(default_factory=dict)


recent: deque[Ended] = deque(maxlen=100)
"""The last turns that were completed, interrupted, or failed; the newest last."""

_turn: ContextVar["TurnWatch | None"] = ContextVar("turn", default=None)


class TurnWatch:
    """Measures one turn from its start to its end: its id, its trace, and its outcome."""

    def __init__(self, kind: Kind, session: str, *, since_s: float = 0.0) -> None:
        """session: id of the conversation. since_s: time since the turn started, at the user's last speech."""
        self.id = secrets.token_hex(8)
        self.over = False
        self._kind: Kind = kind
        self._session = session
        began_ns = time.time_ns() - int(since_s * 1e9)
        about = {"parley.turn": self.id, "parley.session": session, "parley.kind": kind}
        self._span = tracing.start("turn", about, began_ns=began_ns)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Attribute the block, and tasks created in it, to this turn."""
        token = _turn.set(self)
        try:
            with tracing.inside(self._span):
                yield
        finally:
            _turn.reset(token)

    def end(self, outcome: str, *, code: str | None = None, timings_ms: Mapping[str, float] | None = None) -> None:
        """Record the end with one of OUTCOMES; a second call has no effect. code: the error's code."""
        if self.over:
            return
        self.over = True
        marks = timings_ms or {}
        turns.labels(self._kind, outcome).inc()
        if code is not None:
            turn_failures.labels(bounded(code)).inc()
        if outcome == "interrupted":
            CUT_OFF.inc()
        first_ms = marks.get("first_sound" if self._kind == "live" else "first_audio")
        if first_ms is not None:
            first_audio_seconds.labels(self._kind).observe(first_ms / 1000)
        ended = outcome in ("completed", "interrupted", "failed")
        told = ", ".join(f"{name} {ms:.0f} ms" for name, ms in marks.items())
        # A client could start and cancel turns all day: those that no stage had answered yet must not fill the log.
        notable = ended and bool(outcome != "interrupted" or marks.keys() - {"endpoint"})
        log.log(
            logging.INFO if notable else logging.DEBUG, "%s turn %s%s: %s", self._kind, outcome,
            f" ({code})" if code else "", told or "no timings", extra={"session": self._session, "turn": self.id},
        )  # fmt: skip
        if ended:
            recent.append(Ended(self.id, self._session, self._kind, time.time(), outcome, code, dict(marks)))
        self._span.set_attributes({"parley.outcome": outcome, **{f"parley.{k}_ms": v for k, v in marks.items()}})
        if code is not None:
            tracing.fail(self._span, code)
        self._span.end()


def turn() -> TurnWatch | None:
    """Return the turn that this task works for; None if there is none or it has ended."""
    watch = _turn.get()
    return None if watch is None or watch.over else watch
