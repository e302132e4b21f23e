"""A table of written → spoken text, checked by a reader for every language that has a table of words."""

import pytest

from pipeline.speech.normalise import for_voice

ENGLISH = [
    ("$2.5m and $5b", "two point five million dollars and five billion dollars"),
    ("₹1,00,000", "one hundred thousand rupees"),
    ("It costs $2.5M or $5k.", "It costs two point five million dollars or five thousand dollars."),
    ("the 10,000th visitor", "the ten thousandth visitor"),
    (".5 and -.5 and $.99", "zero point five and minus zero point five and ninety-nine cents"),
    ("at 9:30PM and 15:30:45", "at nine thirty p m and fifteen thirty and forty-five seconds"),
    ("40–60°C and 5%-10%", "forty to sixty degrees Celsius and five percent to ten percent"),
    ("9am-5pm daily, 9-5pm", "nine a m to five p m daily, nine to five p m"),
    ("10:30–11:45 today", "ten thirty to eleven forty-five today"),
    ("Call +44 20 7946 0958 now.", "Call plus four four, two zero, seven nine four six, zero nine five eight now."),
    ("(555) 123-4567", "five five five, one two three, four five six seven"),
    (
        "call 555-1234 or 1-800-555-0199",
        "call five five five, one two three four or one, eight zero zero, five five five, zero one nine nine",
    ),
    ("1-800-FLOWERS", "one, eight zero zero, FLOWERS"),
    ("3 1/2 cups and 2 3/4 and 5/8", "three and a half cups and two and three quarters and five eighths"),
    (
        "x != y and a >= b, c <= d, e == f",
        "x is not equal to y and a is greater than or equal to b, c is less than or equal to d, e equals f",
    ),
    ("x -> y", "x to y"),
    ("10x10 and 10×10 and 2×3=6", "ten by ten and ten by ten and two times three equals six"),
    ("C# and C++ and F# and .NET and Node.js", "C sharp and C plus plus and F sharp and dot NET and Node dot js"),
    ("see /etc/passwd and ~/.bashrc", "see slash etc slash passwd and tilde slash dot bashrc"),
    ("ann+news@my-site.example.com", "ann plus news at my dash site dot example dot com"),
    ("2026-11-28T15:30:45Z", "November twenty-eighth, twenty twenty-six, fifteen thirty and forty-five seconds UTC"),
    (
        "2026-11-28T15:30:45+02:00",
        "November twenty-eighth, twenty twenty-six, fifteen thirty and forty-five seconds UTC plus two",
    ),
    (
        "₹500, 50¢, A$5, C$10.50, US$3, R$ 20",
        (
            "five hundred rupees, fifty cents, five Australian dollars, ten Canadian dollars "
            "and fifty cents, three dollars, twenty reais"
        ),
    ),
    (
        "CHF 20, ¥1000, ₩5000, ₺30, ₽100, 50 zł, 100 kr",
        (
            "twenty Swiss francs, one thousand yen, five thousand won, thirty lira, one "
            "hundred roubles, fifty zlotys, one hundred kronor"
        ),
    ),
    ("v2.0.1 and version 1.2.3", "v two point zero point one and version one point two point three"),
    ("192.168.0.1", "one hundred and ninety-two dot one hundred and sixty-eight dot zero dot one"),
    ("Henry VIII and Chapter IV", "Henry VIII and Chapter IV"),
    ("-5 degrees, \u22123, \u20134\xb0C", "minus five degrees, minus three, minus four degrees Celsius"),
    (
        "1.5e10 and 3×10^8 and 10⁻⁶",
        (
            "one point five times ten to the power of ten and three times ten to the power "
            "of eight and ten to the power of minus six"
        ),
    ),
    ("report.pdf and main.py", "report dot pdf and main dot py"),
    (
        "1 000 000 people, 1 234 567.89",
        (
            "one million people, one million two hundred and thirty-four thousand five "
            "hundred and sixty-seven point eight nine"
        ),
    ),
    ("x² + y² = z²", "x squared plus y squared equals z squared"),
    ("AT&T, R&D", "AT and T, R and D"),
    ("50% off, 3 ‰", "fifty percent off, three per mille"),
    ("5 < 6 > 2", "five is less than six is greater than two"),
    ("if a<b and List<String>", "if a is less than b and List String"),
    ("he/she, and/or", "he slash she, and or"),
    ("#1 and #hashtag", "number one and hashtag hashtag"),
    ("~5 minutes, ≥ 10 items, <5 ms", "about five minutes, at least ten items, less than five milliseconds"),
    (">5 people", "more than five people"),
    ("the 2020-21 season, 1990–2000", "the twenty twenty to twenty-one season, nineteen ninety to two thousand"),
    (
        "100-1000 people, $5-10, $5–$10",
        "one hundred to one thousand people, five to ten dollars, five dollars to ten dollars",
    ),
    ("$5/month", "five dollars per month"),
    ("±5 mm", "plus or minus five millimeters"),
    ("version 3.10 was released 3/5/2024", "version three point one zero was released March fifth, twenty twenty-four"),
    ("room 404, 2x faster", "room four hundred and four, two times faster"),
    ("I said 3:1 odds; ratio 16:9", "I said three to one odds; ratio sixteen to nine"),
    (
        "192.168.0.1:8080",
        ("one hundred and ninety-two dot one hundred and sixty-eight dot zero dot one, eight thousand and eighty"),
    ),
    ("5'10\" tall", "five foot ten tall"),
    ("ISBN 978-3-16-148410-0", "ISBN nine seven eight, three, one six, one four eight four one zero, zero"),
    (
        "$1,234.56 and $1.234",
        ("one thousand two hundred and thirty-four dollars and fifty-six cents and one point two three four dollars"),
    ),
    ("12:00:00", "twelve o'clock"),
    ("B2B, 4K, MP3, H2O", "B two B, four K, MP three, H two O"),
    ("Q3 2024", "Q three twenty twenty-four"),
    ("50°", "fifty degrees"),
    ("C:\\Users\\ann", "C backslash Users backslash ann"),
    ("2+2=4", "two plus two equals four"),
    ("1990s", "nineteen nineties"),
    ("$20 bn and £3.2 billion", "twenty billion dollars and three point two billion pounds"),
    ("€12,50", "twelve euros and fifty cents"),
    ("12.50 €", "twelve euros and fifty cents"),
    ("Hello.\\nWorld", "Hello. World"),
    ("5 km/h - 10 km/h", "five kilometers per hour to ten kilometers per hour"),
    ("2,000–3,000 people", "two thousand to three thousand people"),
    ("1.5-2 hours", "one point five to two hours"),
    ("1.5M users", "one point five million users"),
    ("50/50", "fifty fifty"),
    ("at 8.30 am", "at eight thirty a m"),
    ("the 1st–3rd", "the first to third"),
    ("john_doe@x.com", "john underscore doe at x dot com"),
    ("Use _this_ and that", "Use this and that"),
    ("12:30 AM", "twelve thirty a m"),
    ("-$5", "minus five dollars"),
    ("a -> b → c", "a to b to c"),
    ("5 km/day", "five kilometers per day"),
    ("Let's meet at 5-ish", "Let's meet at five-ish"),
    ("Windows 11 & iOS 17.2", "Windows eleven and iOS seventeen point two"),
    ("100,000,000", "one hundred million"),
    ("$1T", "one trillion dollars"),
    ("2026-11-28 at 7", "November twenty-eighth, twenty twenty-six at seven"),
    ("on 12/25/2024", "on December twenty-fifth, twenty twenty-four"),
    ("(-5)", "minus five,"),
    ("half-life", "half-life"),
    ("03/05/2024 and 12/25/24", "March fifth, twenty twenty-four and December twenty-fifth, twenty twenty-four"),
    ("2024/05/03", "May third, twenty twenty-four"),
    ("15:30:45+02:00", "fifteen thirty and forty-five seconds UTC plus two"),
    ("5m 10s", "five minutes ten seconds"),
    ("2h 30m and 1h30", "two hours thirty minutes and one hour thirty minutes"),
    ("4111 1111 1111 1111", "four one one one, one one one one, one one one one, one one one one"),
    ("12345678901", "one two three four five six seven eight nine zero one"),
    ("12345000000", "twelve billion three hundred and forty-five million"),
    ("50-50 and 10-0", "fifty, fifty and ten, zero"),
    ("0x1F", "zero x one F"),
    ("H₂O", "H two O"),
    ("c# and G♯", "c sharp and G sharp"),
    ("$-5, S$5, Rs. 500", "minus five dollars, five Singapore dollars, five hundred rupees"),
    ("example.com:8080", "example dot com, eight thousand and eighty"),
    ("3bn people", "three billion people"),
]

GERMAN = [
    ("Es sind -5 Grad", "Es sind minus fünf Grad"),
    ("12,50 €", "zwölf Euro fünfzig"),
    ("50 %", "fünfzig Prozent"),
    ("1.234,56 €", "eintausendzweihundertvierunddreißig Euro sechsundfünfzig"),
    ("1 000 000 Menschen", "eine Million Menschen"),
    ("20 °C und 40–60 °C", "zwanzig Grad Celsius und vierzig bis sechzig Grad Celsius"),
    ("um 15:30 Uhr", "um fünfzehn Uhr dreißig"),
    ("am 1.5.2024 und am 3. Mai", "am ersten Mai zweitausendvierundzwanzig und am dritten Mai"),
    ("Der 3. Oktober", "Der dritte Oktober"),
    ("1 €, 21 €, 0,99 €", "ein Euro, einundzwanzig Euro, neunundneunzig Cent"),
    ("2,5 Mio. €", "zwei Komma fünf Millionen Euro"),
    ("3 + 4 = 7, 3 × 4", "drei plus vier gleich sieben, drei mal vier"),
    ("5 < 6", "fünf kleiner als sechs"),
    ("1/2 und 3/4 und 2½", "ein halb und drei Viertel und zweieinhalb"),
    ("50 km/h, 1 Min.", "fünfzig Kilometer pro Stunde, eine Minute"),
    ("a@b.de", "a at b Punkt de"),
    ("+49 30 123456", "plus vier neun, drei null, eins zwei drei vier fünf sechs"),
    ("030 1234567", "null drei null, eins zwei drei vier fünf sechs sieben"),
    ("z. B. Äpfel", "zum Beispiel Äpfel"),
    ("§ 5", "Paragraf fünf"),
    ("5-10 km", "fünf bis zehn Kilometer"),
    ("A & B", "A und B"),
    ("1'000 Franken", "eintausend Franken"),
    ("CHF 20", "zwanzig Franken"),
    ("3,14", "drei Komma eins vier"),
    ("um 9:05", "um neun Uhr fünf"),
    ("das Jahr 1999", "das Jahr eintausendneunhundertneunundneunzig"),
    ("Am 24.12. um 18 Uhr", "Am vierundzwanzigsten Dezember um achtzehn Uhr"),
    ("10 Mio. Menschen", "zehn Millionen Menschen"),
    ("1 Mio. €", "eine Million Euro"),
    ("im 19. Jahrhundert", "im neunzehnten Jahrhundert"),
    ("3:1", "drei zu eins"),
    ("50 €/Monat", "fünfzig Euro pro Monat"),
    ("Mo-Fr 9-17 Uhr", "Mo-Fr neun bis siebzehn Uhr"),
    ("C#", "C sharp"),
    ("x != y", "x ungleich y"),
    ("10-20 k€", "zehn bis zwanzig tausend Euro"),
    ("2h 30m", "zwei Stunden dreißig Minuten"),
    ("am 03/05/2024", "am dritten Mai zweitausendvierundzwanzig"),
    ("3-5 Tage", "drei bis fünf Tage"),
]

FRENCH = [
    ("1 000 000 €", "un million d'euros"),
    ("Il fait -5 degrés", "Il fait moins cinq degrés"),
    ("12,50 €", "douze euros cinquante"),
    ("50 %", "cinquante pour cent"),
    ("1 000 000", "un million"),
    ("1\u202f000\u202f000 d'euros", "un million d'euros"),
    ("20 °C", "vingt degrés Celsius"),
    ("à 15h30 et 15:30", "à quinze heures trente et quinze heures trente"),
    ("le 1er mai et 3/5/2024", "le premier mai et trois mai deux mille vingt-quatre"),
    ("1,5 km", "un virgule cinq kilomètre"),
    ("3 + 4 = 7", "trois plus quatre égale sept"),
    ("06 12 34 56 78", "zéro six, un deux, trois quatre, cinq six, sept huit"),
    ("2,5 M€", "deux virgule cinq millions d'euros"),
    ("5-10 km", "cinq à dix kilomètres"),
    ("1 h 30", "une heure trente"),
    ("3e étage", "troisième étage"),
    ("21 ans", "vingt et un ans"),
    ("n° 5", "numéro cinq"),
    ("a@b.fr", "a arobase b point fr"),
    ("5 < 6", "cinq inférieur à six"),
    ("à 9 h", "à neuf heures"),
    ("1 500 €", "mille cinq cents euros"),
    ("la 1ère fois", "la première fois"),
    ("18h", "dix-huit heures"),
    ("1 234,56 €", "mille deux cent trente-quatre euros cinquante-six"),
    ("le 03/05/2024, le 01/05, le 14/07", "le trois mai deux mille vingt-quatre, le premier mai, le quatorze juillet"),
    ("10/12 et 3/4", "dix sur douze et trois quarts"),
    ("01.23.45.67.89", "zéro un, deux trois, quatre cinq, six sept, huit neuf"),
    ("0 800 123 456", "zéro, huit zéro zéro, un deux trois, quatre cinq six"),
    ("10-20 k€", "dix à vingt mille euros"),
    ("15:30:45Z", "quinze heures trente et quarante-cinq secondes UTC"),
    ("l'an 2000", "l'an deux mille"),
    ("+33 6 12 34 56 78", "plus trois trois, six, un deux, trois quatre, cinq six, sept huit"),
]

RUSSIAN = [
    ("Сейчас -5 градусов", "Сейчас минус пять градусов"),
    ("12,50 €", "двенадцать евро пятьдесят центов"),
    ("50 %", "пятьдесят процентов"),
    ("1 %", "один процент"),
    ("2 %", "два процента"),
    ("1 000 000", "один миллион"),
    ("20 °C", "двадцать градусов Цельсия"),
    ("5 км", "пять километров"),
    ("2,5 км", "две целых пять десятых километра"),
    ("21 км", "двадцать один километр"),
    ("100 ₽", "сто рублей"),
    ("101 ₽", "сто один рубль"),
    ("15:30", "пятнадцать тридцать"),
    ("3 + 4 = 7", "три плюс четыре равно семь"),
    ("5 < 6", "пять меньше шесть"),
    ("№ 1", "номер один"),
    ("+7 495 123-45-67", "плюс семь, четыре девять пять, один два три, четыре пять, шесть семь"),
    ("5–10 км", "пять, десять километров"),
    ("а & б", "а и б"),
    ("2 минуты", "две минуты"),
    ("300 руб.", "триста рублей"),
    ("a@b.ru", "a собака b точка ru"),
    ("25 декабря 2024 г.", "двадцать пять декабря две тысячи двадцать четыре года"),
    ("2,5 млн ₽", "две целых пять десятых миллиона рублей"),
    ("5 млн рублей", "пять миллионов рублей"),
    ("3-5 дней", "три, пять дней"),
    ("18+", "восемнадцать плюс"),
    ("21 %", "двадцать один процент"),
]

PORTUGUESE = [
    ("R$ 1.000.000,00", "um milhão de reais"),
    ("R$ 2,5M e R$ 5k", "dois vírgula cinco milhões de reais e cinco mil reais"),
    ("R$ 3 bi", "três bilhões de reais"),
    ("-5 °C", "menos cinco graus Celsius"),
    ("12,50 €", "doze euros e cinquenta centavos"),
    ("1 000 000", "um milhão"),
    ("1.000.000,50", "um milhão vírgula cinquenta"),
    ("40–60 °C", "quarenta a sessenta graus Celsius"),
    ("5%-10%", "cinco por cento a dez por cento"),
    ("9h-17h", "nove horas a dezessete horas"),
    ("às 15:30:45", "às quinze horas, trinta minutos e quarenta e cinco segundos"),
    ("x != y", "x é diferente de y"),
    ("10x10", "dez por dez"),
    ("C# e C++", "C sharp e C mais mais"),
    ("/etc/passwd", "barra etc barra passwd"),
    ("ana+x@exemplo.com", "ana mais x arroba exemplo ponto com"),
    (
        "2026-11-28T15:30:45Z",
        (
            "vinte e oito de novembro de dois mil e vinte e seis, quinze horas, trinta "
            "minutos e quarenta e cinco segundos UTC"
        ),
    ),
    ("(11) 98765-4321", "um um, nove oito sete seis cinco, quatro três dois um"),
    ("+55 11 98765-4321", "mais cinco cinco, um um, nove oito sete seis cinco, quatro três dois um"),
    ("ligue 0800 123 4567", "ligue zero oito zero zero, um dois três, quatro cinco seis sete"),
    ("₹500, US$ 5, 50 ¢", "quinhentas rupias, cinco dólares, cinquenta centavos"),
    ("1,5 milhão", "um vírgula cinco milhão"),
    ("o 1º lugar", "o primeiro lugar"),
    ("28/11/2026", "vinte e oito de novembro de dois mil e vinte e seis"),
    ("2,5 km/h", "dois vírgula cinco quilômetros por hora"),
    ("R$ 1 mil", "mil reais"),
    ("R$ 1k", "mil reais"),
    ("às 14h", "às catorze horas"),
    ("de 10 a 20%", "de dez a vinte por cento"),
    ("03/05/2024 e 21/05", "três de maio de dois mil e vinte e quatro e vinte e um de maio"),
    ("21 98765-4321", "dois um, nove oito sete seis cinco, quatro três dois um"),
    ("11987654321", "um um nove oito sete seis cinco quatro três dois um"),
    ("R$ -5", "menos cinco reais"),
    ("2h30m", "duas horas e trinta"),
    ("3ª edição", "terceira edição"),
    ("R$ 50/mês", "cinquenta reais por mês"),
    ("5 < 6", "cinco é menor que seis"),
    ("3:1", "três a um"),
]

SPANISH = [
    ("2.000.000 €", "dos millones de euros"),
    ("$2,5 M y $5k", "dos coma cinco millones de dólares y cinco mil dólares"),
    ("-5 °C", "menos cinco grados Celsius"),
    ("12,50 €", "doce euros y cincuenta céntimos"),
    ("1 000 000", "un millón"),
    ("40–60 °C", "cuarenta a sesenta grados Celsius"),
    ("5 %-10 %", "cinco por ciento a diez por ciento"),
    ("15:30:45", "quince horas, treinta minutos y cuarenta y cinco segundos"),
    ("3 1/2 tazas", "tres y medio tazas"),
    ("x != y", "x es distinto de y"),
    ("10x10", "diez por diez"),
    ("C# y C++", "C sharp y C más más"),
    ("/etc/passwd", "barra etc barra passwd"),
    ("ana+x@ejemplo.com", "ana más x arroba ejemplo punto com"),
    (
        "2026-11-28T15:30:45Z",
        (
            "veintiocho de noviembre de dos mil veintiséis, quince horas, treinta minutos y "
            "cuarenta y cinco segundos UTC"
        ),
    ),
    ("llame al 612 345 678", "llame al seis uno dos, tres cuatro cinco, seis siete ocho"),
    ("+34 612 345 678", "más tres cuatro, seis uno dos, tres cuatro cinco, seis siete ocho"),
    ("(55) 1234-5678", "cinco cinco, uno dos tres cuatro, cinco seis siete ocho"),
    ("₹500, US$ 5, 50 ¢", "quinientas rupias, cinco dólares, cincuenta centavos"),
    ("de 9:00-17:00", "de nueve en punto a diecisiete horas"),
    ("1,5 millones de euros", "uno coma cinco millones de euros"),
    ("5 millones €", "cinco millones de euros"),
    ("el 1.º de mayo", "el primero de mayo"),
    ("28/11/2026", "veintiocho de noviembre de dos mil veintiséis"),
    ("100 €/mes", "cien euros por mes"),
    ("25/12/24 y 01/05", "veinticinco de diciembre de dos mil veinticuatro y uno de mayo"),
    ("91 123 45 67", "nueve uno, uno dos tres, cuatro cinco, seis siete"),
    ("a las 14 h", "a las catorce horas"),
    ("$1.500", "mil quinientos dólares"),
    ("5 < 6", "cinco es menor que seis"),
    ("1 234,56 €", "mil doscientos treinta y cuatro euros y cincuenta y seis céntimos"),
]

OTHERS = [
    ("pl", "-5 stopni", "minus pięć stopni"),
    ("pl", "12,50 zł", "dwanaście złotych pięćdziesiąt groszy"),
    ("pl", "50 %", "pięćdziesiąt procent"),
    ("pl", "1 000 000", "milion"),
    (
        "pl",
        "2 km, 5 km, 22 km, 1,5 km",
        "dwa kilometry, pięć kilometrów, dwadzieścia dwa kilometry, jeden przecinek pięć kilometra",
    ),
    ("pl", "20 °C", "dwadzieścia stopni Celsjusza"),
    ("pl", "15:30", "piętnaście trzydzieści"),
    ("pl", "2,5 mln zł", "dwa przecinek pięć miliona złotych"),
    ("pl", "1 zł, 2 zł, 5 zł", "jeden złoty, dwa złote, pięć złotych"),
    ("it", "-5 gradi", "meno cinque gradi"),
    ("it", "12,50 €", "dodici euro e cinquanta"),
    ("it", "50 %", "cinquanta per cento"),
    ("it", "1'000'000", "un milione"),
    ("it", "20 °C", "venti gradi Celsius"),
    ("it", "15:30", "quindici e trenta"),
    ("it", "1 €, 2,5 km", "un euro, due virgola cinque chilometri"),
    ("nl", "-5 graden", "min vijf graden"),
    ("nl", "12,50 €", "twaalf euro vijftig"),
    ("nl", "50 %", "vijftig procent"),
    ("nl", "20 °C", "twintig graden Celsius"),
    ("nl", "15:30", "vijftien uur dertig"),
    ("nl", "2,5 km", "twee komma vijf kilometer"),
    ("uk", "-5 градусів", "мінус п'ять градусів"),
    ("uk", "12,50 ₴", "дванадцять гривень п'ятдесят копійок"),
    ("uk", "50 %", "п'ятдесят відсотків"),
    ("uk", "2 км", "два кілометри"),
    ("ja", "-5度", "\u22125\u5ea6"),
    ("ja", "50%", "50%"),
    ("ja", "1 000 000", "1000000"),
    ("ja", "3+4=7", "3+4=7"),
    ("zh", "-5度 50% 3×4", "\u22125\u5ea6 50% 3\xd74"),
    ("sv", "-5 grader, 50 %, 12,50 €", "\u22125 grader, 50 %, 12,50 \u20ac"),
    ("ar", "-5 50%", "\u22125 50%"),
]

CASES = [
    *(("en", *case) for case in ENGLISH),
    *(("pt", *case) for case in PORTUGUESE),
    *(("es", *case) for case in SPANISH),
    *(("de", *case) for case in GERMAN),
    *(("fr", *case) for case in FRENCH),
    *(("ru", *case) for case in RUSSIAN),
    *OTHERS,
]


@pytest.mark.parametrize("spoken_in", sorted({language for language, *_ in CASES}))
def test_text_is_spoken_as_a_native_reader_says_it(spoken_in: str) -> None:
    said = {written: (for_voice(written, language), spoken) for language, written, spoken in CASES
            if language == spoken_in}  # fmt: skip
    assert {written: found for written, (found, spoken) in said.items() if found != spoken} == {}


@pytest.mark.parametrize(
    ("language", "million"),
    [
        ("en", "one million"), ("pt", "um milhão"), ("es", "un millón"), ("de", "eine Million"), ("fr", "un million"),
        ("it", "un milione"), ("nl", "een miljoen"), ("pl", "milion"), ("ru", "один миллион"),
        ("uk", "один мільйон"), ("sv", "1000000"), ("ja", "1000000"), (None, "1000000"),
    ],
)  # fmt: skip
def test_digit_groups_form_one_number(language: str | None, million: str) -> None:
    said = {space: for_voice(f"1{space}000{space}000", language) for space in " \u00a0\u202f\u2009'’"}
    assert said == dict.fromkeys(said, million)


@pytest.mark.parametrize("language", ["sv", "ja", "zh", "ar", "hi", "el", "tr", "cs", "xx", None])
def test_no_sign_is_lost_when_the_voice_must_speak_it(language: str | None) -> None:
    signs = "%‰°€$£¥₹₽&@#+=<>×÷±≈≤≥≠½²³§№µ"
    assert [sign for sign in signs if sign not in for_voice(f"3 {sign} 4", language)] == []


SIGNS = [
    "-5", "5 %", "5 ‰", "5 °", "5 €", "$5", "£5", "5 + 4", "5 = 4", "a & 4", "x @ 4", "#4", "5 < 4", "5 > 4", "5 × 4",
    "5 ÷ 4", "±4", "≈4", "≤4", "≥4", "5 ≠ 4", "½ 4", "4²", "4³", "§ 4", "a/b", "№ 4",
]  # fmt: skip


@pytest.mark.parametrize("language", ["en", "pt", "es", "de", "fr", "it", "nl", "pl", "ru", "uk"])
def test_every_sign_has_words(language: str) -> None:
    """The sign adds words to the spoken text, and all of that text is letters."""
    for sign in SIGNS:
        said = for_voice(sign, language)
        without = for_voice("".join(char if char.isascii() and char.isalnum() else " " for char in sign), language)
        assert len(said) > len(without) + 1, (sign, said, without)
        assert all(char.isalpha() or char in " '-," for char in said), (sign, said)
