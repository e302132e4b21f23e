"""Logging: lines for a terminal, or one JSON object a line for log collectors, with the turn and the conversation of
each message."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal

from commands.redaction import Redaction
from pipeline.support.encodable import encodable
from pipeline.telemetry import metrics, tracing
from pipeline.workers.caller import current

CHATTY = (
    "asyncio", "aiosqlite", "httpx", "httpcore", "openai", "websockets", "faster_whisper", "urllib3", "filelock",
    "alembic", "procrastinate", "psycopg", "opentelemetry", "requests", "aioice",
    "fontTools", "fpdf",
)  # fmt: skip
"""Libraries whose messages are logged only from WARNING on. Those of fontTools name the characters of a transcript."""
OF_ACCESS = ('%s - "WebSocket %s" ', "connection open", "connection closed")
"""Beginnings of uvicorn's messages about each WebSocket."""
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
ABOUT = ("session", "turn", "trace_id")


def set_up(form: Literal["console", "json"], level: int, redaction: Redaction | None = None) -> None:
    """Set up logging to stderr. redaction: hides secrets in all messages."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacted(JsonLines() if form == "json" else Lines(), redaction or Redaction()))
    handler.addFilter(about)
    logging.basicConfig(level=level, handlers=[handler])
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).addFilter(without_queries)
    if level > logging.DEBUG:
        logging.getLogger("uvicorn.error").addFilter(not_of_access)


def without_queries(record: logging.LogRecord) -> bool:
    """Remove queries from a record: system prompts and resume tokens must not be logged. Lets every record pass."""
    if isinstance(record.args, tuple):
        record.args = tuple(arg.partition("?")[0] if isinstance(arg, str) else arg for arg in record.args)
    return True


def not_of_access(record: logging.LogRecord) -> bool:
    """Whether a record is not a line of the access log, which uvicorn also writes here, one for each WebSocket."""
    return not (isinstance(record.msg, str) and record.msg.startswith(OF_ACCESS))


def about(record: logging.LogRecord) -> bool:
    """Add the conversation and the turn of the current task to a record. Lets every record pass."""
    turn = metrics.turn()
    found = {"session": current().session, "turn": turn.id if turn else "", "trace_id": tracing.trace_id() or ""}
    for name, value in found.items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True


class Redacted(logging.Formatter):
    """Another formatter's output, including tracebacks, without secrets."""

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
        # One line each: text from a client must not look like another line of the log, or control the terminal.
        record.message = CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), record.message)
        known = [f"{name}={value}" for name in ("session", "turn") if (value := getattr(record, name, ""))]
        return super().formatMessage(record) + (f" [{' '.join(known)}]" if known else "")


class JsonLines(logging.Formatter):
    """One object a line: time (ISO 8601, UTC), level, logger, message, and, if known, session, turn, trace_id and
    exception."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {name: value for name in ABOUT if (value := getattr(record, name, ""))}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)
