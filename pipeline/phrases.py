"""The few sentences that the assistant says by itself, in the user's language."""

NOTHING_HEARD = {
    "en": "I did not hear anything.",
    "pt": "Não ouvi nada.",
    "es": "No he oído nada.",
    "de": "Ich habe nichts gehört.",
    "fr": "Je n'ai rien entendu.",
    "it": "Non ho sentito niente.",
    "nl": "Ik heb niets gehoord.",
    "pl": "Nic nie słyszałem.",
}
"""Spoken when an utterance holds no speech."""


ONE_MOMENT = {
    "en": "One moment.",
    "pt": "Um momento.",
    "es": "Un momento.",
    "de": "Einen Moment.",
    "fr": "Un instant.",
    "it": "Un momento.",
    "nl": "Een ogenblik.",
    "pl": "Chwileczkę.",
}
"""Spoken when a function takes a while and nothing of the reply was said yet."""


STILL_THERE = {
    "en": "Are you still there?",
    "pt": "Você ainda está aí?",
    "es": "¿Sigues ahí?",
    "de": "Bist du noch da?",
    "fr": "Tu es toujours là ?",
    "it": "Ci sei ancora?",
    "nl": "Ben je er nog?",
    "pl": "Jesteś tam jeszcze?",
}
"""Spoken after a long silence, where IDLE_PROMPT_S asks for it."""


def phrase(table: dict[str, str], language: str | None) -> tuple[str, str]:
    """The sentence and the language it is in: `language` if the table has it, else English."""
    code = (language or "en").split("-")[0].lower()
    return (table[code], code) if code in table else (table["en"], "en")
