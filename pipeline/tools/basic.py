"""Functions of every deployment: tell the time, calculate, set a timer. The built-in responder uses them, too."""

import ast
import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from fractions import Fraction

from pipeline.support.phrases import TIMER_OVER, phrase
from pipeline.tools import Company, Function, ToolError, function_of

MAX_EXPRESSION_CHARS = 300
MAX_BITS = 4096
"""Limit for one number: computing a few characters ("9**9**9") would otherwise keep the machine busy for ever."""
MAX_TIMER_S = 24 * 3600.0


def basic(clock: Callable[[], datetime]) -> Mapping[str, Function]:
    """Return these functions by name. clock: returns the time for `current_time`, with its time zone."""

    def current_time() -> dict[str, str]:
        """The current local time and date, day of the week included."""
        now = clock()
        return {
            "time": f"{now:%H:%M}", "date": f"{now:%Y-%m-%d}", "weekday": f"{now:%A}",
            "iso": now.isoformat(timespec="seconds"),
        }  # fmt: skip

    functions = [
        function_of(current_time),
        function_of(calculate),
        function_of(set_timer, side_effects=True, live=True),
    ]
    return {function.tool.name: function for function in functions}


def calculate(expression: str) -> str:
    """Calculate exactly: + - * / // % ** and parentheses, like "(12.5 + 7) * 3"."""
    return written(evaluated(expression))


async def set_timer(seconds: float, company: Company, label: str = "") -> str:
    """Set a timer: after so many seconds the assistant says that it is over. The label says what it is for."""
    if not 1 <= seconds <= MAX_TIMER_S:
        raise ToolError(f"A timer may be from 1 second to {MAX_TIMER_S / 3600:g} hours.")

    sentence, _ = phrase(TIMER_OVER, company.spoken_language)
    if not company.remind(seconds, f"{sentence} {label[:100]}".strip()):
        raise ToolError("There are too many timers already.")
    return f"The timer rings in {seconds:g} seconds."


_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction | int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def evaluated(expression: str) -> Fraction:
    """Return the value of an arithmetic expression in Python's syntax. Raises ToolError."""
    text = expression.replace("×", "*").replace("÷", "/").replace("^", "**").replace("−", "-")
    if len(text) > MAX_EXPRESSION_CHARS:
        raise ToolError("The expression is too long.")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except ZeroDivisionError:
        raise ToolError("Nothing can be divided by zero.") from None
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, OverflowError):
        raise ToolError("This expression cannot be calculated.") from None


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            result = Fraction(str(node.value))  # via str, so that 0.1 is exactly a tenth
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            result = -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            result = _value(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            result = _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            result = Fraction(_OPERATORS[type(op)](_value(left), _value(right)))
        case _:
            raise ValueError(ast.dump(node))
    if max(result.numerator.bit_length(), result.denominator.bit_length()) > MAX_BITS:
        raise ToolError("The number becomes too large.")
    return result


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        return Fraction(str(float(base) ** float(exponent)))
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) * bits > MAX_BITS:
        raise ToolError("The number becomes too large.")
    return base ** int(exponent)


def written(value: Fraction) -> str:
    """Write a value as a decimal number: exactly when it is whole, else with up to twelve digits."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.12g}"
