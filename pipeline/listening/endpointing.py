"""Is the turn over? How long to wait in silence, by how finished the words sound. Pure functions."""

import re

COMPLETE, UNFINISHED = 0.6, 1.8
"""Factors on `silence_ms` after a complete sentence, and after words that want to go on."""

_HANGING = {
    "en": "and or but because so if when while whereas although though unless until which who whose where to of from "
    "with without for at by into than as between under the a an my your our their its every very um uh er erm hmm like "
    "well i'm you're we're they're",
    "pt": "e ou mas porque pois se quando enquanto embora que cujo com sem para pra pro de do da dos das em no na nas "
    "por pelo pela ao à até sobre entre o a os as um uma uns umas meu minha seu sua muito hum hã ahn tipo então né",
    "es": "y e o u pero porque pues si cuando mientras aunque que cuyo donde con sin de del en por al a hasta sobre "
    "entre el la los las un una unos unas mi tu su muy eh em mmm o entonces",
}
"""Conjunctions, prepositions, articles and fillers: who ends on one has not ended. Not in here: what ends sentences as
well ("turn it on", "what is this", "para", "I think it is")."""

_QUESTION = {
    "en": "what who where when why how which is are can could do does did will would should whose",
    "pt": "que quem onde quando por como qual quais quanto quanta quantos quantas você posso pode",
    "es": "qué quién dónde cuándo cómo cuál cuáles cuánto cuánta cuántos cuántas por puedes puedo",
}
"""What a spoken question begins with; recognisers that write no punctuation leave only this."""

_NUMBER = {
    "en": "zero oh one two three four five six seven eight nine double triple",
    "pt": "zero um dois duas três quatro cinco seis meia sete oito nove",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
}
"""Digits as words: a row of them may go on (a telephone number)."""

_COMMANDS = {
    "en": "stop wait yes no thanks okay ok hello hi goodbye bye cancel continue",
    "pt": "pare para espere sim não obrigado obrigada olá oi tchau cancela continue",
    "es": "para espera sí no gracias vale hola adiós cancela continúa",
}
"""One word that is a whole turn."""

HANGING = {language: frozenset(words.split()) for language, words in _HANGING.items()}
QUESTION = {language: frozenset(words.split()) for language, words in _QUESTION.items()}
NUMBER = {language: frozenset(words.split()) for language, words in _NUMBER.items()}
COMMANDS = {language: frozenset(words.split()) for language, words in _COMMANDS.items()}

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?", re.UNICODE)
QUESTION_WORDS = 4
"""A question without a question mark counts as complete from this many words on."""
TELEPHONE_DIGITS = range(2, 7)
"""So many digits in a row sound like the beginning of a longer number."""


def completeness(text: str, language: str | None) -> float:
    """The factor on the silence to wait for: 0.6 after a complete sentence, 1.8 when more must come, else 1.0.

    text: the transcript so far, with or without punctuation. language: ISO 639-1; unknown ones are read as English.
    """
    language = (language or "en")[:2]
    if language not in HANGING:
        language = "en"
    words = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    if not words:
        return 1.0
    if len(words) == 1 and words[0] in COMMANDS[language]:
        return COMPLETE
    ending = text.rstrip().rstrip("\"'”»)")[-1:]
    if text.rstrip().endswith(("...", "…", "-", "–", "—", ",")):
        return UNFINISHED
    digits = _digits_at_the_end(words, language)
    if digits in TELEPHONE_DIGITS and digits == len(words):
        return UNFINISHED
    # A full stop is what a recogniser writes at the end of any sound; only the words tell "and" from an ending.
    if words[-1] in HANGING[language] and ending != "?":
        return UNFINISHED
    if ending in ("?", "!", ".", "。", "？", "！", "؟"):
        return COMPLETE
    return COMPLETE if words[0] in QUESTION[language] and len(words) >= QUESTION_WORDS else 1.0


def delay(
    text: str | None, language: str | None, *, silence_ms: int, min_silence_ms: int, max_silence_ms: int, adaptive: bool
) -> float:
    """Silence after the last speech that ends the turn, in ms. text: None while there is no transcript yet."""
    if text is None or not adaptive:
        return silence_ms
    return min(max_silence_ms, max(min_silence_ms, silence_ms * completeness(text, language)))


def _digits_at_the_end(words: list[str], language: str) -> int:
    count = 0
    for word in reversed(words):
        if word not in NUMBER[language] and not word.isdigit():
            break
        count += len(word) if word.isdigit() else 1
    return count
