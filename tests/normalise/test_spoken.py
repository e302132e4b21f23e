"""Written text as the voice reads it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.speech.normalise import for_voice
from pipeline.speech.normalise.languages import LANGUAGES

LAYOUT = [
    ("**Hello** _dear_ *world*!", "Hello dear world!"),
    ("# Shopping\n- Milk\n* Eggs\n\n> That is all", "Shopping. Milk. Eggs. That is all"),
    ("See [the page](https://example.org/a_b?c=d).", "See the page."),
    ("See https://www.example.org/a/b?c=1.", "See example dot org."),
    ("Write to ann.lee@example.com", "Write to ann dot lee at example dot com"),
    ("Use `print` here", "Use print here"),
    ("```python\nrun now\n```", "run now"),
    ("| Name | Age |\n|------|-----|\n| Ann | four |", "Name, Age. Ann, four"),
    ("- [x] Done\n- [ ] Open", "Done. Open"),
    ("some_snake_case", "some snake case"),
    ("<b>Bold</b> &amp; new", "Bold and new"),
    ("A line that\ngoes on", "A line that goes on"),
    ("---\nNext", "Next"),
    ("Great 😀👍🏽 work 🇵🇹!", "Great work!"),
    ('She said "Go!" and "Why?"', "She said Go! and Why?"),
    ('"Stop!"', "Stop!"),
    ("Wait… what", "Wait. what"),
    ("It is — really — good", "It is, really, good"),
    ("Ann (my sister) came", "Ann, my sister, came"),
    ("don't 'quote' it", "don't quote it"),
    ("Here it is:", "Here it is,"),
]
ENGLISH = [
    ("3.14 and 1,234", "three point one four and one thousand two hundred and thirty-four"),
    ("in 1969 and 2024", "in nineteen sixty-nine and twenty twenty-four"),
    ("in 1905, the 1990s and the '80s", "in nineteen oh-five, the nineteen nineties and the eighties"),
    ("the 1st, 22nd and 3rd", "the first, twenty-second and third"),
    ("$3.50, $1, $0.99, €20 and $5 million", "three dollars and fifty cents, one dollar, ninety-nine cents, "
     "twenty euros and five million dollars"),
    ("£12.01", "twelve pounds and one penny"),
    ("50% or 2.5 %", "fifty percent or two point five percent"),
    ("at 3:30 pm, 10:05, 12:00 and 15:45", "at three thirty p m, ten oh five, twelve o'clock and fifteen forty-five"),
    ("It is 3:00 p.m. now.", "It is three p m now."),
    ("on May 3, 2024", "on May third, twenty twenty-four"),
    ("on 2024-05-03", "on May third, twenty twenty-four"),
    ("Friday, November 20, 2026.", "Friday, November twentieth, twenty twenty-six."),
    ("5 km, 1 km, 20 °C, -5°F",
     "five kilometers, one kilometer, twenty degrees Celsius, minus five degrees Fahrenheit"),
    ("3.5 GB, 20 m², 100 km/h", "three point five gigabytes, twenty square meters, one hundred kilometers per hour"),
    ("Dr. Smith and Mrs. Jones", "doctor Smith and missus Jones"),
    ("fruit, e.g. apples, etc.", "fruit, for example apples, et cetera."),
    ("58 + 16 = 74", "fifty-eight plus sixteen equals seventy-four"),
    ("5 * 3, 8 / 2, 5 - 3", "five times three, eight divided by two, five minus three"),
    ("GPT-4 and COVID-19", "GPT four and COVID nineteen"),
    ("10-20 people from 1990–2000", "ten to twenty people from nineteen ninety to two thousand"),
    ("1/2 and 3/4 and 2½", "one half and three quarters and two and a half"),
    ("007", "zero zero seven"),
    ("call 555-1234", "call five five five, one two three four"),
    ("1, 2, 3.", "one, two, three."),
    ("the U.S. team", "the U S team"),
]  # fmt: skip
PORTUGUESE = [
    ("3,14 e 1.234", "três vírgula catorze e mil duzentos e trinta e quatro"),
    ("em 1969", "em mil novecentos e sessenta e nove"),
    ("R$ 10,50", "dez reais e cinquenta centavos"),
    ("R$ 5 milhões", "cinco milhões de reais"),
    ("São 15h30.", "São quinze horas e trinta."),
    ("É 1h05.", "É uma hora e cinco."),
    ("às 10:00", "às dez horas"),
    ("às 3:30 pm", "às três horas e trinta da tarde"),
    ("1º de maio e 2ª feira", "primeiro de maio e segunda feira"),
    ("20/11/2026", "vinte de novembro de dois mil e vinte e seis"),
    ("2 maçãs, 21 pessoas e 2 dias", "duas maçãs, vinte e uma pessoas e dois dias"),
    ("20 °C, 5 km e 50%", "vinte graus Celsius, cinco quilômetros e cinquenta por cento"),
    ("O Sr. Silva e a Dra. Ana, p.ex.", "O senhor Silva e a doutora Ana, por exemplo"),
    ("5 - 3 = 2", "cinco menos três é igual a dois"),
    ("Olá, mundo!", "Olá, mundo!"),
]
SPANISH = [
    ("3,14 y 1.234", "tres coma catorce y mil doscientos treinta y cuatro"),
    ("en 1969", "en mil novecientos sesenta y nueve"),
    ("12,50 € y $1", "doce euros y cincuenta céntimos y un dólar"),
    ("$5 millones", "cinco millones de dólares"),
    ("Son las 15:30.", "Son las quince y treinta."),
    ("Es la 1:05.", "Es la una y cinco."),
    ("a las 9 p. m.", "a las nueve de la noche."),
    ("el 1er piso y la 2ª puerta", "el primer piso y la segunda puerta"),
    ("21 años y 500 personas", "veintiún años y quinientas personas"),
    ("20 °C y 100 km/h", "veinte grados Celsius y cien kilómetros por hora"),
    ("El Sr. Pérez y Ud., p. ej.", "El señor Pérez y usted, por ejemplo"),
    ("¿Qué hora es?", "¿Qué hora es?"),
]
CASES = [
    *(("en", *case) for case in LAYOUT + ENGLISH),
    *(("pt", *case) for case in PORTUGUESE),
    *(("es", *case) for case in SPANISH),
    ("fr", "J'ai 3,5 tartes et 21 ans", "J'ai trois virgule cinq tartes et vingt et un ans"),
    ("de", "Um 21 Uhr", "Um einundzwanzig Uhr"),
    ("xx", "3.5 and 10:30", "3.5 and 10:30"),
    (None, "**3.5** and 10:30", "3.5 and 10:30"),
    ("pt-BR", "21", "vinte e um"),
    ("zh", "你好，世界。", "你好，世界。"),
]


@pytest.mark.parametrize(("language", "written", "spoken"), CASES)
def test_text_is_normalised_for_speech(language: str | None, written: str, spoken: str) -> None:
    assert for_voice(written, language) == spoken


@pytest.mark.parametrize(
    "nothing", ["", " ", "***", "---", "😀", "🇵🇹 👍🏽", "```", "…", "?!", "->", "|--|--|", '"', "\u0301", "\ud800"]
)
@pytest.mark.parametrize("language", ["en", "pt", "es", "fr", None])
def test_text_without_words_is_not_sent_to_the_voice(nothing: str, language: str | None) -> None:
    assert for_voice(nothing, language) == ""


_PIECES = [
    "1", "2.", ",", "3:30", " pm", "$", "R$", "€", "%", "km", "°C", "-", "–", "/", "*", "_", "`", "|", "[a](", ")",
    "\n", "1st", "º", "May ", "h", "Sr.", "e.g.", "http://", "a.org", "@", "&#1;", "😀", "½", " ", "é", "。", "'",
    "x", "²", "=", "<", "+", "555-1234", "+44 20", "$5M", "M", "0", ":", "T15:30Z", "2026-11-28", "10⁻", "#", "/etc",
    "\\n",
]  # fmt: skip


@given(
    st.one_of(st.text(max_size=100), st.lists(st.sampled_from(_PIECES), max_size=30).map("".join)),
    st.sampled_from(["en", "pt", "es", "fr", "ja", "ru", "", "??", "português", None]),
)
def test_any_text_becomes_one_clean_line(text: str, language: str | None) -> None:
    spoken = for_voice(text, language)
    assert spoken == spoken.strip()
    assert "\n" not in spoken
    assert "  " not in spoken
    assert not re.search(r"[*`|\"{}\[\]()_~^\\😀]", spoken)
    if language in LANGUAGES:
        assert not re.search("[#<>=]", spoken)
    assert spoken == "" or any(char.isalnum() for char in spoken)


@given(st.lists(st.sampled_from(_PIECES), max_size=30).map("".join), st.sampled_from(sorted(LANGUAGES)))
def test_no_digit_is_left_in_a_language_with_tables(text: str, language: str) -> None:
    assert not re.search("[0-9]", for_voice(text, language))
