"""The transcription parameters of the installed `openai` package: docs/openai-fields.md lists each field with its
effect, and each has it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

import openai
import pytest
from openai.types.audio.transcription_create_params import ChunkingStrategyVadConfig, TranscriptionCreateParams
from openai.types.audio.translation_create_params import TranslationCreateParams
from openai.types.realtime.audio_transcription_param import AudioTranscriptionParam

from pipeline.settings import HOME
from pipeline.stt import FileRequest
from pipeline.transcripts.windows import Cutting
from server.openai.fields import TranscriptionFields
from server.realtime.transcription import PARTIAL_MS
from tests.clips import recording
from tests.in_process import in_process
from tests.realtime.desk import Desk, hold
from tests.scripted import ScriptedSTT
from tests.strict_client import strict_client

TYPES: dict[str, Any] = {
    "TranscriptionCreateParams": TranscriptionCreateParams,
    "ChunkingStrategyVadConfig": ChunkingStrategyVadConfig,
    "TranslationCreateParams": TranslationCreateParams,
    "AudioTranscriptionParam": AudioTranscriptionParam,
}
EFFECTS = {"used", "no effect", "refused"}


def fields_of(kind: Any) -> set[str]:
    """Return the fields of a TypedDict, or of a union of them."""
    return {name for one in get_args(kind) or (kind,) for name in one.__annotations__}


def documented(page: str = "openai-fields.md") -> dict[str, dict[str, str]]:
    """Return type → field → effect, from the tables of a page."""
    found: dict[str, dict[str, str]] = {}
    for part in re.split(r"^## ", (HOME / "docs" / page).read_text("utf-8"), flags=re.MULTILINE)[1:]:
        if part.startswith("`"):
            found[part.split("`")[1]] = dict(re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", part, re.MULTILINE))
    return found


@dataclass
class Door:
    """A service, its client, and the requests that reach its recogniser."""

    client: openai.OpenAI
    stt: ScriptedSTT
    sound: bytes

    def transcribe(self, **fields: Any) -> Any:
        return self.client.audio.transcriptions.create(
            **{"file": ("a.wav", self.sound), "model": "whisper-1", **fields}
        )

    def translate(self, **fields: Any) -> Any:
        return self.client.audio.translations.create(**{"file": ("a.wav", self.sound), "model": "whisper-1", **fields})

    def asked(self, **fields: Any) -> FileRequest:
        """Return what the recogniser is asked for."""
        self.transcribe(**fields)
        return self.stt.requests[-1]

    def refusal(self, call: Callable[..., Any], **fields: Any) -> str | None:
        """Return the parameter that a refusal names."""
        with pytest.raises(openai.APIStatusError) as error:
            call(**fields)
        assert error.value.status_code < 500
        return error.value.param


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    stt = ScriptedSTT("hello", seconds=0)
    with (
        in_process(tmp_path_factory.mktemp("fields"), heard=stt) as service,
        strict_client(service) as client,
    ):
        yield Door(client, stt, recording(0)[0])


def cutting(**vad: Any) -> Cutting:
    options = {"chunking_strategy": {"type": "server_vad", **vad}}
    return TranscriptionFields.model_validate(options).cutting(ScriptedSTT())


def hearing(**transcription: Any) -> FileRequest:
    """Return what the recogniser of a Realtime session is asked for."""
    stt = ScriptedSTT()

    async def script(d: Desk) -> None:
        await d.update(audio={"input": {"transcription": transcription}})
        await d.speak(800)
        await d.until("response.done")

    hold(script, stt=stt)
    return stt.requests[-1]


def echoed(**transcription: Any) -> Any:
    told: list[Any] = []

    async def script(d: Desk) -> None:
        told.append((await d.update(audio={"input": {"transcription": transcription}}))["audio"]["input"])

    hold(script)
    return told[0]["transcription"]


def partials(delay: str | None) -> int:
    """Return the number of transcripts of 8 s of speech in a transcription session."""
    stt = ScriptedSTT(seconds=0.02)

    async def script(d: Desk) -> None:
        heard = {"transcription": {"model": "gpt-realtime-whisper", "delay": delay}} if delay else {}
        d.send("session.update", session={"type": "transcription", "audio": {"input": heard}})
        await d.until("session.updated")
        await d.speak(8000)
        await d.silence(1500)

    hold(script, query="intent=transcription", stt=stt)
    return len(stt.requests)


def delays_change_the_pace(door: Door) -> None:
    counts = [partials(delay) for delay in PARTIAL_MS]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 3 * counts[-1]


def streams(door: Door) -> None:
    events = list(door.transcribe(stream=True, language="en"))
    assert events[-1].type == "transcript.text.done"
    assert [language.code for language in events[-1].languages] == ["en"]


def speakers_have_names(door: Door) -> None:
    fields = {"response_format": "diarized_json", "known_speaker_references": ["data:audio/wav;base64,AAAA"] * 2}
    refusal = door.refusal(door.transcribe, known_speaker_names=["ann", "ann"], **fields)
    assert refusal == "known_speaker_names"


def speakers_have_references(door: Door) -> None:
    fields = {"response_format": "diarized_json", "known_speaker_names": ["ann"]}
    assert door.refusal(door.transcribe, known_speaker_references=["x"], **fields) == "known_speaker_references"


def holds(condition: Callable[[Door], object]) -> Callable[[Door], None]:
    def check(door: Door) -> None:
        assert condition(door)

    return check


TRIED: dict[str, dict[str, Callable[[Door], None]]] = {
    "TranscriptionCreateParams": {
        "file": holds(lambda d: d.refusal(d.transcribe, file=("a.wav", b"no sound")) in ("file", None)),
        "model": holds(lambda d: d.refusal(d.transcribe, model="nothing") == "model"),
        "chunking_strategy": holds(lambda d: d.refusal(d.transcribe, chunking_strategy="x") == "chunking_strategy"),
        "include": holds(lambda d: d.transcribe(include=["logprobs"]).logprobs is not None),
        "keywords": holds(lambda d: d.asked(keywords=["Ana Sofia", "Parley"]).keywords == ("Ana Sofia", "Parley")),
        "known_speaker_names": speakers_have_names,
        "known_speaker_references": speakers_have_references,
        "language": holds(lambda d: d.asked(language="pt").language == "pt"),
        "languages": holds(lambda d: d.asked(languages=["pt", "en"]).languages == ("pt", "en")),
        "prompt": holds(lambda d: d.asked(prompt="A talk.").prompt == "A talk."),
        "response_format": holds(lambda d: d.transcribe(response_format="text") == "hello\n"),
        "temperature": holds(lambda d: d.asked(temperature=0.5).temperature == 0.5),
        "timestamp_granularities": holds(
            lambda d: (
                d.transcribe(response_format="verbose_json", timestamp_granularities=["word"]).words is not None
            )
        ),
        "stream": streams,
    },
    "ChunkingStrategyVadConfig": {
        "type": holds(lambda d: d.refusal(d.transcribe, chunking_strategy={"type": "x"})),
        "prefix_padding_ms": holds(lambda d: cutting(prefix_padding_ms=700).pad_s == 0.7),
        "silence_duration_ms": holds(lambda d: cutting(silence_duration_ms=900).pause_s == 0.9),
        "threshold": holds(lambda d: cutting(threshold=0.7).threshold == 0.7),
    },
    "TranslationCreateParams": {
        "file": holds(lambda d: d.refusal(d.translate, file=("a.wav", b"")) == "file"),
        "model": holds(lambda d: d.refusal(d.translate, model="nothing") == "model"),
        "prompt": holds(lambda d: d.translate(prompt="A talk.") and d.stt.requests[-1].prompt == "A talk."),
        "response_format": holds(lambda d: d.translate(response_format="text") == "hello\n"),
        "temperature": holds(lambda d: d.translate(temperature=0.5) and d.stt.requests[-1].temperature == 0.5),
    },
    "AudioTranscriptionParam": {
        "delay": delays_change_the_pace,
        "keywords": holds(lambda d: hearing(keywords=[" Ana ", "Bo", "Ana"], prompt="Hi.").keywords == ("Ana", "Bo")),
        "language": holds(lambda d: hearing(language="pt").language == "pt"),
        "languages": holds(lambda d: hearing(languages=["pt", "en"]).languages == ("pt", "en")),
        "model": holds(lambda d: echoed(model="gpt-live-transcribe")["model"] == "gpt-live-transcribe"),
        "prompt": holds(lambda d: hearing(prompt="Parley").prompt == "Parley"),
    },
}  # fmt: skip
"""Type → field → a check of its effect."""


@pytest.mark.parametrize("name", TYPES)
def test_every_field_of_the_sdk_is_documented_and_tried(name: str) -> None:
    told = documented()
    assert set(told) == set(TYPES)
    assert set(told[name]) == fields_of(TYPES[name]), "the openai package has changed: tell in docs/openai-fields.md"
    assert set(told[name].values()) <= EFFECTS
    assert set(TRIED[name]) == fields_of(TYPES[name])


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, tries in TRIED.items() for field in tries])
def test_each_field_has_its_documented_effect(name: str, field: str, door: Door) -> None:
    TRIED[name][field](door)
