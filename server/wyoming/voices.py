"""The voices as Wyoming names them: one name for each voice and language.

A client such as Home Assistant lists a voice under each of its languages, but the protocol sends the name or a
language, not both: a voice of several languages would speak its first one whichever was chosen. "man" is the voice in
its usual language, "man:pt" the same in Portuguese.
"""

from wyoming.info import Attribution, TtsVoice
from wyoming.tts import SynthesizeVoice

from pipeline.assistant import Assistant
from pipeline.errors import BadInput
from pipeline.voices import Voice
from server import VERSION
from server.parameters import language_code


def offered(assistant: Assistant, attribution: Attribution, otherwise: list[str]) -> list[TtsVoice]:
    """Every voice in every language it has, the deployment's own voice first: a client takes the first by itself.

    otherwise: the languages of a voice that lists none.
    """
    own = assistant.settings.voice_name
    voices = []
    for name in sorted(assistant.voices.names(), key=lambda name: (name != own, name)):
        voice = assistant.voices.get(name)
        for language in _languages(assistant, voice, otherwise):
            first = language == _languages(assistant, voice, otherwise)[0]
            known = name if first else f"{name}:{language}"
            voices.append(TtsVoice(known, attribution, True, voice.description or name, VERSION, [language]))
    return voices


def chosen(assistant: Assistant, wanted: SynthesizeVoice | None) -> tuple[Voice, str | None]:
    """The voice, and the language that its name or the client says; None: the text decides.

    Raises BadInput (unknown_voice, unsupported_language).
    """
    if wanted is None:
        return assistant.voice(), None
    language = language_code(wanted.language)
    name, colon, named = (wanted.name or "").rpartition(":")
    if colon and wanted.name not in assistant.voices.names():
        try:
            return assistant.voice(name), language or language_code(named)
        except BadInput:
            pass  # the error names the voice as the client did
    return assistant.voice(wanted.name), language


def _languages(assistant: Assistant, voice: Voice, otherwise: list[str]) -> list[str]:
    """Those that the engine speaks, the usual one first."""
    listed = [code for code in voice.languages or otherwise if assistant.stages.tts.speaks(code)]
    usual = voice.usual_language(assistant.settings.speech_language)
    return sorted(listed, key=lambda code: code != usual)
