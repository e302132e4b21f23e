"""Check whether a Whisper model keeps its accuracy when it encodes less than the 30 s of its training."""

import importlib.util
import logging
import re
from contextlib import aclosing
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np

from pipeline import tts
from pipeline.audio.clip import Clip
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.workers import EngineSpec, Serving, open_worker

if TYPE_CHECKING:  # imports pydantic, which the worker does not need
    from pipeline.settings import Settings

log = logging.getLogger(__name__)

SENTENCE = "Please tell me what the weather will be like tomorrow, and set an alarm for seven in the morning."
MOST_WORDS = 200
"""Words that are compared: many more than the sentence has, for a model that repeats itself."""
MIN_SAME = 0.8
"""Minimum part of the words that both transcripts must share: each may hear a word or two of eSpeak differently."""
MIN_UNDERSTOOD = 0.5
"""Minimum part of the sentence in the transcript with the full context. A model that does not understand the sentence
cannot be checked with it: two transcripts of noise agree, or not, by chance."""


@dataclass(frozen=True, slots=True)
class Known:
    """A clip and the text that is spoken in it."""

    clip: Clip
    text: str


async def known_clip(settings: "Settings") -> Known | None:
    """Return about 6 s of English from eSpeak; None if eSpeak is not available."""
    if importlib.util.find_spec("espeakng_loader") is None:
        return None
    spec = EngineSpec("espeak", "pipeline.tts.espeak_engine:Espeak", None)
    parts: list[Clip] = []
    try:
        async with (
            open_worker(spec, settings, Serving(tts.TIMEOUT_S, 1)) as worker,
            aclosing(worker.stream("speak", SENTENCE, "en-us+f2", 165, 50)) as clips,
        ):
            async for clip in clips:
                parts.append(clip)
    except (EngineError, EngineUnavailable) as error:
        log.info("eSpeak made no sound to check the Whisper model with: %s", error)
        return None
    if not parts:
        return None
    return Known(Clip(np.concatenate([clip.samples for clip in parts]), parts[0].rate_hz), SENTENCE)


def agree(text: str, full: str, short: str) -> bool:
    """Whether a model hears a known text, and the same words with the full and with a shorter context."""
    spoken, first, second = (re.findall(r"\w+", each.lower())[:MOST_WORDS] for each in (text, full, short))
    return bool(first) and _same(spoken, first) >= MIN_UNDERSTOOD and _same(first, second) >= MIN_SAME


def _same(first: list[str], second: list[str]) -> float:
    """Part of the words of both lists that they share in order."""
    return SequenceMatcher(None, first, second, autojunk=False).ratio()
