"""How English, Portuguese and Spanish say what is written in signs: the tables, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Noun:
    """What is counted. `feminine` matters where number words agree with it."""

    one: str
    many: str
    feminine: bool = False


@dataclass(frozen=True, slots=True)
class Currency:
    """Its unit and its hundredth part (None: there is none)."""

    unit: Noun
    part: Noun | None


@dataclass(frozen=True, slots=True)
class Words:
    """One language's way of speaking signs."""

    code: str
    """ISO 639-1."""
    num2words: str
    """Its name in num2words."""
    decimal: str
    """Decimal separator; the other one of "." and "," groups thousands."""
    point: str
    """The decimal separator's name in a number, …"""
    dot: str
    """… and the dot's name in an address."""
    at: str
    minus: str
    percent: str
    to: str
    """Between the ends of a range."""
    over: str
    """Between the parts of a fraction that has no name."""
    degrees: Noun
    months: tuple[str, ...]
    months_short: tuple[str, ...]
    units: Mapping[str, Noun]
    currencies: Mapping[str, Currency]
    scales: Mapping[str, str]
    """A number word after an amount of money ("5 million") → what follows it before the unit."""
    operators: Mapping[str, str]
    """Signs between two numbers."""
    marks: Mapping[str, str]
    """Signs anywhere."""
    fractions: Mapping[str, str]
    vulgar: Mapping[str, str]
    """½ and its like: the words after a whole number."""
    abbreviations: tuple[tuple[str, str], ...]
    """Regular expression → words; each begins at a word boundary."""


_EN_UNITS = {
    "km/h": Noun("kilometer per hour", "kilometers per hour"),
    "m/s": Noun("meter per second", "meters per second"),
    "mph": Noun("mile per hour", "miles per hour"),
    "km²": Noun("square kilometer", "square kilometers"),
    "m²": Noun("square meter", "square meters"),
    "m³": Noun("cubic meter", "cubic meters"),
    "km": Noun("kilometer", "kilometers"),
    "cm": Noun("centimeter", "centimeters"),
    "mm": Noun("millimeter", "millimeters"),
    "m": Noun("meter", "meters"),
    "kg": Noun("kilogram", "kilograms"),
    "mg": Noun("milligram", "milligrams"),
    "g": Noun("gram", "grams"),
    "ml": Noun("milliliter", "milliliters"),
    "l": Noun("liter", "liters"),
    "L": Noun("liter", "liters"),
    "KB": Noun("kilobyte", "kilobytes"),
    "MB": Noun("megabyte", "megabytes"),
    "GB": Noun("gigabyte", "gigabytes"),
    "TB": Noun("terabyte", "terabytes"),
    "Hz": Noun("hertz", "hertz"),
    "kHz": Noun("kilohertz", "kilohertz"),
    "MHz": Noun("megahertz", "megahertz"),
    "GHz": Noun("gigahertz", "gigahertz"),
    "kWh": Noun("kilowatt hour", "kilowatt hours"),
    "kW": Noun("kilowatt", "kilowatts"),
    "W": Noun("watt", "watts"),
    "V": Noun("volt", "volts"),
    "ms": Noun("millisecond", "milliseconds"),
    "s": Noun("second", "seconds"),
    "sec": Noun("second", "seconds"),
    "min": Noun("minute", "minutes"),
    "h": Noun("hour", "hours"),
    "hr": Noun("hour", "hours"),
    "hrs": Noun("hour", "hours"),
    "lb": Noun("pound", "pounds"),
    "lbs": Noun("pound", "pounds"),
    "oz": Noun("ounce", "ounces"),
    "ft": Noun("foot", "feet"),
    "mi": Noun("mile", "miles"),
}
_PT_UNITS = {
    "km/h": Noun("quilômetro por hora", "quilômetros por hora"),
    "m/s": Noun("metro por segundo", "metros por segundo"),
    "mph": Noun("milha por hora", "milhas por hora", feminine=True),
    "km²": Noun("quilômetro quadrado", "quilômetros quadrados"),
    "m²": Noun("metro quadrado", "metros quadrados"),
    "m³": Noun("metro cúbico", "metros cúbicos"),
    "km": Noun("quilômetro", "quilômetros"),
    "cm": Noun("centímetro", "centímetros"),
    "mm": Noun("milímetro", "milímetros"),
    "m": Noun("metro", "metros"),
    "kg": Noun("quilo", "quilos"),
    "mg": Noun("miligrama", "miligramas"),
    "g": Noun("grama", "gramas"),
    "ml": Noun("mililitro", "mililitros"),
    "l": Noun("litro", "litros"),
    "L": Noun("litro", "litros"),
    "KB": Noun("quilobyte", "quilobytes"),
    "MB": Noun("megabyte", "megabytes"),
    "GB": Noun("gigabyte", "gigabytes"),
    "TB": Noun("terabyte", "terabytes"),
    "Hz": Noun("hertz", "hertz"),
    "kHz": Noun("quilohertz", "quilohertz"),
    "MHz": Noun("megahertz", "megahertz"),
    "GHz": Noun("gigahertz", "gigahertz"),
    "kWh": Noun("quilowatt-hora", "quilowatts-hora"),
    "kW": Noun("quilowatt", "quilowatts"),
    "W": Noun("watt", "watts"),
    "V": Noun("volt", "volts"),
    "ms": Noun("milissegundo", "milissegundos"),
    "s": Noun("segundo", "segundos"),
    "min": Noun("minuto", "minutos"),
    "h": Noun("hora", "horas", feminine=True),
}
_ES_UNITS = {
    "km/h": Noun("kilómetro por hora", "kilómetros por hora"),
    "m/s": Noun("metro por segundo", "metros por segundo"),
    "mph": Noun("milla por hora", "millas por hora", feminine=True),
    "km²": Noun("kilómetro cuadrado", "kilómetros cuadrados"),
    "m²": Noun("metro cuadrado", "metros cuadrados"),
    "m³": Noun("metro cúbico", "metros cúbicos"),
    "km": Noun("kilómetro", "kilómetros"),
    "cm": Noun("centímetro", "centímetros"),
    "mm": Noun("milímetro", "milímetros"),
    "m": Noun("metro", "metros"),
    "kg": Noun("kilo", "kilos"),
    "mg": Noun("miligramo", "miligramos"),
    "g": Noun("gramo", "gramos"),
    "ml": Noun("mililitro", "mililitros"),
    "l": Noun("litro", "litros"),
    "L": Noun("litro", "litros"),
    "KB": Noun("kilobyte", "kilobytes"),
    "MB": Noun("megabyte", "megabytes"),
    "GB": Noun("gigabyte", "gigabytes"),
    "TB": Noun("terabyte", "terabytes"),
    "Hz": Noun("hercio", "hercios"),
    "kHz": Noun("kilohercio", "kilohercios"),
    "MHz": Noun("megahercio", "megahercios"),
    "GHz": Noun("gigahercio", "gigahercios"),
    "kWh": Noun("kilovatio hora", "kilovatios hora"),
    "kW": Noun("kilovatio", "kilovatios"),
    "W": Noun("vatio", "vatios"),
    "V": Noun("voltio", "voltios"),
    "ms": Noun("milisegundo", "milisegundos"),
    "s": Noun("segundo", "segundos"),
    "min": Noun("minuto", "minutos"),
    "h": Noun("hora", "horas", feminine=True),
}


def _currencies(
    dollar: Noun, euro: Noun, pound: Noun, yen: Noun, real: Noun, cent: Noun, euro_cent: Noun, penny: Noun
) -> Mapping[str, Currency]:
    dollars, euros, pounds = Currency(dollar, cent), Currency(euro, euro_cent), Currency(pound, penny)
    yens, reals = Currency(yen, None), Currency(real, cent)
    return {
        "R$": reals, "BRL": reals, "US$": dollars, "USD": dollars, "$": dollars,
        "€": euros, "EUR": euros, "£": pounds, "GBP": pounds, "¥": yens, "JPY": yens,
    }  # fmt: skip


ENGLISH = Words(
    code="en",
    num2words="en",
    decimal=".",
    point="point",
    dot="dot",
    at="at",
    minus="minus",
    percent="percent",
    to="to",
    over="over",
    degrees=Noun("degree", "degrees"),
    months=(
        "January", "February", "March", "April", "May", "June",
        "July", "August", "September", "October", "November", "December",
    ),
    months_short=("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sept?", "Oct", "Nov", "Dec"),
    units=_EN_UNITS,
    currencies=_currencies(
        Noun("dollar", "dollars"), Noun("euro", "euros"), Noun("pound", "pounds"), Noun("yen", "yen"),
        Noun("real", "reais"), Noun("cent", "cents"), Noun("cent", "cents"), Noun("penny", "pence"),
    ),
    scales={"thousand": "", "million": "", "billion": "", "trillion": ""},
    operators={"+": "plus", "-": "minus", "–": "minus", "*": "times", "×": "times", "x": "times", "÷": "divided by",
               "/": "divided by", "=": "equals", "≈": "is about", "<": "is less than", ">": "is more than",
               "^": "to the power of"},
    marks={"&": "and", "+": "plus", "=": "equals", "×": "times", "÷": "divided by", "@": "at", "%": "percent",
           "≈": "about", "~": "about", "≤": "at most", "≥": "at least", "€": "euros", "$": "dollars", "£": "pounds",
           "°": "degrees", "²": "squared", "³": "cubed", "√": "square root of", "№": "number", "#": "number"},
    fractions={"1/2": "one half", "1/3": "one third", "2/3": "two thirds", "1/4": "one quarter",
               "3/4": "three quarters", "24/7": "twenty-four seven"},
    vulgar={"½": "a half", "¼": "a quarter", "¾": "three quarters", "⅓": "a third", "⅔": "two thirds"},
    abbreviations=(
        (r"Dr\.", "doctor"), (r"Mr\.?", "mister"), (r"Mrs\.?", "missus"), (r"Ms\.", "Ms"), (r"Prof\.", "professor"),
        (r"St\.(?= [A-Z])", "saint"), (r"Jr\.", "junior"), (r"Sr\.", "senior"), (r"(?i:e\.g\.|eg\.),?", "for example"),
        (r"(?i:i\.e\.),?", "that is"),
        (r"etc(?=\.\s+[^\Wa-z]|\.?$)|etc\.?", "et cetera"), (r"vs\.?", "versus"), (r"approx\.", "approximately"),
        (r"[Nn]os?\. ?(?=[0-9])", "number "), (r"a\.k\.a\.", "also known as"), (r"w/o", "without"), (r"w/", "with "),
    ),
)  # fmt: skip

PORTUGUESE = Words(
    code="pt",
    num2words="pt_BR",
    decimal=",",
    point="vírgula",
    dot="ponto",
    at="arroba",
    minus="menos",
    percent="por cento",
    to="a",
    over="sobre",
    degrees=Noun("grau", "graus"),
    months=(
        "janeiro", "fevereiro", "março", "abril", "maio", "junho",
        "julho", "agosto", "setembro", "outubro", "novembro", "dezembro",
    ),
    months_short=(),
    units=_PT_UNITS,
    currencies=_currencies(
        Noun("dólar", "dólares"), Noun("euro", "euros"), Noun("libra", "libras", feminine=True), Noun("iene", "ienes"),
        Noun("real", "reais"), Noun("centavo", "centavos"), Noun("centavo", "centavos"), Noun("pêni", "pence"),
    ),
    scales={"mil": "", "milhão": "de", "milhões": "de", "bilhão": "de", "bilhões": "de", "trilhão": "de",
            "trilhões": "de"},
    operators={"+": "mais", "-": "menos", "–": "menos", "*": "vezes", "×": "vezes", "x": "vezes", "÷": "dividido por",
               "/": "dividido por", "=": "é igual a", "≈": "é cerca de", "<": "é menor que", ">": "é maior que",
               "^": "elevado a"},
    marks={"&": "e", "+": "mais", "=": "igual a", "×": "vezes", "÷": "dividido por", "@": "arroba", "%": "por cento",
           "≈": "cerca de", "~": "cerca de", "≤": "no máximo", "≥": "no mínimo", "€": "euros", "R$": "reais",
           "$": "dólares", "£": "libras", "°": "graus", "²": "ao quadrado", "³": "ao cubo", "√": "raiz quadrada de",
           "№": "número", "#": "número"},
    fractions={"1/2": "meio", "1/3": "um terço", "2/3": "dois terços", "1/4": "um quarto", "3/4": "três quartos",
               "24/7": "vinte e quatro horas por dia"},
    vulgar={"½": "meio", "¼": "um quarto", "¾": "três quartos", "⅓": "um terço", "⅔": "dois terços"},
    abbreviations=(
        (r"Sr\.", "senhor"), (r"Sra\.", "senhora"), (r"Srs\.", "senhores"), (r"Srta\.", "senhorita"),
        (r"Dr\.", "doutor"), (r"Dra\.", "doutora"), (r"Prof\.", "professor"), (r"Profa\.", "professora"),
        (r"(?i:p\. ?ex\.|ex\.(?= ?:))", "por exemplo"),
        (r"etc(?=\.\s+[^\Wa-z]|\.?$)|etc\.?", "etcétera"), (r"vs\.?", "versus"),
        (r"[Nn][º°]\.? ?|[Nn]\.º ?", "número "), (r"a\. ?C\.", "antes de Cristo"), (r"d\. ?C\.", "depois de Cristo"),
        (r"Av\.", "avenida"), (r"aprox\.", "aproximadamente"), (r"[Pp]ágs?\.", "página"), (r"[Oo]bs\.", "observação"),
        (r"Ltda\.", "limitada"), (r"tel\.", "telefone"),
    ),
)  # fmt: skip

SPANISH = Words(
    code="es",
    num2words="es",
    decimal=",",
    point="coma",
    dot="punto",
    at="arroba",
    minus="menos",
    percent="por ciento",
    to="a",
    over="sobre",
    degrees=Noun("grado", "grados"),
    months=(
        "enero", "febrero", "marzo", "abril", "mayo", "junio",
        "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre",
    ),
    months_short=(),
    units=_ES_UNITS,
    currencies=_currencies(
        Noun("dólar", "dólares"), Noun("euro", "euros"), Noun("libra", "libras", feminine=True), Noun("yen", "yenes"),
        Noun("real", "reales"), Noun("centavo", "centavos"), Noun("céntimo", "céntimos"), Noun("penique", "peniques"),
    ),
    scales={"mil": "", "millón": "de", "millones": "de", "billón": "de", "billones": "de"},
    operators={"+": "más", "-": "menos", "–": "menos", "*": "por", "×": "por", "x": "por", "÷": "dividido entre",
               "/": "dividido entre", "=": "es igual a", "≈": "es cerca de", "<": "es menor que", ">": "es mayor que",
               "^": "elevado a"},
    marks={"&": "y", "+": "más", "=": "igual a", "×": "por", "÷": "dividido entre", "@": "arroba", "%": "por ciento",
           "≈": "cerca de", "~": "cerca de", "≤": "como máximo", "≥": "como mínimo", "€": "euros", "$": "dólares",
           "£": "libras", "°": "grados", "²": "al cuadrado", "³": "al cubo", "√": "raíz cuadrada de", "№": "número",
           "#": "número"},
    fractions={"1/2": "medio", "1/3": "un tercio", "2/3": "dos tercios", "1/4": "un cuarto", "3/4": "tres cuartos",
               "24/7": "veinticuatro horas al día"},
    vulgar={"½": "medio", "¼": "un cuarto", "¾": "tres cuartos", "⅓": "un tercio", "⅔": "dos tercios"},
    abbreviations=(
        (r"Sr\.", "señor"), (r"Sra\.", "señora"), (r"Sres\.", "señores"), (r"Srta\.", "señorita"),
        (r"Dr\.", "doctor"), (r"Dra\.", "doctora"), (r"Prof\.", "profesor"), (r"Profa\.", "profesora"),
        (r"(?:Ud|Vd)\.", "usted"), (r"(?:Uds|Vds)\.", "ustedes"), (r"(?i:p\. ?ej\.|ej\.(?= ?:))", "por ejemplo"),
        (r"etc(?=\.\s+[^\Wa-z]|\.?$)|etc\.?", "etcétera"), (r"vs\.?", "versus"),
        (r"[Nn][º°]\.? ?|[Nn]\.º ?|[Nn]úm\. ?", "número "),
        (r"a\. ?C\.", "antes de Cristo"), (r"d\. ?C\.", "después de Cristo"), (r"EE\. ?UU\.", "Estados Unidos"),
        (r"Avda?\.", "avenida"), (r"aprox\.", "aproximadamente"), (r"[Pp]ágs?\.", "página"), (r"tel\.", "teléfono"),
    ),
)  # fmt: skip

LANGUAGES: Mapping[str, Words] = {words.code: words for words in (ENGLISH, PORTUGUESE, SPANISH)}
