"""The responder's calls of the basic functions (`pipeline.tools.basic`), and their results.

Without these functions the responder makes the same replies by itself, except that it cannot set a timer.
"""

import json
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from fractions import Fraction

from pipeline.llm import Message, ToolCall
from pipeline.llm.builtin.language import Language
from pipeline.llm.builtin.understanding import Wanted, amount, compiled, terms
from pipeline.llm.builtin.units import UNITS

MOMENTS = frozenset({"time", "day", "tomorrow", "date", "month", "year"})
_PERCENT = "*0.01*"


def call_for(wanted: Wanted, language: Language, offered: Collection[str]) -> ToolCall | None:
    """Return the call that serves this intent; None when no offered function does."""
    if wanted.intent in MOMENTS and "current_time" in offered:
        return _call("current_time")
    if "calculate" in offered and (found := terms(wanted, language)) is not None:
        values, signs = found
        written = [f"({values[0]})"]
        for sign, value in zip(signs, values[1:], strict=True):
            written.append(f"{_PERCENT if sign == '%' else sign}({value})")
        return _call("calculate", expression="".join(written))
    if wanted.intent == "timer" and "set_timer" in offered:
        unit = compiled(language).units[wanted.parts["unit_1"]]
        length = amount(wanted.parts["amount_1"], language)
        if length is not None and UNITS[unit].dimension == "time":
            return _call("set_timer", seconds=float(length * UNITS[unit].factor))
    return None


def _call(name: str, **arguments: object) -> ToolCall:
    return ToolCall(f"call_{secrets.token_hex(8)}", name, json.dumps(arguments))


def result(messages: Sequence[Message]) -> Message | None:
    """Return the result of the call for the user's last message; None when there was no call."""
    last = messages[-1]
    return last if last.role == "tool" else None


def failed(result: Message) -> bool:
    """Whether a timer was not set."""
    return not result.content.startswith("The timer")


def told_time(result: Message | None) -> datetime | None:
    """Return the time that `current_time` reported."""
    try:
        return datetime.fromisoformat(json.loads(result.content)["iso"]) if result else None
    except (ValueError, KeyError, TypeError):
        return None


def told_number(result: Message | None) -> Fraction | None:
    """Return the number that `calculate` reported, if it is exact."""
    try:
        return Fraction(result.content) if result and "." not in result.content else None
    except (ValueError, ZeroDivisionError):
        return None
