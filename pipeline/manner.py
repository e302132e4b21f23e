"""How a conversation is answered, beside its numbers (`listening.options`): what its client may ask of every turn, and
of a single one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.llm import Message
from pipeline.tools import Toolbox
from pipeline.voices import Voice


@dataclass(frozen=True, slots=True)
class Manner:
    """Of all turns, until it is changed; of one turn where it is given with it."""

    answers: bool = True
    """What the user says is answered; false: it is written down, and somebody asks for the answer."""
    keeps_all: bool = False
    """Without turn detection: all sound belongs to the next utterance, no key is pressed for it."""
    hint: str | None = None
    """Names and words that the user may say, for the recogniser."""
    words: bool = False
    """What is understood is wanted word by word, with their probabilities."""
    aloud: bool = True
    """The reply is spoken; false: written only."""
    speed: float = 1.0
    """Of the speech; its pitch stays. From `pipeline.tempo.MIN_SPEED` to MAX_SPEED."""
    voice: Voice | None = None
    """Who speaks; None: the conversation's voice."""
    instructions: str | None = None
    """The system prompt; None: the conversation's."""
    tools: Toolbox = field(default_factory=Toolbox)
    max_tokens: int | None = None
    """The reply ends after so many tokens (as they come from the model)."""


@dataclass(frozen=True, slots=True)
class AsItStands:
    """The conversation is to be answered as it stands: nothing new was said."""

    before: Sequence[asyncio.Task[Any]] = ()
    """What must be written down first: transcripts that are still being made."""
    messages: Sequence[Message] | None = None
    """To be answered instead of the conversation's; neither they nor the reply become part of it."""
