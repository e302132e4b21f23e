"""The voices as Wyoming names them: one name for each voice and language.

A client such as Home Assistant lists a voice under each of its languages, but the protocol sends the name or a
language, not both: a voice of several languages would speak its first one whichever was chosen. "man" is the voice in
its usual language, "man:pt" the same in Portuguese.
"""

from wyoming.info import Attribution, TtsVoice
from wyoming.tts import SynthesizeVoice

from pipeline.assistant import Assistant
from pipeline.engines import EngineInfo
from pipeline.errors import BadInput
from pipeline.voices import Voice
from server import VERSION
from server.parameters import language_code

EVERYWHERE = ["en", "pt", "es"]
"""Languages that all stages have, whichever engines they run on."""


def offered(assistant: Assistant, engine: EngineInfo, attribution: Attribution) -> list[TtsVoice]:
    """Every voice in every language it has, the deployment's own voice first: a client takes the first by itself.

    A voice that lists no languages has one name for all that the engine speaks: the text decides.
    """
    own = assistant.settings.voice_name
    usual_language = assistant.settings.speech_language
    voices = []
    for name in sorted(assistant.voices.names(), key=lambda name: (name != own, name)):
        voice = assistant.voices.get(name)
        spoken = _languages(voice, engine)
        if not voice.languages:
            names = {name: spoken}
        else:
            usual = voice.usual_language(usual_language)
            first = usual if usual in spoken else "".join(spoken[:1])
            names = {name if code == first else f"{name}:{code}": [code] for code in spoken}
        for known, languages in names.items():
            voices.append(TtsVoice(known, attribution, True, voice.description or name, VERSION, languages))
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


def _languages(voice: Voice, engine: EngineInfo) -> list[str]:
    """Of the languages that a voice is meant for, those that the engine speaks; empty: none of them."""
    has = {language_code(code) or code for code in engine.languages if len(code.partition("-")[0]) <= 3}
    meant = [language_code(code) or code for code in voice.languages]
    if not has:
        return meant or EVERYWHERE
    return [code for code in dict.fromkeys(meant) if code in has] if meant else sorted(has)
