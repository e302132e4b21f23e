"""Is the turn over? How long to wait in silence, by how finished the words sound. Pure functions."""

import re

from pipeline.listening.options import LiveOptions

COMPLETE, UNFINISHED = 0.6, 2.4
"""Factors on `silence_ms` after a complete sentence, and after words that want to go on. Measured by
`bench.turn_taking`: with 1.8 pauses of a second after an "and" were half of all false cut-offs, and finished turns do
not end on such words, so that waiting longer costs nobody anything."""

_HANGING = {
    "en": "and or but because so if when while whereas although unless until which who whose where to of from about "
    "with without for at by into than as between under the a an my your our their its every very um uh er erm hmm "
    "i'm you're we're they're",
    "pt": "e ou mas porque se quando enquanto embora que cujo com sem para pra pro de do da dos das em no na nos nas "
    "num numa por pelo pela pelos pelas ao aos à às até sobre entre o a os as um uma uns umas meu minha meus minhas "
    "seu sua hum hã ahn tipo então",
    "es": "y e o u pero porque pues si cuando mientras aunque que cuyo donde con sin para de del en por al a hasta "
    "sobre entre el la los las un una unos unas mi mis tu tus su sus muy eh em mmm entonces",
}
"""Conjunctions, prepositions, articles and fillers: who ends on one has not ended. Not in here: what ends sentences as
well ("turn it on", "what is this", "call her", "it is nice though", "gosto muito")."""

_STARTS = {
    "en": "my name is|can you|could you|would you|will you|i want|i need|i would like|i'd like|i would|i'd|"
    "how do you|what do you|do you|do you know|i think|tell me|remind me|please remind me|i was wondering",
    "pt": "meu nome é|o meu nome é|me chamo|chamo-me|eu quero|quero|eu queria|queria|eu gostaria|gostaria|você pode|"
    "pode me|poderia|preciso|eu preciso|o número é|eu acho",
    "es": "mi nombre es|me llamo|quiero|yo quiero|quisiera|me gustaría|puedes|podrías|necesito|el número es|yo creo",
}
"""How sentences begin: as a whole turn they are not finished."""

_ENDINGS = {
    "en": "think so|hope so|guess so|suppose so|a while|as well",
    "pt": "e você|acho que não|acho que sim",
    "es": "por qué no|creo que sí|creo que no",
}
"""Finished, although the last word by itself would not be."""

_ASKS = {
    "en": "what who where when why how which whose what's who's where's when's how's",
    "pt": "que quem onde quando como qual quais quanto quanta quantos quantas cadê",
    "es": "qué quién quiénes dónde cuándo cómo cuál cuáles cuánto cuánta cuántos cuántas que quien donde cuando como "
    "cual cuanto",
}
_ASKS_WHY = {"en": "how come", "pt": "por que|o que|a que", "es": "por qué|por que|a qué|de qué"}
_ASKS_FROM = {"en": 4, "pt": 3, "es": 3}
"""What a question begins with (recognisers that write no punctuation leave only this), and from how many words on it
is complete."""

_YES_OR_NO = {
    "en": "is are can could do does did will would should have has",
    "pt": "você posso pode será tem",
    "es": "puedes puedo hay podrías",
}
YES_OR_NO_FROM = 5
"""What yes-or-no questions begin with, and from how many words on they are complete ("can you tell me" is not)."""

_NUMBER = {
    "en": "zero oh one two three four five six seven eight nine double triple",
    "pt": "zero um dois duas três quatro cinco seis meia sete oito nove",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
}
"""Digits as words: a row of them may go on (a telephone number)."""

_COMMANDS = {
    "en": "stop|wait|yes|no|thanks|okay|ok|hello|hi|goodbye|bye|cancel|continue|thank you|thank you very much|go on|"
    "stop it|never mind|good morning|good night|yes please|no thanks|no thank you|that's all|repeat that",
    "pt": "pare|para|espere|sim|não|obrigado|obrigada|olá|oi|tchau|cancela|continue|muito obrigado|muito obrigada|"
    "bom dia|boa tarde|boa noite|por favor|está bem|tudo bem|sim por favor|não obrigado|não obrigada|deixa para lá",
    "es": "para|espera|sí|no|gracias|vale|hola|adiós|cancela|continúa|muchas gracias|buenos días|buenas tardes|"
    "buenas noches|por favor|está bien|sí por favor|no gracias|déjalo|basta",
}
"""Short turns that are complete."""

_STRANDED = frozenset(("to", "from", "with", "for", "at", "by", "about"))
_STRANDED_AFTER = frozenset(("you", "it", "he", "she", "they", "we", "i", "this", "that"))
"""English may end on a preposition after one of these or a word in -ing: "where are you from", "what I was looking
for"."""


def _words(table: dict[str, str]) -> dict[str, frozenset[str]]:
    return {language: frozenset(words.split()) for language, words in table.items()}


def _phrases(table: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {language: tuple(phrases.split("|")) for language, phrases in table.items()}


HANGING, NUMBER, ASKS, YES_OR_NO = map(_words, (_HANGING, _NUMBER, _ASKS, _YES_OR_NO))
COMMANDS, STARTS, ENDINGS, ASKS_WHY = map(_phrases, (_COMMANDS, _STARTS, _ENDINGS, _ASKS_WHY))

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?", re.UNICODE)
TELEPHONE_DIGITS = range(2, 7)
"""So many digits at the end sound like the beginning of a longer number."""


def completeness(text: str, language: str | None) -> float:
    """The factor on the silence to wait for: 0.6 after a complete sentence, 2.4 when more must come, else 1.0.

    text: the transcript so far, with or without punctuation. language: ISO 639-1; unknown ones are read as English.
    """
    language = (language or "en")[:2]
    if language not in HANGING:
        language = "en"
    words = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    if not words:
        return 1.0
    said = " ".join(words)
    if text.rstrip().endswith(("...", "…", "-", "–", "—", ",", ":")):
        return UNFINISHED
    if said in COMMANDS[language]:
        return COMPLETE
    if _digits_at_the_end(words, language) in TELEPHONE_DIGITS:
        return UNFINISHED
    ending = text.rstrip().rstrip("\"'”»)")[-1:]
    # A full stop is what a recogniser writes at the end of any sound; only the words tell "and" from an ending.
    if ending != "?" and _hangs(said, words[-1], language):
        return UNFINISHED
    if _asks(words, language):
        return COMPLETE
    if ending == "." and (words[0] in ASKS[language] or words[0] in YES_OR_NO[language]):
        return 1.0  # the beginning of a question, without its mark
    return COMPLETE if ending in tuple("?!.。？！؟") else 1.0


def _hangs(said: str, last: str, language: str) -> bool:
    if said in STARTS[language]:
        return True
    if last not in HANGING[language] or said.endswith(ENDINGS[language]):
        return False
    before = said[: -len(last)].rpartition(" ")[0].rpartition(" ")[2]
    stranded = last in _STRANDED and (before in _STRANDED_AFTER or (before.endswith("ing") and before != "ing"))
    return language != "en" or not stranded


def _asks(words: list[str], language: str) -> bool:
    """Whether it begins like a question, and is long enough to be one."""
    if words[0] in ASKS[language] or " ".join(words[:2]) in ASKS_WHY[language]:
        return len(words) >= _ASKS_FROM[language]
    return words[0] in YES_OR_NO[language] and len(words) >= YES_OR_NO_FROM


def delay(text: str | None, language: str | None, options: LiveOptions) -> float:
    """Silence after the last speech that ends the turn, in ms. text: None while there is no transcript yet."""
    if text is None or not options.adaptive_endpointing:
        return options.silence_ms
    wait_ms = options.silence_ms * completeness(text, language)
    return min(options.max_silence_ms, max(options.min_silence_ms, wait_ms))


def _digits_at_the_end(words: list[str], language: str) -> int:
    """How many digits end it in a row; 0 where they are another kind of number ("in 2014", "two plus three")."""
    row = 0
    while row < len(words) and (words[-1 - row] in NUMBER[language] or words[-1 - row].isdigit()):
        row += 1
    several = 2 if words[-1].isdigit() else 3
    if row < several and row < len(words):
        return 0
    return sum(len(word) if word.isdigit() else 1 for word in words[len(words) - row :])
