"""Any server with OpenAI's POST /v1/audio/speech: Kokoro, LocalAI, speaches, OpenAI itself.

Raw samples ("pcm": 16-bit mono, 24 kHz) are asked for, as they stream without a header; from a server that does not
know them, WAV.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import httpx

from pipeline.audio import Clip
from pipeline.engines import Opened, Report
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import Settings
from pipeline.tts.front import clean, within
from pipeline.tts.wav_stream import RATE_HZ, NotWav, PcmStream, WavStream
from pipeline.voices import Voice

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECT_TIMEOUT_S = 3.0
PROBE_TIMEOUT_S = 10.0
"""Long, for it is counted while the other stages are loaded, too, on a machine that may be slow; who is not there is
known at once."""
DEFAULT_VOICE = "alloy"
"""For a voice that names none of the server's."""
READ_BYTES = 4_800
"""0.1 s."""
KEY_REMEDY = "Set TTS_OPENAI_KEY to a key that the server takes."


async def probe(settings: Settings) -> None:
    """Raises EngineUnavailable when the server does not answer or refuses the key. What it lists does not matter."""
    headers = {"Authorization": f"Bearer {settings.tts_openai_key}"} if settings.tts_openai_key else {}
    try:
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S, headers=headers) as client:
            response = await client.get(f"{settings.tts_openai_url}/models")
    except httpx.HTTPError as error:
        raise EngineUnavailable(
            f"The speech server {_host(settings)} does not answer ({type(error).__name__}).",
            remedy="Start it, or set TTS_OPENAI_URL to its address.",
        ) from None
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise EngineUnavailable(f"The speech server {_host(settings)} refuses the key.", remedy=KEY_REMEDY)


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened["OpenAiSpeech"]]:
    """A client of the server. Nothing is spoken yet: that would cost money on some."""
    from openai import AsyncOpenAI, Timeout

    client = AsyncOpenAI(
        base_url=settings.tts_openai_url,
        api_key=settings.tts_openai_key or "none",
        timeout=Timeout(settings.tts_timeout_s, connect=CONNECT_TIMEOUT_S),
        max_retries=0,  # a second try would come too late for a conversation
    )
    async with client:
        speech = OpenAiSpeech(client, settings.tts_openai_model, settings.tts_openai_voice, settings.tts_timeout_s)
        yield Opened(speech, settings.tts_openai_model, _host(settings))


class OpenAiSpeech:
    """See `pipeline.tts.TextToSpeech`. 24 kHz, whatever the server sends."""

    def __init__(self, client: "AsyncOpenAI", model: str, voice: str, timeout_s: float) -> None:
        """voice: the server's, in place of what a voice's description names; "": that one."""
        self._client = client
        self._model = model
        self._voice = voice
        self._timeout_s = timeout_s
        self._format: Literal["pcm", "wav"] = "pcm"

    async def speak(self, text: str, *, voice: Voice, language: str | None) -> AsyncGenerator[Clip, None]:
        """Text with nothing to say gives no clip. The server guesses the language. Raises EngineError."""
        said = clean(text)
        if not said:
            return
        own = voice.engines.get("openai", {})
        name = self._voice or str(own.get(voice.language(language), own.get("voice", DEFAULT_VOICE)))
        async with aclosing(within(self._stream(said, name), self._timeout_s, "The speech server")) as clips:
            async for clip in clips:
                yield clip

    def speaks(self, language: str) -> bool:
        """Whatever it is asked for: the server decides."""
        return True

    async def _stream(self, text: str, voice: str) -> AsyncGenerator[Clip, None]:
        import openai

        try:
            async with aclosing(self._request(text, voice)) as clips:
                async for clip in clips:
                    yield clip
        except openai.APITimeoutError:
            raise EngineError("The speech server did not answer in time.", code="timeout") from None
        except openai.APIConnectionError:
            raise EngineError("The speech server cannot be reached.") from None
        except openai.AuthenticationError:
            raise EngineError(f"The speech server refuses the key. {KEY_REMEDY}") from None
        except openai.APIStatusError as error:
            raise EngineError(f"The speech server refused: HTTP {error.status_code}, {_shorten(error)}") from None
        except NotWav as error:
            raise EngineError(f"The speech server sent no sound: {error}") from None
        except Exception as error:
            # While the answer streams, the errors are those of the client's transport, whichever it is built on.
            if "Timeout" in type(error).__name__:
                raise EngineError("The speech server fell silent.", code="timeout") from None
            raise EngineError(f"The speech server broke off ({type(error).__name__}).") from None

    async def _request(self, text: str, voice: str) -> AsyncGenerator[Clip, None]:
        """One request; a second one, for WAV, to a server that does not know raw samples."""
        import openai

        try:
            async with aclosing(self._attempt(text, voice, self._format)) as clips:
                async for clip in clips:
                    yield clip
            return
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            if self._format == "wav":
                raise
        async with aclosing(self._attempt(text, voice, "wav")) as clips:
            async for clip in clips:
                self._format = "wav"  # it works: asked for at once from now on
                yield clip

    async def _attempt(self, text: str, voice: str, kind: Literal["pcm", "wav"]) -> AsyncGenerator[Clip, None]:
        speech = self._client.audio.speech.with_streaming_response
        async with speech.create(model=self._model, voice=voice, input=text, response_format=kind) as response:
            # Some send WAV whatever was asked for: the first bytes say what it is.
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
                raise NotWav("an empty answer")
            clip = decoder.finish()
            if len(clip.samples):
                yield clip


def _host(settings: Settings) -> str:
    return urlsplit(settings.tts_openai_url).netloc.rpartition("@")[2]


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
