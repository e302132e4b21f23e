"""The closed vocabulary of the test recogniser and a generator of sentences over it."""

from __future__ import annotations

import random
from collections.abc import Callable

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
NAMES = ["alice", "bob", "maria", "peter", "sarah", "thomas"]
CITIES = ["london", "paris", "berlin", "rome"]
SPELLABLE = [*NAMES, *CITIES, "hello", "kitchen", "red", "green", "blue", "story"]
ROOMS = ["kitchen", "bedroom", "office", "garden"]
DEVICES = ["light", "lights", "lamp", "heater"]
COLOURS = ["red", "green", "blue"]
UNITS = ["seconds", "minutes", "hours", "days"]
OPERATIONS = ("plus", "minus", "times", "divided by")

PHRASES = """
what time is it | what time is it now | what is the time | what day is it | what day is it today
what is the date | what is the date today | tell me the time | hello | hello how are you | how are you
how are you today | good morning | good evening | good night | goodbye | thank you | thank you very much
what is your name | who are you | what is my name | what can you do | what did i say | say that again
can you hear me | help me please | tell me a story | tell me a long story | tell me a joke | stop
stop please | wait | wait please | yes | yes please | no | no thank you | repeat that please
turn it on | turn it off | cancel the timer | stop the timer | good morning how are you
""".replace("\n", "|").split("|")
PHRASES = [phrase.strip() for phrase in PHRASES if phrase.strip()]

# Words of the templates below that are in none of the lists above.
_FRAMES = """
what is plus minus times divided by my name is spell count to repeat after me say hello to
turn on off the in set a timer for light lights to cancel all how many are there add and
call tell me about the weather in today tomorrow
"""

VOCABULARY = sorted(
    {
        *DIGITS, *TEENS, *TENS, *NAMES, *CITIES, *SPELLABLE, *ROOMS, *DEVICES, *COLOURS, *UNITS, *_FRAMES.split(),
        *(word for phrase in PHRASES for word in phrase.split()),
    }
)  # fmt: skip


def number(rng: random.Random) -> str:
    """A number from zero to ninety-nine, small ones more often."""
    kind = rng.random()
    if kind < 0.45:
        return rng.choice(DIGITS)
    if kind < 0.65:
        return rng.choice(TEENS)
    if kind < 0.75:
        return rng.choice(TENS)
    return f"{rng.choice(TENS)} {rng.choice(DIGITS[1:])}"


def _templates(rng: random.Random) -> list[Callable[[], str]]:
    pick = rng.choice
    return [
        lambda: f"my name is {pick(NAMES)}",
        lambda: f"spell {pick(SPELLABLE)}",
        lambda: f"count to {number(rng)}",
        lambda: f"repeat after me {pick(PHRASES)}",
        lambda: f"say hello to {pick(NAMES)}",
        lambda: f"turn {pick(('on', 'off'))} the {pick(ROOMS)} {pick(DEVICES)}",
        lambda: f"turn the {pick(ROOMS)} {pick(DEVICES)} {pick(('on', 'off'))}",
        lambda: f"set the {pick(ROOMS)} {pick(DEVICES)} to {pick(COLOURS)}",
        lambda: f"set a timer for {number(rng)} {pick(UNITS)}",
        lambda: f"what is the weather in {pick(CITIES)} {pick(('today', 'tomorrow'))}",
        lambda: f"add {number(rng)} and {number(rng)}",
        lambda: f"call {pick(NAMES)}",
        lambda: f"tell {pick(NAMES)} about the {pick(ROOMS)}",
        lambda: f"how many {pick(UNITS)} are there in {number(rng)} {pick(UNITS)}",
    ]


def sentence(rng: random.Random) -> str:
    """Generate one utterance: a set phrase, a sum, a filled template, digits, or words in random order.

    The random words and the digits keep the decoder from memorising the sentences: it has to listen.
    """
    kind = rng.random()
    if kind < 0.12:
        return " ".join(rng.choice(VOCABULARY) for _ in range(rng.randint(1, 6)))
    if kind < 0.20:
        return " ".join(rng.choice(DIGITS) for _ in range(rng.randint(2, 6)))
    if kind < 0.45:
        return rng.choice(PHRASES)
    if kind < 0.60:
        return f"what is {number(rng)} {rng.choice(OPERATIONS)} {number(rng)}"
    return rng.choice(_templates(rng))()


if __name__ == "__main__":
    generator = random.Random(0)
    print(len(VOCABULARY), "words")
    for _ in range(20):
        print(sentence(generator))
