"""The whole service on real models: Whisper tiny.en, SmolLM2-135M and Kokoro or Piper, with real speech. Piper speaks
where the voice does not matter, because Kokoro needs several times its CPU time.

Another Whisper, called directly, hears what the service says. The language model is too small to be trusted, so few
tests depend on the content of its replies.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jiwer
import openai
import pytest

from bench.wer_whisper import plain, unspoken
from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import decode_blocking
from tests.live_client import ENDS, Live
from tests.real_models import real_engines, recording, spoken_text
from tests.realtime.client import Talk, talking
from tests.server_process import ServerProcess, ask, serving
from tests.tts.hearing import heard
from tests.waiting import until

pytestmark = pytest.mark.real_time
MOSTLY = 0.15
"""Word error rate up to which a listener has understood a reply."""
CAPITAL = "What is the capital of France?"
STORY = "Please tell me a long story about a lighthouse."
SENTENCES = (
    "The train to Lisbon leaves at seven in the morning.", "She bought twelve apples and a loaf of bread.",
    "Would you like to hear the weather for tomorrow?",
)  # fmt: skip


@pytest.fixture(scope="module")
def kokoro(real_service: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{real_service.url}/v1", api_key="none", max_retries=0, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def client(piper_service: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{piper_service.url}/v1", api_key="none", max_retries=0, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def piper_service(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("piper"), **real_engines(smollm, "piper")) as running:
        yield running


def say(client: openai.OpenAI, text: str, **options: Any) -> Clip:
    """Return a text as the service speaks it, at 16 kHz."""
    wanted = {"model": "tts-1", "voice": "alloy", "input": text, "response_format": "wav", **options}
    return decode_blocking(bytes(client.audio.speech.create(**wanted).read()), max_seconds=60).at(16_000)


@pytest.fixture(scope="module")
def capital(kokoro: openai.OpenAI) -> Clip:
    return say(kokoro, CAPITAL)


@pytest.fixture(scope="module")
def story(kokoro: openai.OpenAI) -> Clip:
    return say(kokoro, STORY)


def understood(reply: str, speech: Clip) -> float:
    """Return the word error rate of a listener to the speech."""
    return float(jiwer.wer(plain(reply), plain(heard(speech))))


def check_heard(words: str, reply: str, speech: Clip, played_ms: float) -> None:
    """Check that `words` are those of a reply's first `played_ms`, as a listener hears them, to three words: the times
    of words are estimates, and the listener errs at the cut."""
    assert words
    assert reply.startswith(words)
    assert len(words) < len(reply)
    listened = heard(Clip(speech.samples[: int(played_ms / 1000 * speech.rate_hz)], speech.rate_hz))
    assert abs(len(listened.split()) - len(words.split())) <= 3, (words, listened)


@pytest.mark.parametrize(("voice", "name"), [("real_service", "goforward"), ("piper_service", "sb_spk1_snt3")])
def test_real_speech_gets_an_exact_transcript_and_a_clear_reply(
    request: pytest.FixtureRequest, voice: str, name: str
) -> None:
    service: ServerProcess = request.getfixturevalue(voice)
    with service.connect() as connection:
        answer = ask(connection, recording(name))
    assert plain(answer.transcription) == plain(spoken_text(name))
    assert understood(answer.llama, answer.speech) <= MOSTLY, answer.llama


def test_a_spoken_question_in_a_chat_is_answered_in_speech(kokoro: openai.OpenAI, capital: Clip) -> None:
    said = {"data": base64.b64encode(encode_wav(capital)).decode(), "format": "wav"}
    messages: list[Any] = [{"role": "user", "content": [{"type": "input_audio", "input_audio": said}]}]
    audio: Any = {"voice": "alloy", "format": "pcm16"}
    chunks = kokoro.chat.completions.create(
        model="gpt-audio", modalities=["text", "audio"], audio=audio, messages=messages, stream=True
    )
    deltas = [chunk.choices[0].delta.audio for chunk in chunks]
    sounds = [delta for delta in deltas if delta is not None]
    reply = "".join(sound.transcript or "" for sound in sounds)
    pcm = base64.b64decode("".join(sound.data or "" for sound in sounds))
    assert "Paris" in reply
    assert understood(reply, Clip.from_pcm16(pcm, 24_000)) <= MOSTLY, reply


def test_times_of_words_cut_the_speech_between_words(kokoro: openai.OpenAI) -> None:
    body = {"input": SENTENCES[0], "voice": "alloy", "response_format": "wav", "timestamp_granularities": ["word"]}
    told = kokoro.post("/audio/speech", body=body, cast_to=httpx.Response).json()
    speech = decode_blocking(base64.b64decode(told["audio"]), max_seconds=60)
    words = [one["word"] for one in told["timestamps"]]
    assert plain(" ".join(words)) == plain(SENTENCES[0])
    for count in (4, 7):
        end_s = told["timestamps"][count - 1]["end_time"]
        begun = Clip(speech.samples[: int(end_s * speech.rate_hz)], speech.rate_hz)
        assert plain(heard(begun)) == plain(" ".join(words[:count]))


def test_a_question_is_answered_in_a_live_conversation(real_service: ServerProcess, capital: Clip) -> None:
    with Live(real_service) as live:
        live.speak(capital)
        end = live.until(*ENDS)
    assert live.of("transcript_final")[0]["text"] == CAPITAL
    assert "Paris" in end["reply"]
    assert "paris" in heard(live.speech)
    assert understood(end["reply"], live.speech) <= MOSTLY, end["reply"]


def test_speech_interrupts_a_reply_and_only_the_heard_part_is_kept(
    real_service: ServerProcess, capital: Clip, story: Clip
) -> None:
    with Live(real_service) as live:
        live.speak(story)
        live.until("speech_started")
        while live.sound_ms < 1500:
            live.receive()
        live.speak(capital)
        end = live.until(*ENDS)
        assert end["type"] == "turn_interrupted"
        reply = "".join(event["text"] for event in live.of("reply_delta"))
        check_heard(end["heard_text"], reply, live.speech, end["heard_ms"])
        assert live.until(*ENDS)["type"] == "turn_completed"
        assert live.of("transcript_final")[1]["text"] == CAPITAL
        token = live.started["resume"]
    with Live(real_service, f"rate=16000&resume={token}") as live:
        told = [message["content"] for message in live.started["history"]]
    assert told[1] == f"{end['heard_text']} …"


async def test_realtime_turn_has_transcript_speech_and_text(real_service: ServerProcess, capital: Clip) -> None:
    async with talking(real_service.url) as talk:
        await talk.speak(capital)
        done = await talk.until("response.done")
    (transcript,) = talk.of("conversation.item.input_audio_transcription.completed")
    assert transcript["transcript"] == CAPITAL
    reply = done["response"]["output"][0]["content"][0]["transcript"]
    assert done["response"]["status"] == "completed"
    assert "Paris" in reply
    assert understood(reply, Clip.from_pcm16(talk.heard(), 24_000)) <= MOSTLY, reply


async def middle_of_a_story(talk: Talk, story: Clip) -> str:
    """Ask for a story; return its item when two seconds of its sound have arrived."""
    await talk.speak(story)
    while len(talk.heard()) < 2 * 2 * 24_000:
        await talk.until("response.output_audio.delta")
    return str(talk.of("response.output_audio.delta")[0]["item_id"])


async def kept(talk: Talk, item: str) -> str:
    """Return an item's words in the conversation."""
    await talk.connection.conversation.item.retrieve(item_id=item)
    found = await talk.until("conversation.item.retrieved")
    return str(found["item"]["content"][0]["transcript"])


async def test_realtime_cancel_stops_the_reply_in_the_middle(
    real_service: ServerProcess, capital: Clip, story: Clip
) -> None:
    async with talking(real_service.url) as talk:
        await middle_of_a_story(talk, story)
        await talk.connection.response.cancel()
        done = await talk.until("response.done")
        assert done["response"]["status_details"]["reason"] == "client_cancelled"
        await talk.speak(capital)
        assert (await talk.until("response.done"))["response"]["status"] == "completed"
        assert talk.of("conversation.item.input_audio_transcription.completed")[1]["transcript"] == CAPITAL


async def test_realtime_barge_in_keeps_only_the_heard_words(
    real_service: ServerProcess, capital: Clip, story: Clip
) -> None:
    async with talking(real_service.url) as talk:
        item = await middle_of_a_story(talk, story)
        await talk.speak(capital)
        done = await talk.until("response.done")
        assert done["response"]["status_details"]["reason"] == "turn_detected"
        await talk.connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=1500)
        await talk.until("conversation.item.truncated")
        words = await kept(talk, item)
        reply = "".join(event["delta"] for event in talk.of("response.output_audio_transcript.delta"))
        check_heard(words, reply, Clip.from_pcm16(talk.heard(done["response"]["id"]), 24_000), 1500)
        await talk.until("response.done")
        assert talk.of("conversation.item.input_audio_transcription.completed")[1]["transcript"] == CAPITAL


def test_a_job_returns_words_and_subtitles(piper_service: ServerProcess) -> None:
    names = ("jfk", "sb_spk1_snt1", "sb_spk1_snt3")
    clips = [decode_blocking(recording(name), max_seconds=60) for name in names]
    pause = Clip(0 * clips[0].samples[: 2 * clips[0].rate_hz], clips[0].rate_hz)
    talk = Clip.join([part for clip in clips for part in (pause, clip)], 16_000)
    with httpx.Client(base_url=piper_service.url, timeout=60) as client:
        sent = client.post("/jobs", files={"files": ("talk.wav", encode_wav(talk))}, data={"words": "true"})
        path = f"/jobs/{sent.raise_for_status().json()['jobs'][0]['job_id']}"

        def ended() -> Any:
            job = client.get(path).json()
            return job if job["status"] in ("completed", "failed") else None

        job = until(ended, 300)
        assert job["status"] == "completed", job
        subtitles = client.get(f"{path}/download", params={"format": "srt"}).raise_for_status().text
    truth = " ".join(plain(spoken_text(name)) for name in names)
    assert plain(job["result"]["text"]) == truth
    words = [word for segment in job["result"]["segments"] for word in segment["words"]]
    assert plain(" ".join(word["word"] for word in words)) == truth
    starts = [word["start"] for word in words]
    assert starts == sorted(starts)
    second = 4 + clips[0].seconds
    (child,) = [word for word in words if word["word"].strip().lower() == "child"]
    assert second < child["start"] < second + 0.8
    lines = [line for cue in subtitles.strip().split("\n\n") for line in cue.splitlines()[2:]]
    assert plain(" ".join(lines)) == truth


def test_nothing_is_invented_after_the_last_word_of_a_file(client: openai.OpenAI) -> None:
    """Tiny.en once heard "Thank you very much." in the last 30 ms."""
    found = client.audio.transcriptions.create(
        file=("speech.wav", recording("sb_spk1_snt1")), model="whisper-1", response_format="verbose_json",
        timestamp_granularities=["word"],
    )  # fmt: skip
    assert plain(found.text) == plain(spoken_text("sb_spk1_snt1"))
    assert [plain(word.word) for word in found.words or []] == plain(found.text).split()


def test_spoken_text_is_transcribed_to_the_same_text(kokoro: openai.OpenAI) -> None:
    speech = [say(kokoro, text, voice=voice) for text, voice in zip(SENTENCES, ("man", "woman", "onyx"), strict=True)]
    texts = [
        kokoro.audio.transcriptions.create(file=("speech.wav", encode_wav(clip)), model="whisper-1").text
        for clip in speech
    ]
    assert [plain(text) for text in texts] == [plain(text) for text in SENTENCES]


def test_sound_without_speech_starts_no_turn(piper_service: ServerProcess) -> None:
    with Live(piper_service) as live:
        for kind, clip in unspoken(30.0):
            if kind in ("silence", "white", "music", "breath"):
                live.speak(clip)
        live.tell("say", text="Hello.")
        live.until("turn_completed")
    assert len(live.of("turn_started")) == 1
