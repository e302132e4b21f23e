"""Complete `/ws` turns of a real client with a running service: protocol, history, formats, parameters, bad input."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import httpx
import numpy as np
import psutil
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed

from pipeline.audio.clip import Clip, encode_wav
from tests.questions import SUM, SUM_ANSWER, sample, spoken
from tests.server_process import END_S, TURN_S, ServerProcess, ask, error_code, receive, refused, serving, wav
from tests.waiting import left_of

NARROW = {8_000: "what is your name", 11_025: "what time is it"}
"""Questions that the small Whisper understands at these rates, too, although its model is for 16 kHz."""
SILENCE = Clip(np.zeros(16_000, np.float32), 16_000)


def written(text: str, rate_hz: int, channels: int, format: str, subtype: str | None = None) -> bytes:
    """Return a spoken text as a file written by libsndfile."""
    samples = np.repeat(spoken(text).at(rate_hz).samples[:, None], channels, axis=1)
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, format=format, subtype=subtype)
    return out.getvalue()


def recorded(container: str, codec: str) -> bytes:
    """Return the question as browsers and phones record it."""
    clip = spoken(SUM).at(48_000)
    out = io.BytesIO()
    with av.open(out, "w", format=container) as target:
        stream: Any = target.add_stream(codec, rate=clip.rate_hz)
        frame = av.AudioFrame.from_ndarray(clip.samples[None, :], format="fltp", layout="mono")
        frame.rate = clip.rate_hz
        size = stream.codec_context.frame_size
        resampler = av.AudioResampler(stream.format.name, "mono", clip.rate_hz, frame_size=size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            target.mux(stream.encode(part))
        target.mux(stream.encode(None))
    return out.getvalue()


def test_spoken_question_gets_a_text_and_a_spoken_reply(server: ServerProcess) -> None:
    with server.connect() as connection:
        answer = ask(connection, sample("what_is_two_plus_three"))
    assert answer.transcription == "what is two plus three"
    assert answer.llama == "2 plus 3 is 5."


def test_spoken_reply_matches_its_text(server: ServerProcess) -> None:
    """The service transcribes its own speech: the transcript is the text of the reply."""
    with server.connect("?voice=woman") as connection:
        said = ask(connection, spoken("repeat after me what is your name"))
        heard = ask(connection, said.speech).transcription
    assert "what is your name" in said.llama.lower()
    assert "what is your name" in heard


def test_connection_has_only_its_own_history(server: ServerProcess) -> None:
    with server.connect() as one, server.connect() as other:
        assert "Alice" in ask(one, spoken("my name is alice")).llama
        assert ask(other, spoken("what is my name")).llama == "You have not told me your name yet."
        assert "Peter" in ask(other, spoken("my name is peter")).llama
        assert ask(one, spoken("what is my name")).llama == "Your name is Alice."
        assert ask(other, spoken("what is my name")).llama == "Your name is Peter."


def test_conversations_run_concurrently(server: ServerProcess) -> None:
    sums = ["two plus two", "three plus four", "six plus four", "ten plus two"]

    def converse(question: str) -> list[str]:
        with server.connect() as connection:
            return [ask(connection, spoken(text)).llama for text in (f"what is {question}", "thank you")]

    for question in sums:
        spoken(f"what is {question}")  # synthesised before the conversations begin
    with ThreadPoolExecutor(len(sums)) as pool:
        answers = list(pool.map(converse, sums))
    assert [said[0].split()[-1] for said in answers] == ["4.", "7.", "10.", "12."]


def test_questions_sent_together_get_replies_in_order(server: ServerProcess) -> None:
    with server.connect() as connection:
        for text in ("what is two plus two", "what is three plus four"):
            connection.send(encode_wav(spoken(text)))
        told = [receive(connection) for _ in range(4)]
    assert [message["transcription"] for message in told[::2]] == ["what is two plus two", "what is three plus four"]
    assert all(wav(message).seconds > 0.3 for message in told[1::2])


def test_flooding_gets_errors_and_accepted_questions_get_replies(server: ServerProcess) -> None:
    question, count = sample("hello"), 40  # far more than can wait, however fast replies come
    with server.connect() as connection:
        for _ in range(count):
            connection.send(question)
        overloaded, answers, speeches = 0, 0, 0
        while overloaded + answers < count or speeches < answers:
            message = receive(connection)
            if isinstance(message, bytes):
                speeches += 1
            elif "error" in message:
                assert error_code(message) == "overloaded"
                overloaded += 1
            else:
                answers += 1
        assert overloaded
        assert answers
        assert ask(connection, question).llama


@pytest.mark.parametrize(
    ("rate_hz", "channels", "format", "subtype"),
    [
        (8_000, 1, "WAV", "ULAW"),
        (8_000, 1, "WAV", "ALAW"),
        (11_025, 1, "WAV", "PCM_U8"),
        (96_000, 1, "WAV", "PCM_16"),
        (16_000, 8, "WAV", "PCM_16"),
        (44_100, 2, "WAV", "PCM_24"),
        (48_000, 1, "WAV", "PCM_32"),
        (22_050, 1, "WAV", "FLOAT"),
        (48_000, 6, "WAVEX", "PCM_24"),
        (44_100, 2, "FLAC", None),
        (48_000, 1, "OGG", "OPUS"),
        (44_100, 2, "OGG", "VORBIS"),
        (44_100, 1, "MP3", None),
    ],
)
def test_question_is_transcribed_in_any_format(
    server: ServerProcess, rate_hz: int, channels: int, format: str, subtype: str | None
) -> None:
    with server.connect() as connection:
        text = NARROW.get(rate_hz, SUM)
        assert ask(connection, written(text, rate_hz, channels, format, subtype)).transcription == text


@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("ipod", "aac")])
def test_question_is_transcribed_in_browser_and_phone_formats(
    server: ServerProcess, container: str, codec: str
) -> None:
    with server.connect() as connection:
        assert ask(connection, recorded(container, codec)).transcription == SUM


def test_client_chooses_the_voice(server: ServerProcess) -> None:
    def pitch_hz(clip: Clip) -> float:
        """Return the strongest frequency between 70 and 400 Hz."""
        samples = clip.samples - clip.samples.mean()
        spectrum = np.abs(np.fft.rfft(samples, 2 * len(samples))) ** 2
        correlation = np.fft.irfft(spectrum)
        low, high = clip.rate_hz // 400, clip.rate_hz // 70
        return clip.rate_hz / (low + int(np.argmax(correlation[low:high])))

    with server.connect("?voice=man") as man, server.connect("?voice=woman") as woman, server.connect() as unasked:
        question = sample("hello")
        his, hers, default = (ask(connection, question).speech for connection in (man, woman, unasked))
    assert pitch_hz(hers) > 1.25 * pitch_hz(his)
    assert pitch_hz(default) == pytest.approx(pitch_hz(his), rel=0.1)  # VOICE_NAME is man


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?voice=absent", "unknown_voice"),
        ("?voice=../../etc/passwd", "unknown_voice"),
        ("?language=klingon", "unsupported_language"),
        ("?language=12", "unsupported_language"),
        ("?system=" + "x" * 9_000, "bad_parameter"),
    ],
)
def test_invalid_parameter_gets_an_error_before_the_close(server: ServerProcess, query: str, code: str) -> None:
    with server.connect(query) as connection:
        assert error_code(receive(connection)) == code
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=TURN_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_system_prompt_can_have_its_documented_length(server: ServerProcess) -> None:
    """8,000 characters can become six times as many in a URL."""
    with server.connect("?system=" + quote("é" * 8_000)) as connection:
        assert ask(connection, sample("hello")).llama


def test_language_unknown_to_the_recogniser_is_reported(server: ServerProcess) -> None:
    with server.connect("?language=pt-BR") as connection:
        connection.send(sample("que_horas_sao"))
        told = receive(connection)
        assert error_code(told) == "stt_failed"
        assert "understands English only; the requested language is 'pt'" in told["error"]["message"]


@pytest.mark.parametrize("language", ["", "?language=EN_us", "?language=eng", "?language=auto"])
def test_silence_gets_a_sentence_and_an_empty_transcript(server: ServerProcess, language: str) -> None:
    with server.connect(language) as connection:
        answer = ask(connection, SILENCE)
        assert answer.transcription == ""
        assert answer.llama == "I did not hear anything."
        assert 0.5 < answer.speech.seconds < 4
        assert SUM_ANSWER in ask(connection, spoken(SUM)).llama


def test_noise_has_an_empty_transcript(server: ServerProcess) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    with server.connect() as connection:
        assert ask(connection, Clip(noise, 16_000)).transcription == ""


def test_bad_input_gets_an_error_and_the_conversation_continues(server: ServerProcess) -> None:
    header_only = encode_wav(Clip(np.zeros(0, np.float32), 16_000))
    bad: list[tuple[bytes | str, str]] = [
        ("what is seven plus five", "unsupported_message"),
        ("", "unsupported_message"),
        (b"", "empty_message"),
        (b"this is not audio at all" * 100, "bad_audio"),
        (b"RIFF\xff\xff\xff\xffWAVE", "bad_audio"),
        (b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "bad_audio"),
        (header_only, "no_audio"),
        (encode_wav(Clip(np.zeros(8_000 * 121, np.float32), 8_000)), "audio_too_long"),
    ]
    with server.connect() as connection:
        ask(connection, spoken("my name is alice"))
        for message, code in bad:
            assert refused(connection, message) == code
        assert ask(connection, spoken("what is my name")).llama == "Your name is Alice."


def test_truncated_recording_is_transcribed_up_to_the_cut(server: ServerProcess) -> None:
    question = encode_wav(Clip.join([spoken(SUM), Clip(np.zeros(32_000, np.float32), 16_000)], 16_000))
    with server.connect() as connection:
        assert ask(connection, question[: len(question) - 60_001]).transcription == SUM


def test_single_samples_and_clicks_have_an_empty_transcript(server: ServerProcess) -> None:
    with server.connect() as connection:
        for samples in (np.ones(1), np.ones(10), np.r_[np.zeros(4_000), np.ones(4), np.zeros(4_000)]):
            assert ask(connection, Clip(samples.astype(np.float32), 16_000)).transcription == ""


def test_killed_worker_is_restarted_for_the_next_turn(server: ServerProcess) -> None:
    before = server.workers()
    assert len(before) == 2  # recogniser and voice
    with server.connect() as connection:
        for worker in before:
            worker.kill()
        assert not left_of(before, END_S)
        assert SUM_ANSWER in ask(connection, spoken(SUM)).llama
    assert len(server.workers()) == 2


def test_worker_killed_during_a_turn_does_not_fail_the_turn(tmp_path: Path) -> None:
    """Kill PocketSphinx, which takes long enough for it."""
    order = "i would like to order a pizza and some music"
    with serving(tmp_path) as server, server.connect() as connection:
        connection.send(encode_wav(spoken(order)))
        recogniser = server.worker("sphinx")
        busy_s = recogniser.cpu_times().user
        while recogniser.cpu_times().user < busy_s + 0.2:  # until it works on the model call
            psutil.cpu_percent(0.05)
        recogniser.kill()
        assert "pizza" in receive(connection)["transcription"]
        assert wav(receive(connection)).seconds > 0.3
        assert SUM_ANSWER in ask(connection, spoken(SUM)).llama


def test_health_and_root_have_different_responses(server: ServerProcess) -> None:
    with httpx.Client(base_url=server.url) as client:
        health = client.get("/health").json()
        assert health["status"] == "ok"
        assert [engine["engine"] for engine in health["engines"]] == ["whisper", "builtin", "espeak"]
        assert {"device_available", "torch_version", "cuda_available"} <= set(health)
        assert client.get("/health/live").json() == client.get("/health/ready").json() == {"status": "ok"}
        assert client.get("/").json()["websocket"] == "/ws"
