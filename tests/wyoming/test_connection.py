"""Requests of one Wyoming connection on virtual time: sound at the pace of speech, and the events that it gets.

The real connection runs from the protocol's bytes on; only the network is left out.
"""

import asyncio
import json
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pytest
from wyoming.asr import Transcribe, Transcript, VadSensitivity
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event, Eventable
from wyoming.intent import Recognize
from wyoming.wake import Detect

from pipeline.assistant import Assistant
from pipeline.audio.clip import Clip, Samples
from pipeline.conversation.turn import Stages
from pipeline.listening.detector import RATE_HZ
from pipeline.settings import Settings
from pipeline.stt import Hinted, Spoken
from pipeline.stt import Transcript as Heard
from pipeline.voices.catalogue import Voices
from server.access.limits import Budget, Share
from server.http.draining import Draining
from server.wyoming.connection import Connection
from server.wyoming.conversations import Conversations
from server.wyoming.wire import encoded
from tests import virtual_time
from tests.questions import spoken
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS

CHUNK_S = 0.06
SENTENCE = "the heron stands quite still and waits for a small fish that comes a little closer to the shore"
CONTEXT = {"conversation_id": "kitchen"}


class GrowingSTT(ScriptedSTT):
    """Hears three words of `text` in each second of sound."""

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Heard:
        heard = await super().transcribe(clip, language=language, prompt=prompt, words=words)
        return replace(heard, text=" ".join(heard.text.split()[: int(3 * clip.seconds)]))


@dataclass
class Client:
    """The client's end of the connection: a writer that keeps the events with their times in seconds."""

    events: list[tuple[float, Event]] = field(default_factory=list)

    @property
    def transport(self) -> "Client":
        return self

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        line, _, rest = data.partition(b"\n")
        head = json.loads(line)
        told = json.loads(rest[: head.get("data_length", 0)] or b"{}")
        self.events.append((asyncio.get_running_loop().time(), Event(head["type"], told)))

    async def drain(self) -> None:
        """Every event is read at once."""

    def kinds(self) -> list[str]:
        return [event.type for _, event in self.events]

    def of(self, kind: str) -> list[Event]:
        return [event for _, event in self.events if event.type == kind]

    def first_s(self, kind: str) -> float:
        return next(at_s for at_s, event in self.events if event.type == kind)


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * RATE_HZ), np.float32)


def held(*sent: Eventable | Samples, last: str, stt: ScriptedSTT | None = None, paced: bool = True) -> Client:
    """Send events and sound until the event `last` has come; return the client. paced: send sound as it is spoken."""
    settings = Settings(llm_engine="builtin", tts_engine="espeak", stt_engine="sphinx")
    client = Client()

    async def run() -> None:
        stages = Stages(stt or ScriptedSTT(), ScriptedLLM(), ScriptedTTS())
        assistant = Assistant(settings, stages, Voices.load(settings), lambda: [])
        reader = asyncio.StreamReader()
        connection = Connection(
            reader,
            cast(asyncio.StreamWriter, client),
            assistant,
            Conversations(assistant.conversation, most=1, seconds=60.0),
            Draining(),
            Share(Budget(10**9), None),
            nullcontext,
            asyncio.Lock(),
        )

        async def speak() -> None:
            for one in sent:
                if not isinstance(one, np.ndarray):
                    reader.feed_data(encoded(one.event()))
                    continue
                pcm, size = Clip(one, RATE_HZ).pcm16(), int(CHUNK_S * RATE_HZ) * 2
                for start in range(0, len(pcm), size):
                    if last in client.kinds():
                        break
                    reader.feed_data(encoded(AudioChunk(RATE_HZ, 2, 1, pcm[start : start + size]).event()))
                    await asyncio.sleep(CHUNK_S if paced else 0)
            while last not in client.kinds():  # noqa: ASYNC110  # virtual time
                await asyncio.sleep(0.1)
            reader.feed_eof()

        async with asyncio.TaskGroup() as group:
            group.create_task(connection.run())
            group.create_task(speak())

    virtual_time.run(run())
    return client


@pytest.fixture(scope="module")
def speech() -> Samples:
    """A sentence without the silence around it."""
    return spoken(SENTENCE).samples[4_000:-4_000]


def test_words_of_a_command_are_sent_while_it_is_spoken(speech: Samples) -> None:
    client = held(
        Transcribe(), AudioStart(RATE_HZ, 2, 1), speech, silence(20), last="transcript-stop", stt=GrowingSTT(SENTENCE)
    )
    chunks = [event.data["text"] for event in client.of("transcript-chunk")]
    assert client.kinds() == ["transcript-start", *["transcript-chunk"] * len(chunks), "transcript", "transcript-stop"]
    spoken_s = len(speech) / RATE_HZ
    early = [at_s for at_s, event in client.events if event.type == "transcript-chunk" and at_s < spoken_s]
    assert len(early) >= 2, client.events
    assert "".join(chunks) == client.of("transcript")[0].data["text"]


def test_the_sensitivity_of_the_event_changes_the_end_of_a_command(speech: Samples) -> None:
    ends_s = {}
    for name in (VadSensitivity.AGGRESSIVE, None, "unheard of", VadSensitivity.RELAXED):
        client = held(
            Transcribe(vad_sensitivity=name), AudioStart(RATE_HZ, 2, 1), speech, silence(20), last="transcript"
        )
        ends_s[name] = client.first_s("transcript") - len(speech) / RATE_HZ
    assert ends_s[VadSensitivity.AGGRESSIVE] < ends_s[None] - 0.1
    assert ends_s[None] == ends_s["unheard of"]
    assert ends_s[VadSensitivity.RELAXED] > ends_s[None] + 0.2


@pytest.mark.parametrize("paced", [True, False], ids=["command", "recording"])
def test_names_and_terms_reach_the_recogniser(speech: Samples, paced: bool) -> None:
    stt = ScriptedSTT()
    asked = Transcribe(transcript_names=["Ana Sofia", "Wren"], transcript_terms=["heat pump"])
    held(asked, AudioStart(RATE_HZ, 2, 1), speech, silence(2), AudioStop(), last="transcript", stt=stt, paced=paced)
    assert {request.keywords for request in stt.requests} == {("Ana Sofia", "Wren", "heat pump")}


@pytest.mark.parametrize(
    ("sent", "paced", "told"),
    [
        ([Transcribe(context=CONTEXT), silence(1), AudioStop()], False, ["transcript-start", "transcript"]),
        ([Transcribe(context=CONTEXT), "speech", silence(20)], True, ["transcript-start", "transcript"]),
        ([Transcribe(language="??", context=CONTEXT), silence(1), AudioStop()], False, ["transcript"]),
        ([Detect(["alexa"], context=CONTEXT), silence(1), AudioStop()], False, ["not-detected"]),
        ([Detect(["unheard of"], context=CONTEXT), AudioStop()], False, ["not-detected"]),
        ([Detect(context=CONTEXT), "wake word"], False, ["detection"]),
        ([Transcript("hello", context=CONTEXT)], False, ["handled-start", "handled"]),
        ([Transcript("", context=CONTEXT)], False, ["not-handled"]),
        ([Recognize("hello", context=CONTEXT)], False, ["not-recognized"]),
    ],
)  # fmt: skip
def test_the_context_of_a_request_is_in_its_response(
    speech: Samples, sent: list[Any], paced: bool, told: list[str]
) -> None:
    """A client passes it on to the next stage, as the name of the conversation."""
    sounds = {"speech": speech, "wake word": spoken("Okay Nabu", "en-us").samples}
    client = held(*[sounds[one] if isinstance(one, str) else one for one in sent], last=told[-1], paced=paced)
    assert [client.of(kind)[0].data.get("context") for kind in told] == [CONTEXT] * len(told)
