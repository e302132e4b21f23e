"""Polish."""

from pipeline.speech.normalise.languages.money import by_sign
from pipeline.speech.normalise.words import Currency, Noun, Signs, Words

UNITS = {
    "tys.": Noun("tysiąc", "tysięcy", few="tysiące", part="tysiąca"),
    "mln": Noun("milion", "milionów", few="miliony", part="miliona"),
    "mld": Noun("miliard", "miliardów", few="miliardy", part="miliarda"),
    "km/h": Noun(
        "kilometr na godzinę", "kilometrów na godzinę", few="kilometry na godzinę", part="kilometra na godzinę"
    ),
    "m²": Noun("metr kwadratowy", "metrów kwadratowych", few="metry kwadratowe", part="metra kwadratowego"),
    "km": Noun("kilometr", "kilometrów", few="kilometry", part="kilometra"),
    "cm": Noun("centymetr", "centymetrów", few="centymetry", part="centymetra"),
    "mm": Noun("milimetr", "milimetrów", few="milimetry", part="milimetra"),
    "m": Noun("metr", "metrów", few="metry", part="metra"),
    "kg": Noun("kilogram", "kilogramów", few="kilogramy", part="kilograma"),
    "g": Noun("gram", "gramów", few="gramy", part="grama"),
    "ml": Noun("mililitr", "mililitrów", few="mililitry", part="mililitra"),
    "l": Noun("litr", "litrów", few="litry", part="litra"),
    "MB": Noun("megabajt", "megabajtów", few="megabajty", part="megabajta"),
    "GB": Noun("gigabajt", "gigabajtów", few="gigabajty", part="gigabajta"),
    "min": Noun("minuta", "minut", feminine=True, few="minuty"),
    "s": Noun("sekunda", "sekund", feminine=True, few="sekundy"),
}
CURRENCIES = {
    "dollar": Currency(
        Noun("dolar", "dolarów", few="dolary", part="dolara"), Noun("cent", "centów", few="centy", part="centa")
    ),
    "euro": Currency(Noun("euro", "euro"), Noun("cent", "centów", few="centy", part="centa")),
    "pound": Currency(
        Noun("funt", "funtów", few="funty", part="funta"), Noun("pens", "pensów", few="pensy", part="pensa")
    ),
    "zloty": Currency(
        Noun("złoty", "złotych", few="złote", part="złotego"), Noun("grosz", "groszy", few="grosze", part="grosza")
    ),
    "rouble": Currency(Noun("rubel", "rubli", few="ruble", part="rubla")),
    "hryvnia": Currency(Noun("hrywna", "hrywien", feminine=True, few="hrywny")),
    "franc": Currency(
        Noun("frank szwajcarski", "franków szwajcarskich", few="franki szwajcarskie", part="franka szwajcarskiego")
    ),
    "krona": Currency(Noun("korona", "koron", feminine=True, few="korony")),
    "yen": Currency(Noun("jen", "jenów", few="jeny", part="jena")),
    "cent": Currency(Noun("cent", "centów", few="centy", part="centa")),
}

POLISH = Words(
    code="pl",
    num2words="pl",
    decimal=",",
    point="przecinek",
    dot="kropka",
    to="do",
    over="na",
    per="na",
    half_link="i",
    signs=Signs(
        plus="plus",
        minus="minus",
        plus_minus="plus minus",
        times="razy",
        by="na",
        divided="podzielić przez",
        equals="równa się",
        unequal="nie równa się",
        less="jest mniejsze niż",
        more="jest większe niż",
        at_most="jest mniejsze lub równe",
        at_least="jest większe lub równe",
        under="mniej niż",
        over="więcej niż",
        up_to="najwyżej",
        from_on="co najmniej",
        about="około",
        power="do potęgi",
        squared="do kwadratu",
        cubed="do sześcianu",
        root="pierwiastek z",
        infinity="nieskończoność",
        per_mille="promili",
        link="i",
        at="małpa",
        number="numer",
        hashtag="hasztag",
        slash="ukośnik",
        backslash="ukośnik wsteczny",
        underscore="podkreślnik",
        dash="myślnik",
        section="paragraf",
        sharp="sharp",
    ),
    percent=Noun("procent", "procent", few="procent", part="procent"),
    degrees=Noun("stopień", "stopni", few="stopnie", part="stopnia"),
    hour=Noun("godzina", "godzin", feminine=True, few="godziny"),
    second=Noun("sekunda", "sekund", feminine=True, few="sekundy"),
    scale_names=("Celsjusza", "Fahrenheita", "Kelvina"),
    plural="polish",
    feminine=((r"\bjeden$", "jedna"), (r"\bdwa$", "dwie")),
    scales={
        "tysiąc": "",
        "tysiące": "",
        "tysięcy": "",
        "milion": "",
        "miliony": "",
        "milionów": "",
        "miliard": "",
        "miliardy": "",
        "miliardów": "",
    },
    short_scales={"tys.": ("tysiąc", "tysięcy"), "mln": ("milion", "milionów"), "mld": ("miliard", "miliardów")},
    fractions={
        "1/2": "jedna druga",
        "1/3": "jedna trzecia",
        "2/3": "dwie trzecie",
        "1/4": "jedna czwarta",
        "3/4": "trzy czwarte",
    },
    vulgar={"½": "pół", "¼": "ćwierć", "¾": "trzy czwarte"},
    abbreviations=(
        (r"np\.", "na przykład"),
        (r"tzn\.", "to znaczy"),
        (r"itd(?=\.?$)|itd\.", "i tak dalej"),
        (r"ul\.", "ulica"),
        (r"ok\.(?= [0-9])", "około"),
        (r"nr(?= ?[0-9])", "numer"),
    ),
    calling="telefon|tel|komórka|fax|faks|numer|zadzwoń",
    units=UNITS,
    currencies=by_sign(CURRENCIES),
)
