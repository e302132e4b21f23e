"""Detect a text that ends in dictation: a number, a spelling, an address, a date. More of it may follow.

Recognisers write dictation in digits and letters with any punctuation ("555.", "5 5 5", "J-O-H-N."). Pure functions, in
time linear in the text.
"""

import re
from enum import Enum, auto
from itertools import dropwhile, pairwise


class Dictated(Enum):
    """Classification of the end of a text."""

    NOTHING = auto()
    GOES_ON = auto()
    """Dictation that is probably incomplete."""
    LONG = auto()
    """A number that may be complete or not."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _table(words: dict[str, str]) -> dict[str, frozenset[str]]:
    found = {language: frozenset(words.split()) for language, words in words.items()}
    return {**found, "": frozenset().union(*found.values())}


_DIGITS = _table({
    "en": "zero oh one two three four five six seven eight nine double triple",
    "pt": "zero um dois duas três quatro cinco seis meia sete oito nove",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf",
    "de": "null eins zwei zwo drei vier fünf sechs sieben acht neun",
    "it": "zero uno due tre quattro cinque sei sette otto nove",
})  # fmt: skip
"""Digits as words: a sequence of them may continue (a telephone number)."""
_NUMBERS = _table({
    "en": "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty "
    "sixty seventy eighty ninety hundred thousand",
    "pt": "dez onze doze treze quatorze catorze quinze dezesseis dezessete dezoito dezenove vinte trinta quarenta "
    "cinquenta sessenta setenta oitenta noventa cem cento mil",
    "es": "diez once doce trece catorce quince veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa cien "
    "ciento mil",
    "fr": "dix onze douze treize quatorze quinze seize vingt trente quarante cinquante soixante cent mille",
    "de": "zehn elf zwölf zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig hundert tausend",
    "it": "dieci undici dodici venti trenta quaranta cinquanta sessanta settanta ottanta novanta cento mille",
})  # fmt: skip
_NAMES_A_NUMBER = _set(
    "number phone telephone mobile cell call dial code pin password passcode zip postcode extension account "
    "card iban reference confirmation booking serial tracking passport plate flight invoice ssn id número "
    "numero telefone celular ligue disque código codigo senha cep cpf cnpj rg conta cartão protocolo ramal "
    "placa voo teléfono telefono móvil movil marca marque clave contraseña cuenta tarjeta dni nif matrícula "
    "pedido numéro téléphone portable compte carte nummer telefonnummer handynummer postleitzahl kontonummer "
    "geheimzahl kennwort telefono cellulare codice conto carta номер телефон код"
)
"""Words after which digits are dictated."""
_LONG_NUMBERS = _set(
    "card account iban tracking serial cartão conta cpf cnpj tarjeta cuenta carte compte kontonummer conto carta"
)
_SPELLS = _set(
    "spell spelled spelt spelling letter letters initials soletra soletrar soletrando letra letras iniciais "
    "deletrea deletreo deletrear iniciales épelle épeler lettres buchstabiere buchstabiert buchstaben lettere"
)
_BETWEEN = _set(
    "dot dash hyphen underscore slash plus at ponto hífen traço barra arroba mais punto guión guion arrobe "
    "arobase tiret point punkt minus strich ät trattino chiocciola"
)
"""Words said between the parts of a number or an address."""
_ALPHABET = _set(
    "alpha alfa bravo charlie delta echo foxtrot golf hotel india juliet juliett kilo lima mike november oscar "
    "papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu"
)
_LETTER_NAMES = _table(
    {
        "en": "",
        "pt": "á bê cê dê efe gê agá jota cá ele eme ene ó pê quê erre esse tê vê xis zê dáblio ípsilon",
        "es": "be ce efe ge hache jota ka ele eme ene eñe pe cu erre ese uve equis zeta",
    }
)
_AS_IN = re.compile(r"\b([^\W\d_]) (?:as in|for|like|de|como|wie|comme|come) \1[^\W\d_]*$")
_ADDRESSES = {
    "street": "street st road rd avenue ave lane drive boulevard blvd court square crescent highway terrace parkway",
    "before": "rua avenida travessa praça alameda estrada rodovia largo calle plaza paseo carrera camino rue place "
    "via viale piazza corso",
    "lives": "address live endereço moro morada dirección vivo adresse wohne habite indirizzo abito",
    "inside": "apartment apt suite flat unit floor room apartamento apto bloco andar piso puerta bâtiment étage",
}
_STREET, _STREET_BEFORE, _LIVES, _INSIDE = map(_set, _ADDRESSES.values())
_GERMAN_STREET = ("straße", "strasse", "gasse", "platz", "allee")
_MONTHS = _set(
    "january february march april may june july august september october november december janeiro fevereiro "
    "março abril maio junho julho agosto setembro outubro novembro dezembro enero febrero marzo mayo junio "
    "julio septiembre octubre noviembre diciembre januar februar märz mai juni juli oktober dezember janvier "
    "février mars avril juin juillet août septembre octobre novembre décembre"
)
_BIRTHS = _set(
    "born birth birthday birthdate date nasci nascimento aniversário nací nacimiento cumpleaños fecha geboren "
    "geburtstag geburtsdatum né née naissance nato nata nascita"
)
_TO_HOUSE_NUMBER = _set("at is in em no na é en el la es au est in der ist")
"""Words between "live" or "address" and the number of a house."""
_WHO_LIVES = _set("i we they you to")
_MAIL = _set("email mail e-mail correo")
_AT = _set("at arroba arobase ät chiocciola")
_DOT = _set("dot underscore ponto punto point punkt")
_TO_MAIL = _set("is to é para es a est à ist an è")
"""Words before an e-mail address."""
_UNITS = _set("c f m k g h s l w v b x")
"""Letters that are units after a number ("20 C"), and "4 x 4"."""

TELEPHONE_DIGITS = range(2, 7)
"""Number of digits at the end that sounds like the start of a longer number."""
TELEPHONE, CARD = 10, 16
"""Length of an announced number: fewer digits are incomplete."""
TAIL = 24
"""Number of last words that are looked at."""
TAIL_CHARS = 400
"""Number of last characters that contain TAIL words."""
ADDRESS_WORDS = 6

_TOKEN = re.compile(r"[^\s]+")
_WORD = re.compile(r"[^\W_]+")
_ACRONYM = re.compile(r"(?:[^\W\d_]\.){1,3}[^\W\d_]\.?")
_QUANTITY = re.compile(r"\d{1,2}:\d\d(?::\d\d)?|\d+[.,]\d{1,2}|\d{1,3}(?:[.,]\d{3})+|\d+(?:st|nd|rd|th|º|ª|%)")
"""Times, decimals, thousands: these are not digits of a longer number."""
_DATE = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-](?:\d\d){1,2}|(?:19|20)\d\d-\d\d-\d\d")
_YEAR = re.compile(r"(?:19|20)\d\d")
_MAIL_ADDRESS = re.compile(r"[^\s@]+@[^\s@]*")
_MAIL_NAME = re.compile(r"[^\W\d_]\w*(?:[._]\w+)+")
"""The part of an e-mail address before the @, as a recogniser writes it: "john.smith"."""


def dictated(text: str, language: str, *, question: bool = False) -> Dictated:
    """Classify the end of the text. language: ISO 639-1; for a language without a table, all tables apply.

    question: the text begins like a question: a number that is only mentioned ("what is the number …") is then not
    dictated.
    """
    tokens = [token.strip("\"'“”«»()¡¿!?;") for token in _TOKEN.findall(text[-TAIL_CHARS:].lower())[-TAIL:]]
    tokens = [token for token in tokens if token.strip(".,-–")]
    if not tokens:
        return Dictated.NOTHING
    last = tokens[-1].rstrip(".,")
    words = [word for token in tokens for word in _WORD.findall(token)]
    if not words or _DATE.fullmatch(last):
        return Dictated.NOTHING
    if _mail(tokens, words) or _letters(tokens, language, words):
        return Dictated.GOES_ON
    announced = None if question else _announced(tokens, words, language)
    if announced is not None:
        return announced
    if not question and (_address(words) or _date(words, last)):
        return Dictated.GOES_ON
    return _row(tokens, language)


def _mail(tokens: list[str], words: list[str]) -> bool:
    """Whether the text ends in an e-mail address, in characters or in words: in the part before the @, or in a complete
    one, because ".br" may follow ".com"."""
    last = tokens[-1].rstrip(".,")
    if _MAIL_ADDRESS.fullmatch(last):
        return True
    named = bool(_MAIL & set(words))
    if named and words[-2:-1] and words[-2] in _DOT:
        return True
    if named and tokens[-2:-1] and tokens[-2] in _TO_MAIL and _MAIL_NAME.fullmatch(last):
        return True
    tail = words[-8:]
    marks = [place for place, word in enumerate(tail) if word in _AT]
    if not marks:
        return False
    after = tail[marks[-1] + 1 :]
    return bool(_DOT & set(after)) or tail[marks[-1]] != "at" or (named and 0 < len(after) <= 2)


def _letters(tokens: list[str], language: str, words: list[str]) -> bool:
    """Whether the text ends in spelled letters, possibly with digits: "J-O-H-N", "A B C 1", "jota o hache", "B for
    Bravo"."""
    if _ACRONYM.fullmatch(tokens[-1]) and not _SPELLS & set(words):
        return False  # "in the U.S.", "7 p.m."
    names = _LETTER_NAMES.get(language, _LETTER_NAMES[""])
    row = []
    for word in reversed(words):
        if not (_is_letter(word) or word in names or word in _ALPHABET or word.isdigit() or _is_mixed(word)):
            break
        row.append(word)
    if row and row[0] in ("am", "pm"):
        return False
    if _AS_IN.search(" ".join(words[-4:])):
        return True
    spelled = [word for word in row if not word.isdigit()]
    if _SPELLS & set(words):
        return bool(spelled)
    sure = [word for word in spelled if _is_letter(word) or word in _ALPHABET or len(word) > 2]
    if len(spelled) == len(row):
        return len(row) >= 2 and len(sure) >= 1
    units = [word for word in spelled if word in _UNITS]
    return len(row) >= 3 and len(spelled) > len(units)


def _is_letter(word: str) -> bool:
    return len(word) == 1 and word.isalpha() and word.upper() != word.lower()


def _is_mixed(word: str) -> bool:
    """Whether the word mixes letters and digits: "4b", "x7"."""
    return len(word) <= 4 and word.isalnum() and not word.isdigit() and any(one.isdigit() for one in word)


def _announced(tokens: list[str], words: list[str], language: str) -> Dictated | None:
    """Classify digits after a word that announces them ("my number is 555."); None if there are none."""
    names = [word for word in words if word in _NAMES_A_NUMBER]
    if not names:
        return None
    last = words[-1]
    digits, numbers = (table.get(language, table[""]) for table in (_DIGITS, _NUMBERS))
    if last in _BETWEEN:
        return Dictated.GOES_ON
    if _QUANTITY.fullmatch(tokens[-1].rstrip(".,")) and not tokens[-1].rstrip(".,").isdigit():
        return None
    if not (any(one.isdigit() for one in last) or last in digits or last in numbers):
        return None
    count = 0
    for word in reversed(words):
        if word in digits or word in numbers:
            count += 1
        elif any(one.isdigit() for one in word):
            count += sum(one.isdigit() for one in word)
        elif word not in _BETWEEN:
            break
    whole = CARD if _LONG_NUMBERS & set(names) else TELEPHONE
    return Dictated.GOES_ON if count < whole else Dictated.LONG


def _address(words: list[str]) -> bool:
    """Whether the text ends in a street and number, or a floor or flat: the town may follow; or in the number of a
    house, before the street."""
    tail = words[-ADDRESS_WORDS:]
    numbered = any(any(one.isdigit() for one in word) for word in tail)
    lives = bool(_LIVES & set(words))
    last = words[-1]
    before = dropwhile(lambda word: _is_number(word) or word in _TO_HOUSE_NUMBER, reversed(words))
    if _is_number(last) and (verb := next(before, "")) in _LIVES and (verb != "live" or next(before, "") in _WHO_LIVES):
        return True  # "I live at 22", but not "Watch it live at 9"
    if last in _STREET and (numbered or lives):
        return True
    street = bool(_STREET_BEFORE & set(tail)) or any(word.endswith(_GERMAN_STREET) for word in tail)
    if any(number[:1].isdigit() and road in _STREET_BEFORE for number, road in pairwise(tail)):
        return True  # "12 rue de la Paix"
    ends_in_number = any(one.isdigit() for one in last)
    if street and (ends_in_number or lives):
        return True
    inside = len(words) > 1 and words[-2] in _INSIDE and ends_in_number
    return inside and (lives or bool(_STREET & set(words)) or street)


def _is_number(word: str) -> bool:
    return word[0].isdigit() or word in _DIGITS[""] or word in _NUMBERS[""]


def _date(words: list[str], last: str) -> bool:
    """Whether the text ends in a date of birth or similar without its year."""
    if not _BIRTHS & set(words) or _YEAR.fullmatch(last):
        return False
    return words[-1] in _MONTHS or words[-1].rstrip("stndrhºª").isdigit()


def _row(tokens: list[str], language: str) -> Dictated:
    """Classify digits in sequence at the end; not where they are another kind of number ("in 2014", "two plus
    three")."""
    digits = _DIGITS.get(language, _DIGITS[""])
    groups: list[str] = []
    for token in reversed(tokens):
        bare = token.rstrip(".,")
        if _QUANTITY.fullmatch(bare) and not bare.isdigit():
            break
        parts = _WORD.findall(bare)
        if not parts or not all(part.isdigit() or part in digits for part in parts):
            break
        groups += reversed(parts)
    whole = len(groups) == sum(len(_WORD.findall(token)) for token in tokens)
    several = 2 if groups and groups[0].isdigit() else 3
    if groups and len(groups[0]) > 1 and groups[0].startswith("0"):
        several = 1  # numbers do not begin with a zero
    if not groups or (len(groups) < several and not whole):
        return Dictated.NOTHING
    count = sum(len(group) if group.isdigit() else 1 for group in groups)
    if count in TELEPHONE_DIGITS:
        return Dictated.GOES_ON
    return Dictated.LONG if count >= TELEPHONE_DIGITS.stop else Dictated.NOTHING
