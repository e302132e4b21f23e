"""Functions that the language model may call: how one is declared, and how it is run.

    @tool
    async def current_time(place: str = "") -> str:
        \"\"\"What the model is told of it. Each parameter has a type; those without a default are required.\"\"\"

A package offers its own by an entry point in the group "parley.tools": the name of a module (it is imported, and what
it declares is there) or of a function declared so.
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

from pipeline.encodable import encodable, encodable_json
from pipeline.llm import Tool, ToolCall

log = logging.getLogger(__name__)

OWN = "parley"
"""The server name of functions that run in this process."""
MAX_OUTPUT_CHARS = 8_000
"""A longer result is cut: it would push the conversation out of the model's context."""

MAX_THREADS = 16
"""Plain functions that run at a time; further calls wait for one of them, within their own time."""

Choice = Literal["auto", "none", "required"] | str
"""Whether functions are called: as the model likes, never, in any case; or the name of the one that must be."""


class Company(Protocol):
    """The live conversation in which a function is called."""

    @property
    def spoken_language(self) -> str | None:
        """What is spoken in it (ISO 639-1)."""
        ...

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this beside the conversation, ended with it."""
        ...

    def announce(self, text: str) -> None:
        """Say this as soon as nobody speaks."""
        ...

    def remind(self, seconds: float, text: str) -> bool:
        """Announce this after so many seconds, also when the connection is another one by then; False: there are too
        many such announcements already."""
        ...


Run = Callable[[Mapping[str, Any], Company | None], Awaitable[str]]
"""Takes the checked arguments and the live conversation, if it is one; gives what the model is told."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that runs here, or on an MCP server of the operator's."""

    tool: Tool
    run: Run
    side_effects: bool = False
    """It changes something: not called before it is certain that the user has finished."""
    live: bool = False
    """Only for live conversations: it speaks up later."""
    server: str = OWN


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call."""

    output: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What may be called in a conversation: functions of ours, and those that its client runs itself."""

    functions: Mapping[str, Function] = field(default_factory=dict)
    client: Sequence[Tool] = ()
    choice: Choice = "auto"
    limit_s: float = 10.0
    """A call may take this long."""

    def tools(self, *, live: bool) -> list[Tool]:
        """What the model is told of."""
        if self.choice == "none":
            return []
        # The client's own come first: of two with the same name it is the client's that counts.
        named = {function.tool.name: function.tool for function in self.functions.values() if live or not function.live}
        named |= {tool.name: tool for tool in self.client}
        if self.choice in ("auto", "required"):
            return list(named.values())
        return [named[self.choice]] if self.choice in named else []

    def function(self, name: str) -> Function | None:
        """The function of ours with that name; None when the client runs it, or nobody has it."""
        return None if any(tool.name == name for tool in self.client) else self.functions.get(name)

    def is_client(self, name: str) -> bool:
        """Whether the client runs it."""
        return any(tool.name == name for tool in self.client)

    async def call(self, call: ToolCall, company: Company | None) -> Outcome:
        """Run a function of ours within its time. Never raises: the model is told what went wrong, and says so."""
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
            return Outcome(f"It took longer than {self.limit_s:g} s and was given up.", failed=True)
        except ToolError as error:
            return Outcome(_cut(str(error)), failed=True)
        except Exception:
            log.exception("the function %s failed", call.name)
            return Outcome("It failed.", failed=True)
        return Outcome(_cut(output))


def _cut(output: str) -> str:
    """What the model is told of a result or an error: bounded, and text that can be written anywhere."""
    output = encodable(output)
    return output if len(output) <= MAX_OUTPUT_CHARS else output[:MAX_OUTPUT_CHARS] + " …"


class ToolError(Exception):
    """A function cannot do what is asked; the message is for the model, which tells the user."""


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """For plain functions, which nothing can stop: one that hangs must not take a thread of the event loop's own pool,
    which decodes and encodes for everybody."""
    return ThreadPoolExecutor(MAX_THREADS, "tool")


REGISTERED: dict[str, Function] = {}
"""What `tool` has declared, by name."""

F = TypeVar("F", bound=Callable[..., Any])


@overload
def tool(function: F) -> F: ...
@overload
def tool(*, side_effects: bool = False, live: bool = False) -> Callable[[F], F]: ...
def tool(function: Any = None, *, side_effects: bool = False, live: bool = False) -> Any:
    """Declare a function, plain or async, as a tool. A plain one runs in a thread.

    Its name, docstring and parameters (with their types) are what the model is told. A parameter annotated with
    `Company` is given the live conversation, and is no argument of the model's. What it returns is told as it is if it
    is a string, else as JSON. side_effects, live: see `Function`.
    """

    def declare(declared: F) -> F:
        made = function_of(declared, side_effects=side_effects, live=live)
        REGISTERED[made.tool.name] = made
        return declared

    return declare if function is None else declare(function)


def function_of(declared: Callable[..., Any], *, side_effects: bool = False, live: bool = False) -> Function:
    """What `tool` makes of a Python function."""
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

    async def run(given: Mapping[str, Any], company: Company | None) -> str:
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


def _json(result: Any) -> str:
    """A result as JSON. Half a surrogate pair in it is no reason to lose it."""
    anything: TypeAdapter[Any] = TypeAdapter(Any)
    return anything.dump_json(encodable_json(anything.dump_python(result, mode="json"))).decode()
