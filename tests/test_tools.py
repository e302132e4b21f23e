"""Tools that the language model can call."""

import asyncio
import json
import textwrap
import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.conversation import events
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.llm import AS_SET, Generation, Message, ReplyDelta, Tool, ToolCall, Usage
from pipeline.llm.builtin.responder import BuiltinResponder
from pipeline.settings import Settings
from pipeline.tools import REGISTERED, Company, Function, Outcome, Toolbox, ToolError, function_of, tool
from pipeline.tools.basic import basic, evaluated
from pipeline.tools.loading import open_tools
from tests.dialogue import Dialogue, hold
from tests.scripted import ScriptedLLM, ScriptedSTT

BASIC = basic(lambda: datetime.now(UTC))


def box(*functions: Function, limit_s: float = 1.0) -> Toolbox:
    return Toolbox({function.tool.name: function for function in functions}, limit_s=limit_s)


def call(toolbox: Toolbox, name: str, arguments: str = "{}") -> Outcome:
    return asyncio.run(toolbox.call(ToolCall("call_1", name, arguments), None))


# --- declaration ---


def test_function_is_described_by_its_signature() -> None:
    def light(room: str, on: bool = True) -> str:
        """Switch the light of a room."""
        return f"{room} {on}"

    described = function_of(light).tool
    parameters: Any = described.parameters
    assert described.name == "light"
    assert described.description == "Switch the light of a room."
    assert parameters["required"] == ["room"]
    assert parameters["properties"]["on"]["type"] == "boolean"
    assert call(box(function_of(light)), "light", '{"room": "hall"}') == Outcome("hall True")


def test_decorator_registers_the_function_unchanged() -> None:
    try:

        @tool(side_effects=True)
        async def tested_only_here(n: int) -> dict[str, int]:
            """Double."""
            return {"double": 2 * n}

        assert asyncio.run(tested_only_here(2)) == {"double": 4}
        assert REGISTERED["tested_only_here"].side_effects
        assert call(box(REGISTERED["tested_only_here"]), "tested_only_here", '{"n": 4}').output == '{"double":8}'
    finally:
        REGISTERED.pop("tested_only_here", None)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("absent", "{}", "no function"),
        ("calculate", "[1]", "not a JSON object"),
        ("calculate", "{", "not a JSON object"),
        ("calculate", "{}", "expression"),
        ("calculate", '{"expression": 7}', "expression"),
        ("calculate", '{"expression": "9**9**9"}', "too large"),
        ("calculate", '{"expression": "1/0"}', "divided by zero"),
        ("calculate", '{"expression": "__import__(\'os\')"}', "cannot be calculated"),
        ("set_timer", '{"seconds": 5}', "no function"),  # without a session, the timer cannot announce its end
    ],
)
def test_invalid_calls_are_reported_to_the_model(name: str, arguments: str, told: str) -> None:
    outcome = call(Toolbox(BASIC), name, arguments)
    assert outcome.failed
    assert told in outcome.output


def test_call_has_limits_of_time_and_output() -> None:
    async def slow() -> str:
        await asyncio.sleep(60)
        return ""

    def long() -> str:
        return "x" * 100_000

    def broken() -> str:
        raise RuntimeError("secret path")

    toolbox = box(*map(function_of, (slow, long, broken)), limit_s=0.05)
    assert call(toolbox, "slow") == Outcome("The function took longer than 0.05 s and was stopped.", failed=True)
    assert len(call(toolbox, "long").output) < 9_000
    assert call(toolbox, "broken") == Outcome("The function failed.", failed=True)


def test_hanging_functions_do_not_block_other_threads() -> None:
    over = threading.Event()

    def hang() -> str:
        over.wait(30)
        return ""

    async def run() -> None:
        toolbox = box(function_of(hang), limit_s=0.05)
        for _ in range(40):
            assert (await toolbox.call(ToolCall("call_1", "hang", "{}"), None)).failed
        async with asyncio.timeout(5):
            await asyncio.to_thread(int)

    try:
        asyncio.run(asyncio.wait_for(run(), 20))
    finally:
        over.set()


@given(
    st.recursive(
        st.integers(-1000, 1000).map(str),
        lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        max_leaves=8,
    )
)
def test_sums_are_exact(expression: str) -> None:
    def value(text: str) -> Fraction:
        import re

        return eval(re.sub(r"(\d+)", r"Fraction(\1)", text))  # noqa: S307

    try:
        expected = value(expression)
    except ZeroDivisionError:
        with pytest.raises(ToolError):
            evaluated(expression)
    else:
        assert evaluated(expression) == expected


# --- the built-in responder uses the same tools ---


def answered(question: str, language: str = "en") -> tuple[ToolCall | None, str]:
    """Return the responder's call, and its reply after the result of the call."""
    responder = BuiltinResponder(clock=lambda: datetime(2001, 1, 1, tzinfo=UTC))
    messages = [Message("user", question, language)]
    tools = [function.tool for function in BASIC.values()]
    called = responder.call(messages, tools)
    if called is None:
        return None, responder.text_for(messages)
    if called.name == "set_timer":
        output = f"The timer rings in {json.loads(called.arguments)['seconds']:g} seconds."
    else:
        output = call(Toolbox(BASIC), called.name, called.arguments).output
    messages += [Message("assistant", "", calls=(called,)), Message("tool", output, call_id=called.id)]
    assert responder.call(messages, tools) is None
    return called, responder.text_for(messages)


@pytest.mark.parametrize(
    ("question", "language", "name", "answer"),
    [
        ("what is seven plus five", "en", "calculate", "7 plus 5 is 12."),
        ("what is ten percent of fifty", "en", "calculate", "10 percent of 50 is 5."),
        ("what is ten divided by four", "en", "calculate", "10 divided by 4 is 2.5."),
        ("what is one divided by zero", "en", "calculate", "Nothing can be divided by zero."),
        ("what year is it", "en", "current_time", str(datetime.now(UTC).year)),
        ("set a timer for five minutes", "en", "set_timer", "All right, 5 minutes from now."),
        ("coloca um temporizador de dez segundos", "pt", "set_timer", "Certo, daqui a 10 segundos."),
        ("pon un temporizador de dos horas", "es", "set_timer", "Muy bien, dentro de 2 horas."),
    ],
)
def test_builtin_responder_calls_tools_and_reports_results(
    question: str, language: str, name: str, answer: str
) -> None:
    called, said = answered(question, language)
    assert called is not None
    assert called.name == name
    assert answer in said


def test_builtin_responder_calls_no_tool_for_small_talk() -> None:
    assert answered("tell me a joke")[0] is None


# --- in a conversation ---


@dataclass
class CallingLLM(ScriptedLLM):
    """Makes the offered calls of `calls` first, and then replies with their results."""

    calls: Sequence[ToolCall] = (ToolCall("call_1", "look", "{}"),)
    offered: list[Sequence[Tool]] = field(default_factory=list)
    demanded: list[bool] = field(default_factory=list)

    async def reply(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        must_call: bool = False,
        generation: Generation = AS_SET,
    ) -> AsyncGenerator[ReplyDelta, None]:
        self.offered.append(tools)
        self.demanded.append(must_call)
        names = {tool.name for tool in tools}
        wanted = tuple(call for call in self.calls if call.name in names)
        if messages[-1].role == "user" and wanted:
            self.asked.append(messages)
            yield ReplyDelta("", Usage(5, 1), wanted)
            return
        results = [message.content for message in messages if message.role == "tool"]
        self.reply_text = f"I found {' and '.join(results)}." if results else "Nothing was looked up."
        async for delta in super().reply(messages, tools=tools, must_call=must_call):
            yield delta


def looking(seconds: float = 0.0, *, side_effects: bool = False) -> tuple[Toolbox, list[float]]:
    ran: list[float] = []

    async def look() -> str:
        """Look it up."""
        ran.append(asyncio.get_running_loop().time())
        await asyncio.sleep(seconds)
        return "three eggs"

    return box(function_of(look, side_effects=side_effects), limit_s=5), ran


def test_result_of_a_call_is_spoken_and_recorded() -> None:
    toolbox, ran = looking()

    async def script(d: Dialogue) -> None:
        d.session.reply_options = ReplyOptions(tools=toolbox)
        await d.speak(600)
        await d.until(events.TurnCompleted)

    d = hold(script, llm=CallingLLM())
    assert len(ran) == 1
    assert d.stages.tts.spoken == ["I found three eggs."]  # type: ignore[attr-defined]
    assert d.history == [
        ("user", "what does the heron do"), ("assistant", ""), ("tool", "three eggs"),
        ("assistant", "I found three eggs."),
    ]  # fmt: skip
    assert d.of(events.TurnCompleted)[0].usage == Usage(15, 5)


def test_call_followed_by_an_empty_reply_completes_the_turn() -> None:
    class Silent(CallingLLM):
        async def reply(self, messages, *, tools=(), must_call=False, **_):  # type: ignore[no-untyped-def]
            if messages[-1].role == "user":
                yield ReplyDelta("", Usage(5, 1), tuple(self.calls))
            else:
                yield ReplyDelta("", Usage(6, 0))

    toolbox, ran = looking()

    async def script(d: Dialogue) -> None:
        d.session.reply_options = ReplyOptions(tools=toolbox)
        await d.speak(600)
        await d.until(events.TurnCompleted)

    d = hold(script, llm=Silent())
    assert len(ran) == 1
    assert d.of(events.TurnCompleted)[0].reply == ""
    assert d.of(events.TurnFailed) == []


@pytest.mark.parametrize("output", ["a\ud83d\ude00b\ud83d", {"x": "a\ud83d\ude00b\ud83d"}])
def test_results_and_arguments_are_encodable_text(output: object) -> None:
    given: list[str] = []

    def look(at: str) -> object:
        given.append(at)
        return output

    def broken() -> str:
        raise ToolError("a\ud83d")

    found = call(box(function_of(look)), "look", '{"at": "\\ud83d\\ude00 \\ud83d"}')
    assert given == ["😀 \ufffd"]
    assert "a😀b\ufffd" in found.output
    assert call(box(function_of(broken)), "broken").output == "a\ufffd"


@pytest.mark.parametrize(("seconds", "spoken"), [(0.5, False), (2.0, True)])
def test_slow_function_is_bridged_by_a_spoken_phrase(seconds: float, spoken: bool) -> None:
    toolbox, _ = looking(seconds)

    async def script(d: Dialogue) -> None:
        d.session.reply_options = ReplyOptions(tools=toolbox)
        await d.speak(600)
        await d.until(events.TurnCompleted)

    d = hold(script, llm=CallingLLM())
    assert ("One moment, please." in d.stages.tts.spoken) is spoken  # type: ignore[attr-defined]
    if spoken:
        ended = next(at for at, event in d.log if isinstance(event, events.ToolEnded))
        assert d.frames_s[0] < ended
    assert d.history[-1][1].endswith("I found three eggs.")


@pytest.mark.parametrize(("side_effects", "runs"), [(False, 2), (True, 1)])
def test_function_with_side_effects_waits_for_the_endpoint(side_effects: bool, runs: int) -> None:
    toolbox, ran = looking(side_effects=side_effects)

    async def script(d: Dialogue) -> None:
        d.session.reply_options = ReplyOptions(tools=toolbox)
        await d.speak(600)
        await d.silence(400)  # long enough for a speculative reply, too short for the endpoint
        await d.speak(600)
        await d.until(events.TurnCompleted)

    d = hold(script, llm=CallingLLM(), adaptive_endpointing=False)
    assert len(ran) == runs
    stopped = next(at for at, event in d.log if isinstance(event, events.UserSpeechStopped))
    assert (ran[-1] >= stopped) is side_effects
    assert [role for role, _ in d.history] == ["user", "assistant", "tool", "assistant"]


def test_interruption_cancels_the_call() -> None:
    toolbox, _ = looking(4.0)

    async def script(d: Dialogue) -> None:
        d.session.reply_options = ReplyOptions(tools=toolbox)
        await d.speak(600)
        await d.until(events.ToolStarted)
        await d.silence(200)
        d.session.interrupt()
        await d.silence(6000)

    d = hold(script, llm=CallingLLM())
    assert d.of(events.ToolEnded) == []
    assert d.kinds[-1] == "TurnInterrupted"


@pytest.mark.parametrize(
    ("choice", "demanded"), [("auto", [False, False]), ("required", [True, False]), ("look", [True, False])]
)
def test_required_call_is_requested_once(choice: str, demanded: list[bool]) -> None:
    toolbox, _ = looking()
    llm = CallingLLM()

    async def script(d: Dialogue) -> None:
        d.session.reply_options = ReplyOptions(tools=replace(toolbox, choice=choice))
        await d.speak(600)
        await d.until(events.TurnCompleted)

    hold(script, llm=llm)
    assert llm.demanded == demanded


def test_model_that_only_calls_tools_is_stopped() -> None:
    class Endless(CallingLLM):
        async def reply(self, messages, *, tools=(), must_call=False, **_):  # type: ignore[no-untyped-def]
            yield ReplyDelta("", None, (ToolCall("c", "look", "{}"),))

    toolbox, ran = looking()

    async def script(d: Dialogue) -> None:
        d.session.reply_options = ReplyOptions(tools=toolbox)
        await d.speak(600)
        await d.until(events.TurnFailed)

    hold(script, llm=Endless())
    assert len(ran) <= 10


def test_timer_is_announced_without_interrupting() -> None:
    timer = ToolCall("call_1", "set_timer", '{"seconds": 5, "label": "Tea."}')

    async def script(d: Dialogue) -> None:
        d.session.reply_options = ReplyOptions(tools=Toolbox(BASIC))
        await d.speak(600)
        set_at = await d.until(events.ToolEnded)
        await d.until(events.TurnCompleted)
        rang_at = await d.until(events.TurnStarted, count=2)
        assert rang_at - set_at == pytest.approx(5, abs=0.2)
        await d.until(events.TurnCompleted, count=2)

    d = hold(script, llm=CallingLLM(calls=[timer]))
    assert d.stages.tts.spoken[-2:] == ["The timer is over.", "Tea."]  # type: ignore[attr-defined]
    assert d.history[-1] == ("assistant", "The timer is over. Tea.")


def test_only_the_first_of_too_many_announcements_are_made() -> None:
    names = ["tea", "eggs", "rice", "soup", "bread", "cake", "pasta", "beans", "fish", "stew"]

    async def script(d: Dialogue) -> None:
        await d.speak(600)  # announcements wait during speech
        for name in names:
            d.session.announcements.announce(f"{name.capitalize()} is over.")
        d.session.clear()
        await d.until(events.TurnCompleted, count=8)
        await d.silence(3000)

    d = hold(script)
    assert d.stages.tts.spoken == [f"{name.capitalize()} is over." for name in names[:8]]  # type: ignore[attr-defined]


def test_timer_waits_for_the_end_of_the_utterance() -> None:
    timer = ToolCall("call_1", "set_timer", '{"seconds": 3}')

    async def script(d: Dialogue) -> None:
        d.session.reply_options = ReplyOptions(tools=Toolbox(BASIC))
        await d.speak(600)
        await d.until(events.TurnCompleted)
        await d.speak(4000)
        assert d.kinds.count("TurnStarted") == 1
        d.session.reply_options = ReplyOptions()
        await d.until(events.TurnCompleted, count=3)

    d = hold(script, llm=CallingLLM(calls=[timer]), stt=ScriptedSTT("go on please"))
    assert d.stages.tts.spoken[-1] == "The timer is over."  # type: ignore[attr-defined]


def test_timer_is_announced_on_the_resumed_connection() -> None:
    timer = ToolCall("call_1", "set_timer", '{"seconds": 30, "label": "Tea."}')
    rang: list[str] = []

    async def script(d: Dialogue) -> None:
        d.session.reply_options = ReplyOptions(tools=Toolbox(BASIC))
        await d.speak(600)
        set_at = await d.until(events.ToolEnded)
        await d.until(events.TurnCompleted)
        await d.session.close()
        await asyncio.sleep(5)
        async with d.resumed() as session:
            async for event in session.events:
                if isinstance(event, events.TurnCompleted):
                    rang.append(event.reply)
                    assert d.now - set_at == pytest.approx(32, abs=2)
                    return

    hold(script, llm=CallingLLM(calls=[timer]))
    assert rang == ["The timer is over. Tea."]


def test_number_of_timers_is_limited() -> None:
    timer = ToolCall("call_1", "set_timer", '{"seconds": 3000}')

    async def script(d: Dialogue) -> None:
        d.session.reply_options = ReplyOptions(tools=Toolbox(BASIC))
        while d.session.announcements.remind(60, "Tea."):
            pass
        await d.speak(600)
        await d.until(events.ToolEnded)

    d = hold(script, llm=CallingLLM(calls=[timer]))
    assert [ended.failed for ended in d.of(events.ToolEnded)] == [True]
    assert len(d.session.conversation.reminders) < 100


def test_closed_session_leaves_no_timer_running() -> None:
    async def ring(company: Company) -> str:
        """Ring."""
        return "rings"

    timer = ToolCall("call_1", "set_timer", '{"seconds": 60}')

    async def script(d: Dialogue) -> None:
        d.session.reply_options = ReplyOptions(tools=Toolbox({**BASIC, "ring": function_of(ring)}))
        await d.speak(600)
        await d.until(events.TurnCompleted)
        await d.session.close()

    hold(script, llm=CallingLLM(calls=[timer]))  # fails if a task is left over


# --- tools of a deployment ---


async def test_installed_package_adds_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "parley_greeting.py"
    package.write_text(
        textwrap.dedent('''
            from pipeline.tools import tool

            @tool
            def greeting(name: str) -> str:
                """Greet a person."""
                return f"Ahoy, {name}"
        ''')
    )
    info = tmp_path / "parley_greeting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: parley-greeting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[parley.tools]\ngreeting = parley_greeting\nbroken = parley_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        async with open_tools(Settings()) as toolbox:
            assert set(toolbox.functions) >= {"greeting", "calculate", "current_time", "set_timer"}
            outcome = await toolbox.call(ToolCall("c", "greeting", '{"name": "Ana"}'), None)
    finally:
        REGISTERED.pop("greeting", None)
    assert outcome == Outcome("Ahoy, Ana")


async def test_tools_can_be_turned_off() -> None:
    async with open_tools(Settings(tools=False)) as toolbox:
        assert toolbox.tools(live=True) == []
