"""The embedded responder: its replies in three languages, and the grammar of what it understands."""

import random
import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pocketsphinx import Decoder, get_model_path

from pipeline.llm import Message
from pipeline.llm.builtin import grammar, open_engine, sentences
from pipeline.llm.builtin.responder import BuiltinResponder
from pipeline.llm.builtin.understanding import LANGUAGES
from pipeline.settings import Settings

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
RESPONDER = BuiltinResponder(clock=lambda: NOW)

ENGLISH = [
    ("What time is it?", "It is 3:30 pm."),
    ("what time is it now", "It is 3:30 pm."),
    ("Can you tell me what time it is, please?", "It is 3:30 pm."),
    ("What day is it today?", "Today is Friday."),
    ("what day is tomorrow", "Tomorrow is Saturday."),
    ("What's the date?", "Today is Friday, November 20, 2026."),
    ("what is today's date", "Today is Friday, November 20, 2026."),
    ("what year is it", "It is 2026."),
    ("what is fifty eight plus sixteen", "58 plus 16 is 74."),
    ("What is 58 + 16?", "58 plus 16 is 74."),
    ("What is fifty-eight plus sixteen?", "58 plus 16 is 74."),
    ("how much is nine times seven", "9 times 7 is 63."),
    ("What's 10 divided by 3?", "10 divided by 3 is about 3.33."),
    ("one hundred minus one", "100 minus 1 is 99."),
    ("what is two plus three times four", "2 plus 3 times 4 is 14."),
    ("What is 1,500 minus 1.5?", "1,500 minus 1.5 is 1,498.5."),
    ("what is minus three plus two point five", "-3 plus 2.5 is -0.5."),
    ("fifteen percent of two hundred", "15 percent of 200 is 30."),
    ("what is one hundred and twenty three times two thousand", "123 times 2,000 is 246,000."),
    ("what is five divided by zero", "Nothing can be divided by zero."),
    ("how many minutes in two hours", "2 hours is 120 minutes."),
    ("How many days are there in a week?", "1 week is 7 days."),
    ("convert 20 degrees Celsius to Fahrenheit", "20 degrees Celsius is 68 degrees Fahrenheit."),
    ("What is 100 °F in °C?", "100 degrees Fahrenheit is about 37.78 degrees Celsius."),
    ("5km to miles", "5 kilometers is about 3.11 miles."),
    ("how many pounds in a kilogram", "1 kilogram is about 2.2 pounds."),
    ("ten feet in meters", "10 feet is about 3.05 meters."),
    ("how many pounds in a mile", "I cannot turn miles into pounds: they measure different things."),
    ("spell london", "London: L, O, N, D, O, N."),
    ("How do you spell “Rome”?", "Rome: R, O, M, E."),
    ("count to five", "1, 2, 3, 4, 5."),
    ("Count from 5 to 3.", "5, 4, 3."),
    ("count to a thousand", "I count to 100 at most."),
    ("Repeat after me: Hello, dear world!", "Hello, dear world."),
    ("My name is Alice.", "Nice to meet you, Alice."),
    ("my name is maria please", "Nice to meet you, Maria."),
    ("Hello, how are you?", "Hello! How can I help you?"),
    ("good morning", "Hello! How can I help you?"),
    ("Thank you very much!", "You are welcome."),
    ("thank you please", "You are welcome."),
    ("what time is it please thank you", "It is 3:30 pm."),
    ("Goodbye.", "Goodbye! Talk to you soon."),
    ("what is your name", "I am Parley, your voice assistant. I run on your own machine."),
    ("can you hear me", "Yes, I hear you well."),
    ("what is my name", "You have not told me your name yet."),
    ("what did i say", "You have not said anything yet."),
    ("", "I did not hear anything."),
    ("Could you work out 12 times 9?", "12 times 9 is 108."),
    ("Please add 3 and 4.", "3 plus 4 is 7."),
    ("Multiply six by seven.", "6 times 7 is 42."),
    ("What is the square root of sixteen?", "The square root of 16 is 4."),
    ("sqrt of 2", "The square root of 2 is about 1.41."),
    ("square root of minus four", "A negative number has no real square root."),
    ("What is the weather like today?", "I cannot see the weather: I have no internet access."),
    ("Subtract 3 from 10.", "10 minus 3 is 7."),
    ("Divide 12 by 4, please.", "12 divided by 4 is 3."),
    ("Turn 5 kilograms into pounds.", "5 kilograms is about 11.02 pounds."),
    ("How is Rome spelled?", "Rome: R, O, M, E."),
    ("Count down from five.", "5, 4, 3, 2, 1."),
    ("Say hello world after me.", "Hello world."),
    ("Can you say the sky is blue?", "The sky is blue."),
    ("How many liters are in a gallon?", "1 gallon is about 3.79 liters."),
    ("How many yards are in a mile?", "1 mile is 1,760 yards."),
    ("Convert 30 mm to inches", "30 millimeters is about 1.18 inches."),
    ("How many months are in a year?", "1 year is 12 months."),
    ("How many degrees is 0 Celsius in Fahrenheit?", "0 degrees Celsius is 32 degrees Fahrenheit."),
    ("Sorry, what time is it?", "It is 3:30 pm."),
    ("Are you human?", "I am Parley, your voice assistant. I run on your own machine."),
    ("What languages do you speak?", "Without a language model I speak English, Portuguese and Spanish."),
]
PORTUGUESE = [
    ("Que horas são?", "São 15h30."),
    ("Que dia é hoje?", "Hoje é sexta-feira, 20 de novembro de 2026."),
    ("quanto é cinquenta e oito mais dezesseis", "58 mais 16 é 74."),
    ("Quanto é 58 × 16?", "58 vezes 16 é 928."),
    ("Quanto é 10 dividido por 4?", "10 dividido por 4 é 2,5."),
    ("quanto é três vírgula cinco vezes dois", "3,5 vezes 2 é 7."),
    ("Quantos minutos tem em duas horas?", "2 horas são 120 minutos."),
    ("Quantos dias tem uma semana?", "1 semana são 7 dias."),
    ("Converta 5 milhas para quilômetros.", "5 milhas são cerca de 8,05 quilômetros."),
    ("Soletre Londres.", "Londres: L, O, N, D, R, E, S."),
    ("conte até cinco", "1, 2, 3, 4, 5."),
    ("Repita comigo: bom dia", "Bom dia."),
    ("Meu nome é João.", "Prazer em conhecer você, João."),
    ("Oi, tudo bem?", "Olá! Como posso ajudar?"),
    ("Muito obrigado!", "De nada."),
    ("Tchau!", "Tchau! Até logo."),
    ("Por favor, que horas são agora?", "São 15h30."),
    ("Você pode somar vinte e três e quatro?", "23 mais 4 é 27."),
    ("Você pode converter 10 milhas em quilômetros?", "10 milhas são cerca de 16,09 quilômetros."),
    ("Poderia contar até cinco?", "1, 2, 3, 4, 5."),
    ("Diga bom dia a todos.", "Bom dia a todos."),
    ("Por favor, diga-me as horas.", "São 15h30."),
    ("Podes dizer-me que horas são?", "São 15h30."),
    ("Bom dia, que horas são?", "São 15h30."),
    ("Diz-me um poema.", "Para isso preciso de um modelo de linguagem."),
    ("Olha, quanto é dois mais dois?", "2 mais 2 é 4."),
    ("Quantos minutos há num dia?", "1 dia são 1.440 minutos."),
    ("Quantos litros tem um galão?", "1 galão são cerca de 3,79 litros."),
    ("Quantos meses tem um ano?", "1 ano são 12 meses."),
    ("Conta-me uma anedota.", "Por que o robô tirou férias? Porque precisava recarregar as baterias."),
    ("Podes repetir?", "Eu ainda não disse nada."),
    ("Como estás?", "Tudo bem, obrigado. Como posso ajudar?"),
    ("Consegues ouvir-me?", "Sim, ouço você muito bem."),
    ("Chamo-me Ana.", "Prazer em conhecer você, Ana."),
    ("Quem és tu?", "Eu sou o Parley, seu assistente de voz. Funciono no seu próprio computador."),
    ("Como te chamas?", "Eu sou o Parley, seu assistente de voz. Funciono no seu próprio computador."),
    ("Você é um robô?", "Eu sou o Parley, seu assistente de voz. Funciono no seu próprio computador."),
    ("Que línguas falas?", "Sem um modelo de linguagem, falo português, inglês e espanhol."),
]
SPANISH = [
    ("¿Qué hora es?", "Son las 15:30."),
    ("¿Qué día es hoy?", "Hoy es viernes, 20 de noviembre de 2026."),
    ("¿Cuánto es cincuenta y ocho más dieciséis?", "58 más 16 es 74."),
    ("¿Cuánto es 10 dividido entre 4?", "10 dividido entre 4 es 2,5."),
    ("¿Cuántos minutos hay en dos horas?", "2 horas son 120 minutos."),
    ("Convierte 5 millas a kilómetros", "5 millas son cerca de 8,05 kilómetros."),
    ("deletrea Madrid", "Madrid: M, A, D, R, I, D."),
    ("cuenta hasta cinco", "1, 2, 3, 4, 5."),
    ("Repite conmigo: buenos días", "Buenos días."),
    ("Me llamo José.", "Mucho gusto, José."),
    ("Hola, ¿qué tal?", "¡Hola! ¿En qué puedo ayudarte?"),
    ("Muchas gracias", "De nada."),
    ("Pues, ¿cuánto es dos más dos?", "2 más 2 es 4."),
    ("Buenos días, ¿qué hora es?", "Son las 15:30."),
    ("¿Cuánto es el quince por ciento de ochenta?", "15 por ciento de 80 es 12."),
    ("¿Cuántos litros tiene un galón?", "1 galón son cerca de 3,79 litros."),
    ("¿Cuántos meses tiene un año?", "1 año son 12 meses."),
    ("¿Puedes repetir?", "Todavía no he dicho nada."),
    ("¿Eres un robot?", "Soy Parley, tu asistente de voz. Funciono en tu propio ordenador."),
    ("¿Qué idiomas hablas?", "Sin un modelo de lenguaje hablo español, inglés y portugués."),
    ("Adiós", "¡Adiós! Hasta pronto."),
    ("¿Puedes sumar 3 y 4?", "3 más 4 es 7."),
    ("¿Me puedes decir cuánto es 5 más 6?", "5 más 6 es 11."),
    ("¿Podrías contar hasta cinco?", "1, 2, 3, 4, 5."),
    ("Di buenos días a todos.", "Buenos días a todos."),
]
PARAPHRASES = {
    "en": {
        "what time is it": (
            "Could you tell me what time it is?",
            "Do you have the time?",
            "Hey, what's the time right now?",
            "What's the current time?",
            "Please tell me what time it is now.",
        ),
        "what is the date": (
            "What's the date today, please?",
            "Tell me today's date.",
            "Could you tell me the date?",
            "What is the date?",
        ),
        "what day is it": (
            "Which day is it?",
            "What day of the week is it today?",
            "Tell me what day it is.",
            "What day is today?",
        ),
        "tell me a joke": (
            "Do you know a joke?",
            "Do you know any jokes?",
            "Could you please tell me a joke?",
            "Tell us a joke.",
            "I'd like to hear a joke.",
            "Got a joke for me?",
            "Have you got a joke?",
            "Another joke, please.",
        ),
        "tell me a story": (
            "Could you tell me a story, please?",
            "Do you know a story?",
            "I want to hear a story.",
            "Read me a story.",
            "Tell me a bedtime story.",
            "Tell me a short story.",
        ),
        "what can you do": (
            "What are you able to do?",
            "What can I ask you?",
            "What do you know?",
            "How can you help me?",
            "What can you help me with?",
            "What else can you do?",
        ),
    },
    "pt": {
        "que horas sao": (
            "Você pode me dizer que horas são?",
            "Por favor, que horas são?",
            "Você sabe que horas são?",
            "Poderia me dizer as horas?",
            "Que horas são, por favor?",
            "Me fala as horas.",
        ),
        "que data e hoje": (
            "Qual é a data de hoje?",
            "Você pode me dizer a data?",
            "Que dia é hoje, por favor?",
            "Me diga a data de hoje.",
        ),
        "que dia da semana e": (
            "Que dia da semana é hoje?",
            "Hoje é que dia da semana?",
        ),
        "conte uma piada": (
            "Você pode me contar uma piada?",
            "Conta uma piada, por favor.",
            "Você sabe alguma piada?",
            "Sabe uma piada?",
            "Quero ouvir uma piada.",
            "Me conta outra piada.",
            "Mais uma piada.",
        ),
        "conte uma historia": (
            "Você pode me contar uma história?",
            "Conta uma história para mim.",
            "Quero ouvir uma história.",
            "Me conte uma história curta.",
        ),
        "o que voce sabe fazer": (
            "O que você pode fazer?",
            "O que você sabe fazer?",
            "Em que você pode me ajudar?",
            "Como você pode me ajudar?",
            "O que posso perguntar?",
        ),
    },
    "es": {
        "que hora es": (
            "¿Me puedes decir la hora?",
            "¿Qué hora es, por favor?",
            "¿Puedes decirme qué hora es?",
            "¿Sabes qué hora es?",
            "Oye, ¿qué hora es?",
            "¿Podrías decirme la hora?",
        ),
        "que fecha es hoy": (
            "¿Qué fecha es hoy?",
            "¿Puedes decirme la fecha?",
            "Dime la fecha de hoy, por favor.",
            "¿Cuál es la fecha de hoy?",
        ),
        "que dia de la semana es": (
            "¿Qué día de la semana es hoy?",
            "¿Hoy qué día de la semana es?",
        ),
        "cuenta un chiste": (
            "¿Me puedes contar un chiste?",
            "¿Puedes contarme un chiste?",
            "Cuéntame un chiste, por favor.",
            "¿Sabes algún chiste?",
            "¿Te sabes un chiste?",
            "Quiero oír un chiste.",
            "Otro chiste, por favor.",
        ),
        "cuenta un cuento": (
            "¿Me puedes contar una historia?",
            "¿Puedes contarme un cuento?",
            "Quiero oír una historia.",
            "Cuéntame una historia corta.",
        ),
        "que puedes hacer": (
            "¿Qué puedes hacer?",
            "¿Qué sabes hacer?",
            "¿En qué me puedes ayudar?",
            "¿Cómo puedes ayudarme?",
            "¿Qué te puedo preguntar?",
        ),
    },
}
"""Language → a plain request → others that get the same reply."""
FALLBACKS = {language.replies["fallback"][0] for language in LANGUAGES.values()}
CASES = [
    *(("en", *case) for case in ENGLISH),
    *(("pt", *case) for case in PORTUGUESE),
    *(("es", *case) for case in SPANISH),
]


def answer(*asked: str, language: str | None = "en") -> str:
    """Return the last reply of a conversation."""
    messages: list[Message] = [Message("system", "Be brief.")]
    reply = ""
    for text in asked:
        messages.append(Message("user", text, language))
        reply = RESPONDER.text_for(messages)
        messages.append(Message("assistant", reply))
    return reply


@pytest.mark.parametrize(("language", "asked", "replied"), CASES)
def test_requests_get_the_expected_reply(language: str, asked: str, replied: str) -> None:
    assert answer(asked, language=language) == replied


@pytest.mark.parametrize(("language", "asked", "replied"), [case for case in CASES if case[1]])
def test_reply_language_is_detected_from_the_words(language: str, asked: str, replied: str) -> None:
    assert answer(asked, language=None) == replied


@pytest.mark.parametrize(("language", "plain"), [(code, plain) for code, by in PARAPHRASES.items() for plain in by])
def test_paraphrases_get_the_reply_of_the_plain_request(language: str, plain: str) -> None:
    expected = answer(plain, language=language)
    assert expected not in FALLBACKS
    for asked in PARAPHRASES[language][plain]:
        assert answer(asked, language=language) == expected, asked


def test_each_language_tells_a_joke_and_a_story_of_several_sentences() -> None:
    asked = {"en": ("tell me a joke", "Tell me a story."), "pt": ("Conte uma piada.", "Conte uma história."),
             "es": ("Cuéntame un chiste.", "Cuéntame una historia.")}  # fmt: skip
    for language, (joke, story) in asked.items():
        assert len(answer(joke, language=language)) > 20
        assert len(re.findall(r"[.!?](?:\s|$)", answer(story, language=language))) >= 5
    assert answer("tell me a joke", "tell me another joke") != answer("tell me a joke")
    assert answer("tell me a joke", "another one") == answer("tell me a joke", "tell me another joke")
    assert answer("another one") in FALLBACKS


def test_replies_use_the_conversation_so_far() -> None:
    assert answer("my name is alice", "what is my name") == "Your name is Alice."
    assert answer("my name is alice", "hello") == "Hello, Alice! How can I help you?"
    assert answer("turn on the light", "what did i say") == "You said: Turn on the light."
    assert answer("count to three", "say that again") == "1, 2, 3."
    assert answer("Meu nome é Ana", "Qual é o meu nome?", language="pt") == "Seu nome é Ana."
    assert answer("Me llamo Ana", "¿Cómo me llamo?", language="es") == "Te llamas Ana."


@pytest.mark.parametrize(
    ("language", "asked"),
    [
        ("en", "Turn on the light!"),
        ("pt", "Ligue a luz."),
        ("es", "Enciende la luz."),
        ("fr", "Allume la lumière."),
        ("en", "we talked and " * 200),
    ],
)
def test_other_requests_are_refused_in_one_short_sentence(language: str, asked: str) -> None:
    assert answer(asked, language=language) in FALLBACKS
    assert len(answer(asked, language=language).split()) <= 8, "about two seconds of speech"


async def test_reply_streams_words_and_ends_with_usage() -> None:
    deltas = [delta async for delta in RESPONDER.reply([Message("user", "what time is it", "en")])]
    assert [delta.text for delta in deltas] == ["It ", "is ", "3:30 ", "pm.", ""]
    assert deltas[-1].usage is not None


@pytest.mark.parametrize(("hour", "said"), [(0, "12:30 am"), (1, "1:30 am"), (12, "12:30 pm"), (23, "11:30 pm")])
def test_hours_are_in_the_format_of_the_language(hour: int, said: str) -> None:
    clock = NOW.replace(hour=hour)
    responder = BuiltinResponder(clock=lambda: clock)
    assert responder.text_for([Message("user", "what time is it", "en")]) == f"It is {said}."
    assert ("É 1h30." if hour == 1 else f"São {hour}h30.") == responder.text_for(
        [Message("user", "Que horas são?", "pt")]
    )


async def test_time_is_in_the_configured_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Message("user", "what time is it", "en")]
    times = []
    for zone in ("Asia/Kolkata", "America/Sao_Paulo", "", "Mars/Base", "EST5EDT"):
        monkeypatch.setenv("TZ", zone)
        async with open_engine(Settings(), lambda _: None) as opened:
            times.append("".join([delta.text async for delta in opened.engine.reply(asked)]))
    assert times[0] != times[1]


@given(st.text(max_size=200), st.sampled_from(["en", "pt", "es", "xx", None]))
def test_every_text_gets_a_reply(text: str, language: str | None) -> None:
    assert answer(text, language=language).strip()


@pytest.mark.parametrize("word", ["one ", "and ", "1 plus ", "my name is ", "a ", "- ", "1", "what is one and "])
def test_hostile_text_gets_a_reply_quickly(word: str) -> None:
    begun = time.thread_time()
    answer(word * (10_000 // len(word)), language=None)
    answer(word * (500 // len(word)), language=None)
    assert time.thread_time() - begun < 0.5


# --- the grammar of the recogniser ---


def rules() -> dict[str, str]:
    """Parse the grammar independently of the product."""
    header, *lines = grammar().strip().splitlines()
    assert header == "#JSGF V1.0;"
    found = (re.fullmatch(r"(?:public )?<(\w+)> = (.*);", line) for line in lines[1:])
    return {match[1]: match[2] for match in found if match}


def expand(right: str, all_rules: dict[str, str], chance: random.Random) -> str:
    """Return a random sentence of the right side of a rule."""
    tokens = re.findall(r"<\w+>|[\[\]()|]|[^\s<>\[\]()|]+", right)
    position = 0

    def choice() -> list[str]:
        nonlocal position
        branches: list[list[str]] = [[]]
        while position < len(tokens) and tokens[position] not in ")]":
            token = tokens[position]
            position += 1
            if token == "|":
                branches.append([])
            elif token in "([":
                inner = choice()
                position += 1
                if token == "(" or chance.random() < 0.5:
                    branches[-1] += inner
            elif token.startswith("<"):
                branches[-1].append(expand(all_rules[token[1:-1]], all_rules, chance))
            else:
                branches[-1].append(token)
        return chance.choice(branches)

    return " ".join(choice())


def test_every_grammar_word_is_in_the_pronunciation_dictionary() -> None:
    with open(get_model_path("en-us/cmudict-en-us.dict"), encoding="utf-8") as lines:
        known = {line.split()[0] for line in lines if line.strip()}
    words = set(re.findall(r"[^\s<>\[\]()|]+", re.sub(r"<\w+>", " ", " ".join(rules().values()))))
    assert words - known == set()
    assert {"zero", "seventeen", "ninety", "hundred", "divided", "london"} <= words


def test_recogniser_accepts_the_grammar() -> None:
    decoder = Decoder(samprate=16000, lm=None, loglevel="FATAL")
    decoder.add_jsgf_string("requests", grammar())
    decoder.activate_search("requests")
    assert decoder.current_search() == "requests"


@given(st.randoms(use_true_random=False))
def test_every_sentence_of_the_grammar_gets_a_real_reply(chance: random.Random) -> None:
    heard = expand(rules()["utterance"], rules(), chance)
    replied = answer(heard)
    assert replied not in FALLBACKS


def test_every_request_template_gets_a_real_reply() -> None:
    chance = random.Random(1)
    for template in sentences():
        for _ in range(20):
            heard = expand(template, rules(), chance)
            assert answer(heard) not in FALLBACKS, heard
            assert answer(f"{heard} please") not in FALLBACKS, heard
