"""Fixed sentences of the assistant, in the user's language."""

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
    "en": "One moment, please.",
    "pt": "Só um momento, por favor.",
    "es": "Un momento, por favor.",
    "de": "Einen Moment, bitte.",
    "fr": "Un instant, s'il vous plaît.",
    "it": "Un momento, per favore.",
    "nl": "Een ogenblik, alstublieft.",
    "pl": "Chwileczkę, już sprawdzam.",
}
"""Spoken when a function call takes a while and nothing of the reply was said yet. At least three words: the clause
splitter holds back fewer."""


TIMER_OVER = {
    "en": "The timer is over.",
    "pt": "O temporizador acabou.",
    "es": "El temporizador ha terminado.",
    "de": "Der Timer ist abgelaufen.",
    "fr": "Le minuteur est terminé.",
    "it": "Il timer è scaduto.",
    "nl": "De timer is afgelopen.",
    "pl": "Minutnik zakończył odliczanie.",
}
"""Spoken when a timer has run out."""


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
"""Spoken after a long silence, where idle_prompt_s asks for it."""


def phrase(table: dict[str, str], language: str | None) -> tuple[str, str]:
    """Return the sentence and its language: `language` if the table has it, else English."""
    code = (language or "en").split("-")[0].lower()
    return (table[code], code) if code in table else (table["en"], "en")
