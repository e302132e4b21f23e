"""The form of a language's table of words for signs and numbers. The tables are in `languages/`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Plural = Literal["one", "upto_two", "slavic", "polish"]
"""The rule for a noun's form after a number. one: the singular after 1 only (`few` is not used); upto_two: the singular
below 2 (French); slavic: by the last digits (Russian, Ukrainian); polish: like slavic, but 21 takes the form for many.
"""


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun that can be counted. `feminine` matters where number words agree with nouns."""

    one: str
    many: str
    feminine: bool = False
    few: str = ""
    """Form after 2 to 4, in Slavic languages."""
    part: str = ""
    """Form after a number with decimals, in Slavic languages ("2,5 километра"); empty: `few`, else `many`."""


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency's unit and its hundredth part (None: it has no parts)."""

    unit: Noun
    part: Noun | None = None


@dataclass(frozen=True, slots=True)
class Signs:
    """Names of single signs. Empty: the sign is left to the voice."""

    plus: str
    minus: str
    plus_minus: str
    times: str
    by: str
    """Word between two measures: 10x10."""
    divided: str
    equals: str
    unequal: str
    less: str
    """Words for < between two things; `under` is used before one."""
    more: str
    at_most: str
    at_least: str
    under: str
    over: str
    up_to: str
    from_on: str
    about: str
    power: str
    squared: str
    cubed: str
    root: str
    infinity: str
    per_mille: str
    link: str
    """Name of &."""
    at: str
    number: str
    """Name of # and № before a number."""
    hashtag: str
    slash: str
    backslash: str
    underscore: str
    dash: str
    """Name of a hyphen in an address."""
    section: str
    """Name of §."""
    sharp: str = "sharp"
    """Name of # in C#."""


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words and rules for signs and numbers."""

    code: str
    """ISO 639-1."""
    num2words: str
    """Name of the language in num2words."""
    decimal: str
    """Decimal separator; the other one of "." and "," groups thousands."""
    point: str
    """Name of the decimal separator in a number."""
    dot: str
    """Name of the dot in an address."""
    to: str
    """Word between the ends of a range."""
    over: str
    """Word between the parts of a fraction without a name."""
    per: str
    """Word for / in a price or a measure: "$5/month"."""
    half_link: str
    """Word between a whole number and a fraction: "three and a half"."""
    signs: Signs
    percent: Noun
    degrees: Noun
    decimals: Literal["digits", "number", "fraction"] = "number"
    """How decimals are read: digit by digit; as a number if there are at most two; or as num2words names them."""
    plural: Plural = "one"
    money_link: str = " "
    """Text between euros and cents."""
    names_cents: bool = True
    """Whether the name of the cents is spoken; False: "zwölf Euro fünfzig"."""
    masculine: tuple[tuple[str, str], ...] = ()
    """Regular expression → replacement, for the words of a number before a noun that is not feminine."""
    feminine: tuple[tuple[str, str], ...] = ()
    """Regular expression → replacement, for the words of a number before a feminine noun."""
    agrees: bool = False
    """Whether a number agrees with any noun after it, whose gender is taken from its ending."""
    clock: tuple[str, str] = ("{hour} {minute}", "{hour}")
    """Forms of a time of day, with and without minutes."""
    hour: Noun = field(default_factory=lambda: Noun("", ""))
    minute: Noun | None = None
    """Noun for the minutes of a time with seconds, in languages that say it."""
    second: Noun = field(default_factory=lambda: Noun("", ""))
    """Noun for the seconds of a time."""
    ratio: str = ""
    """Word between the numbers of 16:9; empty: `to`."""
    scale_names: tuple[str, str, str] = ("Celsius", "Fahrenheit", "Kelvin")
    clock_word: str = ""
    """Word that can follow a written time of day and that `clock` already contains: 15:30 Uhr."""
    months: tuple[str, ...] = ()
    months_short: tuple[str, ...] = ()
    date: str = "{day} {month} {year}"
    first: str = ""
    """Word for the first day of a month, where it has a special one."""
    ordinal_days: bool = False
    """Whether days of a month are ordinals."""
    units: Mapping[str, Noun] = field(default_factory=dict)
    currencies: Mapping[str, Currency] = field(default_factory=dict)
    scales: Mapping[str, str] = field(default_factory=dict)
    """A number word after an amount of money ("5 million") → the text between it and the unit."""
    short_scales: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """A letter after an amount of money ("$2.5M") → the number word after one, and after more."""
    fractions: Mapping[str, str] = field(default_factory=dict)
    vulgar: Mapping[str, str] = field(default_factory=dict)
    """½ and similar characters → the words after a whole number."""
    abbreviations: tuple[tuple[str, str], ...] = ()
    """Regular expression → words; each begins at a word boundary."""
    calling: str = ""
    """Words before a telephone number, as alternatives of a regular expression."""

    @property
    def operators(self) -> Mapping[str, str]:
        """Signs between two things → words."""
        signs = self.signs
        return {
            "+": signs.plus, "-": signs.minus, "–": signs.minus, "*": signs.times, "×": signs.times, "·": signs.times,
            "x": signs.times, "÷": signs.divided, "/": signs.divided, "=": signs.equals, "≈": signs.about,
            "<": signs.less, ">": signs.more, "≤": signs.at_most, "≥": signs.at_least, "≠": signs.unequal,
            "^": signs.power, "±": signs.plus_minus,
            "==": signs.equals, "===": signs.equals, "!=": signs.unequal, "<=": signs.at_most, ">=": signs.at_least,
            "→": self.to, "->": self.to, "=>": self.to, "**": signs.power,
        }  # fmt: skip

    @property
    def marks(self) -> Mapping[str, str]:
        """Signs anywhere → words."""
        signs = self.signs
        money = {sign: currency.unit.many for sign, currency in self.currencies.items() if not sign.isalpha()}
        return money | {
            "&": signs.link, "+": signs.plus, "=": signs.equals, "×": signs.times, "÷": signs.divided, "@": signs.at,
            "%": self.percent.many, "‰": signs.per_mille, "≈": signs.about, "~": signs.about, "≤": signs.up_to,
            "≥": signs.from_on, "≠": signs.unequal, "±": signs.plus_minus, "∞": signs.infinity, "√": signs.root,
            "°": self.degrees.many, "²": signs.squared, "³": signs.cubed, "№": signs.number, "#": signs.number,
            "§": signs.section,
        }  # fmt: skip
