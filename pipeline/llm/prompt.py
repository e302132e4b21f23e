"""The part of a conversation that is sent to a language model, in the order that the strictest chat templates require.

These templates refuse (with 400, at every turn) a system message that is not the first, two consecutive messages of one
role, a conversation that does not begin with the user, and results without their calls.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain

from pipeline.llm import Message
from pipeline.llm.languages import NAMES

BYTES_PER_TOKEN = 3.5
"""Estimate, because there is no tokeniser here: LLaMA's tokens have about 4 bytes in English and 3 in Portuguese or
Spanish."""
TOKENS_PER_MESSAGE = 5
"""Tokens for the role and separators of the chat template."""
NO_RESULT = "There is no result yet."
"""Result that the model sees for a call without one, because some models refuse a call without a result."""
SENTENCE_ENDS = (".", "!", "?")
"""Ends of a system prompt after which the date is on the same line."""
NOTHING_SAID = "…"
"""Replaces the message of a side that said nothing when it was its turn."""


def estimated_tokens(message: Message) -> int:
    """Estimate the tokens that a message takes in the prompt."""
    called = sum(len(call.name) + len(call.arguments.encode()) for call in message.calls)
    return TOKENS_PER_MESSAGE + int((len(message.content.encode()) + called) / BYTES_PER_TOKEN)


def dated(messages: Sequence[Message], now: datetime) -> list[Message]:
    """Give the system message, which begins the messages, the time for the model."""
    system, *rest = messages
    return [replace(system, clock=now), *rest]


def with_date(messages: Sequence[Message], *, with_time: bool) -> list[Message]:
    """Write the date at the end of a system message with a clock, and the time if the model cannot ask for it."""
    if not messages or (now := messages[0].clock) is None:
        return list(messages)
    system, *rest = messages
    # "Today is" on a line of its own is what a small model then says, whatever it is asked (`bench.first_contact`).
    date = f"It is {now:%A}, {now.day} {now:%B %Y}."
    time = f" The conversation began at {now:%H:%M}." if with_time else ""
    between = " " if system.content.endswith(SENTENCE_ENDS) else "\n"
    return [replace(system, content=f"{system.content}{between}{date}{time}".strip()), *rest]


def in_the_users_language(messages: Sequence[Message]) -> list[Message]:
    """Add to the system message the language that the user spoke last, if it is known."""
    asked = next((message for message in reversed(messages) if message.role == "user"), None)
    name = NAMES.get((asked.language or "")[:2].lower()) if asked else None
    if name is None:
        return list(messages)
    instruction = f"The user is speaking {name}. Answer in {name}."
    if messages[0].role == "system":
        return [replace(messages[0], content=f"{messages[0].content}\n{instruction}".strip()), *messages[1:]]
    return [Message("system", instruction), *messages]


def in_order(messages: Sequence[Message]) -> list[Message]:
    """Put the result of each call right after it, as the models require. A call without a result gets `NO_RESULT`; a
    result without its call is left out. Some models give several calls the same id: their results come in order."""
    results = defaultdict[str | None, deque[Message]](deque)
    for message in messages:
        if message.role == "tool":
            results[message.call_id].append(message)
    ordered: list[Message] = []
    for message in messages:
        if message.role == "tool":
            continue
        ordered.append(message)
        for call in message.calls:
            found = results[call.id]
            ordered.append(found.popleft() if found else Message("tool", NO_RESULT, call_id=call.id))
    return ordered


def alternating(messages: Sequence[Message]) -> list[Message]:
    """Merge all system messages into the first message, then alternate user and assistant. The user is first and last
    (unless the results of calls are last), and the results of calls are right after the calls.

    Consecutive messages of one side are merged; where one side said nothing, `NOTHING_SAID` is inserted.
    """
    messages = in_order(messages)
    instructing = [message for message in messages if message.role == "system"]
    system = "\n\n".join(message.content for message in instructing if message.content)
    clock = next((message.clock for message in instructing if message.clock), None)
    runs: list[list[Message]] = []  # consecutive messages of one side
    for message in messages:
        side = runs[-1][0].role if runs else None
        said = bool(message.content.strip())
        match message.role:
            case "system":
                continue
            case "user" if not said:
                continue
            case "user" if side == "tool":
                runs.append([Message("assistant", NOTHING_SAID)])
            case "assistant" if not said and not message.calls:
                continue
            case "assistant" if side is None:
                runs.append([Message("user", NOTHING_SAID)])
        if side == message.role and side != "tool":
            runs[-1].append(message)
        else:
            runs.append([message])
    if not runs or runs[-1][0].role == "assistant":
        runs.append([Message("user", NOTHING_SAID)])
    first = [Message("system", system, clock=clock)] if system or clock else []
    return [*first, *map(_merged, runs)]


def _merged(run: Sequence[Message]) -> Message:
    """Merge messages of one side, whose language is that of the last."""
    if len(run) == 1:
        return run[0]
    content = "\n".join(message.content for message in run if message.content)
    return replace(run[-1], content=content, calls=tuple(call for message in run for call in message.calls))


def shortened(messages: Sequence[Message], limit: int) -> list[Message]:
    """Return the system message and the newest turns that fit in `limit` estimated tokens; the last turn in any case.

    A turn is a user's message with everything after it, so that results are not separated from their calls.
    """
    system = [message for message in messages[:1] if message.role == "system"]
    turns = list(_turns(messages[len(system) :]))
    room = limit - sum(map(estimated_tokens, system))
    kept = 0
    for turn in reversed(turns):
        room -= sum(map(estimated_tokens, turn))
        if room < 0 and kept:
            break
        kept += 1
    return [*system, *chain.from_iterable(turns[len(turns) - kept :])]


def _turns(messages: Sequence[Message]) -> Iterator[list[Message]]:
    turn: list[Message] = []
    for message in messages:
        if message.role == "user" and turn:
            yield turn
            turn = []
        turn.append(message)
    if turn:
        yield turn
