"""Parakeet and Canary through onnx-asr, on small random models of the same graphs and metadata."""

import asyncio
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest

from pipeline.audio.clip import Clip, encode_wav
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Segment, Transcript, Word, parakeet
from pipeline.stt.parakeet import ParakeetConfig, ParakeetEngine
from pipeline.stt.parakeet_words import Token, segments_of, words_of
from pipeline.stt.worker_client import last
from pipeline.support.progress import Progress
from tests.builders import parakeet as models
from tests.server_process import serving
from tests.servers.hub import Hub
from tests.speech import Espeak
from tests.stt.conftest import RATE_HZ, UNSPOKEN, unspoken

KINDS = ("tdt", "rnnt", "ctc", "aed")
TEXTS = ("what time is it", "count to ten please", "turn on the light in the bedroom", "hello")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("parakeet")
    return {kind: models.build(root / f"parakeet-{kind}", kind) for kind in KINDS}


@pytest.fixture(scope="module")
def engines(folders: dict[str, Path]) -> dict[str, ParakeetEngine]:
    return {kind: ParakeetEngine(ParakeetConfig(str(folder), ("en", "de"), 1)) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    espeak = Espeak()
    return [Clip(np.pad(espeak.say(text, "en-us+f2"), RATE_HZ // 2), RATE_HZ) for text in TEXTS]


def ignore(progress: Progress) -> None:
    pass


def check_words(words: list[Word], seconds: float) -> None:
    times = [time_s for word in words for time_s in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert all(0.0 <= time_s <= seconds for time_s in times)
    assert all(0.0 <= word.probability <= 1.0 for word in words)
    assert all(word.text and word.text == word.text.strip() for word in words)


@pytest.mark.parametrize("kind", KINDS)
def test_words_make_the_text_and_have_times_inside_the_clip(
    engines: dict[str, ParakeetEngine], clips: list[Clip], kind: str
) -> None:
    for clip in clips:
        heard = last(engines[kind].transcribe(clip.at(44_100), "en", "a prompt changes nothing", True))
        assert heard.text
        assert heard.text == " ".join(word.text for word in heard.words)
        assert heard.language == "en"
        check_words(list(heard.words), clip.seconds)
        assert last(engines[kind].transcribe(clip.at(44_100), "en", None, False)).words == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_has_the_same_transcripts_as_single_calls(
    engines: dict[str, ParakeetEngine], clips: list[Clip], kind: str
) -> None:
    engine = engines[kind]
    calls = [(clip, None, None, True) for clip in (*clips, unspoken("silence"), *clips)]
    steps = engine.transcribe_many([*calls, (clips[0], "xx", None, False)], lambda index: False)
    heard = {index: step for index, step in steps if step is not None}
    for index, call in enumerate(calls):
        one, alone = heard[index], last(engine.transcribe(*call))
        assert isinstance(one, Transcript)
        assert (one.text, one.language, one.duration_s) == (alone.text, alone.language, alone.duration_s)
        assert [word.start_s for word in one.words] == pytest.approx([word.start_s for word in alone.words])
    unknown = heard[len(calls)]
    assert isinstance(unknown, EngineError)
    assert unknown.code == "unsupported_language"


def test_a_cancelled_call_is_left_out_of_its_batch(engines: dict[str, ParakeetEngine], clips: list[Clip]) -> None:
    engine = engines["tdt"]
    calls = [(clip, None, None, False) for clip in clips]
    heard = {index for index, step in engine.transcribe_many(calls, lambda index: index == 1) if step is not None}
    assert heard == {0, 2, 3}


def test_long_speech_is_cut_into_windows_between_which_it_ends(
    engines: dict[str, ParakeetEngine], clips: list[Clip]
) -> None:
    long = Clip(np.tile(np.concatenate([clip.samples for clip in clips]), 12), RATE_HZ)
    assert long.seconds > 60
    steps = list(engines["tdt"].transcribe(long, None, None, True))
    assert steps.count(None) >= 3
    assert isinstance(steps[-1], Transcript)
    check_words(list(steps[-1].words), long.seconds)
    assert steps[-1].words[-1].start_s > 50
    stopped: list[object] = []
    together = engines["tdt"].transcribe_many([(long, None, None, True)], lambda index: len(stopped) >= 2)
    for step in together:
        stopped.append(step)
    assert stopped == [(0, None), (0, None)]


@pytest.mark.parametrize("name", UNSPOKEN)
def test_sound_without_speech_has_no_text(engines: dict[str, ParakeetEngine], name: str) -> None:
    assert last(engines["tdt"].transcribe(unspoken(name), None, None, True)).text == ""


@pytest.mark.parametrize("samples", [0, 1, 100, 1600])
@pytest.mark.parametrize("kind", KINDS)
def test_the_shortest_clips_have_no_text(engines: dict[str, ParakeetEngine], kind: str, samples: int) -> None:
    clip = Clip(np.full(samples, 0.5, np.float32), RATE_HZ)
    assert last(engines[kind].transcribe(clip, None, None, True)) == Transcript(
        "", "en" if kind == "aed" else None, clip.seconds
    )
    assert [step for step in engines[kind].segments(clip, FileRequest()) if step is not None] == []


@pytest.mark.parametrize("kind", KINDS)
def test_segments_have_the_text_and_words_of_the_window(
    engines: dict[str, ParakeetEngine], clips: list[Clip], kind: str
) -> None:
    clip = clips[2]
    found = [one for one in engines[kind].segments(clip, FileRequest("en", words=True)) if isinstance(one, Segment)]
    heard = last(engines[kind].transcribe(clip, "en", None, True))
    assert " ".join(one.text for one in found) == heard.text
    assert [word for one in found for word in one.words] == list(heard.words)
    assert all(one.avg_logprob <= 0 for one in found)


def test_only_canary_translates(engines: dict[str, ParakeetEngine], clips: list[Clip]) -> None:
    request = FileRequest("de", translate=True)
    with pytest.raises(EngineError, match="does not translate") as raised:
        list(engines["tdt"].segments(clips[0], request))
    assert raised.value.code == "unsupported_language"
    assert any(engines["aed"].segments(clips[0], request))


def test_tokens_become_words_and_sentences() -> None:
    said = [(" he", 0.0), ("llo", 0.08), (",", 0.16), (" you", 0.4), (".", 0.48), (" I", 3.0), ("'m", 3.0)]
    words = words_of([Token(text, at, -0.1) for text, at in said], 1.0, 5.0)
    assert [(word.text, word.start_s, pytest.approx(word.end_s)) for word in words] == [
        ("hello,", 1.0, 1.4), ("you.", 1.4, 1.8), ("I'm", 4.0, 4.32),
    ]  # fmt: skip
    assert [one.text for one in segments_of(words, "en", False)] == ["hello, you.", "I'm"]


async def test_a_model_from_the_hub_runs_in_its_worker(
    folders: dict[str, Path], clips: list[Clip], model_hub: Hub, tmp_path: Path
) -> None:
    model_hub.repos["someone/parakeet-v2"] = folders["tdt"]
    settings = Settings(
        stt_model="someone/parakeet-v2", models_dir=tmp_path, hf_endpoint=model_hub.address, stt_batch=4
    )
    await parakeet.probe(settings)
    async with parakeet.open_engine(settings, ignore) as opened:
        assert (opened.model, opened.languages) == ("parakeet-v2 (float32)", ("en",))
        tasks = [
            asyncio.create_task(opened.engine.transcribe(clip, language=None, prompt=None, words=True))
            for clip in clips
        ]
        tasks[1].cancel()
        heard = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(heard[1], asyncio.CancelledError)
        assert all(isinstance(heard[index], Transcript) for index in (0, 2, 3))


async def test_a_missing_or_damaged_model_has_a_remedy(folders: dict[str, Path], tmp_path: Path) -> None:
    broken = shutil.copytree(folders["tdt"], tmp_path / "broken")
    (broken / "encoder-model.onnx").write_bytes(b"nothing")
    lacking = shutil.copytree(folders["tdt"], tmp_path / "lacking")
    (lacking / "decoder_joint-model.onnx").unlink()
    other = shutil.copytree(folders["tdt"], tmp_path / "other")
    (other / "config.json").write_text('{"model_type": "something"}')
    for name in (str(lacking), str(other), "owner/absent", "nonsense"):
        with pytest.raises(EngineUnavailable) as raised:
            await parakeet.probe(Settings(stt_model=name, models_dir=tmp_path, hf_hub_offline=True))
        assert raised.value.remedy
    with pytest.raises(EngineError, match="cannot be loaded"):
        ParakeetEngine(ParakeetConfig(str(broken), (), 1))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", b"[" * 100_000, "no config.json"),
        ("config.json", b'{"model_type": ["nemo-conformer-tdt"]}', "no config.json"),
        (
            "config.json",
            b'{"model_type": "nemo-conformer-tdt", "max_tokens_per_step": 1000000000}',
            "max_tokens_per_step",
        ),
        ("config.json", b'{"model_type": "nemo-conformer-tdt", "subsampling_factor": 0}', "subsampling_factor"),
        ("vocab.txt", b"\xff\xfe\xfd", "vocab.txt in the folder hostile is damaged"),
    ],
)
async def test_a_hostile_folder_is_refused_with_a_sentence(
    folders: dict[str, Path], tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    hostile = shutil.copytree(folders["tdt"], tmp_path / "hostile")
    (hostile / name).write_bytes(content)
    with pytest.raises(EngineUnavailable, match=reason):
        await parakeet.probe(Settings(stt_model=str(hostile)))


async def test_an_enormous_file_beside_the_graphs_is_not_read(folders: dict[str, Path], tmp_path: Path) -> None:
    hostile = shutil.copytree(folders["tdt"], tmp_path / "hostile")
    for name in ("vocab.txt", "config.json"):
        with (hostile / name).open("r+b") as file:
            file.truncate(2**40)  # sparse
        with pytest.raises(EngineUnavailable, match=name):
            await parakeet.probe(Settings(stt_model=str(hostile)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_graph_is_refused_with_a_short_sentence(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    hostile = shutil.copytree(folders[kind], tmp_path / "hostile")
    for graph in hostile.glob("*.onnx"):
        graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])
    with pytest.raises(EngineError, match="cannot be loaded") as refused:
        ParakeetEngine(ParakeetConfig(str(hostile), (), 1))
    assert len(refused.value.message) < 300


def test_a_service_answers_with_words(folders: dict[str, Path], clips: list[Clip], tmp_path: Path) -> None:
    with serving(tmp_path, STT_ENGINE="parakeet", STT_MODEL=str(folders["tdt"])) as service:
        answer = httpx.post(
            f"{service.url}/v1/audio/transcriptions",
            files={"file": ("clip.wav", encode_wav(clips[2]))},
            data={
                "model": "parakeet", "response_format": "verbose_json",
                "timestamp_granularities[]": ["word", "segment"],
            },
            timeout=60,
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["text"]
        assert told["words"]
        assert told["segments"]
        times = [time_s for word in told["words"] for time_s in (word["start"], word["end"])]
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] <= told["duration"]
