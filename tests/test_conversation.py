"""The history of a conversation and the prompts made from it."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from pipeline.conversation.history import FIRST, Conversation
from pipeline.errors import BadInput
from pipeline.llm import Message, ToolCall
from pipeline.llm.prompt import NO_RESULT, estimated_tokens

TEXT = st.text(max_size=300)


def test_prompt_is_the_history_in_order() -> None:
    conversation = Conversation("be brief", budget_tokens=1000)
    conversation.record("my name is Ana", "en", "Nice to meet you, Ana.")
    conversation.record("and tell me a story", "en", "Once upon", interrupted=True)
    prompt = conversation.prompt("what is my name", "en")
    assert [(m.role, m.content) for m in prompt] == [
        ("system", "be brief"),
        ("user", "my name is Ana"),
        ("assistant", "Nice to meet you, Ana."),
        ("user", "and tell me a story"),
        ("assistant", "Once upon …"),
        ("user", "what is my name"),
    ]


def test_results_of_calls_with_one_id_are_told_once_each() -> None:
    conversation = Conversation("s", budget_tokens=3000)
    calls = tuple(ToolCall("a", "get_time", "{}") for _ in range(100))
    steps = [(Message("assistant", "", calls=calls), *(Message("tool", one, call_id="a") for one in ("first", "then")))]
    conversation.record("what time is it", "en", "Noon.", steps=steps)
    results = [message.content for message in conversation.prompt("thanks", "en") if message.role == "tool"]
    assert results == ["first", "then", *[NO_RESULT] * 98]


def test_unheard_reply_is_not_kept_in_the_history() -> None:
    conversation = Conversation("s", budget_tokens=1000)
    conversation.record("hello", "en", "", interrupted=True)
    assert [m.role for m in conversation.messages] == ["user"]


@given(st.lists(st.tuples(TEXT, TEXT), max_size=30), TEXT, st.integers(256, 2000))
def test_prompt_keeps_its_budget_and_the_newest_turns(turns: list[tuple[str, str]], question: str, budget: int) -> None:
    conversation = Conversation("system", budget_tokens=budget)
    for said, heard in turns:
        conversation.record(said, "en", heard)
    prompt = conversation.prompt(question, "en")
    assert (prompt[0].content, prompt[-1].content) == ("system", question)
    history = prompt[1:-1]
    assert sum(map(estimated_tokens, history)) <= max(
        0, budget - estimated_tokens(prompt[0]) - estimated_tokens(prompt[-1])
    )
    everything = [m for s, h in turns for m in ([s, h] if h else [s])]
    assert [m.content for m in history] == (everything[-len(history) :] if history else [])
    assert not history or history[0].role == "user"


def test_history_of_a_long_conversation_is_bounded() -> None:
    conversation = Conversation("s", budget_tokens=300)
    for n in range(1000):
        conversation.record(f"question {n}", "en", f"answer {n} " * 5)
    assert len(conversation.messages) < 100
    assert conversation.messages[-1].content.startswith("answer 999")


@given(st.lists(st.tuples(st.sampled_from(["end", "after", "before", "delete"]), st.integers(0, 9), st.integers(0, 9))))
def test_items_keep_the_position_they_were_placed_at(steps: list[tuple[str, int, int]]) -> None:
    """Compare with a plain list. An existing ID, or an unknown one, changes nothing."""
    conversation, plain = Conversation("s", budget_tokens=10_000), list[str]()
    for what, new, there in steps:
        id, other = f"item {new}", f"item {there}"
        with contextlib.suppress(BadInput):
            match what:
                case "end":
                    conversation.place(Message("user", "x"), id=id)
                case "after":
                    conversation.place(Message("user", "x"), id=id, after=other if there else FIRST)
                case "before":
                    conversation.place(Message("user", "x"), id=id, before=other)
                case _:
                    conversation.delete(other)
        match what:
            case "delete":
                plain = [one for one in plain if one != other]
            case _ if id in plain:
                pass
            case "end":
                plain.append(id)
            case "after" if not there:
                plain.insert(0, id)
            case "after" if other in plain:
                plain.insert(plain.index(other) + 1, id)
            case "before":
                plain.insert(plain.index(other) if other in plain else len(plain), id)
            case _:
                pass
    assert [item.id for item in conversation.items] == plain
    assert conversation.size == len(plain)
    assert [conversation.previous(id) for id in plain] == [None, *plain[:-1]][: len(plain)]
    assert all(id in conversation for id in plain)
