"""Check whether a Whisper model keeps its accuracy when it encodes less than the 30 s of its training."""

import importlib.util
import logging
import re
from contextlib import aclosing
from difflib import SequenceMatcher

import numpy as np

from pipeline.audio.clip import Clip
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import Settings
from pipeline.workers import EngineSpec, Serving, open_worker

log = logging.getLogger(__name__)

SENTENCE = "Please tell me what the weather will be like tomorrow, and set an alarm for seven in the morning."
MOST_WORDS = 200
"""Words that are compared: many more than the sentence has, for a model that repeats itself."""
MIN_SAME = 0.8
"""Minimum part of the words that both transcripts must share: each may hear a word or two of eSpeak differently."""


async def known_clip(settings: Settings) -> Clip | None:
    """Return about 6 s of English from eSpeak; None if eSpeak is not available."""
    if importlib.util.find_spec("espeakng_loader") is None:
        return None
    spec = EngineSpec("espeak", "pipeline.tts.espeak_engine:Espeak", None)
    parts: list[Clip] = []
    try:
        async with (
            open_worker(spec, settings, Serving(settings.tts_timeout_s, 1)) as worker,
            aclosing(worker.stream("speak", SENTENCE, "en-us+f2", 165, 50)) as clips,
        ):
            async for clip in clips:
                parts.append(clip)
    except (EngineError, EngineUnavailable) as error:
        log.info("eSpeak made no sound to check the Whisper model with: %s", error)
        return None
    return Clip(np.concatenate([clip.samples for clip in parts]), parts[0].rate_hz) if parts else None


def agree(full: str, short: str) -> bool:
    """Whether two transcripts, with the full and with a shorter context, are nearly the same text."""
    first, second = (re.findall(r"\w+", text.lower())[:MOST_WORDS] for text in (full, short))
    return bool(first) and SequenceMatcher(None, first, second, autojunk=False).ratio() >= MIN_SAME
