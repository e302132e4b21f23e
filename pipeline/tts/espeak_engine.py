"""The eSpeak NG library through ctypes, as a synchronous engine; imported in its worker only.

The library keeps all its state in globals: there is one of it in a process, behind one lock. It synthesises far faster
than sound is played (real-time factor 0.005) and hands over 60 ms at a time through a callback, whose return value
stops it.
"""

import ctypes as c
import functools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import espeakng_loader
import numpy as np

from pipeline.audio import Clip, mono
from pipeline.errors import EngineError
from pipeline.tts.silence import Trimmer, pause_after

log = logging.getLogger(__name__)

# From espeak-ng/speak_lib.h.
_OUTPUT_SYNCHRONOUS = 2
"""The callback is called in the thread of espeak_Synth, which returns when all is said."""
_DONT_EXIT = 0x8000
"""Report an error instead of ending the process."""
_CHARS_UTF8, _END_PAUSE = 1, 0x1000
_RATE, _VOLUME, _PITCH = 1, 2, 3
_POSITION_CHARACTER = 1

VOLUME = 80
"""Of eSpeak's 100, at which its loudest vowels clip."""
MAX_CHARS = 5_000
"""Some six minutes of speech; the rest of a longer text is not said."""
AUDIBLE = 0.002
"""Samples below are silence: -54 dBFS, under eSpeak's quietest consonants."""
CHUNK_S = 0.25
"""Length of every chunk but the first, which leaves as soon as there is sound."""
AHEAD = 4
"""Buffers that the library may be ahead of the reader."""


class _VoiceInfo(c.Structure):
    _fields_ = (
        ("name", c.c_char_p), ("languages", c.c_void_p), ("identifier", c.c_char_p), ("gender", c.c_ubyte),
        ("age", c.c_ubyte), ("variant", c.c_ubyte), ("xx1", c.c_ubyte), ("score", c.c_int), ("spare", c.c_void_p),
    )  # fmt: skip


_Callback = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int, c.c_void_p)
Sink = Callable[[bytes], bool]
"""Takes 16-bit samples; False stops the synthesis."""


class _Library:
    """The one eSpeak NG of this process."""

    def __init__(self) -> None:
        library = self._library = c.CDLL(espeakng_loader.get_library_path())
        library.espeak_Initialize.argtypes = [c.c_int, c.c_int, c.c_char_p, c.c_int]
        library.espeak_Synth.argtypes = [
            c.c_char_p, c.c_size_t, c.c_uint, c.c_int, c.c_uint, c.c_uint, c.c_void_p, c.c_void_p,
        ]  # fmt: skip
        library.espeak_SetVoiceByName.argtypes = [c.c_char_p]
        library.espeak_ListVoices.argtypes = [c.c_void_p]
        library.espeak_ListVoices.restype = c.POINTER(c.POINTER(_VoiceInfo))
        library.espeak_Info.argtypes = [c.c_void_p]
        library.espeak_Info.restype = c.c_char_p
        data = espeakng_loader.get_data_path().encode()
        self.rate_hz = int(library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, data, _DONT_EXIT))
        if self.rate_hz <= 0:
            raise EngineError("eSpeak NG did not start: its data could not be read.")
        self._lock = threading.Lock()
        self._sink: Sink | None = None
        self._callback = _Callback(self._on_samples)  # kept: ctypes holds no reference of its own
        library.espeak_SetSynthCallback(self._callback)

    def _on_samples(self, samples: int | None, count: int, events: int | None) -> int:
        if samples and count > 0 and self._sink is not None:
            return 0 if self._sink(c.string_at(samples, count * 2)) else 1
        return 0

    def version(self) -> str:
        """Such as "1.52.0"."""
        return str(self._library.espeak_Info(None).decode().split()[0])

    @functools.cached_property
    def codes(self) -> dict[str, str]:
        """Every language code of every voice → the name of its file; where several share a code, the best of them.

        The file's name, as some voices (fr-fr, en-gb) cannot be set by their own code.
        """
        best: dict[str, tuple[int, str]] = {}
        listed = self._library.espeak_ListVoices(None)
        index = 0
        while listed[index]:
            voice = listed[index].contents
            name = voice.identifier.decode().rpartition("/")[2]
            for priority, code in _languages(voice.languages):
                if code not in best or priority < best[code][0]:
                    best[code] = (priority, name)
            index += 1
        return {code: name for code, (_, name) in best.items()}

    def synthesise(self, text: str, voice: str, speed: int, pitch: int, sink: Sink) -> None:
        """Blocks until all is said or the sink says stop. Raises EngineError."""
        data = text.encode("utf-8", "replace")
        with self._lock:
            self._sink = sink
            try:
                self._set_voice(voice)
                self._library.espeak_SetParameter(_RATE, speed, 0)
                self._library.espeak_SetParameter(_VOLUME, VOLUME, 0)
                self._library.espeak_SetParameter(_PITCH, pitch, 0)
                flags = _CHARS_UTF8 | _END_PAUSE  # no SSML, no phonemes: text is text
                if self._library.espeak_Synth(data, len(data) + 1, 0, _POSITION_CHARACTER, 0, flags, None, None) != 0:
                    raise EngineError("eSpeak could not speak this text.")
            finally:
                self._sink = None

    def _set_voice(self, voice: str) -> None:
        """By its name, or by a language code that is the name of no voice (fr-fr, en-gb). Raises EngineError.

        Without a voice the library crashes where it is asked for phonemes, and speaks with the voice before otherwise.
        """
        name, plus, variant = voice.partition("+")
        for candidate in (voice, f"{self.codes.get(name.lower(), name)}{plus}{variant}"):
            if self._library.espeak_SetVoiceByName(candidate.encode()) == 0:
                return
        raise EngineError(f"eSpeak has no voice {voice!r}.")


def _languages(address: int) -> list[tuple[int, str]]:
    """A voice's languages as eSpeak lists them: a priority byte and a C string each, ended by a zero byte."""
    found = []
    while priority := c.string_at(address, 1)[0]:
        code = c.string_at(address + 1)
        found.append((priority, code.decode("ascii", "replace").lower()))
        address += len(code) + 2
    return found


@functools.cache
def _library() -> _Library:
    return _Library()


class _Handover:
    """From the library's thread to the reader: a few buffers at most, and an end from either side."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._buffers: deque[bytes] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, buffer: bytes) -> bool:
        """Wait for room. False: nobody listens any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._buffers) < self._size)
            if self._ended:
                return False
            self._buffers.append(buffer)
            self._changed.notify_all()
            return True

    def end(self, error: BaseException | None = None) -> None:
        """No more; what is there can still be read. A second call changes nothing."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
                self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._buffers)
                if not self._buffers:
                    if self._error is not None:
                        raise self._error
                    return
                buffer = self._buffers.popleft()
                self._changed.notify_all()
            yield buffer


class _Speaking:
    """One text being spoken by a thread; iterate over its 16-bit buffers. Leaving the block stops it."""

    def __init__(self, text: str, voice: str, speed: int, pitch: int) -> None:
        self._handover = _Handover(AHEAD)
        self._thread = threading.Thread(target=self._run, args=(text, voice, speed, pitch), daemon=True)

    def _run(self, text: str, voice: str, speed: int, pitch: int) -> None:
        try:
            _library().synthesise(text, voice, speed, pitch, self._handover.put)
        except BaseException as error:
            self._handover.end(error)
        finally:
            self._handover.end()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._handover)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handover.end()  # the next callback returns "stop"
        self._thread.join()


class Espeak:
    """The engine. Its config is None: eSpeak brings everything along."""

    def __init__(self, config: None) -> None:
        _library()

    def describe(self) -> tuple[dict[str, str], str]:
        """Language codes → voice names, and the version."""
        return _library().codes, _library().version()

    def speak(self, text: str, voice: str, speed: int, pitch: int) -> Iterator[Clip]:
        """Speak a text without control characters. voice: "en-us+m3"; speed: words a minute; pitch: 0 to 99.

        Yields chunks of 22,050 Hz; closing the generator stops within one buffer of 60 ms. Raises EngineError.
        """
        if len(text) > MAX_CHARS:
            log.warning("a text of %d characters is cut at %d", len(text), MAX_CHARS)
            text = text[:MAX_CHARS].rpartition(" ")[0] or text[:MAX_CHARS]
        rate_hz = _library().rate_hz
        trimmer = Trimmer(rate_hz, pause_after(text), audible=AUDIBLE)
        with _Speaking(text, voice, speed, pitch) as buffers:
            # The first sound as it comes, then more at a time: fewer messages for the same sound.
            gathered, size, want = [], 0, 1
            for buffer in buffers:
                piece = trimmer.push(mono(buffer, "<i2"))
                gathered.append(piece)
                size += len(piece)
                if size >= want:
                    yield Clip(np.concatenate(gathered), rate_hz)
                    gathered, size, want = [], 0, int(CHUNK_S * rate_hz)
            gathered.append(trimmer.finish())
            if any(map(len, gathered)):
                yield Clip(np.concatenate(gathered), rate_hz)
