"""Logs: lines for a terminal, or a JSON object a line for what collects them; with the turn and the conversation that
they are about."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from commands.redaction import Redaction
from pipeline import observing, tracing
from pipeline.encodable import encodable
from pipeline.workers.scheduler import current

CHATTY = (
    "asyncio", "aiosqlite", "httpx", "httpcore", "openai", "websockets", "faster_whisper", "urllib3", "filelock",
    "alembic", "procrastinate", "psycopg", "opentelemetry", "requests",
)  # fmt: skip
"""Libraries whose news is of interest only when it is bad."""
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
ABOUT = ("session", "turn", "trace_id")


def set_up(form: Literal["console", "json"], level: int, redaction: Redaction | None = None) -> None:
    """From now on, everything is logged to stderr like this. redaction: knows what nobody may read there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacted(JsonLines() if form == "json" else Lines(), redaction or Redaction()))
    handler.addFilter(about)
    logging.basicConfig(level=level, handlers=[handler])
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).addFilter(without_queries)


def without_queries(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass, but queries: system prompts and resume tokens are nobody's who reads logs."""
    if isinstance(record.args, tuple):
        record.args = tuple(arg.partition("?")[0] if isinstance(arg, str) else arg for arg in record.args)
    return True


def about(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass, and notes whom it is about: the conversation and the turn that the task which
    logs it works for."""
    turn = observing.turn()
    found = {"session": current().session, "turn": turn.id if turn else "", "trace_id": tracing.trace_id() or ""}
    for name, value in found.items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True


class Redacted(logging.Formatter):
    """What another formatter makes, tracebacks included, without secrets in it."""

    def __init__(self, formatter: logging.Formatter, redaction: Redaction) -> None:
        super().__init__()
        self._formatter = formatter
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        return encodable(self._redaction(self._formatter.format(record)))


class Lines(logging.Formatter):
    """`time LEVEL logger: message [session=… turn=…]`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # the library's name
        # A line each: what a client sent is not to look like a line of ours, or to command the terminal.
        record.message = CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), record.message)
        known = [f"{name}={value}" for name in ("session", "turn") if (value := getattr(record, name, ""))]
        return super().formatMessage(record) + (f" [{' '.join(known)}]" if known else "")


class JsonLines(logging.Formatter):
    """An object a line: time (ISO 8601, UTC), level, logger, message, and what is known of session, turn, trace_id,
    exception."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {name: value for name in ABOUT if (value := getattr(record, name, ""))}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)
