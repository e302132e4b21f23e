"""Recordings with long pauses: several utterances share a window, and each keeps its position in the recording."""

import io
from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import Recording
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Segment, SpeechToText, WindowLimits, Word, sphinx, whisper
from pipeline.transcripts.long_files import Finished, Progress, transcribe_file
from pipeline.transcripts.window_times import placed
from pipeline.transcripts.windows import Cutting, Packing, Window
from tests.stt.recordings import MODEL, RATE_HZ, spliced


def numbered(start_s: float, seconds: float) -> Window:
    """Samples whose values are their positions on the recording's clock."""
    start, count = int(start_s * RATE_HZ), int(seconds * RATE_HZ)
    return Window(start, np.arange(start, start + count, dtype=np.float32))


def test_packed_windows_keep_the_positions_of_their_parts() -> None:
    packing = Packing(30.0)
    stretches = [numbered(at, length) for at, length in ((1, 5), (20, 10), (40, 14), (60, 3), (100, 30), (140, 1))]
    packed = [window for stretch in stretches for window in packing.add(stretch)] + packing.finish()
    assert [len(window.samples) / RATE_HZ for window in packed] == [29, 3, 30, 1]
    assert packed[0].joints == ((5 * RATE_HZ, 20 * RATE_HZ), (15 * RATE_HZ, 40 * RATE_HZ))
    assert (packed[0].start, packed[0].end) == (RATE_HZ, 54 * RATE_HZ)
    for window in packed:
        for at in range(1, len(window.samples), 997):
            assert window.placed(at) - 1 == window.samples[at - 1]
    assert packing.finish() == []
    alone = Packing(0.0)
    assert [alone.add(stretch) for stretch in stretches] == [[stretch] for stretch in stretches]


def test_a_segment_across_a_joint_is_split_by_its_words() -> None:
    packing = Packing(30.0)
    for stretch in (numbered(10, 4), numbered(100, 4), numbered(200, 4)):
        packing.add(stretch)
    (window,) = packing.finish()
    said = Segment(
        0.5, 9.0, "good morning how are you",
        words=[Word("good", 0.5, 1.0, 1), Word("morning", 1.0, 2.0, 1), Word("how", 4.5, 5, 1),
               Word("are", 7.9, 8.05, 1), Word("you", 7.95, 9.0, 1)],
    )  # fmt: skip
    parts = list(placed(said, window, words=True))
    assert [(part.text, part.start_s, part.end_s) for part in parts] == [
        ("good morning", 10.5, 12.0),
        ("how are", 100.5, 104.0),
        ("you", 200.0, 201.0),
    ]
    assert [word.start_s for part in parts for word in part.words] == [10.5, 11.0, 100.5, 103.9, 200.0]
    assert [part.words for part in placed(said, window, words=False)] == [(), (), ()]
    one = replace(said, end_s=6.0, words=said.words[:2], text="good morning")
    assert [(part.start_s, part.end_s) for part in placed(one, window, words=False)] == [(10.5, 12.0)]


def test_no_text_starts_before_the_voice() -> None:
    """Recognisers often start the first word at the beginning of the silence before it."""
    packing = Packing(30.0)
    for start_s in (10, 100):
        packing.add(replace(numbered(start_s, 4), onsets=(RATE_HZ,)))
    (window,) = packing.finish()
    first = Segment(0.0, 2.0, "good morning", words=[Word("good", 0.0, 1.2, 1), Word("morning", 1.2, 2.0, 1)])
    second = Segment(4.0, 7.0, "hello", words=[Word("hello", 4.0, 7.0, 1)])
    before = Segment(0.1, 0.3, "hm", words=[Word("hm", 0.1, 0.3, 1)])
    told = [part for said in (first, second, before) for part in placed(said, window, words=True)]
    assert [(part.start_s, part.end_s) for part in told] == [
        (pytest.approx(10.936), 12.0),
        (pytest.approx(100.936), 103.0),
        (pytest.approx(10.1), 10.3),
    ]
    assert [word.start_s for word in told[0].words] == [pytest.approx(10.936), 11.2]


async def test_words_begin_when_the_voice_does() -> None:
    clip, _ = spliced([(3.0, number) for number in range(4)])
    settings = Settings(whisper_model=str(MODEL), whisper_context_s=30.0, model_host="thread")
    async with whisper.open_engine(settings, lambda _: None) as opened:
        recording = Recording(io.BytesIO(encode_wav(clip)), max_seconds=60)
        events = transcribe_file(opened.engine, recording, FileRequest("en", words=True))
        found = [event async for event in events if isinstance(event, Segment)]
    loud = np.flatnonzero(np.abs(clip.samples) > 0.01)
    onsets = [loud[0], *loud[1:][np.diff(loud) > RATE_HZ]]
    assert [one.words[0].start_s for one in found] == pytest.approx([at / RATE_HZ for at in onsets], abs=0.15)
    assert [one.start_s for one in found] == [one.words[0].start_s for one in found]


class Counting:
    """Counts the calls of the recogniser that it wraps."""

    def __init__(self, stt: SpeechToText) -> None:
        self._stt = stt
        self.limits = WindowLimits(pack=True)
        self.calls = 0

    async def segments(self, window: Clip, request: FileRequest) -> AsyncGenerator[Segment, None]:
        self.calls += 1
        assert window.seconds <= 30
        async for segment in self._stt.segments(window, request):
            yield segment

    transcribe = None


async def test_a_sparse_recording_needs_few_windows_and_keeps_its_times() -> None:
    """Uses the embedded recogniser, whose open model accepts several sentences in a row, though not exactly."""
    clip, truth = spliced([(20.0, number) for number in range(5)])
    async with sphinx.open_engine(Settings(), lambda progress: None) as opened:
        stt = Counting(opened.engine)
        recording = Recording(io.BytesIO(encode_wav(clip)), max_seconds=3600)
        cutting = Cutting(max_s=30.0, pack=True)
        events = [event async for event in transcribe_file(stt, recording, FileRequest("en"), cutting)]  # type: ignore[arg-type]
    segments = [event for event in events if isinstance(event, Segment)]
    assert stt.calls <= 2
    assert isinstance(events[-1], Finished)
    done = [event.done_s for event in events if isinstance(event, Progress)]
    assert done == sorted(done)
    assert [one.id for one in segments] == list(range(len(segments)))
    assert len(segments) >= 4
    for one in segments:
        inside = [(start, end) for _, start, end in truth if start - 0.6 < one.start_s and one.end_s < end + 0.6]
        assert len(inside) == 1, one
        assert not one.words
    for before, after in pairwise(segments):
        assert before.end_s <= after.start_s


async def test_packing_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for pack in (True, False):
        monkeypatch.setattr(whisper, "PACK", pack)
        settings = Settings(whisper_model=str(MODEL), whisper_context_s=30.0, model_host="thread")
        async with whisper.open_engine(settings, lambda progress: None) as opened:
            assert opened.engine.limits.pack == pack
