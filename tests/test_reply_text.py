"""The part of a language model's text that is for the user, for any division into deltas."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.llm.reply import ReplyText
from tests.adversarial import LONG, SHORT, repeated, slow

TOOLS = ("light", "current_time")
ON = {"on": True}


def read(pieces: list[str], tools: tuple[str, ...] = TOOLS, *, thinks_first: bool = False) -> ReplyText:
    reply = ReplyText(tools, thinks_first=thinks_first)
    said = []
    for piece in pieces:
        said.append(reply.feed(piece))
        if reply.over:
            break
    else:
        said.append(reply.finish())
    reply.said = "".join(said)  # type: ignore[attr-defined]
    return reply


def said(text: str, size: int = 1000, tools: tuple[str, ...] = TOOLS, *, thinks_first: bool = False) -> str:
    reply = read([text[at : at + size] for at in range(0, len(text), size)], tools, thinks_first=thinks_first)
    return reply.said  # type: ignore[attr-defined]


def called(text: str, size: int = 1000, tools: tuple[str, ...] = TOOLS) -> list[tuple[str, object]]:
    reply = read([text[at : at + size] for at in range(0, len(text), size)], tools)
    return [(call.name, json.loads(call.arguments)) for call in reply.calls]


SIZES = (1, 2, 3, 7, 1000)
"""Lengths of the deltas."""


# --- halves of characters ---


@pytest.mark.parametrize(
    ("sent", "heard"),
    [
        ("Hi \ud83d\ude00!", "Hi 😀!"),
        ("\ud83d", "\ufffd"),
        ("a\ud83db", "a\ufffdb"),
        ("\ude00a", "\ufffda"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
    ],
)
def test_halves_of_a_character_are_joined(sent: str, heard: str) -> None:
    for size in SIZES:
        assert said(sent, size) == heard


# --- thinking ---


@pytest.mark.parametrize(
    ("written", "heard"),
    [
        ("<think>so 1 < 2</think>\n\nHi there", "Hi there"),
        ("  <thinking>so</thinking> Hi", "Hi"),
        ("<think></think><think>again</think>Hi", "Hi"),
        ("<think>without an end", ""),
        ("<thin ice", "<thin ice"),
        ("<thi", "<thi"),
        ("Hi", "Hi"),
        ("I see. <think>hm</think> It is five.", "I see. It is five."),
        ("I see.<think>hm</think>It is five.", "I see. It is five."),
        ("<THINK>a</Think>b", "b"),
        ("< think >a</ think >b", "b"),
        ('<think time="3">a</think>b', "b"),
        ("<think/>b", "b"),
        ("<thought>a</thought>b", "b"),
        ("<reasoning>a</reasoning>b", "b"),
        ("<reflection>a</reflection>b", "b"),
        ("<seed:think>a</seed:think>b", "b"),
        ("[THINK]a[/THINK]b", "b"),
        ("◁think▷a◁/think▷b", "b"),
        ("<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>b<|end_of_solution|>", "b"),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>", "b"),
        ("<|channel>thought\na<channel|>b", "b"),
        ("<|think|>a<|/think|>b", "b"),
        ("<|thinking|>a<|/thinking|>b", "b"),
        ("<|thought_start|>a<|thought_end|>b", "b"),
        ("<|reasoning_start|>a<|reasoning_end|>b", "b"),
        ("<｜begin▁of▁thinking｜>a<｜end▁of▁thinking｜>b", "b"),
        ("<think>a<|/think|>b", "b"),
        ("<internal_thoughts>a</internal_thoughts>b", "b"),
        ("<cot>a</cot>b", "b"),
        ("<think>a</think><answer>b</answer>", "b"),
        ("<think>a</think>\n<response>\nb</response>", "b"),
        ("<think>`a</think>b", "b"),
        ("<think>a <|im_start|> b</think>c", "c"),
        ("Write `<think>` before it.", "Write `<think>` before it."),
        ("```xml\n<think>a</think>\n```\nSo.", "```xml\n<think>a</think>\n```\nSo."),
        ("It`s <think>a</think>b", "It`s b"),
        ("2 < 3 and <b>4</b>", "2 < 3 and <b>4</b>"),
        ("\n</think>\n\nHi", "Hi"),
    ],
)
def test_thinking_is_removed(written: str, heard: str) -> None:
    for size in SIZES:
        assert said(written, size) == heard


@pytest.mark.parametrize(
    ("written", "heard"),
    [
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", "b"),
        ("<|start|>assistant<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "b"),
        ("<|channel|>final<|message|>b<|end|>c", "b"),
        ("<|channel|>analysis<|message|>a", ""),
        ("<|channel|>commentary<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "b"),
        ("<|message|>b<|end|>c", "b"),
        ("analysisThe user says hi. Answer.assistantfinalHello.", "Hello."),
        ("analysisWe need to", ""),
        ("analysis of it: good", "analysis of it: good"),
        ("analysis", "analysis"),
        ("an answer", "an answer"),
        ("a<think>b</think>c", "a c"),
    ],
)
def test_only_the_final_channel_is_kept(written: str, heard: str) -> None:
    for size in SIZES:
        assert said(written, size) == heard


def test_reply_of_a_thinking_model_begins_after_its_thinking() -> None:
    for size in SIZES:
        assert said("I `should say hi</think>\n\nHi there", size, thinks_first=True) == "Hi there"
        assert said("<think>a</think>Hi", size, thinks_first=True) == "Hi"
        assert said("Steps.\n[BEGIN FINAL RESPONSE]Hi[END FINAL RESPONSE]", size, thinks_first=True) == "Hi"
        assert said("Sure. <think>a</think> Hi", size, thinks_first=True) == "Sure. Hi"
        assert said("Sure. `<think>` it is", size, thinks_first=True) == "Sure. `<think>` it is"
        assert said("Hi `there` <|im_end|>x", size, thinks_first=True) == "Hi `there` "
        assert said('{"name": "light", "arguments": {}}', size, thinks_first=True) == ""


def test_end_of_thinking_without_a_beginning_is_detected() -> None:
    assert read(["I should", " say hi</think>", "Hi"]).closed_unopened is True
    assert read(["<think>a</think>Hi"]).closed_unopened is False
    assert read(["Say `</think>`"]).closed_unopened is False
    assert read([""]).closed_unopened is None


# --- special tokens ---


@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "</s>", "<eos>", "<|endoftext|>", "<end_of_turn>", "<|end|>",
        "<|return|>", "<|end_of_text|>", "<|EOT|>", "<｜end▁of▁sentence｜>", "<|END_OF_TURN_TOKEN|>", "<|im_start|>",
        "<|eot|>", "<|endofprompt|>", "<|start_header_id|>", "<start_of_turn>", "[/INST]", "<|user|>", "<turn|>",
        "</eos>", "[EOS]", "<eos_token>", "[|endofturn|]", "<endoftext>",
    ],
)  # fmt: skip
def test_special_token_ends_the_reply(token: str) -> None:
    for size in SIZES:
        text = f"All is well.{token}user\nAnd now?"
        reply = read([text[at : at + size] for at in range(0, len(text), size)])
        assert (reply.said, reply.over) == ("All is well.", True)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "beginning",
    ["<|im_start|>assistant\n", "<|start_header_id|>assistant<|end_header_id|>\n\n", "<start_of_turn>model\n", "<s>",
     "<bos>", "<|begin_of_text|>", "<|assistant|>", "<|assistant|>\n", "<|audio|>"],
)  # fmt: skip
def test_special_tokens_before_the_reply_are_removed(beginning: str) -> None:
    for size in SIZES:
        assert said(f"{beginning}Hello there.\nYes.", size) == "Hello there.\nYes."


# --- calls ---

LIGHT = '{"name": "light", "arguments": {"on": true}}'


@pytest.mark.parametrize(
    "written",
    [
        LIGHT,
        '{"name": "light", "parameters": {"on": true}}',
        '{"name": "functions.light", "arguments": "{\\"on\\": true}"}',
        '{"type": "function", "function": {"name": "light", "arguments": {"on": true}}}',
        '{"function": "light", "arguments": {"on": true}}',
        '{"tool": "light", "tool_input": {"on": true}}',
        '{"light": {"on": true}}',
        '{"name": "light", "arguments": {"on": true}',
        f'{{"tool_calls": [{LIGHT}]}}',
        f"[{LIGHT}]",
        f"```json\n{LIGHT}\n```",
        f"```\n{LIGHT}\n```",
        f"<tool_call>\n{LIGHT}\n</tool_call>",
        f"<tool_call>{LIGHT}",
        f"<tool_call>{LIGHT[:-1]}</tool_call>",
        f"<tool_call>[{LIGHT}]</tool_call>",
        f"<function_call>{LIGHT}</function_call>",
        f"<|python_tag|>{LIGHT}<|eom_id|>",
        "<|python_tag|>light.call(on=True)<|eom_id|>",
        f"[TOOL_CALLS] [{LIGHT}]",
        f"[TOOL_CALLS][{LIGHT}]</s>",
        '[TOOL_CALLS]light[ARGS]{"on": true}',
        f"[TOOL_REQUEST]{LIGHT}[END_TOOL_REQUEST]",
        '<function=light>{"on": true}</function>',
        "<tool_call>\n<function=light>\n<parameter=on>\ntrue\n</parameter>\n</function>\n</tool_call>",
        "<tool_call>light\n<arg_key>on</arg_key>\n<arg_value>true</arg_value>\n</tool_call>",
        '<function_calls><invoke name="light"><parameter name="on">true</parameter></invoke></function_calls>',
        f"<|tool_call|>[{LIGHT}]",
        f"<|tool_call|>{LIGHT}<|/tool_call|>",
        "<|tool_call_start|>[light(on=True)]<|tool_call_end|>",
        "[light(on=True)]",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>light\n```json\n"
        '{"on": true}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.light:0<|tool_call_argument_begin|>"
        '{"on": true}<|tool_call_end|><|tool_calls_section_end|>',
        '<|channel|>commentary to=functions.light <|constrain|>json<|message|>{"on": true}<|call|>',
        '<|start|>assistant to=functions.light<|channel|>commentary json<|message|>{"on": true}<|call|>',
        f"<tools>{LIGHT}</tools>",
        f"<functioncall> {LIGHT}",
        f"<functioncall> {LIGHT}</functioncall>",
        f"<function>{LIGHT}</function>",
        "<tool_code>\nprint(light(on=True))\n</tool_code>",
        '<function_call name="light">{"on": true}</function_call>',
        '<tool_call name="light">{"on": true}</tool_call>',
        '<xai:function_call name="light"><parameter name="on">true</parameter></xai:function_call>',
        '<minimax:tool_call><invoke name="light"><parameter name="on">true</parameter></invoke></minimax:tool_call>',
        "<seed:tool_call><function=light><parameter=on>true</parameter></function></seed:tool_call>",
        "<longcat_tool_call>light\n<longcat_arg_key>on</longcat_arg_key>\n"
        "<longcat_arg_value>true</longcat_arg_value>\n</longcat_tool_call>",
        '<｜DSML｜function_calls><｜DSML｜invoke name="light"><｜DSML｜parameter name="on" string="false">true'
        "</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>",
        "<start_function_call>call:light{on:true}<end_function_call>",
        "<|tool_call>call:light{on:true}<tool_call|>",
        '<|tool_call_begin|>functions.light:0<|tool_call_argument_begin|>{"on": true}<|tool_call_end|>',
        f"<tool_call>{{{LIGHT}}}</tool_call>",
        "[light(on=true)]",
        "{'name': 'light', 'arguments': {'on': True}}",
        f"<think>The light.</think>\n{LIGHT}",
    ],
)
def test_call_written_as_text_is_made_and_not_spoken(written: str) -> None:
    for size in SIZES:
        assert called(written, size) == [("light", ON)]
        assert said(written, size) == ""


def test_several_written_calls_are_made_and_other_text_is_spoken() -> None:
    for size in SIZES:
        text = f'At once. {LIGHT}; {{"name": "current_time", "parameters": {{}}}} Done.'
        assert called(text, size) == [("light", ON), ("current_time", {})]
        assert said(text, size) == "At once. Done."
        text = f"<tool_call>{LIGHT}</tool_call>\n<tool_call>{LIGHT}</tool_call>"
        assert called(text, size) == [("light", ON), ("light", ON)]


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Anna", "age": 7}',
        '{"name": "door", "arguments": {}}',
        '<tool_call>{"name": "door", "arguments": {}}</tool_call>',
        "See [1], {x} and [light].",
        '```json\n{"name": "Anna"}\n```\nThat is it.',
        "```python\nlight(on=True)\n```",
        'Write `{"name": "light", "arguments": {}}` here.',
        '{"name": "light',
        "[",
        "``` and {",
    ],
)
def test_text_without_a_call_stays_text(text: str) -> None:
    for size in SIZES:
        assert said(text, size) == text
        assert called(text, size) == []


@pytest.mark.parametrize("nothing", ['""', "null", '" "'])
def test_empty_arguments_become_an_empty_object(nothing: str) -> None:
    for size in SIZES:
        assert called(f'{{"name": "current_time", "parameters": {nothing}}}', size) == [("current_time", {})]


@pytest.mark.parametrize("text", [LIGHT, f"```json\n{LIGHT}\n```", f"<tool_call>{LIGHT}</tool_call>"])
def test_written_calls_stay_text_if_no_tools_are_offered(text: str) -> None:
    assert said(text, tools=()) == text


# --- all combinations ---

PARTS = [
    "<think>", "</think>", "<thinking a='b'>", "[THINK]", "[/THINK]", "<|channel|>", "analysis", "final",
    "<|message|>", "<|end|>", "<|start|>", "assistant", "<|im_start|>", "<tool_call>", "</tool_call>", LIGHT,
    LIGHT[:20],
    "[TOOL_CALLS]", "<function=light>", "</function>", "```", "`", "\n", " ", "Hi there. ", "{", "[", '"', "}", "<",
    "<|", "\ud83d", "\ude00", "😀", "light(on=True)", "json", "</", "<s", "to=light", "◁think▷",
]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=14), st.data(), st.booleans(), st.booleans())
@example(["```", "`", "{"], None, False, True)
def test_reply_does_not_depend_on_the_deltas(
    parts: list[str], data: st.DataObject | None, thinks_first: bool, with_tools: bool
) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20))) if data else range(len(text))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    tools = TOOLS if with_tools else ()
    whole, cut = read([text], tools, thinks_first=thinks_first), read(pieces, tools, thinks_first=thinks_first)
    assert cut.said == whole.said  # type: ignore[attr-defined]
    assert cut.calls == whole.calls
    assert cut.closed_unopened == whole.closed_unopened
    cut.said.encode()  # type: ignore[attr-defined]


@given(st.text(st.characters(exclude_characters="<[{`◁", exclude_categories=["Cs"]), min_size=1))
def test_plain_text_passes_without_delay(text: str) -> None:
    reply = ReplyText(TOOLS)
    assert reply.feed(f"x{text}") == f"x{text}"


@pytest.mark.parametrize("unit", ["<", "<think ", "{", '{"name":', "[", "`", "```\n{", "<|x", '{"a":"', "<tool_call>",
                                  "\\", "</think>", "[THINK]", "x"])  # fmt: skip
def test_time_grows_linearly_with_the_length(unit: str) -> None:
    assert slow(lambda text: said(text, 5), repeated(unit)(SHORT), repeated(unit)(LONG)) == ""
