"""Units that can be converted: their size, and their names in each language."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit: base value = value × factor + offset."""

    dimension: str
    factor: Fraction
    offset: Fraction = Fraction(0)


UNITS: Mapping[str, Unit] = {
    "kilometer": Unit("length", Fraction(1000)),
    "meter": Unit("length", Fraction(1)),
    "centimeter": Unit("length", Fraction(1, 100)),
    "millimeter": Unit("length", Fraction(1, 1000)),
    "mile": Unit("length", Fraction(1609344, 1000)),
    "yard": Unit("length", Fraction(9144, 10000)),
    "foot": Unit("length", Fraction(3048, 10000)),
    "inch": Unit("length", Fraction(254, 10000)),
    "kilogram": Unit("mass", Fraction(1000)),
    "gram": Unit("mass", Fraction(1)),
    "pound": Unit("mass", Fraction(45359237, 100000)),
    "ounce": Unit("mass", Fraction(45359237, 1600000)),
    "liter": Unit("volume", Fraction(1)),
    "gallon": Unit("volume", Fraction(3785411784, 10**9)),  # of the United States
    "celsius": Unit("temperature", Fraction(1)),
    "fahrenheit": Unit("temperature", Fraction(5, 9), Fraction(-160, 9)),
    "second": Unit("time", Fraction(1)),
    "minute": Unit("time", Fraction(60)),
    "hour": Unit("time", Fraction(3600)),
    "day": Unit("time", Fraction(86400)),
    "week": Unit("time", Fraction(604800)),
    "month": Unit("time", Fraction(365 * 86400, 12)),
    "year": Unit("time", Fraction(365 * 86400)),
}


def convert(amount: Fraction, source: str, target: str) -> Fraction | None:
    """Convert a quantity to another unit; None when the units do not measure the same thing."""
    one, other = UNITS[source], UNITS[target]
    if one.dimension != other.dimension:
        return None
    return (amount * one.factor + one.offset - other.offset) / other.factor
