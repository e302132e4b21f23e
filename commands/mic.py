"""`python main.py talk --mic`: a live conversation with this machine's microphone and loudspeaker."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from commands.start import progress_bar
from pipeline.assistant import open_assistant
from pipeline.audio.clip import Clip, Samples
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.errors import EngineUnavailable
from pipeline.listening.detector import RATE_HZ
from pipeline.listening.options import LiveOptions
from pipeline.settings import Settings
from pipeline.support.installing import how_to_install

if TYPE_CHECKING:
    from sounddevice import OutputStream

FRAME = RATE_HZ // 50
"""Samples in each callback of the microphone: 20 ms."""


def sound_system() -> ModuleType:
    """Return the module sounddevice, with a microphone and a loudspeaker. Raises EngineUnavailable if a part is
    missing."""
    try:
        import sounddevice
    except ImportError:
        raise EngineUnavailable(
            "talk --mic needs the package sounddevice.", remedy=f"Run: {how_to_install('mic')}"
        ) from None
    except OSError:
        raise EngineUnavailable(
            "The library PortAudio is missing.", remedy="On Debian: apt install libportaudio2"
        ) from None
    try:
        sounddevice.check_input_settings(channels=1, samplerate=RATE_HZ, dtype="float32")
        sounddevice.check_output_settings(channels=1, dtype="float32")
    except (sounddevice.PortAudioError, ValueError) as error:
        raise EngineUnavailable(
            f"No usable microphone and loudspeaker: {str(error).splitlines()[0].rstrip('.')}.",
            remedy="Connect them; list the devices with: python -m sounddevice",
        ) from None
    module: ModuleType = sounddevice
    return module


class Speaker(Protocol):
    """Plays a reply."""

    def play(self, clip: Clip) -> None:
        """Append to the sound being played; return at once."""
        ...

    def hush(self) -> None:
        """Drop all sound that was not played yet."""
        ...


class PlayQueue:
    """A queue of sound: the event loop appends to it, the sound card's thread takes from it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Samples] = []

    def add(self, samples: Samples) -> None:
        with self._lock:
            self._waiting.append(samples)

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def fill(self, out: Samples) -> None:
        """Fill `out` with the next samples, and with silence after the last."""
        filled = 0
        with self._lock:
            while self._waiting and filled < len(out):
                part = self._waiting[0][: len(out) - filled]
                out[filled : filled + len(part)] = part
                filled += len(part)
                self._waiting[0] = self._waiting[0][len(part) :]
                if not len(self._waiting[0]):
                    self._waiting.pop(0)
        out[filled:] = 0.0


class Loudspeaker:
    """The sound card's output, opened at the rate of the clips."""

    def __init__(self, sounddevice: ModuleType) -> None:
        self._sounddevice = sounddevice
        self._queue = PlayQueue()
        self._stream: OutputStream | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def play(self, clip: Clip) -> None:
        if self._stream is None or self._stream.samplerate != clip.rate_hz:
            self._close()
            self._stream = self._sounddevice.OutputStream(
                samplerate=clip.rate_hz, channels=1, dtype="float32", callback=self._played
            )
            self._stream.start()
        self._queue.add(clip.samples)

    def hush(self) -> None:
        self._queue.clear()

    def _played(self, out: Samples, frames: int, time: object, status: object) -> None:
        self._queue.fill(out[:, 0])

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def microphone(sounddevice: ModuleType, hear: Callable[[Samples], None]) -> AbstractContextManager[object]:
    """Open the microphone: while it is open, `hear` is called in the event loop with 20 ms of float32 mono at 16
    kHz."""
    loop = asyncio.get_running_loop()

    def recorded(samples: Samples, frames: int, time: object, status: object) -> None:
        with suppress(RuntimeError):  # the last frame can arrive after the loop has ended
            loop.call_soon_threadsafe(hear, np.array(samples[:, 0]))

    stream: AbstractContextManager[object] = sounddevice.InputStream(
        samplerate=RATE_HZ, channels=1, dtype="float32", blocksize=FRAME, callback=recorded
    )
    return stream


async def follow(happenings: AsyncIterator[Event], speaker: Speaker) -> None:
    """Play and print the events until they end."""
    writing = False
    async for event in happenings:
        match event:
            case events.TranscriptFinal(text) if text:
                print(f"you:    {text}", flush=True)
            case events.ReplyDelta(text):
                print(text if writing else f"parley: {text.lstrip()}", end="", flush=True)
                writing = True
            case events.SpeechChunk(clip):
                speaker.play(clip)
            case events.StageError(_, message):
                print(f"{_newline(writing)}        not spoken: {message}", flush=True)
                writing = False
            case events.TurnCompleted():
                print(end=_newline(writing), flush=True)
                writing = False
            case events.TurnInterrupted():
                speaker.hush()
                print(" …" if writing else "", flush=True)
                writing = False
            case events.TurnFailed(_, message):
                speaker.hush()
                print(f"{_newline(writing)}parley: {message}", flush=True)
                writing = False
            case _:
                pass


def _newline(writing: bool) -> str:
    return "\n" if writing else ""


async def converse(settings: Settings, *, voice: str, language: str, system: str, half_duplex: bool) -> None:
    """Converse until Ctrl-C or IDLE_TIMEOUT_S of silence. Raises EngineUnavailable without a microphone."""
    sounddevice = sound_system()
    async with progress_bar() as report, open_assistant(settings, report) as assistant:
        conversation = assistant.conversation(system or None)
        chosen = assistant.voice(voice)
        options = replace(LiveOptions.of(settings), half_duplex=half_duplex)
        async with assistant.session(options, conversation, voice=chosen, language=language or None) as session:
            with Loudspeaker(sounddevice) as speaker, microphone(sounddevice, session.hear):
                print("Speak; Ctrl-C ends. With loudspeakers instead of headphones, use --half-duplex.", flush=True)
                await follow(session.events, speaker)
