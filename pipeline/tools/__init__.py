"""Functions that the language model can call: declaring and running them.

    @tool
    async def current_time(place: str = "") -> str:
        \"\"\"The model sees this description. Each parameter has a type; those without a default are required.\"\"\"

A package adds functions with an entry point in the group "parley.tools". It names either a module, which is imported
and declares its functions, or one declared function.
"""

import asyncio
import contextvars
import functools
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, overload

from pydantic import TypeAdapter, ValidationError, create_model

from pipeline.llm import Tool, ToolCall
from pipeline.support.encodable import encodable, encodable_json

log = logging.getLogger(__name__)

OWN = "parley"
"""The server name of functions that run in this process."""
MAX_OUTPUT_CHARS = 8_000
"""A longer result is cut, because it would push the conversation out of the model's context."""

MAX_THREADS = 16
"""Plain functions that run at the same time. Further calls wait for a thread, within their own timeout."""

Choice = Literal["auto", "none", "required"] | str
"""Whether the model calls functions: as it likes, never or always; or the name of the function that it must call."""


class Company(Protocol):
    """The live conversation in which a function is called."""

    @property
    def spoken_language(self) -> str | None:
        """Language spoken in the conversation (ISO 639-1)."""
        ...

    def later(self, work: Coroutine[object, object, None]) -> None:
        """Run `work` beside the conversation, and end it with the conversation."""
        ...

    def announce(self, text: str) -> None:
        """Say this as soon as neither the user nor the assistant speaks."""
        ...

    def remind(self, seconds: float, text: str) -> bool:
        """Announce this after `seconds`, even if the client has reconnected by then. Return False when there are too
        many such announcements already."""
        ...


Run = Callable[[Mapping[str, object], Company | None], Awaitable[str]]
"""Takes the checked arguments and the live conversation, if there is one; returns the text for the model."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that runs in this process or on one of the operator's MCP servers."""

    tool: Tool
    run: Run
    side_effects: bool = False
    """The function changes something: it is not called before it is certain that the user has finished."""
    live: bool = False
    """Only for live conversations: the function makes the assistant speak later."""
    server: str = OWN


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a tool call."""

    output: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Toolbox:
    """Functions that can be called in a conversation: the service's own, and those that the client runs itself."""

    functions: Mapping[str, Function] = field(default_factory=dict)
    client: Sequence[Tool] = ()
    choice: Choice = "auto"
    limit_s: float = 10.0
    """Timeout for one call, in seconds."""

    def tools(self, *, live: bool) -> list[Tool]:
        """Return the functions to offer to the model."""
        if self.choice == "none":
            return []
        # A client's function replaces one of ours with the same name.
        named = {function.tool.name: function.tool for function in self.functions.values() if live or not function.live}
        named |= {tool.name: tool for tool in self.client}
        if self.choice in ("auto", "required"):
            return list(named.values())
        return [named[self.choice]] if self.choice in named else []

    def function(self, name: str) -> Function | None:
        """Return our function with that name; None when the client runs it, or when it does not exist."""
        return None if any(tool.name == name for tool in self.client) else self.functions.get(name)

    def is_client(self, name: str) -> bool:
        """Whether the client runs the function."""
        return any(tool.name == name for tool in self.client)

    async def call(self, call: ToolCall, company: Company | None) -> Outcome:
        """Run one of our functions within the timeout. Never raises: an error is reported to the model as text."""
        function = self.function(call.name)
        if function is None or (function.live and company is None):
            return Outcome(f"There is no function {call.name[:60]!r}.", failed=True)
        try:
            arguments = encodable_json(json.loads(call.arguments or "{}"))
            if not isinstance(arguments, dict):
                raise TypeError
        except (ValueError, TypeError, RecursionError):
            return Outcome("The arguments are not a JSON object.", failed=True)
        try:
            async with asyncio.timeout(self.limit_s):
                output = await function.run(arguments, company)
        except TimeoutError:
            return Outcome(f"The function took longer than {self.limit_s:g} s and was stopped.", failed=True)
        except ToolError as error:
            return Outcome(_cut(str(error)), failed=True)
        except Exception:
            log.exception("the function %s failed", call.name)
            return Outcome("The function failed.", failed=True)
        return Outcome(_cut(output))


def _cut(output: str) -> str:
    """Return a result or an error for the model: cut to the limit, and valid Unicode."""
    output = encodable(output)
    return output if len(output) <= MAX_OUTPUT_CHARS else output[:MAX_OUTPUT_CHARS] + " …"


class ToolError(Exception):
    """Raised when a function cannot do what was asked. The message is for the model, which explains it to the user."""


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads for plain functions, which cannot be stopped: one that hangs must not take a thread of the event loop's
    own pool, which decodes and encodes for all callers."""
    return ThreadPoolExecutor(MAX_THREADS, "tool")


REGISTERED: dict[str, Function] = {}
"""Functions declared with `tool`, by name."""

F = TypeVar("F", bound=Callable[..., object])


@overload
def tool(function: F) -> F: ...
@overload
def tool(*, side_effects: bool = False, live: bool = False) -> Callable[[F], F]: ...
def tool(function: F | None = None, *, side_effects: bool = False, live: bool = False) -> F | Callable[[F], F]:
    """Declare a function, plain or async, as a tool. A plain one runs in a thread.

    The model sees its name, docstring and parameters (with their types). A parameter annotated with `Company` receives
    the live conversation and is hidden from the model. A returned string reaches the model as it is, any other value
    as JSON. side_effects, live: see `Function`.
    """

    def declare(declared: F) -> F:
        made = function_of(declared, side_effects=side_effects, live=live)
        REGISTERED[made.tool.name] = made
        return declared

    return declare if function is None else declare(function)


def function_of(declared: Callable[..., object], *, side_effects: bool = False, live: bool = False) -> Function:
    """Make a `Function` from a Python function."""
    parameters = inspect.signature(declared, eval_str=True).parameters
    companies = [name for name, parameter in parameters.items() if parameter.annotation is Company]
    fields: dict[str, Any] = {
        name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in parameters.items()
        if name not in companies
    }
    arguments = create_model(declared.__name__, **fields)
    schema = arguments.model_json_schema()
    schema.pop("title", None)

    async def run(given: Mapping[str, object], company: Company | None) -> str:
        try:
            checked = arguments.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            raise ToolError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
        values = {name: getattr(checked, name) for name in fields} | dict.fromkeys(companies, company)
        if inspect.iscoroutinefunction(declared):
            result = await declared(**values)
        else:
            call = functools.partial(contextvars.copy_context().run, declared, **values)
            result = await asyncio.get_running_loop().run_in_executor(_threads(), call)
        return result if isinstance(result, str) else _json(result)

    description = inspect.cleandoc(declared.__doc__ or "")
    return Function(Tool(declared.__name__, description, schema), run, side_effects=side_effects, live=live)


def _json(result: object) -> str:
    """Return a result as JSON, even if it contains half a surrogate pair."""
    anything = TypeAdapter(object)
    return anything.dump_json(encodable_json(anything.dump_python(result, mode="json"))).decode()
