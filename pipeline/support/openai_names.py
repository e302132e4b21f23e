"""OpenAI's names of models and voices. Clients send them without knowing ours; they mean the deployment's own."""

import re
from collections.abc import Iterable, Mapping

MODELS: Mapping[str, tuple[str, ...]] = {
    "stt": (
        "whisper-1", "gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper", "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe", "gpt-4o-transcribe-diarize",
    ),
    "tts": ("tts-1", "tts-1-hd", "gpt-4o-mini-tts"),
    "llm": (
        "gpt-realtime", "gpt-realtime-1.5", "gpt-realtime-2", "gpt-realtime-2.1", "gpt-realtime-2.1-mini",
        "gpt-realtime-mini", "gpt-audio", "gpt-audio-1.5", "gpt-audio-mini", "gpt-4o-audio-preview",
        "gpt-4o-mini-audio-preview", "gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview", "gpt-4o", "gpt-4o-mini",
    ),
}  # fmt: skip
"""Models by stage. All of them mean the loaded model."""
VOICES = frozenset(
    ("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse")
)
"""Voices. If no voice here has such a name, the default voice speaks."""
DATE = re.compile(r"-(?:latest|(?:20\d\d-?)?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01]))")
"""The release at the end of a model name ("-2025-12-15", "-1106", "-latest"). It is ignored: there is one here."""


def known_as(asked: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that is meant, in any case, with or without a date; None if there is none."""
    plain = asked.strip().lower()
    there = {name.lower(): name for name in names}
    found = DATE.search(plain, max(0, len(plain) - 11))
    undated = plain[: found.start()] if found and found.end() == len(plain) else plain
    return there.get(plain) or there.get(undated)
