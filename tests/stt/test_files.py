"""Recordings of any length: the right words at the right times, flat memory, and a stop on cancellation."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from itertools import pairwise

import numpy as np
import psutil
import pytest

from pipeline.audio.clip import Clip, Samples, encode_wav
from pipeline.audio.decode import Recording
from pipeline.errors import BadInput
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Segment, SpeechToText, sphinx, whisper
from pipeline.support.progress import Progress as StartProgress
from pipeline.transcripts.long_files import Finished, Progress, transcribe_file
from pipeline.transcripts.windows import Cutting, Windows
from tests.stt.conftest import unspoken
from tests.stt.recordings import MODEL, RATE_HZ, encoded, spliced
from tests.waiting import WAIT_S


def ignore(progress: StartProgress) -> None:
    pass


@pytest.fixture(scope="module")
def loop_settings() -> Settings:
    return Settings(whisper_model=str(MODEL), whisper_context_s=30.0, model_host="thread", stt_replicas=1, stt_batch=1)


@pytest.fixture(scope="module")
async def stt(loop_settings: Settings) -> AsyncIterator[SpeechToText]:
    async with whisper.open_engine(loop_settings, ignore) as opened:
        yield opened.engine


async def heard(
    stt: SpeechToText, data: bytes, request: FileRequest | None = None, **options: object
) -> tuple[list[Segment], list[Progress], Finished]:
    recording = Recording(io.BytesIO(data), **({"max_seconds": 36_000} | options))  # type: ignore[arg-type]
    events = [event async for event in transcribe_file(stt, recording, request or FileRequest("en"))]
    assert isinstance(events[-1], Finished)
    return (
        [event for event in events if isinstance(event, Segment)],
        [event for event in events if isinstance(event, Progress)],
        events[-1],
    )


def check(segments: list[Segment], truth: list[tuple[str, float, float]], within_s: float = 0.6) -> None:
    assert [segment.text for segment in segments] == [text for text, _, _ in truth]
    assert [segment.id for segment in segments] == list(range(len(segments)))
    for segment, (_, start_s, end_s) in zip(segments, truth, strict=True):
        assert segment.start_s == pytest.approx(start_s, abs=within_s)
        assert segment.end_s == pytest.approx(end_s, abs=within_s)


@pytest.mark.asyncio(loop_scope="module")
async def test_each_utterance_is_found_at_its_position(stt: SpeechToText) -> None:
    clip, truth = spliced([(1.0, 0), (3.0, 1), (40.0, 2), (2.5, 3)])
    segments, progress, end = await heard(stt, encode_wav(clip))
    check(segments, truth)
    assert end.duration_s == pytest.approx(clip.seconds, abs=1e-4)
    assert end.language == "en"
    done = [step.done_s for step in progress]
    assert done == sorted(done)
    assert all(step.total_s == pytest.approx(clip.seconds, abs=0.01) for step in progress)


@pytest.mark.asyncio(loop_scope="module")
async def test_words_have_times_on_the_recordings_clock(stt: SpeechToText) -> None:
    clip, truth = spliced([(1.0, 0), (30.0, 1)])
    segments, _, _ = await heard(stt, encode_wav(clip), FileRequest("en", words=True))
    for segment, (text, start_s, end_s) in zip(segments, truth, strict=True):
        assert [word.text for word in segment.words] == text.split()
        assert all(start_s - 0.7 < word.start_s <= word.end_s < end_s + 0.7 for word in segment.words)


@pytest.mark.asyncio(loop_scope="module")
async def test_requesting_words_loses_no_text(stt: SpeechToText) -> None:
    clip, truth = spliced([(3.0, number) for number in range(6, 12)])
    for words in (False, True):
        segments, _, _ = await heard(stt, encode_wav(clip), FileRequest("en", words=words))
        assert [segment.text for segment in segments] == [text for text, _, _ in truth]
        if words:
            assert [[word.text for word in one.words] for one in segments] == [text.split() for text, _, _ in truth]
            assert all(one.words[-1].end_s > one.words[0].start_s for one in segments)


@pytest.mark.asyncio(loop_scope="module")
async def test_times_do_not_drift_in_a_long_recording(stt: SpeechToText) -> None:
    # At a rate that is not a multiple of ours. Only the end of the recording has speech.
    clip, truth = spliced([(300.0, 5)])
    segments, _, end = await heard(stt, encoded([clip], "flac", "flac", rate_hz=44_100))
    check(segments, truth)
    assert end.duration_s == pytest.approx(clip.seconds, abs=0.01)


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp3", "libmp3lame", {}),
        ("ogg", "libopus", {}),
        ("webm", "libopus", {}),
        ("mp4", "aac", {"video": True}),
        ("matroska", "flac", {"video": True}),
        ("adts", "aac", {}),
        ("mp4", "aac", {"video": True, "offset_s": 4.0}),
    ],
)  # fmt: skip
@pytest.mark.asyncio(loop_scope="module")
async def test_containers_keep_the_players_clock(
    stt: SpeechToText, container: str, codec: str, options: dict[str, object]
) -> None:
    clip, truth = spliced([(1.0, 0), (3.0, 1)])
    offset_s = float(options.get("offset_s", 0.0))  # type: ignore[arg-type]
    segments, _, _ = await heard(stt, encoded([clip], container, codec, **options))  # type: ignore[arg-type]
    check(segments, [(text, start_s + offset_s, end_s + offset_s) for text, start_s, end_s in truth])


@pytest.mark.asyncio(loop_scope="module")
async def test_one_of_several_audio_tracks_is_used(stt: SpeechToText) -> None:
    (first, said_first), (second, said_second) = spliced([(1.0, 0)]), spliced([(1.0, 1)])
    data = encoded([first, second], "matroska", "libopus")
    check((await heard(stt, data))[0], said_first)
    check((await heard(stt, data, track=1))[0], said_second)
    with pytest.raises(BadInput, match="no audio track 2"):
        await heard(stt, data, track=2)


@pytest.mark.asyncio(loop_scope="module")
async def test_raw_samples_of_any_rate_are_transcribed(stt: SpeechToText) -> None:
    clip, truth = spliced([(1.0, 0)])
    check((await heard(stt, clip.pcm16(), raw_rate_hz=RATE_HZ))[0], truth)
    check((await heard(stt, clip.at(48_000).pcm16(), raw_rate_hz=48_000))[0], truth)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_truncated_file_is_transcribed_to_its_end(stt: SpeechToText) -> None:
    clip, truth = spliced([(1.0, 0), (3.0, 1)])
    data = encoded([clip], "mp3", "libmp3lame")
    segments, _, _ = await heard(stt, data[: len(data) // 2])
    check(segments, truth[:1])


@pytest.mark.parametrize("name", ["silence", "tone", "clicks"])
@pytest.mark.asyncio(loop_scope="module")
async def test_silence_has_no_segment(stt: SpeechToText, name: str) -> None:
    segments, _, end = await heard(stt, encode_wav(unspoken(name)), FileRequest(None))
    assert not segments
    assert (end.duration_s, end.language) == (pytest.approx(2.0), None)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"no audio at all, but a text of some length " * 50, "bad_audio"),
        (b"", "bad_audio"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "bad_audio"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "bad_audio"),
        (encode_wav(Clip(np.zeros(0, np.float32), RATE_HZ)), "no_audio"),
    ],
    ids=["text", "nothing", "m3u8", "concat", "no samples"],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_files_that_are_not_recordings_are_refused(stt: SpeechToText, data: bytes, code: str) -> None:
    with pytest.raises(BadInput) as raised:
        await heard(stt, data)
    assert raised.value.code == code


@pytest.mark.asyncio(loop_scope="module")
async def test_too_long_a_file_stops_at_the_limit(stt: SpeechToText) -> None:
    small = encoded([Clip(np.zeros(600 * RATE_HZ, np.float32), RATE_HZ)], "flac", "flac", rate_hz=16_000)
    assert len(small) < 2**20
    source = io.BytesIO(small)
    with pytest.raises(BadInput) as raised:
        async for _ in transcribe_file(stt, Recording(source, max_seconds=60), FileRequest("en")):
            pass
    assert raised.value.code == "audio_too_long"
    assert source.tell() < len(small) / 2


@pytest.mark.parametrize(
    ("container", "codec"),
    [("flac", "flac"), ("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("ogg", "libopus"), ("matroska", "flac"),
     ("webm", "libopus"), ("mp4", "aac"), ("adts", "aac")],
)  # fmt: skip
def test_a_file_with_a_declared_excess_length_is_refused_undecoded(container: str, codec: str) -> None:
    rate_hz = 16_000 if codec != "libopus" else 48_000
    clip = Clip(0.1 * np.random.default_rng(0).standard_normal(30 * RATE_HZ).astype(np.float32), RATE_HZ)
    data = encoded([clip], container, codec, rate_hz=rate_hz)
    with pytest.raises(BadInput) as raised:
        next(Recording(io.BytesIO(data), max_seconds=20).blocks())
    assert raised.value.code == "audio_too_long"
    assert sum(len(block) for block in Recording(io.BytesIO(data), max_seconds=32).blocks()) >= 30 * RATE_HZ


def test_too_many_raw_samples_are_refused_before_they_are_read() -> None:
    source = io.BytesIO(bytes(2 * 61 * 8_000))
    with pytest.raises(BadInput) as raised:
        next(Recording(source, max_seconds=60, raw_rate_hz=8_000).blocks())
    assert raised.value.code == "audio_too_long"


def test_a_file_with_a_wrongly_declared_length_is_transcribed() -> None:
    """A WAV and a FLAC whose header was written before their end was known, or which are truncated."""
    sound = Clip(0.1 * np.random.default_rng(0).standard_normal(30 * RATE_HZ).astype(np.float32), RATE_HZ)
    wave = bytearray(encode_wav(sound))
    wave[40:44] = (2 * 3600 * RATE_HZ).to_bytes(4, "little")
    lossless = encoded([sound], "flac", "flac", rate_hz=16_000)
    for data in (bytes(wave), lossless[: len(lossless) // 2]):
        limit_s = 20 if data[:4] == b"fLaC" else 60
        recording = Recording(io.BytesIO(data), max_seconds=limit_s)
        heard_s = sum(len(block) for block in recording.blocks()) / RATE_HZ
        assert 10 < heard_s <= 30
        assert recording.samples == heard_s * RATE_HZ


class Endless(io.RawIOBase):
    """A WAV that repeats one utterance for ever, and counts the bytes read from it."""

    def __init__(self) -> None:
        clip, _ = spliced([(3.0, 0)])
        self._sound = clip.pcm16()
        self._head = encode_wav(Clip(np.zeros(0, np.float32), RATE_HZ))[:40] + b"\xff\xff\xff\x7f"
        self.at = 0
        self.most = 0

    def read(self, size: int = -1) -> bytes:
        data = b""
        while len(data) < size:
            head = self.at < 44
            piece = self._head[self.at :] if head else self._sound[(self.at - 44) % len(self._sound) :]
            piece = piece[: size - len(data)]
            data += piece
            self.at += len(piece)
        self.most = max(self.most, self.at)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset if whence == 0 else self.at + offset
        return self.at

    def tell(self) -> int:
        return self.at


@pytest.mark.asyncio(loop_scope="module")
async def test_closing_stops_reading_and_transcribing(stt: SpeechToText) -> None:
    source = Endless()
    events = transcribe_file(stt, Recording(source, max_seconds=1e9), FileRequest("en"))
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Segment):
                break
    read = source.most
    await asyncio.sleep(0.2)
    assert source.most == read
    assert read < 40 * 32_000, "at most two windows ahead"
    # The recogniser is free again.
    clip, truth = spliced([(1.0, 1)])
    async with asyncio.timeout(WAIT_S):
        assert (await stt.transcribe(clip, language="en", prompt=None, words=False)).text == truth[0][0]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_conversation_has_priority_over_a_file(stt: SpeechToText) -> None:
    """A turn that arrives during a file's transcription waits for one window, not for the file."""
    clip, truth = spliced([(1.0, 1)])
    events = transcribe_file(stt, Recording(Endless(), max_seconds=1e9), FileRequest("en"))
    seen = 0
    async with aclosing(events):
        await anext(events)

        async def read_on() -> None:
            nonlocal seen
            async for _ in events:
                seen += 1

        reading = asyncio.create_task(read_on())
        try:
            async with asyncio.timeout(WAIT_S):
                said = await stt.transcribe(clip, language="en", prompt=None, words=False)
            assert said.text == truth[0][0]
        finally:
            reading.cancel()
            await asyncio.wait([reading])


@pytest.mark.asyncio(loop_scope="module")
async def test_the_embedded_recogniser_accepts_utterances() -> None:
    async with sphinx.open_engine(Settings(), ignore) as opened:
        clip, truth = spliced([(1.0, 0), (20.0, 1)])
        segments, _, end = await heard(opened.engine, encode_wav(clip), FileRequest(None, words=True))
    assert len(segments) == 2
    for segment, (_, start_s, end_s) in zip(segments, truth, strict=True):
        assert segment.start_s == pytest.approx(start_s, abs=0.5)
        assert segment.end_s == pytest.approx(end_s, abs=0.5)
        assert segment.words
    assert end.language == "en"


def test_a_long_recording_is_read_with_flat_memory() -> None:
    """Its samples alone would take 38 MB."""
    small = encoded([Clip(np.zeros(600 * RATE_HZ, np.float32), RATE_HZ)], "flac", "flac", rate_hz=16_000)
    list(Recording(io.BytesIO(small[: len(small) // 10]), max_seconds=1e9).blocks())
    before = psutil.Process().memory_info().rss
    most = max(psutil.Process().memory_info().rss for _ in Recording(io.BytesIO(small), max_seconds=1e9).blocks())
    assert most - before < 15 * 2**20


class Scripted:
    """A VAD with given speech spans, in samples."""

    def __init__(self, speech: list[tuple[int, int]]) -> None:
        self._speech, self._at = speech, 0

    def probability(self, frame: Samples) -> float:
        middle = self._at + len(frame) // 2
        self._at += len(frame)
        return float(any(start <= middle < end for start, end in self._speech))

    def reset(self) -> None:
        pass


def portions(sound: Samples, sizes: list[int]) -> Iterator[Samples]:
    at = 0
    while at < len(sound):
        size = sizes[at % len(sizes)]
        yield sound[at : at + size]
        at += size


@pytest.mark.parametrize("sizes", [[16_000], [1], [511, 513, 7], [100_000]], ids=str)
def test_windows_do_not_depend_on_the_chunk_sizes(sizes: list[int]) -> None:
    sound = np.arange(120 * RATE_HZ if sizes != [1] else 20 * RATE_HZ, dtype=np.float32)
    speech = [(16_000, 60_000), (80_000, 200_000), (300_000, 1_500_000), (1_600_000, 1_919_990)]
    windows = Windows(Scripted(speech), Cutting())
    found = [w for portion in portions(sound, sizes) for w in windows.feed(portion)] + windows.finish()
    for window in found:
        # Each sample's value is its index: nothing is lost, doubled or moved.
        assert np.array_equal(window.samples, sound[window.start : window.end])
        assert len(window.samples) <= 30 * RATE_HZ
    for before, after in pairwise(found):
        assert before.end <= after.start
    inside = np.zeros(len(sound), bool)
    for window in found:
        inside[window.start : window.end] = True
    for start, end in speech:
        assert inside[start : min(end, len(sound))].all()


def test_a_long_speech_is_cut_in_its_pause() -> None:
    sound = np.zeros(60 * RATE_HZ, np.float32)
    windows = Windows(Scripted([(0, 25 * RATE_HZ), (26 * RATE_HZ, 50 * RATE_HZ)]), Cutting())
    found = windows.feed(sound) + windows.finish()
    assert len(found) == 2
    assert found[0].end == pytest.approx(25.5 * RATE_HZ, abs=1024)
    assert found[1].start == found[0].end
