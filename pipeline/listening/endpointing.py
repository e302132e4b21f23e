"""Endpointing: how long to wait in silence, depending on how finished words and sound are. Pure functions."""

import re
from enum import Enum, auto

from pipeline.listening.dictated_text import Dictated, dictated
from pipeline.listening.options import LiveOptions

COMPLETE, UNFINISHED = 0.6, 2.4
"""Factors on `silence_ms` after a complete sentence, and after words that need a continuation. Measured by
`bench.turn_taking`: with 1.8, pauses of one second after an "and" were half of all false cut-offs. Finished turns do
not end on such words, so the longer wait costs nothing."""
SOUNDS_FINISHED = 0.88
"""Factor when the sound, too, is that of an ending. Measured by `bench.endpointing`: at 0.6 a tenth of the pauses in
real speech were cut off, at 0.88 a twentieth."""


class Sound(Enum):
    """Judgement on the sound of a pause."""

    UNKNOWN = auto()
    """Nothing: there is no model, or it did not answer in time."""
    COMING = auto()
    """The estimate is in progress, or will be made in a moment."""
    FINISHED = auto()
    GOES_ON = auto()


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
"""Conjunctions, prepositions, articles and fillers: a user who ends on one has not finished. Words that also end
sentences are left out ("turn it on", "what is this", "call her", "it is nice though", "gosto muito")."""

_STARTS = {
    "en": "my name is|can you|could you|would you|will you|i want|i need|i would like|i'd like|i would|i'd|"
    "how do you|what do you|do you|do you know|i think|tell me|remind me|please remind me|i was wondering",
    "pt": "meu nome é|o meu nome é|me chamo|chamo-me|eu quero|quero|eu queria|queria|eu gostaria|gostaria|você pode|"
    "pode me|poderia|preciso|eu preciso|o número é|eu acho",
    "es": "mi nombre es|me llamo|quiero|yo quiero|quisiera|me gustaría|puedes|podrías|necesito|el número es|yo creo",
}
"""Starts of sentences: a turn that consists only of one is unfinished."""

_SUBORDINATE = {
    "en": "if unless although though whereas",
    "pt": "se embora caso",
    "es": "aunque",
}
"""First words of a clause that a main clause follows. Those that also begin a question or an answer ("when",
"because", "si") are left out."""
SUBORDINATE_WORDS = 5
"""Number of words, without a comma, up to which such a text lacks its main clause."""

_ADDRESSES = {
    language: re.compile(address)
    for language, address in {
        "en": r"(?:(?:and|but|so|now|well|okay|ok) )*(?:ladies and gentlemen|my friends|"
        r"(?:dear|my (?:fellow|dear|good)) \w+|(?:hey|hi|okay|ok) (?:parley|computer|assistant)|parley|hey)",
        "pt": r"(?:(?:e|mas|então|bem|bom) )*(?:senhoras e senhores|meus amigos|(?:(?:meus )?(?:caros|queridos)) \w+|"
        r"(?:ei|olá|oi) (?:parley|computador|assistente)|parley|ei)",
        "es": r"(?:(?:y|pero|entonces|bueno|pues) )*(?:señoras y señores|mis amigos|(?:(?:mis )?queridos) \w+|"
        r"(?:oye|hola|eh) (?:parley|computadora|ordenador|asistente)|parley|oye)",
    }.items()
}
"""Forms of address: after one that stands alone, the user is about to say more."""

_ENDINGS = {
    "en": "think so|hope so|guess so|suppose so|a while|as well",
    "pt": "e você|acho que não|acho que sim|se faz favor",
    "es": "por qué no|creo que sí|creo que no",
}
"""Finished endings, although their last word alone would be unfinished."""

_ASKS = {
    "en": "what who where when why how which whose what's who's where's when's how's",
    "pt": "que quem onde quando como qual quais quanto quanta quantos quantas cadê",
    "es": "qué quién quiénes dónde cuándo cómo cuál cuáles cuánto cuánta cuántos cuántas que quien donde cuando como "
    "cual cuanto",
}
_ASKS_WHY = {"en": "how come", "pt": "por que|o que|a que", "es": "por qué|por que|a qué|de qué"}
_ASKS_FROM = {"en": 4, "pt": 3, "es": 3}
"""First words of a question (the only sign with recognisers that write no punctuation), and the number of words from
which on it is complete."""

_YES_OR_NO = {
    "en": "is are can could do does did will would should have has",
    "pt": "você posso pode será tem",
    "es": "puedes puedo hay podrías",
}
YES_OR_NO_FROM = 5
"""First words of yes-or-no questions, and the number of words from which on they are complete ("can you tell me" is
not)."""

_COMMANDS = {
    "en": "stop|wait|yes|no|thanks|okay|ok|hello|hi|goodbye|bye|cancel|continue|thank you|thank you very much|go on|"
    "stop it|never mind|good morning|good night|yes please|no thanks|no thank you|that's all|repeat that",
    "pt": "pare|para|espere|sim|não|obrigado|obrigada|olá|oi|tchau|cancela|continue|muito obrigado|muito obrigada|"
    "bom dia|boa tarde|boa noite|por favor|está bem|tudo bem|sim por favor|não obrigado|não obrigada|deixa para lá",
    "es": "para|espera|sí|no|gracias|vale|hola|adiós|cancela|continúa|muchas gracias|buenos días|buenas tardes|"
    "buenas noches|por favor|está bien|sí por favor|no gracias|déjalo|basta",
}
"""Short turns that are complete."""

LEAST_STEM = 3
"""Length of "ing"."""
_STRANDED = frozenset(("to", "from", "with", "for", "at", "by", "about"))
_STRANDED_AFTER = frozenset(("you", "it", "he", "she", "they", "we", "i", "this", "that"))
"""English sentences can end on a preposition: "where are you from", "what I was looking for"."""


def _words(table: dict[str, str]) -> dict[str, frozenset[str]]:
    return {language: frozenset(words.split()) for language, words in table.items()}


def _phrases(table: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {language: tuple(phrases.split("|")) for language, phrases in table.items()}


HANGING, SUBORDINATE, ASKS, YES_OR_NO = map(_words, (_HANGING, _SUBORDINATE, _ASKS, _YES_OR_NO))
COMMANDS, STARTS, ENDINGS, ASKS_WHY = map(_phrases, (_COMMANDS, _STARTS, _ENDINGS, _ASKS_WHY))

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?", re.UNICODE)


def completeness(text: str, language: str | None) -> float:
    """Return the factor on the silence to wait for: 0.6 after a complete sentence, 2.4 when more must follow, else 1.0.

    text: the transcript so far, with or without punctuation. language: ISO 639-1; unknown ones are treated as English.
    """
    spoken = (language or "en")[:2]
    language = spoken if spoken in HANGING else "en"
    words = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    if not words:
        return 1.0
    said = " ".join(words)
    if text.rstrip().endswith(("...", "…", "-", "–", "—", ",", ":")):
        return UNFINISHED
    if said in COMMANDS[language]:
        return COMPLETE
    question = words[0] in ASKS[language] or words[0] in YES_OR_NO[language]
    dictating = dictated(text, spoken, question=question)
    if dictating is not Dictated.NOTHING:
        return UNFINISHED if dictating is Dictated.GOES_ON else 1.0
    ending = text.rstrip().rstrip("\"'”»)")[-1:]
    # Recognisers put a full stop after any audio, so only the words distinguish an "and" from an ending.
    if ending != "?" and _hangs(text, said, words, language):
        return UNFINISHED
    if _asks(words, language):
        return COMPLETE
    if ending == "." and question:
        return 1.0  # the start of a question, without its question mark
    return COMPLETE if ending in tuple("?!.。？！؟") else 1.0


def _hangs(text: str, said: str, words: list[str], language: str) -> bool:
    if said in STARTS[language] or _ADDRESSES[language].fullmatch(said):
        return True
    if said.endswith(ENDINGS[language]):
        return False
    if words[0] in SUBORDINATE[language] and len(words) <= SUBORDINATE_WORDS and "," not in text:
        return True
    if words[-1] not in HANGING[language]:
        return False
    stranded = len(words) > 1 and words[-1] in _STRANDED
    before = words[-2] if stranded else ""
    return language != "en" or not (before in _STRANDED_AFTER or (before.endswith("ing") and len(before) > LEAST_STEM))


def _asks(words: list[str], language: str) -> bool:
    """Whether the words start like a question and are enough for one."""
    if words[0] in ASKS[language] or " ".join(words[:2]) in ASKS_WHY[language]:
        return len(words) >= _ASKS_FROM[language]
    return words[0] in YES_OR_NO[language] and len(words) >= YES_OR_NO_FROM


def delay(
    text: str | None, language: str | None, options: LiveOptions, *, coming: bool = False, sound: Sound = Sound.UNKNOWN
) -> float:
    """Return the silence after the last speech that ends the turn, in ms. text: None while there is no transcript yet.

    coming: a transcript is in progress. Wait for it, because its words decide, but not longer than after unfinished
    words. sound: decides, except after words that need a continuation.
    """
    if not options.adaptive_endpointing:
        return options.silence_ms
    words = UNFINISHED if coming else 1.0 if text is None else completeness(text, language)
    wait_ms = options.silence_ms * _with_sound(words, sound)
    return min(options.max_silence_ms, max(options.min_silence_ms, wait_ms))


def _with_sound(words: float, sound: Sound) -> float:
    """Return the factor of words and sound together."""
    match sound:
        case Sound.GOES_ON:
            return UNFINISHED
        case Sound.FINISHED:
            return SOUNDS_FINISHED if words < UNFINISHED else UNFINISHED
        case Sound.COMING:
            return max(words, SOUNDS_FINISHED)
        case Sound.UNKNOWN:
            return words


def shortest(options: LiveOptions) -> float:
    """Return the shortest silence in ms that ends a turn, whatever its words."""
    return min(options.max_silence_ms, max(options.min_silence_ms, options.silence_ms * COMPLETE))
