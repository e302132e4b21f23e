"""Spoken numbers ("fifty eight", "cinquenta e oito") → values, and values → written numbers."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

LARGEST = 10**15
"""Numbers from here on are not understood, because the replies about them would be wrong."""


def _numbered(words: str, start: int = 0, step: int = 1) -> dict[str, int]:
    return {word: start + index * step for index, word in enumerate(words.split())}


ENGLISH = {
    **_numbered("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"),
    **_numbered("sixteen seventeen eighteen nineteen", 16),
    **_numbered("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10),
    "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9,
}  # fmt: skip
PORTUGUESE = {
    **_numbered("zero um dois tres quatro cinco seis sete oito nove dez onze doze treze quatorze quinze dezesseis"),
    **_numbered("dezessete dezoito dezenove", 17),
    **_numbered("vinte trinta quarenta cinquenta sessenta setenta oitenta noventa", 20, 10),
    **_numbered("cento duzentos trezentos quatrocentos quinhentos seiscentos setecentos oitocentos", 100, 100),
    "uma": 1, "duas": 2, "novecentos": 900, "catorze": 14, "dezasseis": 16, "dezassete": 17, "dezanove": 19, "cem": 100,
    "duzentas": 200, "trezentas": 300, "quinhentas": 500, "mil": 1000, "milhao": 10**6, "milhoes": 10**6,
    "bilhao": 10**9, "bilhoes": 10**9,
}  # fmt: skip
SPANISH = {
    **_numbered("cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciseis"),
    **_numbered("diecisiete dieciocho diecinueve veinte veintiuno veintidos veintitres veinticuatro veinticinco", 17),
    **_numbered("veintiseis veintisiete veintiocho veintinueve", 26),
    **_numbered("treinta cuarenta cincuenta sesenta setenta ochenta noventa", 30, 10),
    **_numbered("ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos", 100, 100),
    "un": 1, "una": 1,
    "veintiun": 21, "veintiuna": 21, "cien": 100, "ochocientos": 800, "novecientos": 900, "doscientas": 200,
    "trescientas": 300, "quinientas": 500, "mil": 1000, "millon": 10**6, "millones": 10**6,
}  # fmt: skip


def value(words: Sequence[str], names: Mapping[str, int], *, point: str, comma_decimal: bool) -> Fraction | None:
    """Return the number that `words` express, or None if they do not express one.

    `names` are the language's number words, `point` its decimal word, `comma_decimal` how it writes decimals.
    "and" and similar words between the parts are skipped.
    """
    words = list(words)
    negative = bool(words) and words[0] in ("minus", "menos")
    words = words[negative:]
    if point in words:
        where = words.index(point)
        whole = value(words[:where], names, point=point, comma_decimal=comma_decimal)
        digits = "".join(_decimals(words[where + 1 :], names))
        result = None if whole is None or not digits else whole + Fraction(int(digits), 10 ** len(digits))
    else:
        result = _whole(words, names, comma_decimal=comma_decimal)
    if result is None or abs(result) >= LARGEST:
        return None
    return -result if negative else result


def _decimals(words: Sequence[str], names: Mapping[str, int]) -> list[str]:
    """Return the digits after the point, spoken one by one ("one four") or as one number ("catorce")."""
    said = [str(names[word]) if word in names else word for word in words if word in names or word.isdecimal()]
    tens = len(said) == 2 and len(said[0]) == 2 and said[0][1] == "0" and len(said[1]) == 1
    return [said[0][0] + said[1]] if tens else said


def _whole(words: Sequence[str], names: Mapping[str, int], *, comma_decimal: bool) -> Fraction | None:
    total, group = Fraction(0), Fraction(0)
    found = False
    for word in words:
        if (digits := _written(word, comma_decimal=comma_decimal)) is not None:
            if found and group and digits >= 10:
                return None
            group += digits
            found = True
            continue
        number = names.get(word)
        if number is None:
            continue
        found = True
        if number == 100 and word == "hundred":
            group = (group or Fraction(1)) * 100
        elif number >= 1000:
            total += (group or Fraction(1)) * number
            group = Fraction(0)
        else:
            group += number
    return total + group if found else None


def _written(word: str, *, comma_decimal: bool) -> Fraction | None:
    if not word[:1].isdecimal() or len(word) > 20:
        return None
    group, point = (".", ",") if comma_decimal else (",", ".")
    head, separator, tail = word.partition(point)
    if group in head and all(len(part) == 3 for part in head.split(group)[1:]):
        head = head.replace(group, "")
    elif group in head and not separator:
        head, separator, tail = head.partition(group)
    text = head + ("." + tail if separator else "")
    try:
        return Fraction(Decimal(text))
    except ArithmeticError:
        return None


def written(number: Fraction, *, comma_decimal: bool) -> str:
    """Write the number in digits, rounded to two decimals, with the language's separators."""
    rounded = round(number, 2)
    text = f"{float(rounded):,.2f}".rstrip("0").rstrip(".") if rounded.denominator > 1 else f"{int(rounded):,}"
    return text.translate(str.maketrans(",.", ".,")) if comma_decimal else text
