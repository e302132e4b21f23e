"""Any server with OpenAI's `/v1/audio/transcriptions`: OpenAI's own, speaches, vLLM, whisper.cpp, LocalAI, …"""

import asyncio
import importlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from pipeline import stt
from pipeline.audio.clip import Clip, encode_wav
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.languages import code_of
from pipeline.listening.vad import has_speech
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Hinted, Segment, SpeechToText, Spoken, Transcript, WindowLimits, Word
from pipeline.stt.hints import as_prompt
from pipeline.support.encodable import encodable
from pipeline.support.openai_names import known_as
from pipeline.support.progress import Report

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.audio import TranscriptionSegment, TranscriptionWord

DEFAULT_MODEL = "whisper-1"
TAKES_KEYWORDS = ("gpt-transcribe", "gpt-live-transcribe")
"""Models with the fields `keywords` and `languages` instead of `language`."""
RATE_HZ = 16_000
"""The rate that these models use; a higher one would only cost transfer."""
PROBE_TIMEOUT_S = 10.0
"""Long, because other stages load during this time, on a machine that may be slow. A refused connection is known at
once."""


class OpenAITranscriber:
    """See `SpeechToText`. Requests `verbose_json` (language, words) until the server reports that it only has
    `json`."""

    limits = WindowLimits(max_s=120.0)
    """Servers split audio that is too long for their model; this is short enough to show progress."""

    def __init__(self, client: "AsyncOpenAI", model: str, host: str, keywords: Sequence[str] = ()) -> None:
        """keywords: names and words that may be spoken in any call."""
        self._client = client
        self._model = model
        self._keywords = tuple(keywords)
        self._takes_keywords = known_as(model, TAKES_KEYWORDS) is not None
        self._host = host
        self._verbose = True

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        """Raises EngineError: the server's refusal and its reason, or timeout. Without speech nothing is sent."""
        request = FileRequest.of(language, prompt, words)
        if not await asyncio.to_thread(has_speech, clip):
            return Transcript("", request.language, clip.seconds)
        wav = await asyncio.to_thread(lambda: encode_wav(clip.at(RATE_HZ)))
        fields = self._hints(request)
        try:
            async with asyncio.timeout(stt.TIMEOUT_S):
                response = await self._ask(wav, fields, words)
        except TimeoutError:
            raise EngineError(f"{self._host} returned no text in {stt.TIMEOUT_S:g} s.", code="timeout") from None
        return _transcript(response, request.language, clip.seconds)

    async def segments(self, window: Clip, request: FileRequest) -> AsyncGenerator[Segment, None]:
        """See the Protocol. Yields the server's segments, or one for the whole window if it returns none."""
        wav = await asyncio.to_thread(lambda: encode_wav(window.at(RATE_HZ)))
        fields = self._hints(request)
        if request.temperature:
            fields["temperature"] = request.temperature
        try:
            async with asyncio.timeout(stt.TIMEOUT_S):
                response = await self._ask(wav, fields, request.words, translate=request.translate)
        except TimeoutError:
            raise EngineError(f"{self._host} returned no text in {stt.TIMEOUT_S:g} s.", code="timeout") from None
        for segment in _segments(response, request, window.seconds):
            yield segment

    def _hints(self, request: FileRequest) -> dict[str, object]:
        """Return the fields for the languages, the prompt and the keywords."""
        keywords = list(dict.fromkeys((*request.keywords, *self._keywords)))
        language = request.language or request.expected
        if self._takes_keywords and not request.translate:
            languages = list(request.languages) or ([language] if language else [])
            fields: dict[str, object] = {"prompt": request.prompt, "keywords": keywords, "languages": languages}
        else:
            fields = {"prompt": as_prompt(keywords, request.prompt), "language": language}
        if request.translate:
            fields.pop("language", None)
        return {name: value for name, value in fields.items() if value}

    async def _ask(self, wav: bytes, fields: Mapping[str, object], words: bool, *, translate: bool = False) -> object:
        import openai

        try:
            if self._verbose:
                try:
                    times = {"timestamp_granularities": ["word", "segment"]} if words and not translate else {}
                    return await self._create(wav, "verbose_json", {**fields, **times}, translate)
                except (openai.BadRequestError, openai.UnprocessableEntityError):
                    # gpt-4o-transcribe and some servers have only json. A request that is bad for another reason is
                    # refused again below, with that reason.
                    response = await self._create(wav, "json", fields, translate)
                    self._verbose = False
                    return response
            return await self._create(wav, "json", fields, translate)
        except openai.APITimeoutError:
            raise TimeoutError from None
        except openai.APIConnectionError as error:
            raise EngineError(f"The transcription server {self._host} cannot be reached.") from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise EngineError(f"{self._host} refuses the key; check STT_OPENAI_KEY.") from error
        except openai.NotFoundError as error:
            raise EngineError(
                f"{self._host} has no model {self._model}, or no /audio/transcriptions; check STT_MODEL and "
                "STT_OPENAI_URL."
            ) from error
        except openai.APIStatusError as error:
            raise EngineError(f"{self._host} returned HTTP {error.status_code} for a transcription.") from error
        except (openai.OpenAIError, ValueError) as error:
            raise EngineError(f"{self._host} returned a response that is not a transcription.") from error

    async def _create(self, wav: bytes, response_format: str, fields: Mapping[str, object], translate: bool) -> object:
        audio = self._client.audio
        create: Callable[..., Awaitable[object]] = (
            audio.translations.create if translate else audio.transcriptions.create
        )
        return await create(
            file=("speech.wav", wav, "audio/wav"), model=self._model, response_format=response_format, **fields
        )


def _transcript(response: object, asked: str | None, duration_s: float) -> Transcript:
    """Build a Transcript from the server's response. Raises EngineError if the response is not a transcription."""
    text = getattr(response, "text", None)
    if not isinstance(text, str):
        raise EngineError("The transcription server returned a response that is not a transcription.")
    found: Sequence[TranscriptionWord] = getattr(response, "words", None) or ()
    heard = getattr(response, "language", None)
    if detected := getattr(response, "languages", None):
        heard = heard or getattr(detected[0], "code", None)
    return Transcript(
        text=encodable(text).strip(),
        language=code_of(heard) if isinstance(heard, str) else asked,
        duration_s=duration_s,
        words=[Word(encodable(str(word.word)).strip(), float(word.start), float(word.end), 1.0) for word in found],
    )


def _segments(response: object, request: FileRequest, duration_s: float) -> list[Segment]:
    """Build Segments from the server's response. Raises EngineError if the response is not a transcription."""
    whole = _transcript(response, request.language, duration_s)
    found: Sequence[TranscriptionSegment] = getattr(response, "segments", None) or ()
    if not found:
        return [Segment(0.0, duration_s, whole.text, whole.language, whole.words)] if whole.text else []
    words = list(whole.words)
    segments = []
    for index, one in enumerate(found):
        start_s, end_s = float(one.start), float(one.end)
        last = index == len(found) - 1
        inside = [word for word in words if last or word.start_s < end_s]
        words = words[len(inside) :]
        segments.append(
            Segment(
                start_s,
                end_s,
                encodable(str(one.text)).strip(),
                whole.language,
                inside,
                tokens=[int(token) for token in getattr(one, "tokens", None) or ()],
                temperature=float(getattr(one, "temperature", None) or 0.0),
                avg_logprob=float(getattr(one, "avg_logprob", None) or 0.0),
                compression_ratio=float(getattr(one, "compression_ratio", None) or 1.0),
                no_speech_prob=float(getattr(one, "no_speech_prob", None) or 0.0),
            )
        )
    return segments


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable if STT_OPENAI_URL does not respond, or refuses the key."""
    url = settings.stt_openai_url
    headers = {"Authorization": f"Bearer {settings.stt_openai_key}"} if settings.stt_openai_key else {}
    try:
        # The client is created before the timeout starts: on a busy machine its certificates take a while to load.
        async with httpx.AsyncClient(headers=headers) as client, asyncio.timeout(PROBE_TIMEOUT_S):
            response = await client.get(f"{url}/models")
    except (httpx.HTTPError, TimeoutError) as error:
        raise EngineUnavailable(
            f"No transcription server responds at {url}.", remedy="Start it, or set STT_OPENAI_URL."
        ) from error
    if response.status_code in (401, 403):  # any other status is fine: not every server lists its models
        raise EngineUnavailable(f"The transcription server at {url} refuses the key.", remedy="Set STT_OPENAI_KEY.")


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened[SpeechToText]]:
    """Check that the server responds; there is nothing to load. Raises EngineUnavailable."""
    await probe(settings)
    openai = await asyncio.to_thread(importlib.import_module, "openai")  # the import takes a second
    host = urlsplit(settings.stt_openai_url).netloc
    async with openai.AsyncOpenAI(
        base_url=settings.stt_openai_url,
        api_key=settings.stt_openai_key or "none",  # the client requires one; servers without keys ignore it
        timeout=stt.TIMEOUT_S,
        max_retries=1,
    ) as client:
        model = settings.stt_model or DEFAULT_MODEL
        yield Opened(OpenAITranscriber(client, model, host, settings.keywords), model, host)
