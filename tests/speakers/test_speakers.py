"""Diarization of eSpeak voices, which are as different as people's."""

import base64
import importlib.util
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from pipeline.assistant import Assistant
from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import Recording
from pipeline.conversation.speaker_lock import Owner, SpeakerLock
from pipeline.conversation.turn import Stages
from pipeline.errors import BadInput
from pipeline.settings import Settings
from pipeline.stt import Segment, Word
from pipeline.transcripts.speakers import HowMany, KnownSpeaker, SpeakerTurn, letter, resemblyzer
from pipeline.transcripts.speakers.assigning import with_names, with_speakers
from pipeline.transcripts.speakers.clustering import path
from pipeline.voices.catalogue import Voices
from tests.clips import hearing
from tests.jobs.test_endpoints import done
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS
from tests.server_process import Service, constants
from tests.speech import Espeak

if importlib.util.find_spec("torch") is None or resemblyzer.find_weights(Settings()) is None:
    pytest.skip("the speaker encoder is missing", allow_module_level=True)

RATE_HZ = 16_000
WOMAN, MAN = "en-us+f2", "en-us+m3"
SENTENCES = ["what time is it", "what day is it today", "what is the date today", "what is two plus three"]


def conversation(*said: tuple[str, str]) -> tuple[Clip, list[tuple[float, float, str]]]:
    """A conversation of (voice, text) pairs in order, and its true speaker turns."""
    espeak = Espeak()
    pieces, truth, at = [np.zeros(8_000, np.float32)], [], 8_000
    for voice, text in said:
        sound = espeak.say(text, voice)
        pieces += [sound, np.zeros(int(2.5 * RATE_HZ), np.float32)]
        truth.append((at / RATE_HZ, (at + len(sound)) / RATE_HZ, voice))
        at += len(sound) + int(2.5 * RATE_HZ)
    return Clip(np.concatenate(pieces), RATE_HZ), truth


@pytest.fixture(scope="module")
def talk() -> tuple[Clip, list[tuple[float, float, str]]]:
    voices = [WOMAN, MAN, MAN, WOMAN, WOMAN, MAN]
    return conversation(*[(voice, SENTENCES[number % 4]) for number, voice in enumerate(voices)])


@pytest.fixture
async def diarizer() -> AsyncIterator[Any]:
    async with resemblyzer.open_engine(Settings(model_host="thread"), lambda progress: None) as opened:
        yield opened.engine


def speaker_at(turns: list[SpeakerTurn], second: float) -> str | None:
    return next((turn.speaker for turn in turns if turn.start_s <= second < turn.end_s), None)


async def turns_of(diarizer: Any, clip: Clip, how_many: HowMany, known: list[KnownSpeaker] | None = None) -> Any:
    wav = encode_wav(clip)
    return await diarizer.turns(lambda: Recording(io.BytesIO(wav), max_seconds=1e6), how_many, known or [])


@pytest.mark.parametrize("how_many", [HowMany(2, 2), HowMany(2, None), HowMany(None, 2)], ids=str)
async def test_each_voice_is_one_speaker(diarizer: Any, talk: Any, how_many: HowMany) -> None:
    clip, truth = talk
    turns = await turns_of(diarizer, clip, how_many)
    assert [turn.start_s for turn in turns] == sorted(turn.start_s for turn in turns)
    names = {WOMAN: "A", MAN: "B"}
    heard = [speaker_at(turns, (start_s + end_s) / 2) for start_s, end_s, _ in truth]
    assert heard == [names[voice] for _, _, voice in truth]


async def test_the_requested_number_of_speakers_is_found(diarizer: Any, talk: Any) -> None:
    for count in (1, 3):
        turns = await turns_of(diarizer, talk[0], HowMany(count, count))
        assert len({turn.speaker for turn in turns}) == count


async def test_known_voices_get_their_names(diarizer: Any, talk: Any) -> None:
    sample, _ = conversation((MAN, "count to ten and turn on the lights please"))
    turns = await turns_of(diarizer, talk[0], HowMany(2, 2), [KnownSpeaker("Thomas", sample)])
    heard = [speaker_at(turns, (start_s + end_s) / 2) for start_s, end_s, _ in talk[1]]
    assert heard == [{MAN: "Thomas", WOMAN: "A"}[voice] for _, _, voice in talk[1]]


async def test_known_voices_name_the_speakers_of_another_diarizer(diarizer: Any, talk: Any) -> None:
    """Needed for pyannote, which does not know voices."""
    sample, _ = conversation((MAN, "count to ten and turn on the lights please"))
    plain = await turns_of(diarizer, talk[0], HowMany(2, 2))
    other = [SpeakerTurn(turn.start_s, turn.end_s, f"SPEAKER_{turn.speaker}") for turn in plain]
    knows = await turns_of(diarizer, talk[0], HowMany(2, 2), [KnownSpeaker("Thomas", sample)])
    named = with_names(other, knows, ["Thomas"])
    heard = [speaker_at(named, (start_s + end_s) / 2) for start_s, end_s, _ in talk[1]]
    assert heard == [{MAN: "Thomas", WOMAN: "A"}[voice] for _, _, voice in talk[1]]


async def test_silence_has_no_speaker_turn(diarizer: Any) -> None:
    assert await turns_of(diarizer, Clip(np.zeros(RATE_HZ, np.float32), RATE_HZ), HowMany()) == []


def test_features_match_those_of_the_encoders_training() -> None:
    """The numbers are librosa 0.11's: melspectrogram(y=sound, sr=16_000, n_fft=400, hop_length=160, n_mels=40).T"""
    from pipeline.transcripts.speakers.features import log_free_mel

    sound = (np.random.default_rng(0).standard_normal(2_000) * 0.2).astype(np.float32)
    wanted = np.load(Path(__file__).with_name("librosa_mel.npy"))
    np.testing.assert_allclose(log_free_mel(sound), wanted, rtol=2e-3, atol=1e-5)


def test_a_brief_similarity_does_not_change_the_speaker() -> None:
    steady = np.array([[0.8, 0.6], [0.8, 0.6], [0.70, 0.72], [0.8, 0.6]], np.float32)
    assert path(steady) == [0, 0, 0, 0]
    changed = np.array([[0.8, 0.5], [0.8, 0.5], [0.5, 0.8], [0.5, 0.8]], np.float32)
    assert path(changed) == [0, 0, 1, 1]


def words(*told: tuple[str, float, float]) -> list[Word]:
    return [Word(text, start_s, end_s, 1.0) for text, start_s, end_s in told]


def test_segments_are_cut_where_the_speaker_changes() -> None:
    said = words(("How", 0.0, 0.5), ("are", 0.5, 1.0), ("you?", 1.0, 1.5), ("Fine.", 2.0, 2.5), ("Thanks.", 2.5, 3.0))
    segment = Segment(0.0, 3.0, "How are you? Fine. Thanks.", "en", said)
    found = with_speakers([segment], [SpeakerTurn(0.0, 1.6, "A"), SpeakerTurn(1.9, 3.1, "B")])
    assert [(one.speaker, one.text, one.start_s, one.end_s) for one in found] == [
        ("A", "How are you?", 0.0, 1.5),
        ("B", "Fine. Thanks.", 2.0, 3.0),
    ]
    assert [[word.text for word in one.words] for one in found] == [["How", "are", "you?"], ["Fine.", "Thanks."]]
    assert [one.id for one in found] == [0, 1]


def test_a_backchannel_does_not_end_a_speaker_turn() -> None:
    said = words(("one", 0.0, 0.5), ("two", 0.6, 0.8), ("three", 1.0, 1.5))
    turns = [SpeakerTurn(0.0, 0.55, "A"), SpeakerTurn(0.55, 0.9, "B"), SpeakerTurn(0.9, 1.6, "A")]
    found = with_speakers([Segment(0.0, 1.5, "one two three", "en", said)], turns)
    assert [(one.speaker, one.text) for one in found] == [("A", "one two three")]


def test_words_between_turns_go_to_the_nearest_turn() -> None:
    turns = [SpeakerTurn(0.0, 1.0, "A"), SpeakerTurn(5.0, 6.0, "B")]
    found = with_speakers([Segment(1.2, 1.6, "early"), Segment(4.5, 4.9, "late"), Segment(40, 41, "after")], turns)
    assert [one.speaker for one in found] == ["A", "B", "B"]


def test_speaker_letters_continue_after_z() -> None:
    assert [letter(number) for number in (0, 1, 25, 26, 27, 51, 52, 701, 702)] == [
        "A", "B", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def hears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with hearing(tmp_path_factory.mktemp("speakers")) as running:
        yield running


def test_diarized_json_and_events_with_openais_client(hears: Service, talk: Any) -> None:
    wav = encode_wav(talk[0])
    sample, _ = conversation((MAN, "count to ten and turn on the lights please"))
    with openai.OpenAI(
        base_url=f"{hears.url}/v1", api_key="none", max_retries=0, timeout=120, _strict_response_validation=True
    ) as client:
        answer: Any = client.audio.transcriptions.create(
            file=("a.wav", wav), model="gpt-4o-transcribe-diarize", language="en", response_format="diarized_json",
            chunking_strategy="auto", known_speaker_names=["Thomas"],
            known_speaker_references=[f"data:audio/wav;base64,{base64.b64encode(encode_wav(sample)).decode()}"],
        )  # fmt: skip
        events: list[Any] = list(
            client.audio.transcriptions.create(
                file=("a.wav", wav), model="gpt-4o-transcribe-diarize", language="en", stream=True,
                response_format="diarized_json",
            )
        )  # fmt: skip
        with pytest.raises(openai.BadRequestError, match="reference"):
            client.audio.transcriptions.create(
                file=("a.wav", wav), model="whisper-1", response_format="diarized_json",
                known_speaker_names=["Thomas"], known_speaker_references=["data:audio/wav;base64,AAAA"],
            )  # fmt: skip
    assert [segment.speaker == "Thomas" for segment in answer.segments] == [voice == MAN for _, _, voice in talk[1]]
    kinds = [event.type.rpartition(".")[2] for event in events]
    assert kinds == ["delta"] * kinds.count("delta") + ["segment"] * kinds.count("segment") + ["done"]
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == answer.text
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == answer.text


def test_speakers_are_named_as_in_whisperx_and_in_subtitles(hears: Service, talk: Any) -> None:
    wav = encode_wav(talk[0])
    fields = {"language": "en", "diarize_audio": "true", "min_speakers": "2", "max_speakers": "2"}
    told = httpx.post(f"{hears.url}/transcribe/", files={"audio_file": wav}, data=fields, timeout=120).json()
    assert [segment["speaker"] for segment in told["segments"]] == [
        {WOMAN: "SPEAKER_00", MAN: "SPEAKER_01"}[voice] for _, _, voice in talk[1]
    ]
    assert {word["speaker"] for word in told["word_segments"]} == {"SPEAKER_00", "SPEAKER_01"}
    srt = httpx.post(
        f"{hears.url}/asr?output=srt&diarize=true&min_speakers=2&max_speakers=2&language=en",
        files={"audio_file": wav}, timeout=120,
    ).text  # fmt: skip
    assert "[A]: what" in srt
    assert "[B]: what" in srt


def test_a_job_distinguishes_speakers_and_its_files_use_given_names(hears: Service, talk: Any) -> None:
    wav, fields = encode_wav(talk[0]), {"language": "en", "diarize": "true", "min_speakers": "2", "max_speakers": "2"}
    with httpx.Client(base_url=hears.url, timeout=60) as client:
        made = client.post("/jobs", files={"files": ("talk.wav", wav)}, data=fields).json()["jobs"]
        path = f"/jobs/{made[0]['job_id']}"
        job = done(client, made[0]["job_id"])
        assert [segment["speaker"] for segment in job["result"]["segments"]] == [
            {WOMAN: "A", MAN: "B"}[voice] for _, _, voice in talk[1]
        ]
        assert (job["diarize"], job["speakers"]) == (True, {})
        named = client.put(f"{path}/speakers", json={"A": "Ana", "B": "Benjamín"}).json()
        assert named["speakers"] == {"A": "Ana", "B": "Benjamín"}
        assert "<v Benjamín>what" in client.get(f"{path}/download?format=vtt").text
        told = client.get(f"{path}/download?format=json").json()
        assert {segment["speaker"] for segment in told["segments"]} == {"Ana", "Benjamín"}
        # The same request again is another job, whose speakers have no given names.
        again = client.post("/jobs", files={"files": ("talk.wav", wav)}, data=fields).json()["jobs"][0]
        assert again["status"] == "completed"
        assert "[A]: what" in client.get(f"/jobs/{again['job_id']}/download").text
        for wrong in ({"A": "x" * 101}, {"A": "a\nb"}, ["A"], {"A": 1}):
            assert client.put(f"{path}/speakers", json=wrong).status_code == 400
        for name, value in (("min_speakers", "0"), ("max_speakers", "x"), ("max_speakers", "1")):
            answer = client.post("/jobs", files={"files": wav}, data={**fields, name: value})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_parameter")


def test_a_missing_engine_says_how_to_install_it(tmp_path: Path, talk: Any) -> None:
    only_pyannote = constants({"pipeline.transcripts.speakers:AUTO_ORDER": ["pyannote"]})
    with hearing(tmp_path, **only_pyannote) as running:
        wav = encode_wav(talk[0])
        with httpx.Client(base_url=running.url) as client:
            made = client.post("/jobs", files={"files": wav}).json()["jobs"][0]
            for answer in (
                client.post("/jobs", files={"files": wav}, data={"diarize": "true"}),
                client.post("/api/v1/upload/file", files={"file": wav}, data={"diarize": "true"}),
                client.post("/api/v1/upload/url", json={"url": "http://127.0.0.1:1/a.wav", "diarize": True}),
                client.post(f"/jobs/{made['job_id']}/again", json={"diarize": True}),
            ):
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, "engine_unavailable")
                assert "pyannote" in answer.json()["detail"]
            assert client.get("/queues").json()["total"] == 1, "the job without speakers"
            told = client.get("/health").json()
            assert told["speakers"] == {"available": False, "command": "make install EXTRAS=speakers"}
        answer = httpx.post(
            f"{running.url}/transcribe/", files={"audio_file": encode_wav(talk[0])}, data={"diarize_audio": "true"}
        )
    assert answer.status_code == 400
    assert "pyannote" in answer.json()["detail"]


async def test_locked_conversation_hears_only_its_first_voice() -> None:
    """The real encoder: the same and the other voice, also one after the other."""
    espeak, stt = Espeak(), ScriptedSTT()
    own, other = (np.concatenate([espeak.say(text, voice) for text in SENTENCES]) for voice in (WOMAN, MAN))
    async with resemblyzer.open_engine(Settings(model_host="thread"), lambda progress: None) as opened:
        assert isinstance(opened.engine, resemblyzer.EmbeddingDiarizer)
        lock = SpeakerLock(stt, opened.engine, Owner())

        async def heard(sound: np.ndarray) -> str:
            found = await lock.transcribe(Clip(sound, RATE_HZ), language="en", prompt=None, words=False)
            return found.text

        assert await heard(espeak.say("tell me something about the heron", WOMAN))
        assert await heard(own)
        assert not await heard(other)
        assert not await heard(espeak.say("what time is it", MAN))
        assert await heard(np.concatenate([other, own, other]))


def test_speaker_lock_without_its_extra_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resemblyzer, "find_weights", lambda settings: None)
    stages = Stages(ScriptedSTT(), ScriptedLLM(), ScriptedTTS())
    assistant = Assistant(Settings(), stages, Voices.load(Settings()), lambda: ())
    with pytest.raises(BadInput, match="make install EXTRAS=speakers") as refused:
        assistant.speaker_lock("first", Owner())
    assert refused.value.code == "speaker_lock_unavailable"


def test_speaker_lock_needs_a_recorded_voice() -> None:
    stages = Stages(ScriptedSTT(), ScriptedLLM(), ScriptedTTS())
    assistant = Assistant(Settings(), stages, Voices.load(Settings()), lambda: ())
    with pytest.raises(BadInput, match="no voice 'absent'"):
        assistant.speaker_lock("absent", Owner())
