"""Markers that chat templates and models put into the text of a reply: thinking, channels, special tokens, calls.

Collected from the templates and documents of DeepSeek R1, Qwen 3, QwQ, Magistral, Kimi, Seed-OSS, Command A, GLM 4.5,
gpt-oss (harmony), LLaMA 3, Gemma, Phi 4, Granite, LFM 2, functionary 3.1 and LM Studio.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """A marker's meaning for the text after it."""

    THINK_OPEN = auto()
    THINK_CLOSE = auto()
    END = auto()
    """The reply ends."""
    ROLE = auto()
    """Another message begins, with the name of its role."""
    DROPPED = auto()
    """Has no effect here and is removed."""
    HEADER = auto()
    """harmony: a message begins, with its role."""
    CHANNEL = auto()
    """harmony: the name of a channel follows."""
    MESSAGE = auto()
    """harmony: the header ends and the message begins."""
    MESSAGE_END = auto()
    """harmony: a message ends. Without channels (Phi) the reply ends."""
    CALL_OPEN = auto()
    CALL_CLOSE = auto()


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker, as written in the text."""

    kind: Kind
    text: str
    closes_with: str = ""
    """The marker that ends the call, in lower case; empty: the call ends with the reply."""


STARTS = frozenset("<[◁")
"""Characters that a marker can begin with."""

_THINKING = (
    "think", "thinking", "thinks", "thought", "thoughts", "reason", "reasoning", "reflection", "analysis",
    "scratchpad", "inner_monologue", "seed:think", "ant_thinking", "antthinking", "internal_thought", "monologue",
    "internal_thoughts", "internal_monologue", "internal_reasoning", "inner_thought", "inner_thoughts", "mm:think",
    "cot", "chain_of_thought", "thought_process", "thinking_process", "reasoning_process",
)  # fmt: skip
_CALLS = {
    "<tool_call>": "</tool_call>",
    "<tool_calls>": "</tool_calls>",
    "<toolcall>": "</toolcall>",
    "<function_call>": "</function_call>",
    "<function_calls>": "</function_calls>",
    "<functioncall>": "</functioncall>",
    "<function>": "</function>",
    "<tools>": "</tools>",
    "<tool_code>": "</tool_code>",
    "<minimax:tool_call>": "</minimax:tool_call>",
    "<seed:tool_call>": "</seed:tool_call>",
    "<longcat_tool_call>": "</longcat_tool_call>",
    "<|dsml|function_calls>": "</|dsml|function_calls>",
    "<start_function_call>": "<end_function_call>",
    "<|tool_call>": "<tool_call|>",
    "[tool_calls]": "",
    "[tool_request]": "[end_tool_request]",
    "<|python_tag|>": "",
    "<|tool_call|>": "<|/tool_call|>",
    "<|tool_call_start|>": "<|tool_call_end|>",
    "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",
    "<|tool_calls_begin|>": "<|tool_calls_end|>",
    "<|tool_call_begin|>": "<|tool_call_end|>",
    "<|start_action|>": "<|end_action|>",
}
_TAGS = {
    "</s>": Kind.END, "<eos>": Kind.END, "<end_of_turn>": Kind.END, "<end_of_utterance>": Kind.END,
    "<eot>": Kind.END, "<eod>": Kind.END, "[/inst]": Kind.END, "[inst]": Kind.END, "<turn|>": Kind.END,
    "<start_of_turn>": Kind.ROLE, "<s>": Kind.DROPPED, "<bos>": Kind.DROPPED, "<pad>": Kind.DROPPED,
    "<unk>": Kind.DROPPED,
    "[think]": Kind.THINK_OPEN, "[/think]": Kind.THINK_CLOSE, "◁think▷": Kind.THINK_OPEN,
    "◁/think▷": Kind.THINK_CLOSE,
    "<|channel>": Kind.THINK_OPEN, "<channel|>": Kind.THINK_CLOSE,
    "[begin final response]": Kind.THINK_CLOSE, "[end final response]": Kind.END,
    "</eos>": Kind.END, "[eos]": Kind.END, "<eos_token>": Kind.END, "[|endofturn|]": Kind.END,
    "<endoftext>": Kind.END, "<end_of_text>": Kind.END, "[gmask]": Kind.DROPPED,
    **{f"<{end}{name}>": Kind.DROPPED for name in ("answer", "final_answer", "response") for end in ("", "/")},
}  # fmt: skip
"""Markers with only one spelling, in lower case."""
_SPECIAL_KINDS = {
    "start": Kind.HEADER, "channel": Kind.CHANNEL, "message": Kind.MESSAGE, "end": Kind.MESSAGE_END,
    "call": Kind.MESSAGE_END, "constrain": Kind.DROPPED,
    "begin_of_thought": Kind.THINK_OPEN, "end_of_thought": Kind.THINK_CLOSE,
    "start_thinking": Kind.THINK_OPEN, "end_thinking": Kind.THINK_CLOSE,
    "begin_of_think": Kind.THINK_OPEN, "end_of_think": Kind.THINK_CLOSE,
    "begin_of_solution": Kind.DROPPED, "end_of_solution": Kind.DROPPED,
    "start_response": Kind.DROPPED, "end_response": Kind.DROPPED,
    "begin_of_box": Kind.DROPPED, "end_of_box": Kind.DROPPED,
    "end_header_id": Kind.MESSAGE, "header_end": Kind.MESSAGE, "end_of_role": Kind.MESSAGE, "im_sep": Kind.MESSAGE,
    "im_middle": Kind.MESSAGE,
    "im_start": Kind.ROLE, "start_header_id": Kind.ROLE, "header_start": Kind.ROLE, "start_of_role": Kind.ROLE,
    "user": Kind.ROLE, "system": Kind.ROLE, "assistant": Kind.ROLE, "human": Kind.ROLE, "observation": Kind.ROLE,
    "start_of_turn_token": Kind.ROLE,
}  # fmt: skip
"""Special tokens `<|name|>`, by name."""
_ENDS = re.compile(r"(?:.*_)?(?:end|eo[a-z]|stop|return)(?:_.*)?|endof.*")
"""Names of special tokens that end a reply: im_end, eot_id, endoftext, end_of_turn, return …"""
_SPECIAL_THINKING = re.compile(
    rf"(?P<close>/|end_(?:of_)?)?(?:begin_(?:of_)?|start_(?:of_)?)?(?:{'|'.join(_THINKING)})(?:_(?:start|begin|(?P<end>end)))?"
)
"""Names of special tokens around a thought: think, /think, begin_of_thinking, end_thought, reasoning_start …"""

_SPECIAL = re.compile(r"<[|｜] ?([/\w.-]{1,40}) ?[|｜]>")
_SPECIAL_BEGUN = re.compile(r"<(?:[|｜] ?(?:[/\w.-]{1,40} ?[|｜]?)?)?")
_THINK_TAG = re.compile(r"<\s{0,2}(/?)\s{0,2}([a-z_:]{1,20})(?:\s[^<>]{0,80}?)?(/?)>")
_THINK_TAG_BEGUN = re.compile(r"<\s{0,2}/?\s{0,2}([a-z_:]{0,20})((?:\s[^<>]{0,80})?/?)")
_NAMED_TAGS = ("function", "invoke", "function_call", "tool_call", "xai:function_call")
_NAMED_ENDS = frozenset(f"</{tag}>" for tag in _NAMED_TAGS)
_NAMED_CALL = re.compile(rf"<({'|'.join(_NAMED_TAGS)})(?:=| name=)[^<>\n]{{1,80}}>")
_NAMED_CALL_BEGUN = re.compile(rf"<(?:{'|'.join(_NAMED_TAGS)})(?:=| name=)[^<>\n]{{0,80}}")
_EXACT = (*_TAGS, *_CALLS, *filter(None, _CALLS.values()), *_NAMED_ENDS, "<|",
          *(f"<{tag}{name}" for tag in _NAMED_TAGS for name in ("=", " name=")))  # fmt: skip
_BEGINNINGS = frozenset(exact[:length] for exact in _EXACT for length in range(1, len(exact) + 1))


def marker_of(text: str) -> Marker | None:
    """Return the marker that all of `text` forms; None if it is not a marker."""
    lower = text.lower().replace("｜", "|").replace("▁", "_")
    if lower in _CALLS:
        return Marker(Kind.CALL_OPEN, text, _CALLS[lower])
    if lower in _CALLS.values() or lower in _NAMED_ENDS:
        return Marker(Kind.CALL_CLOSE, text, lower)
    if lower in _TAGS:
        return Marker(_TAGS[lower], text)
    if named := _NAMED_CALL.fullmatch(lower):
        return Marker(Kind.CALL_OPEN, text, f"</{named[1]}>")
    if special := _SPECIAL.fullmatch(lower):
        name = special[1].strip("_")
        kind = _SPECIAL_KINDS.get(name)
        if kind is None and (thought := _SPECIAL_THINKING.fullmatch(name)):
            kind = Kind.THINK_CLOSE if thought["close"] or thought["end"] else Kind.THINK_OPEN
        return Marker(kind or (Kind.END if _ENDS.fullmatch(name) else Kind.DROPPED), text)
    if (tag := _THINK_TAG.fullmatch(lower)) and tag[2] in _THINKING:
        return Marker(Kind.DROPPED if tag[3] else Kind.THINK_CLOSE if tag[1] else Kind.THINK_OPEN, text)
    return None


def may_become_marker(text: str) -> bool:
    """Whether more text could turn `text` into a marker. Usually False after a few characters."""
    lower = text.lower().replace("｜", "|").replace("▁", "_")
    if lower in _BEGINNINGS or _SPECIAL_BEGUN.fullmatch(lower) or _NAMED_CALL_BEGUN.fullmatch(lower):
        return True
    begun = _THINK_TAG_BEGUN.fullmatch(lower)
    if begun is None:
        return False
    name, rest = begun[1], begun[2]
    return name in _THINKING if rest else any(known.startswith(name) for known in _THINKING)
