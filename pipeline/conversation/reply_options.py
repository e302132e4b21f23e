"""How a conversation gets its replies, apart from the numbers in `listening.options`: options that a client can set for
every turn, or for a single one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.llm import AS_SET, Generation, Message
from pipeline.stt import Hinted
from pipeline.tools import Toolbox
from pipeline.voices.catalogue import Voice


@dataclass(frozen=True, slots=True)
class ReplyOptions:
    """Options of all turns until they are changed, or of one turn."""

    answers: bool = True
    """Reply to the user automatically; False: only transcribe, and reply on request."""
    keeps_all: bool = False
    """Without turn detection: all audio belongs to the next utterance, without push-to-talk."""
    hint: Hinted = None
    """Names and words that the user may say, as a hint for the recogniser."""
    languages: tuple[str, ...] = ()
    """Languages (ISO 639-1) that the user may speak, if the conversation has no language; empty: all."""
    words: bool = False
    """Report the words of transcripts with their probabilities."""
    aloud: bool = True
    """Speak the reply; False: text only."""
    speed: float = 1.0
    """Speed of the speech, with the same pitch, from `pipeline.audio.speed.MIN_SPEED` to MAX_SPEED."""
    voice: Voice | None = None
    """Voice of the reply; None: the conversation's voice."""
    instructions: str | None = None
    """System prompt; None: the conversation's."""
    tools: Toolbox = field(default_factory=Toolbox)
    max_tokens: int | None = None
    """Token limit of the reply (tokens as the model streams them)."""
    generation: Generation = AS_SET
    """How the model writes the reply."""


@dataclass(frozen=True, slots=True)
class ReplyToHistory:
    """Request for a reply to the conversation as it is, without new words of the user."""

    before: Sequence[asyncio.Task[object]] = ()
    """Pending transcripts to wait for first."""
    messages: Sequence[Message] | None = None
    """Messages to reply to instead of the conversation's; neither they nor the reply become part of it."""
