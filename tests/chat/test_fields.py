"""The parameters of chat completions in the installed `openai` package: docs/openai-chat.md lists each field with its
effect, and each has it."""

from collections.abc import Callable
from typing import Any

import pytest
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionAudioParam,
    ChatCompletionContentPartInputAudioParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.chat.completion_create_params import CompletionCreateParams
from openai.types.shared_params import FunctionDefinition

from pipeline.audio.clip import encode_wav
from server.openai.chat.fields import NO_EFFECT, REFUSED
from tests.chat.conftest import REPLY, SPOKEN, Chats
from tests.chat.test_completions import LIGHT, STREAMED, sound, tone
from tests.test_openai_fields import EFFECTS, documented, fields_of

TYPES: dict[str, Any] = {
    "CompletionCreateParams": CompletionCreateParams,
    "ChatCompletionAudioParam": ChatCompletionAudioParam,
    "ChatCompletionStreamOptionsParam": ChatCompletionStreamOptionsParam,
    "ChatCompletionUserMessageParam": ChatCompletionUserMessageParam,
    "ChatCompletionAssistantMessageParam": ChatCompletionAssistantMessageParam,
    "ChatCompletionToolMessageParam": ChatCompletionToolMessageParam,
    "ChatCompletionContentPartInputAudioParam": ChatCompletionContentPartInputAudioParam,
    "FunctionDefinition": FunctionDefinition,
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
CALLED = {
    "role": "assistant",
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "light", "arguments": "{}"}}],
}
TOLD = {"role": "assistant", "content": "B"}
REFUSAL = {"role": "assistant", "refusal": "No."}
MARKED = {"type": "text", "text": "A", "prompt_cache_breakpoint": {"mode": "explicit"}}
STRICT = {**LIGHT, "function": {**LIGHT["function"], "strict": True}}
WAV = encode_wav(tone(500.0))
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "It is on."}
IGNORED_VALUES: dict[str, Any] = {
    "metadata": {"a": "b"}, "prediction": {"type": "content", "content": "I am"},
    "prompt_cache_options": {"mode": "implicit"}, "prompt_cache_retention": "24h",
    "reasoning_effort": "low", "service_tier": "auto", "store": True, "verbosity": "low",
}  # fmt: skip
REFUSED_VALUES: dict[str, Any] = {
    "function_call": "auto", "functions": [{"name": "light"}], "logit_bias": {"1": 5}, "logprobs": True,
    "moderation": {"model": "omni-moderation-latest"}, "top_logprobs": 2, "web_search_options": {},
}  # fmt: skip


def ignored(field: str) -> Callable[[Chats], None]:
    def check(chats: Chats) -> None:
        value = IGNORED_VALUES.get(field, "x")
        raw = chats.client.chat.completions.with_raw_response.create(
            model="", messages=[{"role": "user", "content": "Hello."}], **{field: value}
        )
        assert raw.headers["parley-ignored"] == field
        assert raw.parse().choices[0].message.content == REPLY
        assert field not in chats.llm.requests[-1]

    return check


def refused(field: str) -> Callable[[Chats], None]:
    def check(chats: Chats) -> None:
        value = REFUSED_VALUES[field] or {"search_context_size": "low"}
        error = chats.refused(**{field: value})
        assert (error.status_code, error.param, error.code) == (400, field, "unsupported_parameter")

    return check


def holds(condition: Callable[[Chats], object]) -> Callable[[Chats], None]:
    def check(chats: Chats) -> None:
        assert condition(chats)

    return check


def passed(field: str, value: Any, wrong: Any) -> Callable[[Chats], None]:
    """Check that a field reaches the model, and that a wrong value is refused."""

    def check(chats: Chats) -> None:
        assert chats.asked(**{field: value})[field] == value
        assert (chats.refused(**{field: wrong}).param or "").startswith(field)

    return check


def limits_the_reply(field: str) -> Callable[[Chats], None]:
    def check(chats: Chats) -> None:
        choice = chats.ask(**{field: 3}).choices[0]
        assert chats.llm.requests[-1]["max_tokens"] == 3
        assert choice.finish_reason == "length"
        assert REPLY.startswith(choice.message.content)
        assert chats.asked(**{field: 100_000})["max_tokens"] == 512  # LLM_MAX_TOKENS

    return check


def tools_are_chosen(chats: Chats) -> None:
    chats.llm.calls = [("light", {})]
    other = {"type": "function", "function": {"name": "other"}}
    named = {"type": "function", "function": {"name": "light"}}
    asked = chats.asked(tools=[LIGHT, other], tool_choice=named)
    assert ([one["function"]["name"] for one in asked["tools"]], asked["tool_choice"]) == (["light"], "required")
    assert "tools" not in chats.asked(tools=[LIGHT], tool_choice="none")
    some = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named]}}
    assert [one["function"]["name"] for one in chats.asked(tools=[LIGHT, other], tool_choice=some)["tools"]] == [
        "light"
    ]


def one_call_at_a_time(chats: Chats) -> None:
    chats.llm.calls = [("light", {"on": True}), ("light", {"on": False})]
    for parallel, count in ((True, 2), (False, 1)):
        message = chats.ask(tools=[LIGHT], parallel_tool_calls=parallel).choices[0].message
        assert len(message.tool_calls) == count


def spoken_history(chats: Chats) -> None:
    id = chats.ask(**SPOKEN).choices[0].message.audio.id
    chats.ask("Hi.", {"role": "assistant", "audio": {"id": id}}, "Go on.")
    assert chats.llm.requests[-1]["messages"][1]["content"] == REPLY


def last_told(chats: Chats, *messages: Any, **fields: Any) -> Any:
    chats.ask(*messages, **fields)
    return chats.llm.requests[-1]["messages"]


TRIED: dict[str, dict[str, Callable[[Chats], None]]] = {
    "CompletionCreateParams": {
        **{field: ignored(field) for field in NO_EFFECT},
        **{field: refused(field) for field in REFUSED},
        "messages": holds(lambda c: last_told(c, "Who?")[-1]["content"] == "Who?"),
        "model": holds(lambda c: c.refused(model="nothing").param == "model" and c.ask(model="tiny")),
        "audio": holds(lambda c: c.ask(**SPOKEN).choices[0].message.audio.data),
        "frequency_penalty": passed("frequency_penalty", 0.5, 3),
        "max_completion_tokens": limits_the_reply("max_completion_tokens"),
        "max_tokens": limits_the_reply("max_tokens"),
        "modalities": holds(lambda c: c.refused(modalities=["video"]) and c.ask(modalities=["text"])),
        "n": holds(lambda c: c.refused(n=2).param == "n" and c.ask(n=1)),
        "parallel_tool_calls": one_call_at_a_time,
        "presence_penalty": passed("presence_penalty", -0.5, -3),
        "response_format": passed("response_format", SCHEMA, {"type": "xml"}),
        "seed": passed("seed", 7, "x"),
        "stop": holds(lambda c: c.ask(stop=[" run", "zebra"]).choices[0].message.content == "I am a small model. I"),
        "stream": holds(lambda c: len(list(c.ask(stream=True))) > 5),
        "stream_options": holds(lambda c: list(c.ask(stream=True, stream_options={"include_usage": True}))[-1].usage),
        "temperature": passed("temperature", 0.2, 3),
        "tool_choice": tools_are_chosen,
        "tools": holds(lambda c: c.asked(tools=[LIGHT])["tools"] == [LIGHT]),
        "top_p": passed("top_p", 0.5, 2),
    },
    "ChatCompletionAudioParam": {
        "format": holds(lambda c: c.refused(**{**SPOKEN, "audio": {"voice": "alloy", "format": "mp2"}})),
        "voice": holds(lambda c: c.ask(**{**SPOKEN, "audio": {"voice": {"id": "woman"}, "format": "wav"}})),
    },
    "ChatCompletionStreamOptionsParam": {
        "include_obfuscation": holds(lambda c: list(c.ask(stream=True, stream_options={"include_obfuscation": True}))),
        "include_usage": holds(lambda c: list(c.ask(**STREAMED, stream_options={"include_usage": True}))[-1].usage),
    },
    "ChatCompletionUserMessageParam": {
        "content": holds(lambda c: last_told(c, {"role": "user", "content": [{"type": "text", "text": "A"}]})),
        "role": holds(lambda c: c.refused({"role": "absent", "content": "A"}).param == "messages.0.role"),
        "name": holds(lambda c: "name" not in last_told(c, {"role": "user", "content": "A", "name": "Ana"})[-1]),
    },
    "ChatCompletionAssistantMessageParam": {
        "role": holds(lambda c: last_told(c, "A", TOLD, "C")[1]["role"] == "assistant"),
        "audio": spoken_history,
        "content": holds(lambda c: last_told(c, "A", TOLD, "C")[1]["content"] == "B"),
        "function_call": holds(
            lambda c: last_told(c, "A", {**TOLD, "function_call": {"name": "x"}}, "C")
        ),
        "name": holds(lambda c: last_told(c, "A", {**TOLD, "name": "x"}, "C")),
        "refusal": holds(lambda c: last_told(c, "A", REFUSAL, "C")[1]["content"] == "No."),
        "tool_calls": holds(lambda c: last_told(c, "A", CALLED, RESULT)[1]["tool_calls"][0]["id"] == "call_1"),
    },
    "ChatCompletionToolMessageParam": {
        "content": holds(lambda c: last_told(c, "A", CALLED, RESULT)[-1]["content"] == "It is on."),
        "role": holds(lambda c: last_told(c, "A", CALLED, RESULT)[-1]["role"] == "tool"),
        "tool_call_id": holds(lambda c: c.refused("A", CALLED, {"role": "tool", "content": "x"})),
    },
    "ChatCompletionContentPartInputAudioParam": {
        "input_audio": holds(lambda c: "what do you like" in last_told(c, sound(WAV))[-1]["content"]),
        "type": holds(lambda c: c.refused({"role": "user", "content": [{"type": "file", "file": {}}]})),
        "prompt_cache_breakpoint": holds(
            lambda c: last_told(c, {"role": "user", "content": [MARKED]})[-1] == {"role": "user", "content": "A"}
        ),
    },
    "FunctionDefinition": {
        "name": holds(lambda c: c.refused(tools=[{"type": "function", "function": {"name": "not a name"}}])),
        "description": holds(lambda c: c.asked(tools=[LIGHT])["tools"][0]["function"]["description"]),
        "parameters": holds(lambda c: c.asked(tools=[LIGHT])["tools"][0]["function"]["parameters"]),
        "strict": holds(lambda c: c.asked(tools=[STRICT])["tools"] == [LIGHT]),
    },
}  # fmt: skip
"""Type → field → a check of its effect."""


@pytest.mark.parametrize("name", TYPES)
def test_every_field_of_the_sdk_is_documented_and_tried(name: str) -> None:
    told = documented("openai-chat.md")
    assert set(told) == set(TYPES)
    assert set(told[name]) == fields_of(TYPES[name]), "the openai package has changed: tell in docs/openai-chat.md"
    assert set(told[name].values()) <= EFFECTS
    assert set(TRIED[name]) == fields_of(TYPES[name])


def test_documented_effects_are_those_of_the_code() -> None:
    told = documented("openai-chat.md")["CompletionCreateParams"]
    assert {field for field, effect in told.items() if effect == "no effect"} == {*NO_EFFECT}
    assert {field for field, effect in told.items() if effect == "refused"} == {*REFUSED}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, tries in TRIED.items() for field in tries])
def test_each_field_has_its_documented_effect(name: str, field: str, chats: Chats) -> None:
    TRIED[name][field](chats)
