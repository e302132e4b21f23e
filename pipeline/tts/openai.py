"""Speech from any server with OpenAI's POST /v1/audio/speech: Kokoro, LocalAI, speaches, OpenAI itself.

Requests raw samples ("pcm": 16-bit mono, 24 kHz), which stream without a header, and WAV from a server that does not
support them.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import httpx

from pipeline import tts
from pipeline.audio.clip import Clip
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import Settings
from pipeline.support.progress import Report
from pipeline.tts.common import clean, within
from pipeline.tts.wav_stream import RATE_HZ, NotWav, PcmStream, WavStream
from pipeline.voices.catalogue import Voice

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECT_TIMEOUT_S = 3.0
PROBE_TIMEOUT_S = 10.0
"""Long, because it includes loading the other stages on a machine that may be slow. A server that is not running is
noticed at once."""
DEFAULT_MODEL = "tts-1"
DEFAULT_VOICE = "alloy"
"""Used for a voice that does not name one of the server's voices."""
READ_BYTES = 4_800
"""Bytes read at once: 0.1 s."""
KEY_REMEDY = "Set TTS_OPENAI_KEY to a key that the server accepts."


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable when the server does not respond or refuses the key. Its list of models is ignored."""
    headers = {"Authorization": f"Bearer {settings.tts_openai_key}"} if settings.tts_openai_key else {}
    try:
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S, headers=headers) as client:
            response = await client.get(f"{settings.tts_openai_url}/models")
    except httpx.HTTPError as error:
        raise EngineUnavailable(
            f"The speech server {_host(settings)} does not respond ({type(error).__name__}).",
            remedy="Start it, or set TTS_OPENAI_URL to its address.",
        ) from None
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise EngineUnavailable(f"The speech server {_host(settings)} refuses the key.", remedy=KEY_REMEDY)


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened["OpenAiSpeech"]]:
    """Open a client of the server. There is no warm-up, because some servers charge for speech."""
    from openai import AsyncOpenAI, Timeout

    await probe(settings)
    client = AsyncOpenAI(
        base_url=settings.tts_openai_url,
        api_key=settings.tts_openai_key or "none",
        timeout=Timeout(tts.TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        max_retries=0,  # a retry would come too late for a conversation
    )
    async with client:
        model = settings.tts_model or DEFAULT_MODEL
        named = Voice(settings.voice_name, engines={"openai": {"voice": settings.voice_name}})
        yield Opened(OpenAiSpeech(client, model), model, _host(settings), voices=[named])


class OpenAiSpeech:
    """See `pipeline.tts.TextToSpeech`. 24 kHz, whatever the server sends."""

    follows_instructions = True
    """Instructions are passed on; a server whose model follows none ignores them."""
    reads_ipa = False

    def __init__(self, client: "AsyncOpenAI", model: str) -> None:
        self._client = client
        self._model = model
        self._format: Literal["pcm", "wav"] = "pcm"

    async def speak(self, text: str, *, voice: Voice, language: str | None) -> AsyncGenerator[Clip, None]:
        """Yield no clip for text without a letter or digit. The server guesses the language. Raises EngineError."""
        said = clean(text)
        if not said:
            return
        own = voice.engines.get("openai", {})
        name = str(own.get(voice.language(language), own.get("voice", DEFAULT_VOICE)))
        stream = self._stream(said, name, voice.instructions)
        async with aclosing(within(stream, tts.TIMEOUT_S, "The speech server")) as clips:
            async for clip in clips:
                yield clip

    def speaks(self, language: str) -> bool:
        """Return True: the server decides."""
        return True

    async def _stream(self, text: str, voice: str, instructions: str) -> AsyncGenerator[Clip, None]:
        import openai

        try:
            async with aclosing(self._request(text, voice, instructions)) as clips:
                async for clip in clips:
                    yield clip
        except openai.APITimeoutError:
            raise EngineError("The speech server did not respond in time.", code="timeout") from None
        except openai.APIConnectionError:
            raise EngineError("The speech server cannot be reached.") from None
        except openai.AuthenticationError:
            raise EngineError(f"The speech server refuses the key. {KEY_REMEDY}") from None
        except openai.APIStatusError as error:
            raise EngineError(
                f"The speech server refused the request: HTTP {error.status_code}, {_shorten(error)}"
            ) from None
        except NotWav as error:
            raise EngineError(f"The speech server sent no sound: {error}") from None
        except Exception as error:
            # While the response streams, errors come from the HTTP library that the client is built on.
            if "Timeout" in type(error).__name__:
                raise EngineError("The speech server stopped sending.", code="timeout") from None
            raise EngineError(f"The connection to the speech server broke ({type(error).__name__}).") from None

    async def _request(self, text: str, voice: str, instructions: str) -> AsyncGenerator[Clip, None]:
        """Send one request, and a second one for WAV if the server does not support raw samples."""
        import openai

        try:
            async with aclosing(self._attempt(text, voice, instructions, self._format)) as clips:
                async for clip in clips:
                    yield clip
            return
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            if self._format == "wav":
                raise
        async with aclosing(self._attempt(text, voice, instructions, "wav")) as clips:
            async for clip in clips:
                self._format = "wav"  # it works: later requests ask for WAV at once
                yield clip

    async def _attempt(
        self, text: str, voice: str, instructions: str, kind: Literal["pcm", "wav"]
    ) -> AsyncGenerator[Clip, None]:
        import openai

        speech = self._client.audio.speech.with_streaming_response
        asked = speech.create(
            model=self._model,
            voice=voice,
            input=text,
            instructions=instructions or openai.omit,
            response_format=kind,
        )
        async with asked as response:
            # Some servers always send WAV: recognise it by its first bytes.
            decoder: PcmStream | WavStream | None = None
            begin = b""
            async for data in response.iter_bytes(READ_BYTES):
                if decoder is None:
                    begin += data
                    if len(begin) < 4:
                        continue
                    decoder = WavStream() if begin.startswith(b"RIFF") or kind == "wav" else PcmStream(RATE_HZ)
                    data = begin
                clip = decoder.push(data)
                if len(clip.samples):
                    yield clip
            if decoder is None:
                raise NotWav("an empty response")
            clip = decoder.finish()
            if len(clip.samples):
                yield clip


def _host(settings: Settings) -> str:
    return urlsplit(settings.tts_openai_url).netloc.rpartition("@")[2]


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
