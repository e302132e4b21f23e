"""The built-in responder: instead of a model, a table of the first things that people ask a voice assistant."""

import math
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from pipeline.llm import AS_SET, Generation, Message, ReplyDelta, Tool, ToolCall, Usage
from pipeline.llm.builtin import calling, numbers
from pipeline.llm.builtin.language import Language
from pipeline.llm.builtin.understanding import LANGUAGES, Wanted, amount, compiled, language_of, terms, understand
from pipeline.llm.builtin.units import convert

COUNT_LIMIT = 100
REMEMBERED = 50
"""Number of the user's last messages that a reply can depend on."""
ROOT_SCALE = 10**6
"""Square roots are exact to one part in this many, or exact."""
SUMS = frozenset({"sum", "add", "multiply", "divide", "subtract_from"})


class BuiltinResponder:
    """Replies about time, date, sums, conversions and small talk in English, Portuguese and Spanish. To anything else
    it replies that it needs a language model; how to connect one is on the page and in the documentation.

    It has no state: it reads what it remembers from the conversation. `clock` returns the local time.
    """

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        for language in LANGUAGES.values():
            compiled(language)

    async def reply(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        must_call: bool = False,
        generation: Generation = AS_SET,
    ) -> AsyncIterator[ReplyDelta]:
        """Stream the reply word by word, or call one of the basic `tools` (`pipeline.tools.basic`) if one serves it.

        must_call: ignored, because the responder knows only the basic functions. generation: ignored.
        """
        call = self.call(messages, tools)
        if call is not None:
            yield ReplyDelta("", Usage(input_tokens=0, output_tokens=1), (call,))
            return
        text = self.text_for(messages)
        pieces = re.findall(r"\s*\S+\s*", text)
        for piece in pieces:
            yield ReplyDelta(piece)
        said = sum(len(message.content.split()) for message in messages)
        yield ReplyDelta("", Usage(input_tokens=said, output_tokens=len(pieces)))

    def call(self, messages: Sequence[Message], tools: Sequence[Tool]) -> ToolCall | None:
        """Return the call that serves the last message; None when there is none, or when it was made already."""
        if not tools or not messages or messages[-1].role != "user":
            return None
        language = _language(messages[-1])
        wanted = understand(messages[-1].content, language)
        return calling.call_for(wanted, language, {tool.name for tool in tools}) if wanted else None

    def text_for(self, messages: Sequence[Message]) -> str:
        """Return the whole reply to the last user message, with the results of its calls."""
        asked = [message for message in messages if message.role == "user"][-REMEMBERED:]
        if not asked:
            return LANGUAGES["en"].replies["go_ahead"][0]
        language = _language(asked[-1])
        if not asked[-1].content.strip():
            return language.replies["empty"][0]
        result = calling.result(messages)
        now = calling.told_time(result) or self._clock()
        talk = _Talk(language, messages, asked[:-1], now, result)
        wanted = understand(asked[-1].content, language)
        reply = talk.reply(wanted) if wanted else None
        return reply or language.replies["fallback"][0]


def _language(message: Message) -> Language:
    return language_of(message.content, message.language)


@dataclass(frozen=True, slots=True)
class _Talk:
    """One conversation at one moment. `before` holds the user's messages except the last."""

    language: Language
    messages: Sequence[Message]
    before: Sequence[Message]
    now: datetime
    result: Message | None = None
    """Result of the call for the last message."""

    def reply(self, wanted: Wanted) -> str | None:
        """Return the reply; None when the request cannot be served after all."""
        intent = wanted.intent
        if intent in ("time", "day", "tomorrow", "date", "month", "year"):
            return self._clock_reply(intent)
        if intent in SUMS:
            return self._sum(wanted)
        if intent == "root":
            return self._root(wanted)
        if intent == "another":
            return self._another()
        if intent == "timer":
            return self._timer(wanted)
        if intent in ("how_many", "how_many_reversed", "convert"):
            return self._conversion(wanted)
        if intent == "spell":
            word = wanted.written["word_1"]
            letters = ", ".join(char.upper() for char in word if char.isalnum())
            return self._say("spell", word=_capital(word), letters=letters)
        if intent in ("count", "count_from", "count_down"):
            return self._count(wanted)
        if intent == "repeat":
            return _ended(_capital(wanted.written["text_1"]))
        if intent in ("again", "what_said"):
            return self._remembered(intent)
        if intent in ("my_name", "say_hello"):
            return self._say(intent, name=_capital(wanted.written["name_1"], every=True))
        if intent == "what_name":
            name = self._name()
            return self._say("name", name=name) if name else self._say("no_name")
        if intent == "hello" and (name := self._name()):
            return self._say("hello_name", name=name)
        return self._say(intent, turn=self._times(intent))

    def _say(self, reply: str, *, turn: int = 0, **fields: object) -> str:
        choices = self.language.replies[reply]
        return choices[turn % len(choices)].format(**fields)

    def _times(self, intent: str) -> int:
        """Return how often the user has made this request before."""
        found = (understand(message.content, _language(message)) for message in self.before)
        return sum(wanted is not None and wanted.intent == intent for wanted in found)

    def _clock_reply(self, intent: str) -> str:
        now = self.now + timedelta(days=intent == "tomorrow")
        reply = "time_one" if intent == "time" and now.hour == 1 else intent
        return self._say(
            reply,
            hour=now.hour,
            hour12=now.hour % 12 or 12,
            minute=now.minute,
            half="am" if now.hour < 12 else "pm",
            weekday=self.language.weekdays[now.weekday()],
            day=now.day,
            month=self.language.months[now.month - 1],
            year=now.year,
        )

    def _number(self, value: Fraction) -> str:
        return numbers.written(value, comma_decimal=self.language.comma_decimal)

    def _sum(self, wanted: Wanted) -> str | None:
        found = terms(wanted, self.language)
        if found is None:
            return None
        values, signs = found
        said = [self._number(values[0])]
        for sign, value in zip(signs, values[1:], strict=True):
            said += [self.language.operator_names[sign], self._number(value)]
        try:
            result = calling.told_number(self.result) or evaluate(values, signs)
        except ZeroDivisionError:
            return self._say("no_zero")
        return self._say(_exactly("sum", "sum_about", result), sum=" ".join(said), result=self._number(result))

    def _root(self, wanted: Wanted) -> str | None:
        value = amount(wanted.parts["number_1"], self.language)
        if value is None:
            return None
        if value < 0:
            return self._say("no_root")
        root = Fraction(math.isqrt(value.numerator * value.denominator * ROOT_SCALE**2), value.denominator * ROOT_SCALE)
        reply = "root" if root * root == value and round(root, 2) == root else "root_about"
        return self._say(reply, number=self._number(value), result=self._number(root))

    def _another(self) -> str | None:
        """Return another joke or story, if the last one that was asked for was one of them."""
        asked = (understand(message.content, _language(message)) for message in reversed(self.before))
        told = next((wanted.intent for wanted in asked if wanted and wanted.intent in ("joke", "story")), None)
        return self._say(told, turn=self._times(told) + self._times("another")) if told else None

    def _timer(self, wanted: Wanted) -> str | None:
        if self.result is None or calling.failed(self.result):
            return self._say("no_timer")
        value = amount(wanted.parts["amount_1"], self.language)
        unit = compiled(self.language).units[wanted.parts["unit_1"]]
        return self._say("timer", duration=self._counted(value, unit)) if value is not None else None

    def _conversion(self, wanted: Wanted) -> str | None:
        units = compiled(self.language).units
        first, second = units[wanted.parts["unit_1"]], units[wanted.parts["unit_2"]]
        # "how many minutes in two hours" names the target unit first.
        source, target = (second, first) if wanted.intent == "how_many" else (first, second)
        value = amount(wanted.parts["amount_1"], self.language)
        if value is None:
            return None
        result = convert(value, source, target)
        names = self.language.unit_names
        if result is None:
            return self._say("no_conversion", source=names[source][1], target=names[target][1])
        return self._say(
            _exactly("conversion", "about", result),
            source=self._counted(value, source),
            result=self._counted(result, target),
        )

    def _counted(self, value: Fraction, unit: str) -> str:
        one, many = self.language.unit_names[unit]
        return f"{self._number(value)} {one if value == 1 else many}"

    def _count(self, wanted: Wanted) -> str | None:
        ends = [amount(wanted.parts[slot], self.language) for slot in ("number_1", "number_2") if slot in wanted.parts]
        if any(end is None or end.denominator != 1 for end in ends):
            return None
        whole = [int(end) for end in ends if end is not None]
        first, last = whole if len(whole) == 2 else (min(1, whole[0]), whole[0])
        if wanted.intent == "count_down":
            first, last = last, first
        if abs(last - first) >= COUNT_LIMIT:
            return self._say("count_limit", limit=COUNT_LIMIT)
        step = 1 if first <= last else -1
        return ", ".join(str(number) for number in range(first, last + step, step)) + "."

    def _remembered(self, intent: str) -> str:
        if intent == "again":
            said = [message.content for message in self.messages if message.role == "assistant" and message.content]
            return self._say("again", text=said[-1]) if said else self._say("again_nothing")
        for message in reversed(self.before):
            wanted = understand(message.content, _language(message))
            if message.content.strip() and (wanted is None or wanted.intent != "what_said"):
                return self._say("said", text=_ended(_capital(message.content.strip())))
        return self._say("said_nothing")

    def _name(self) -> str | None:
        for message in reversed(self.before):
            wanted = understand(message.content, _language(message))
            if wanted and wanted.intent == "my_name":
                return _capital(wanted.written["name_1"], every=True)
        return None


def evaluate(values: Sequence[Fraction], signs: Sequence[str]) -> Fraction:
    """Return the value of a sum; * / % bind more tightly than + and -. Raises ZeroDivisionError."""
    products, adding = [values[0]], []
    for sign, value in zip(signs, values[1:], strict=True):
        if sign == "*":
            products[-1] *= value
        elif sign == "/":
            products[-1] /= value
        elif sign == "%":
            products[-1] *= value / 100
        else:
            adding.append(sign)
            products.append(value)
    total = products[0]
    for sign, value in zip(adding, products[1:], strict=True):
        total = total + value if sign == "+" else total - value
    return total


def _exactly(exact: str, about: str, result: Fraction) -> str:
    return exact if round(result, 2) == result else about


def _capital(text: str, *, every: bool = False) -> str:
    """Capitalise the first letter, or that of `every` word if the transcript has no capitals."""
    if every and text.islower():
        return " ".join(word.capitalize() for word in text.split())
    return text[:1].upper() + text[1:]


def _ended(text: str) -> str:
    return text if text[-1:] in ".!?…" else text + "."
