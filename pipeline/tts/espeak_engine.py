"""The eSpeak NG library through ctypes, as a synchronous engine; imported in its worker only.

The library keeps all its state in globals, so a process has one instance behind one lock. It synthesises far faster
than real time (real-time factor 0.005) and passes 60 ms at a time to a callback, whose return value can stop it.
"""

import ctypes as c
import functools
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import espeakng_loader
import numpy as np

from pipeline.audio.clip import Clip, mono
from pipeline.errors import EngineError
from pipeline.tts.silence import Trimmer, pause_after

log = logging.getLogger(__name__)

# From espeak-ng/speak_lib.h.
_OUTPUT_SYNCHRONOUS = 2
"""The callback runs in the thread of espeak_Synth, which returns at the end of the text."""
_DONT_EXIT = 0x8000
"""Report an error instead of ending the process."""
_CHARS_UTF8, _END_PAUSE = 1, 0x1000
_RATE, _VOLUME, _PITCH = 1, 2, 3
_POSITION_CHARACTER = 1

VOLUME = 80
"""eSpeak's volume, 0 to 100; at 100 its loudest vowels clip."""
MAX_CHARS = 5_000
"""Limit for a text, about six minutes of speech; the rest of a longer one is not spoken."""
AUDIBLE = 0.002
"""Amplitude below which a sample is silence: -54 dBFS, below eSpeak's quietest consonants."""
CHUNK_S = 0.25
"""Length of each chunk except the first, which is sent as soon as there is sound."""
AHEAD = 4
"""Buffers that the library can be ahead of the reader."""
_IPA = 2
"""Phoneme mode: the symbols of the International Phonetic Alphabet."""
_PUNCTUATION = re.compile(r"((?:[!?;—…“”\"()]|[.,:](?!\w))+)")
"""Separates a text at its punctuation marks, except inside numbers, times and addresses."""


class _VoiceInfo(c.Structure):
    _fields_ = (
        ("name", c.c_char_p), ("languages", c.c_void_p), ("identifier", c.c_char_p), ("gender", c.c_ubyte),
        ("age", c.c_ubyte), ("variant", c.c_ubyte), ("xx1", c.c_ubyte), ("score", c.c_int), ("spare", c.c_void_p),
    )  # fmt: skip


_Callback = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int, c.c_void_p)
Sink = Callable[[bytes], bool]
"""Takes 16-bit samples; False stops the synthesis."""


class _Library:
    """The process's single eSpeak NG instance."""

    def __init__(self) -> None:
        library = self._library = c.CDLL(espeakng_loader.get_library_path())
        library.espeak_Initialize.argtypes = [c.c_int, c.c_int, c.c_char_p, c.c_int]
        library.espeak_Synth.argtypes = [
            c.c_char_p, c.c_size_t, c.c_uint, c.c_int, c.c_uint, c.c_uint, c.c_void_p, c.c_void_p,
        ]  # fmt: skip
        library.espeak_SetVoiceByName.argtypes = [c.c_char_p]
        library.espeak_ListVoices.argtypes = [c.c_void_p]
        library.espeak_ListVoices.restype = c.POINTER(c.POINTER(_VoiceInfo))
        library.espeak_TextToPhonemes.argtypes = [c.POINTER(c.c_char_p), c.c_int, c.c_int]
        library.espeak_TextToPhonemes.restype = c.c_char_p
        library.espeak_Info.argtypes = [c.c_void_p]
        library.espeak_Info.restype = c.c_char_p
        data = espeakng_loader.get_data_path().encode()
        self.rate_hz = int(library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, data, _DONT_EXIT))
        if self.rate_hz <= 0:
            raise EngineError("eSpeak NG did not start: its data could not be read.")
        self._lock = threading.Lock()
        self._sink: Sink | None = None
        self._callback = _Callback(self._on_samples)  # keep a reference: ctypes does not
        library.espeak_SetSynthCallback(self._callback)

    def _on_samples(self, samples: int | None, count: int, events: int | None) -> int:
        if samples and count > 0 and self._sink is not None:
            return 0 if self._sink(c.string_at(samples, count * 2)) else 1
        return 0

    def version(self) -> str:
        """Return the version, such as "1.52.0"."""
        return str(self._library.espeak_Info(None).decode().split()[0])

    @functools.cached_property
    def codes(self) -> dict[str, str]:
        """Map each voice's language codes to the name of its file; the best voice wins where several share a code.

        The file's name is used because some voices (fr-fr, en-gb) cannot be set by their own code.
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
        """Block until the whole text is synthesised or the sink returns False. Raises EngineError."""
        data = text.encode("utf-8", "replace")
        with self._lock:
            self._sink = sink
            try:
                self._set_voice(voice)
                self._library.espeak_SetParameter(_RATE, speed, 0)
                self._library.espeak_SetParameter(_VOLUME, VOLUME, 0)
                self._library.espeak_SetParameter(_PITCH, pitch, 0)
                flags = _CHARS_UTF8 | _END_PAUSE  # neither SSML nor phonemes
                if self._library.espeak_Synth(data, len(data) + 1, 0, _POSITION_CHARACTER, 0, flags, None, None) != 0:
                    raise EngineError("eSpeak could not speak this text.")
            finally:
                self._sink = None

    def phonemes(self, text: str, voice: str) -> str:
        """Return the phonemes of a text as IPA, with the text's punctuation marks, which carry its intonation. Raises
        EngineError."""
        said = ""
        with self._lock:
            self._set_voice(voice)
            for index, part in enumerate(_PUNCTUATION.split(text)):
                said = f"{said.rstrip()}{part} " if index % 2 else f"{said}{self._ipa(part)} "
        return " ".join(said.split())

    def _ipa(self, text: str) -> str:
        """Return the phonemes of a text without punctuation in the voice that is set."""
        rest = c.c_char_p(text.strip().encode("utf-8", "replace"))
        clauses = []
        while rest.value:
            clauses.append((self._library.espeak_TextToPhonemes(c.byref(rest), _CHARS_UTF8, _IPA) or b"").decode())
        return " ".join(clauses)

    def _set_voice(self, voice: str) -> None:
        """Set a voice by its name, or by a language code that is not a voice's name (fr-fr, en-gb). Raises EngineError.

        Without a voice the library crashes when it needs phonemes; otherwise it speaks with the previous voice.
        """
        name, plus, variant = voice.partition("+")
        for candidate in (voice, f"{self.codes.get(name.lower(), name)}{plus}{variant}"):
            if self._library.espeak_SetVoiceByName(candidate.encode()) == 0:
                return
        raise EngineError(f"eSpeak has no voice {voice!r}.")


def _languages(address: int) -> list[tuple[int, str]]:
    """Parse eSpeak's list of a voice's languages: a priority byte and a C string each, then a zero byte."""
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
    """A bounded queue of buffers from the library's thread to the reader, which either side can end."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._buffers: deque[bytes] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, buffer: bytes) -> bool:
        """Add a buffer, waiting for room. Return False when the queue has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._buffers) < self._size)
            if self._ended:
                return False
            self._buffers.append(buffer)
            self._changed.notify_all()
            return True

    def end(self, error: BaseException | None = None) -> None:
        """End the queue. Buffers already in it can still be read. A second call changes nothing."""
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
    """One text being synthesised by a thread; iterate over its 16-bit buffers. Leaving the block stops the thread."""

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
    """The engine. Its config is None, because eSpeak includes all its data."""

    def __init__(self, config: None) -> None:
        _library()

    def describe(self) -> tuple[dict[str, str], str]:
        """Return language codes → voice names, and the version."""
        return _library().codes, _library().version()

    def phonemes(self, text: str, voice: str) -> str:
        """Return the phonemes of a text without control characters as IPA, punctuation kept. Raises EngineError."""
        return _library().phonemes(text[:MAX_CHARS], voice)

    def speak(self, text: str, voice: str, speed: int, pitch: int) -> Iterator[Clip]:
        """Speak a text without control characters. voice: "en-us+m3"; speed: words per minute; pitch: 0 to 99.

        Yields chunks at 22,050 Hz. Closing the generator stops within one buffer of 60 ms. Raises EngineError.
        """
        if len(text) > MAX_CHARS:
            log.warning("a text of %d characters is cut at %d", len(text), MAX_CHARS)
            text = text[:MAX_CHARS].rpartition(" ")[0] or text[:MAX_CHARS]
        rate_hz = _library().rate_hz
        trimmer = Trimmer(rate_hz, pause_after(text), audible=AUDIBLE)
        with _Speaking(text, voice, speed, pitch) as buffers:
            # Send the first sound at once, then larger chunks, to save messages.
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
