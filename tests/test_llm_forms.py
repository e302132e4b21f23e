"""Deviations of real language model servers from their contracts: the client reads the reply wherever possible."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pipeline.errors import EngineError
from pipeline.llm import LanguageModel, Message, ReplyDelta, ToolCall, Usage, ollama, openai
from pipeline.llm.streaming import is_too_long
from pipeline.settings import Settings
from tests.llm_replies import ASKED, LIGHT, quiet
from tests.servers.chat import ChatTraps, FakeChat
from tests.servers.ollama import FakeOllama, Traps
from tests.servers.running import running

DONE = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 2}


@asynccontextmanager
async def chat(server: FakeChat | None = None, **changes: Any) -> AsyncIterator[LanguageModel]:
    async with (
        running((server or FakeChat()).app()) as url,
        openai.open_engine(Settings(_env_file=None, llm_openai_url=f"{url}/v1", **changes), quiet) as opened,  # type: ignore[call-arg]
    ):
        yield opened.engine


@asynccontextmanager
async def local(server: FakeOllama | None = None, **changes: Any) -> AsyncIterator[LanguageModel]:
    async with (
        running((server or FakeOllama()).app()) as url,
        ollama.open_engine(Settings(_env_file=None, llama_endpoint=url, **changes), quiet) as opened,  # type: ignore[call-arg]
    ):
        yield opened.engine


async def deltas(model: LanguageModel, asked: Sequence[Message] = ASKED, **more: Any) -> list[ReplyDelta]:
    return [delta async for delta in model.reply(asked, **more)]


def text(found: list[ReplyDelta]) -> str:
    return "".join(delta.text for delta in found)


def usage(found: list[ReplyDelta]) -> Usage | None:
    return next((delta.usage for delta in found if delta.usage), None)


def calls(found: list[ReplyDelta]) -> list[ToolCall]:
    return [call for delta in found for call in delta.calls]


def chunk(delta: Any = None, finish: Any = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}


def events(*chunks: Any) -> list[str]:
    return [f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in chunks]


def lines(*chunks: Any) -> list[str]:
    return [json.dumps(one) + "\n" for one in chunks]


async def of_chat(raw: Sequence[str], *, raw_type: str = "text/event-stream", **more: Any) -> list[ReplyDelta]:
    async with chat(FakeChat(traps=ChatTraps(raw=raw, raw_type=raw_type))) as model:
        return await deltas(model, **more)


async def of_ollama(raw: Sequence[str], **more: Any) -> list[ReplyDelta]:
    server = FakeOllama()
    async with local(server) as model:
        server.traps = Traps(raw=raw)
        return await deltas(model, **more)


HI = chunk({"content": "Hi"})
STOP = chunk({}, "stop")


@pytest.mark.parametrize(
    "raw",
    [
        events(HI, STOP, "[DONE]"),
        events(HI, STOP),
        events(HI, "[DONE]"),
        [": keep-alive\n\n", *events(HI), ": \n\n", "event: message\nid: 7\nretry: 10\n", *events(STOP), "\n\n\n"],
        [line.replace("\n", "\r\n") for line in events(HI, STOP, "[DONE]")],
        [line.replace("data: ", "data:") for line in events(HI, STOP, "[DONE]")],
        list("".join(events(HI, STOP, "[DONE]"))),
        [line.replace("\n\n", "\n") for line in events(HI, STOP, "[DONE]")],
        ["data: " + json.dumps(HI, indent=1).replace("\n", "\ndata: ") + "\n\n", *events(STOP)],
        events("null", {}, [], 7, "true", {"choices": []}, {"choices": None}, {"choices": [None]}, HI, STOP),
        events({"choices": [{}]}, chunk(None), chunk([]), chunk("x"), HI, STOP),
        events(chunk({"role": None, "content": None, "tool_calls": None}), HI, chunk({"content": ""}, "stop")),
        events(chunk({"content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}), STOP),
        events(chunk({"content": ["H", {"text": {"value": "i"}}]}), STOP),
        events(chunk({"content": {"type": "text", "text": "Hi"}}), STOP),
        events(chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}), HI, STOP),
        events(chunk({"content": None, "refusal": "Hi"}), STOP),
        events(chunk({"content": [{"type": "refusal", "refusal": "Hi"}]}), STOP),
        events(chunk({"reasoning_content": "hm", "content": None}), chunk({"reasoning": "hm"}), HI, STOP),
        events({"choices": [{"text": "Hi", "finish_reason": "stop"}]}),
        events({"choices": [{"message": {"content": "Hi"}}]}),
        events({**HI, "error": None}, STOP),
        events({**HI, "error": {}}, STOP),
        [json.dumps({"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]})],
        [json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}, indent=2)],
        [*events(HI, STOP), "<html>broken</html>\n"],
        events(HI, STOP, {"error": {"message": "too late"}}),
    ],
)
async def test_every_form_of_a_chat_stream_is_read(raw: list[str]) -> None:
    assert text(await of_chat(raw)) == "Hi"


async def test_chat_response_without_streaming_is_read() -> None:
    whole = {
        "choices": [
            {"message": {"content": None, "tool_calls": [{"id": "a", "function": {"name": "light", "arguments": {}}}]}}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    found = await of_chat([json.dumps(whole)], raw_type="application/json", tools=[LIGHT])
    assert [(call.name, call.arguments) for call in calls(found)] == [("light", "{}")]
    assert usage(found) == Usage(3, 4)


@pytest.mark.parametrize(
    ("counts", "counted"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, Usage(3, 4)),
        ({"prompt_tokens": "3", "completion_tokens": 4.0}, Usage(3, 4)),
        ({"prompt_tokens": None, "completion_tokens": -4}, Usage(0, 0)),
        ({"prompt_tokens": [], "completion_tokens": True}, Usage(0, 0)),
        ({"prompt_tokens": "x", "completion_tokens": float("inf")}, Usage(0, 0)),
        ({"completion_tokens": 1e400}, Usage(0, 0)),
        ({}, Usage(0, 0)),
        (None, None),
        (7, None),
    ],
)
async def test_token_counts_of_any_form_are_read(counts: Any, counted: Usage | None) -> None:
    assert usage(await of_chat(events(HI, STOP, {"choices": [], "usage": counts}, "[DONE]"))) == counted
    if isinstance(counts, dict):
        end = {
            "done": True,
            "prompt_eval_count": counts.get("prompt_tokens"),
            "eval_count": counts.get("completion_tokens"),
        }
        assert usage(await of_ollama(lines({"message": {"content": "Hi"}}, end))) == counted


@pytest.mark.parametrize(
    "raw",
    [
        lines({"message": {"role": "assistant", "content": "Hi"}}, DONE),
        lines({"message": {"content": "Hi"}}, {"done": True}),
        lines({"message": {"content": "Hi"}, "done": None}, {"message": None, "done": True, "eval_count": None}),
        lines(None, [], 7, {}, {"message": []}, {"message": {"content": None}}, {"message": {"content": "Hi"}}, DONE),
        lines({"message": {"content": [{"type": "text", "text": "Hi"}], "tool_calls": None}}, DONE),
        lines({"message": {"content": "", "thinking": "hm"}}, {"message": {"content": "Hi"}}, DONE),
        [line.replace("\n", "\r\n\r\n") for line in lines({"message": {"content": "Hi"}}, DONE)],
        [json.dumps({"message": {"content": "Hi"}, **DONE})],
        [json.dumps({"message": {"content": "Hi"}, **DONE}, indent=1)],
        lines({"message": {"content": "Hi"}, "created_at": 7, "model": None, "total_duration": "x"}, DONE),
    ],
)
async def test_every_form_of_an_ollama_stream_is_read(raw: list[str]) -> None:
    assert text(await of_ollama(raw)) == "Hi"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"on": True}, {"on": True}),
        ('{"on": true}', {"on": True}),
        (None, {}),
        ("", {}),
    ],
)
async def test_arguments_of_any_form_are_read(given: Any, read: Any) -> None:
    call = {"function": {"name": "light", "arguments": given}}
    for found in (
        await of_ollama(lines({"message": {"content": None, "tool_calls": [call]}}, DONE), tools=[LIGHT]),
        await of_chat(events(chunk({"tool_calls": [call]}), STOP), tools=[LIGHT]),
        await of_chat(events(chunk({"tool_calls": call}), STOP), tools=[LIGHT]),
        await of_chat(events(chunk({"function_call": call["function"]}), STOP), tools=[LIGHT]),
    ):
        ((name, arguments),) = [(call.name, json.loads(call.arguments)) for call in calls(found)]
        assert (name, arguments) == ("light", read)


@pytest.mark.parametrize(
    ("reason", "raw"),
    [
        ("boom", events(HI, {"error": "boom"})),
        ("boom", events(HI, {"error": {"message": "boom", "code": 500}})),
        ("boom", events(HI, {"error": {"error": {"message": "boom"}}})),
        ("boom", events(HI, {"object": "error", "message": "boom", "code": 40_000})),
        ("boom", events(HI, {"error": True, "message": "boom"})),
        ("boom", events(HI, {"detail": "boom"})),
        ("boom", [*events(HI), 'event: error\ndata: {"message": "boom"}\n\n']),
        ("boom", [*events(HI), "event: error\ndata: boom\n\n"]),
        ("\ufffd", events(HI, '{"error": "\\ud83d"}')),
        ("before the reply was complete", events(HI)),
        ("does not speak", ["<html>"]),
        ("does not speak", events("{")),
    ],
)
async def test_error_during_a_stream_is_one_sentence(reason: str, raw: list[str]) -> None:
    with pytest.raises(EngineError, match=reason) as caught:
        await of_chat(raw)
    caught.value.message.encode()


def piece(index: Any = 0, id: Any = None, name: Any = None, arguments: Any = None) -> dict[str, Any]:
    return {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


ON, OFF = '{"on": true}', '{"on": false}'


@pytest.mark.parametrize(
    ("pieces", "made"),
    [
        ([piece(0, "a", "light", ON), piece(1, "b", "door", "{}")], [("light", ON), ("door", "{}")]),
        ([piece(0, "a", "light", ON), piece(0, "b", "light", OFF)], [("light", ON), ("light", OFF)]),
        ([piece(0, None, "light", ON), piece(0, None, "light", OFF)], [("light", ON), ("light", OFF)]),
        ([piece(0, None, "light", ON), piece(0, None, "door", "{}")], [("light", ON), ("door", "{}")]),
        ([piece(0, "a", "light", ""), piece(0, "b", "light", "")], [("light", "{}"), ("light", "{}")]),
        ([piece(0, "a", "light", '{"on"'), piece(0, "a", "light", ": true}")], [("light", ON)]),
        ([piece(0, "a", "light", '{"on"'), piece(0, "b", "", ": true}")], [("light", ON)]),
        ([piece(0, "a", "light", ""), piece(0, None, "light", ON), piece(0, None, "light", "")], [("light", ON)]),
        ([piece(0, "a", "light", None), piece(0, None, None, ON)], [("light", ON)]),
        ([piece(None, "a", "light", ON), piece(None, "b", "door", "{}")], [("light", ON), ("door", "{}")]),
        ([piece(0, "a", "li", ""), piece(0, None, "ght", ON)], [("light", ON)]),
        (
            [piece(0, "a", "light", {"on": True}), piece(0, "b", "light", {"on": False})],
            [("light", ON), ("light", OFF)],
        ),
        ([piece(0, "a", "functions.light", ON)], [("light", ON)]),
        ([piece("0", 7, "light", ON)], [("light", ON)]),
        ([None, 7, {}, piece(0, "a", None, ON)], []),
    ],
)
async def test_chunks_of_calls_are_joined(pieces: list[Any], made: list[tuple[str, str]]) -> None:
    door = type(LIGHT)("door", "Open it", {"type": "object"})
    raw = events(*(chunk({"tool_calls": [one]}) for one in pieces), chunk({}, "tool_calls"), "[DONE]")
    found = calls(await of_chat(raw, tools=[LIGHT, door]))
    assert [(call.name, call.arguments) for call in found] == made
    assert len({call.id for call in found}) == len(made)
    assert all(found_call.id for found_call in found)


async def test_repeated_call_id_in_a_later_turn_is_another_call() -> None:
    before = [
        Message("assistant", "", calls=(ToolCall("call_0", "light", ON),)),
        Message("tool", "on", call_id="call_0"),
    ]
    raw = events(chunk({"tool_calls": [piece(0, "call_0", "light", OFF)]}), STOP)
    (call,) = calls(await of_chat(raw, asked=[ASKED[1], *before, ASKED[1]], tools=[LIGHT]))
    assert call.id not in ("", "call_0")


@pytest.mark.parametrize(
    ("sent", "heard"),
    [(["Hi \\ud83d", "\\ude00!"], "Hi 😀!"), (["Hi \\ud83d", "!"], "Hi \ufffd!"), (["\\ud83d"], "\ufffd")],
)
async def test_halves_of_a_character_are_joined_across_deltas(sent: list[str], heard: str) -> None:
    raw = [f'data: {{"choices": [{{"delta": {{"content": "{one}"}}}}]}}\n\n' for one in sent]
    assert text(await of_chat([*raw, *events(STOP)])) == heard
    raw = [f'{{"message": {{"content": "{one}"}}}}\n' for one in sent]
    assert text(await of_ollama([*raw, *lines(DONE)])) == heard


async def test_unencodable_text_is_sent_with_replacements() -> None:
    asked = [
        Message("system", "a\ud83d"), Message("user", "b\ud83d"),
        Message("assistant", "", calls=(ToolCall("i", "light", '{"x": "\\ud83d"}'),)),
        Message("tool", "c\ud83d", call_id="i"),
    ]  # fmt: skip
    remote, here = FakeChat(), FakeOllama()
    async with chat(remote) as one, local(here) as other:
        for model in (one, other):
            assert text(await deltas(model, asked, tools=[LIGHT]))
    for request in (remote.requests[-1], here.requests[-1]):
        assert [message["content"] for message in request["messages"]] == ["a\ufffd", "b\ufffd", *(
            [None, "c\ufffd"] if request is remote.requests[-1] else ["", "c\ufffd"]
        )]  # fmt: skip


# --- thinking without an opening tag ---


async def test_replies_are_held_back_after_a_lone_end_of_thinking_tag() -> None:
    server = FakeChat(reply="I should greet.</think>Hello.")
    async with chat(server) as model:
        assert text(await deltas(model)).endswith("Hello.")  # the thinking was spoken before its end tag came
        for _ in range(4):
            assert text(await deltas(model)) == "Hello."
        server.reply = "Hello without."
        for _ in range(4):
            assert text(await deltas(model)) == "Hello without."
        streamed = [delta.text for delta in await deltas(model)]
        assert streamed[:2] == ["Hello", " without."]  # no longer held


@pytest.mark.parametrize("name", ["deepseek-r1:8b", "DeepSeek-R1-Distill-Qwen-7B", "qwq", "Qwen3-4B-Thinking-2507"])
async def test_replies_of_known_thinking_models_are_held_back_at_once(name: str) -> None:
    async with chat(FakeChat(models=[name], reply="I should greet.</think>Hello.")) as model:
        assert text(await deltas(model)) == "Hello."


async def test_interrupted_reply_also_reveals_a_thinking_model() -> None:
    server = FakeChat(reply="I should greet.</think>Hello. " + "And so on. " * 50)
    async with chat(server) as model:
        reply = model.reply(ASKED)
        async for delta in reply:
            if "Hello" in delta.text:
                break
        await reply.aclose()
        server.reply = "I should greet.</think>Hello."
        assert text(await deltas(model)) == "Hello."


# --- requests ---


@pytest.mark.parametrize(
    "talk",
    [
        [("user", "a"), ("user", "b")],
        [("assistant", "Welcome!"), ("user", "a")],
        [("user", "a"), ("assistant", "b"), ("assistant", "The timer is over."), ("user", "c")],
        [("user", "a"), ("system", "Be kind."), ("user", "b")],
        [("user", "a"), ("assistant", "")],
        [("user", ""), ("user", "a")],
        [("user", "a"), ("call", "1"), ("result", "1"), ("user", "b")],
        [("user", "a"), ("call", "1"), ("user", "b")],
        [("user", "a"), ("result", "1"), ("user", "b")],
        [("user", "a"), ("call", "1"), ("call", "2"), ("result", "2"), ("result", "1")],
        [("call", "1"), ("result", "1"), ("user", "a")],
        [("user", "a"), ("assistant", "b")],
        [],
    ],
)
@pytest.mark.parametrize("system", [[], [Message("system", "Be brief.")]])
async def test_every_history_fits_a_strict_chat_template(talk: list[tuple[str, str]], system: list[Message]) -> None:
    made: dict[str, Callable[[str], Message]] = {
        "user": lambda content: Message("user", content),
        "assistant": lambda content: Message("assistant", content),
        "system": lambda content: Message("system", content),
        "call": lambda id: Message("assistant", "", calls=(ToolCall(id, "light", "{"),)),
        "result": lambda id: Message("tool", "done", call_id=id),
    }
    asked = [*system, *(made[kind](content) for kind, content in talk)]
    server = FakeOllama()
    async with chat(FakeChat(traps=ChatTraps(strict=True))) as remote, local(server) as here:
        server.traps = Traps(strict=True)
        assert text(await deltas(remote, asked, tools=[LIGHT]))
        assert text(await deltas(here, asked, tools=[LIGHT]))
    told = server.requests[-1]["messages"]
    for kind, content in talk:
        if kind in ("user", "assistant", "system"):
            assert any(content in message["content"] for message in told)


LONG = [Message("system", "Be brief.")] + [
    message
    for n in range(40)
    for message in (Message("user", f"question {n} " * 5), Message("assistant", f"answer {n} " * 5))
]
NOW = Message("user", "And now?")
TOO_LONG = [
    (400, "the request exceeds the available context size (4096 tokens), try increasing it"),
    (500, "the request exceeds the available context size. try increasing the context size or enable context shift"),
    (400, "This model's maximum context length is 4096 tokens. However, you requested 4600 tokens (4088 in the "
          "messages, 512 in the completion). Please reduce the length of the messages or completion."),
    (400, "'max_tokens' or 'max_completion_tokens' is too large: 512. This model's maximum context length is 4096 "
          "tokens and your request has 4000 input tokens"),
    (400, "Requested token count exceeds the model's maximum context length of 4096 tokens."),
    (400, "The input (4500 tokens) is longer than the model's context length (4096 tokens)."),
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens"),
    (422, "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"),
    (400, "Trying to keep the first 4500 tokens when context the overflows. However, the model is loaded with context "
          "length of only 4096 tokens, which is not enough."),
    (400, "The number of tokens to keep from the initial prompt is greater than the context length."),
    (400, "input length exceeds maximum context length"),
    (400, "Prompt length 5000 is greater than max_seq_len 4096"),
    (400, "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"),
    (400, "prompt is too long: 210000 tokens > 200000 maximum"),
    (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
    (400, "context is too long"),
    (413, "Request Entity Too Large"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "message"), TOO_LONG)
async def test_too_long_conversation_is_resent_with_fewer_turns(status: int, message: str) -> None:
    server = FakeChat(traps=ChatTraps(context=200, message=message, too_long=status))
    async with chat(server) as model:
        assert text(await deltas(model, [*LONG, NOW])) == server.reply
        asked = len(server.requests)
        assert 2 <= asked <= 8
        assert text(await deltas(model, [*LONG, NOW])) == server.reply
        assert len(server.requests) == asked + 1  # the context size is remembered
    last = [told["content"] for told in server.requests[-1]["messages"]]
    assert (last[0], last[-1]) == ("Be brief.", "And now?")
    assert last[1:-1] == [told.content for told in LONG][-len(last[1:-1]) :]


async def test_too_long_conversation_is_resent_to_ollama() -> None:
    server = FakeOllama()
    async with local(server) as model:
        server.traps = Traps(context=200, message="the input length exceeds the context length")
        assert text(await deltas(model, [*LONG, NOW])) == server.reply


async def test_calls_and_results_of_the_last_turn_are_always_sent() -> None:
    server = FakeChat(traps=ChatTraps(context=200, message="context length exceeded", strict=True))
    turn = [NOW, Message("assistant", "", calls=(ToolCall("1", "light", ON),)), Message("tool", "on", call_id="1")]
    async with chat(server) as model:
        assert text(await deltas(model, [*LONG, *turn], tools=[LIGHT])) == server.reply
    assert [told["role"] for told in server.requests[-1]["messages"]][-3:] == ["user", "assistant", "tool"]


async def test_conversation_that_never_fits_fails_after_a_few_retries() -> None:
    server = FakeChat(traps=ChatTraps(context=0, message="maximum context length is 8 tokens"))
    async with chat(server) as model:
        with pytest.raises(EngineError, match="too long for the language model server"):
            await deltas(model, [*LONG, NOW])
    assert len(server.requests) < 12


@pytest.mark.parametrize(
    ("status", "message"),
    [(429, "Request too large: tokens per minute limit"), (401, "bad key"), (400, "unknown field: stream_options"),
     (404, "model not found"), (500, "out of memory"), (400, "temperature must be at most 2"), (503, "busy")],
)  # fmt: skip
def test_other_errors_are_not_mistaken_for_too_long(status: int, message: str) -> None:
    assert not is_too_long(status, message)


# --- length ---


@pytest.mark.parametrize("word", ["word", "w", "extraordinarily" * 3])
async def test_reply_is_stopped_if_the_server_ignores_max_tokens(word: str) -> None:
    remote = FakeChat(reply=f"{word} " * 10, traps=ChatTraps(endless=True))
    here = FakeOllama(reply=f"{word} " * 10)
    async with chat(remote, llm_max_tokens=50) as model:
        assert 50 <= len(text(await deltas(model))) <= 50 * 8
        await remote.disconnected.wait()
    async with local(here, llm_max_tokens=50) as model:
        here.traps = Traps(endless=True)
        assert 50 <= len(text(await deltas(model))) <= 50 * 8
        await here.disconnected.wait()


async def test_special_token_ends_the_stream() -> None:
    server = FakeChat(reply="All is well.<|im_end|> word " * 3, traps=ChatTraps(endless=True))
    async with chat(server) as model:
        assert text(await deltas(model)) == "All is well."
        await server.disconnected.wait()
