"""Wyoming's names of the voices: one name for each voice and language.

A client such as Home Assistant lists a voice under each of its languages, but the protocol sends the name or a
language, not both: a voice with several languages would always speak its first one. "man" is the voice in its usual
language, "man:pt" is the same voice in Portuguese.
"""

from wyoming.info import Attribution, TtsVoice
from wyoming.tts import SynthesizeVoice

from pipeline.assistant import Assistant
from pipeline.engines import EngineInfo
from pipeline.errors import BadInput
from pipeline.voices.catalogue import Voice
from server import VERSION
from server.parameters import language_code

EVERYWHERE = ["en", "pt", "es"]
"""Languages that every engine of every stage supports."""


def offered(assistant: Assistant, engine: EngineInfo, attribution: Attribution) -> list[TtsVoice]:
    """Return every voice in each of its languages. The deployment's default voice comes first, because clients choose
    the first by default.

    A voice that lists no languages has one name for all languages of the engine: the text decides.
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
    """Return the chosen voice, and the language given by its name or by the client; None: the text decides.

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
            pass  # the error below names the voice as the client sent it
    return assistant.voice(wanted.name), language


def _languages(voice: Voice, engine: EngineInfo) -> list[str]:
    """Return the languages of a voice that the engine speaks; empty if it speaks none of them."""
    has = {language_code(code) or code for code in engine.languages if len(code.partition("-")[0]) <= 3}
    meant = [language_code(code) or code for code in voice.languages]
    if not has:
        return meant or EVERYWHERE
    return [code for code in dict.fromkeys(meant) if code in has] if meant else sorted(has)
