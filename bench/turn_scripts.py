"""The scripted turns of `bench.turn_taking`: users who finish, pause, hesitate, agree, cut in; and noise."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from bench.speaker import RATE_HZ, cut
from pipeline.audio.clip import Samples

VOICES = {
    "en": ("en-us", "en-us+f2", "en-us+m3"),
    "pt": ("pt-br", "pt-br+f2"),
    "es": ("es", "es+f2"),
}
FINISHED = {
    "en": "what time is it|where are you from|turn on the light|tell me a story|what is two plus three|stop|"
    "is it going to rain tomorrow|thank you|how do I get to the station|set a timer for ten minutes|I think so|"
    "call her|what is the weather like|play some music|good morning|yes please|who wrote this book|never mind",
    "pt": "que horas são|acende a luz da sala|quanto custa isso|conta uma história|muito obrigado|onde fica a estação|"
    "como está o tempo|bom dia|quem é você|toca uma música",
    "es": "qué hora es|enciende la luz del salón|cuánto cuesta esto|cuéntame una historia|muchas gracias|"
    "dónde está la estación|cómo te llamas|buenos días|pon un poco de música|hasta mañana",
}
PAUSING = {  # the speaker pauses at "/"
    "en": "turn on the light and / the radio|I would like to / hear a story|what is the / capital of france|"
    "set a timer for / ten minutes|tell me about / the history of rome|my name is / alice|if it rains / stay at home|"
    "I want to go to lisbon / tomorrow morning|could you / call my sister|wake me up at seven because / I have a train|"
    "my number is five five five / one two three four|do you know / what time it is|the book is under / the table|"
    "please remind me / to buy some milk|add milk and / bread to the list|what is twenty / plus thirty",
    "pt": "acende a luz e / o rádio|eu gostaria de / ouvir uma história|qual é a / capital da frança|"
    "meu nome é / alice|"
    "quero ir para / lisboa amanhã|me acorda às sete porque / tenho aula|lembra de / comprar leite",
    "es": "enciende la luz y / la radio|me gustaría / oír una historia|cuál es la / capital de francia|"
    "me llamo / alicia|"
    "quiero ir a / lisboa mañana|despiértame a las siete porque / tengo clase|recuérdame que / compre leche",
}
HESITATING = {
    "en": "um / what time is it|I was wondering if / um / you could help me|so / tell me a story|"
    "I need / um / a taxi to the / airport|what is / uh / the weather in / madrid",
    "pt": "hum / que horas são|eu queria / hum / um táxi para / o aeroporto|então / conta uma história",
    "es": "eh / qué hora es|necesito / eh / un taxi para / el aeropuerto|entonces / cuéntame una historia",
}
PAUSES_MS = (300, 450, 600, 800, 1000)
BACKCHANNELS = {
    "en": "yeah|okay|right|I see|uh huh|of course|great|yes yes|sure|really",
    "pt": "sim|claro|está bem|certo|com certeza|aham|pois é",
    "es": "sí|claro|vale|de acuerdo|muy bien|por supuesto|ajá",
}
BARGE_INS = {
    "en": "stop|wait a moment|no that is wrong|what about tomorrow|tell me something else|please be quiet|"
    "hold on a second|can you repeat that|turn off the light|what time is it|yes but how|not that one",
    "pt": "para|espera um pouco|não é isso|fala de outra coisa|e amanhã|que horas são|sim mas como",
    "es": "espera un momento|no es eso|habla de otra cosa|y mañana|qué hora es|sí pero cómo|basta ya",
}


@dataclass(frozen=True)
class Said:
    """A stretch of speech in a script."""

    text: str
    samples: Samples
    pause_ms: float = 0
    """Silence before the speech."""


@dataclass
class Script:
    """One turn: its kind, its speech with times, and the noise of the room."""

    kind: str
    language: str
    said: list[Said]
    room: float = 0.0
    """Level of the room's noise."""
    cut_in: Said | None = None
    """Sound during a reply."""
    probabilities: list[float] = field(default_factory=list)


def noises() -> Iterator[tuple[str, Samples]]:
    """Noise at the microphone without speech."""
    random = np.random.default_rng(11)
    for seconds in (0.1, 0.3, 0.8):
        envelope = np.hanning(int(seconds * RATE_HZ))
        yield "a bang", (random.normal(0, 0.3, len(envelope)) * envelope).astype(np.float32)
    for rate in (5, 9):
        keys = np.zeros(2 * RATE_HZ, np.float32)
        for at in range(0, len(keys) - 400, RATE_HZ // rate):
            keys[at : at + 400] = random.normal(0, 0.2, 400) * np.exp(-np.arange(400) / 80)
        yield "typing", keys
    times = np.arange(2 * RATE_HZ) / RATE_HZ
    yield (
        "a phone",
        (0.2 * np.sin(2 * np.pi * 900 * times) * (np.sin(2 * np.pi * 8 * times) > 0)).astype(np.float32),
    )
    yield "a siren", (0.2 * np.sin(2 * np.pi * (700 * times + 40 * np.sin(4 * times)))).astype(np.float32)
    wind = np.convolve(random.normal(0, 1, 2 * RATE_HZ), np.ones(40) / 40, "same")
    yield "wind", (0.3 * wind / np.abs(wind).max()).astype(np.float32)


def each(table: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Language, text and voice of each phrase, the voices alternating."""
    for language, texts in table.items():
        for index, text in enumerate(texts.split("|")):
            yield language, text, VOICES[language][index % len(VOICES[language])]


def scripts() -> list[Script]:
    """The set of scripts, the same every time."""
    made: list[Script] = []
    rooms = (0.0, 0.0005, 0.002)
    for language, text, voice in each(FINISHED):
        for room in rooms[:2]:
            made.append(Script("finished", language, [Said(text, cut(text, voice))], room))
    for kind, table in (("pausing", PAUSING), ("hesitating", HESITATING)):
        for number, (language, text, voice) in enumerate(each(table)):
            for turn in (0, 1):
                parts = [part.strip() for part in text.split("/")]
                lengths = [0, *(PAUSES_MS[(number + 2 * turn + index) % 5] for index in range(len(parts) - 1))]
                said = [Said(part, cut(part, voice), ms) for part, ms in zip(parts, lengths, strict=True)]
                made.append(Script(kind, language, said, rooms[number % 3]))
    for kind, table in (("back-channel", BACKCHANNELS), ("barge-in", BARGE_INS)):
        for language, text, voice in each(table):
            question = FINISHED[language].split("|")[0]
            made.append(
                Script(kind, language, [Said(question, cut(question, voice))], cut_in=Said(text, cut(text, voice)))
            )
    for _, noise in noises():
        asked = Said("what time is it", cut("what time is it", VOICES["en"][0]))
        made.append(Script("noise in a reply", "en", [asked], cut_in=Said("", noise)))
        made.append(Script("noise alone", "en", [Said("", noise)]))
    return made
