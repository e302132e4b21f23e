"""`audio.input.transcription` of a session: what the recogniser may expect, and the pace of partial transcripts."""

from dataclasses import dataclass

from pipeline.errors import BadInput
from pipeline.stt import FileRequest, Hinted, Hints
from pipeline.stt.recognisers import Recognisers
from server.parameters import MAX_KEYWORD_CHARS, MAX_KEYWORDS, spoken_languages
from server.realtime.errors import RealtimeError
from server.realtime.session_json import Transcription

MAX_HINT_CHARS = 1000
"""Maximum length of a prompt: Whisper uses only its last 223 tokens."""
PARTIAL_MS = {"minimal": 250, "low": 500, "medium": 1000, "high": 2000, "xhigh": 4000}
"""Interval between partial transcripts by `delay`, in ms: later ones have more context."""
FIELD = "session.audio.input.transcription"


@dataclass(frozen=True, slots=True)
class Hearing:
    """How to transcribe the user."""

    language: str | None
    """ISO 639-1; None: detect it."""
    languages: tuple[str, ...]
    """Languages that can be detected; empty: all."""
    hint: Hinted
    """Names and words that the user may say."""
    partial_ms: int | None
    """Interval between partial transcripts; None: the deployment's."""


def hearing_of(transcription: Transcription, recognisers: Recognisers) -> Hearing:
    """Return the options for a client's wishes. Raises RealtimeError, also for a language that the recogniser lacks."""
    try:
        language, languages = spoken_languages(transcription.get("language"), transcription.get("languages") or ())
        recognisers.check(None, FileRequest(language, languages=languages))
    except BadInput as error:
        raise RealtimeError(error.message, code="invalid_value", param=f"{FIELD}.{error.param or 'language'}") from None
    prompt = transcription.get("prompt")
    if prompt and len(prompt) > MAX_HINT_CHARS:
        raise _too_long("prompt", f"is longer than {MAX_HINT_CHARS} characters.", "string_above_max_length")
    keywords = transcription.get("keywords") or []
    if len(keywords) > MAX_KEYWORDS:
        raise _too_long("keywords", f"has more than {MAX_KEYWORDS} items.", "array_above_max_length")
    for number, keyword in enumerate(keywords):
        if len(keyword) > MAX_KEYWORD_CHARS:
            where = f"keywords[{number}]"
            raise _too_long(where, f"is longer than {MAX_KEYWORD_CHARS} characters.", "string_above_max_length")
    tidy = dict.fromkeys(" ".join(keyword.split()) for keyword in keywords if keyword.strip())
    delay = transcription.get("delay")
    return Hearing(language, languages, Hints(tuple(tidy), prompt), PARTIAL_MS[delay] if delay else None)


def _too_long(field: str, why: str, code: str) -> RealtimeError:
    return RealtimeError(f"'{FIELD}.{field}' {why}", code=code, param=f"{FIELD}.{field}")
