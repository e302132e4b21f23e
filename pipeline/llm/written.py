"""Function calls that a model writes as text: JSON by itself or in a code block, or between tags.

Only text that names an offered function is a call; everything else stays text.
"""

import ast
import json
import re
from collections.abc import Collection, Iterable

from pipeline.support.json_types import Json

Call = tuple[str, str]
"""The name of a function, and its arguments: a JSON object as text."""

_NAME_KEYS = ("name", "tool_name", "function_name", "function", "tool", "action")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "tool_input", "action_input", "kwargs", "params")
_OTHER_KEYS = ("id", "type", "index", "tool_calls", "tool_call", "function_call", "thought", "status")
KEYS = (*_NAME_KEYS, *_ARGUMENT_KEYS, *_OTHER_KEYS)
"""Keys with which a call in JSON can begin."""
_OPEN, _CLOSE = "([{", ")]}"
_TAGGED_NAME = re.compile(r"[=\"']\s*[\"']?([\w.-]+)")
_NAME_FIRST = re.compile(r"\s*(?:call:)?(?:functions\.)?([\w.-]{1,80})(?::\d+)?\s*")
_PARAMETER = re.compile(
    r"<parameter(?:=|\s+name=)[\"']?([\w.-]+)[\"']?(?:\s[^<>]{0,80})?>\n?(.*?)\n?</parameter>"
    r"|<(?:longcat_)?arg_key>\s*([\w.-]+)\s*</(?:longcat_)?arg_key>\s*"
    r"<(?:longcat_)?arg_value>(.*?)</(?:longcat_)?arg_value>",
    re.DOTALL,
)
_SEPARATOR = re.compile(
    r"<[|｜]tool[▁_]sep[|｜]>|<\|tool_call_argument_begin\|>|\[args\]|\[call_id\]\w*|```(?:json)?", re.IGNORECASE
)
_DSML = re.compile(r"(</?)[|｜]DSML[|｜]")
"""The prefix that DeepSeek V3.2 writes in each of its tags."""
_QUOTE = re.compile(r"<escape>|<\|\"\|>")
_BARE_KEY = re.compile(r"([{,]\s{0,20})([A-Za-z_]\w{0,80})\s{0,20}:")
_PART = re.compile(
    r"<[|｜]tool[▁_]calls?[▁_](?:begin|end)[|｜]>|</?tool_calls?>|<\|/?tool_call\|>|</?function_calls?>",
    re.IGNORECASE,
)


class Brackets:
    """Counts the brackets of a JSON or Python value that arrives character by character."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._quote = ""
        self._escaped = False

    @property
    def missing(self) -> str:
        """Brackets that would complete the value here; empty inside a string, where it cannot end."""
        return "" if self._quote else "".join(_CLOSE[_OPEN.index(bracket)] for bracket in reversed(self._open))

    def feed(self, char: str) -> bool:
        """Take a character; return whether it ends the value."""
        if self._quote:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == self._quote:
                self._quote = ""
        elif char in "\"'" and self._open:
            self._quote = char
        elif char in _OPEN:
            self._open.append(char)
        elif char in _CLOSE and self._open:
            self._open.pop()
            return not self._open
        return False


def calls_in(text: str, tools: Collection[str], *, opening: str = "") -> list[Call]:
    """Return the calls written in the text between two markers; [] if it contains anything but calls of `tools`.

    opening: the marker before the text, which can name the function (`<function=light>`).
    """
    text = _DSML.sub(r"\1", text)
    if named := _TAGGED_NAME.search(opening):
        return _checked([(named[1], _arguments_in(text))], tools)
    found: list[Call] = []
    for part in filter(str.strip, _PART.split(text)):
        called = _calls_in_part(part.strip(), tools)
        if not called:
            return []
        found += called
    return found


def _calls_in_part(text: str, tools: Collection[str]) -> list[Call]:
    inner = re.match(r"<(?:function|invoke)(?:=|\s+name=)[^<>]*>", text)
    if inner:
        pieces = re.split(r"(<(?:function|invoke)(?:=|\s+name=)[^<>]*>)", text)[1:]
        return [call for tag, body in zip(pieces[::2], pieces[1::2], strict=False)
                for call in calls_in(re.sub(r"</(?:function|invoke)>", "", body), tools, opening=tag)]  # fmt: skip
    if text.startswith("{{") and text.endswith("}}"):
        text = text[1:-1]  # doubled braces, copied from the template that the model has seen
    if text[0] in "[{`":
        return calls_in_values(text.strip("`").removeprefix("json"), tools)
    if python := _python_calls(text, tools):
        return python
    parts = [part for part in _SEPARATOR.split(text) if part and part.strip()]
    if len(parts) > 1 and parts[0].strip() == "function":  # DeepSeek names the type first
        del parts[0]
    text = "\n".join(parts)
    if name := _NAME_FIRST.match(text):
        return _checked([(name[1], _arguments_in(text[name.end() :]))], tools)
    return []


def _arguments_in(text: str) -> str:
    """Return the arguments after a function's name: JSON, or one tag for each."""
    text = _QUOTE.sub('"', text.strip().strip("`").strip())
    if parameters := _PARAMETER.findall(text):
        return json.dumps({key or other: _value(value or written) for key, value, other, written in parameters})
    # FunctionGemma leaves out the quotation marks of keys.
    return text if _is_json(text) else _BARE_KEY.sub(r'\1"\2":', text) or "{}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _value(text: str) -> Json:
    """Parse a value in which a string has no quotation marks."""
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def calls_in_values(text: str, tools: Collection[str]) -> list[Call]:
    """Return the calls in JSON values that are separated by spaces, commas or semicolons."""
    decoder = json.JSONDecoder()
    found: list[Call] = []
    at = 0
    while at < len(text):
        if text[at].isspace() or text[at] in ";,":
            at += 1
            continue
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return _python_calls(text, tools) or _python_values(text, tools) or _calls_cut_short(text, tools)
        called = _calls_of(value, tools)
        if not called:
            return []
        found += called
    return found


def _python_values(text: str, tools: Collection[str]) -> list[Call]:
    """Return the calls in a value in Python's syntax: `{'name': 'light', 'arguments': {'on': True}}`."""
    try:
        return _calls_of(ast.literal_eval(text.strip()), tools)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return []


def _calls_cut_short(text: str, tools: Collection[str]) -> list[Call]:
    """Return the calls in a text that lacks only its last brackets, which small models forget."""
    brackets = Brackets()
    for char in text:
        brackets.feed(char)
    return calls_in_values(text + brackets.missing, tools) if brackets.missing else []


def _calls_of(value: object, tools: Collection[str]) -> list[Call]:
    if isinstance(value, list):
        calls = [_calls_of(item, tools) for item in value]
        return [call for called in calls for call in called] if all(calls) else []
    if not isinstance(value, dict):
        return []
    for key in ("tool_calls", "tool_call", "function_call", "function"):
        if isinstance(inner := value.get(key), (dict, list)):
            return _calls_of(inner, tools)
    name = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str) and key in value), None)
    arguments = next((value[key] for key in _ARGUMENT_KEYS if key in value), None)
    if name is None and len(value) == 1:
        name, arguments = next(iter(value.items()))
        if not isinstance(arguments, dict):
            return []
    if name is None or (arguments is None and not set(value) <= set(KEYS)):
        return []
    return _checked([(name, arguments_text(arguments))], tools)


def arguments_text(arguments: object) -> str:
    """Return the arguments of a call, in any form, as the text of a JSON object."""
    if arguments is None:
        return "{}"
    return (arguments.strip() or "{}") if isinstance(arguments, str) else json.dumps(arguments)


def _checked(calls: Iterable[Call], tools: Collection[str]) -> list[Call]:
    """Return the calls under the names as offered; [] when one of them was not offered."""
    named = [(known_name(name, tools), arguments) for name, arguments in calls]
    return [] if any(name not in tools for name, _ in named) else named


def known_name(name: str, tools: Collection[str]) -> str:
    """Return the name as offered: some models put a namespace before it."""
    name = name.strip()
    return name if name in tools else name.rpartition(".")[2] if name.rpartition(".")[2] in tools else name


def _python_calls(text: str, tools: Collection[str]) -> list[Call]:
    """Return calls in Python's syntax: `light(on=True)`, `light.call(on=True)`, or a list of these."""
    try:
        value = ast.parse(text.strip().removeprefix("print"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    for call in value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]:
        if not isinstance(call, ast.Call) or call.args:
            return []
        try:
            arguments = {word.arg: _literal(word.value) for word in call.keywords if word.arg}
            found.append((ast.unparse(call.func).removesuffix(".call"), json.dumps(arguments)))
        except (ValueError, TypeError, RecursionError):
            return []
    return _checked(found, tools)


def _literal(node: ast.expr) -> object:
    """Return a value in Python's syntax, or one of the three names of JSON."""
    if isinstance(node, ast.Name) and node.id in ("true", "false", "null"):
        return json.loads(node.id)
    return ast.literal_eval(node)
