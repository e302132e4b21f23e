"""Upload of voices with OpenAI's client: atomic, only inside their folder, and only with consent."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from pipeline.audio.clip import encode_wav
from tests.clips import hearing
from tests.server_process import Service
from tests.stt.recordings import spliced


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("around") / "voices"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Service]:
    (folder / "man").mkdir(parents=True)
    (folder / "man" / "voice.toml").write_text('description = "A man."\nlanguages = ["en"]\n')
    with hearing(tmp_path_factory.mktemp("service"), VOICES_DIR=str(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def client(running: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{running.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def add(client: openai.OpenAI, name: str, sample: bytes = b"", consent: str = 'signed "today"\n') -> Any:
    """Upload a voice. sample: its recording; by default three sentences."""
    sample = sample or encode_wav(spliced([(0.5, 0), (0.5, 1), (0.5, 2)])[0])
    return client.audio.voices.create(name=name, audio_sample=("a.wav", sample, "audio/wav"), consent=consent)


def test_new_voice_is_listed_and_speaks_immediately(client: openai.OpenAI, running: Service, folder: Path) -> None:
    voice = add(client, "Maria João")
    assert (voice.id, voice.name, voice.object) == ("Maria João", "Maria João", "audio.voice")
    assert voice.created_at > 1_700_000_000
    listed = {one["id"] for one in httpx.get(f"{running.url}/v1/audio/voices").json()["voices"]}
    assert listed == {"man", "woman", "Maria João"}
    assert len(client.audio.speech.create(model="tts-1", voice={"id": voice.id}, input="Hello.").read()) > 500
    assert 'signed \\"today\\"' in (folder / "Maria João" / "voice.toml").read_text()


@pytest.mark.parametrize("name", ["../evil", "/etc/x", ".hidden", "a/b", "x" * 61, "nul\0", "..", " "])
def test_name_of_a_voice_cannot_be_a_path(client: openai.OpenAI, folder: Path, name: str) -> None:
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(openai.BadRequestError) as refused:
        add(client, name)
    assert refused.value.param == "name"
    assert sorted(folder.parent.rglob("*")) == before


def test_rejected_voice_leaves_no_files(client: openai.OpenAI, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    silence = spliced([(0.5, 0), (0.5, 1)])[0]
    quiet = io.BytesIO(encode_wav(type(silence)(silence.samples * 0, 16_000))).getvalue()
    for sample in (b"no audio" * 50, quiet, encode_wav(spliced([(0.0, 9)], tail_s=0.1)[0])):
        with pytest.raises(openai.BadRequestError) as bad:
            add(client, "Absent", sample)
        assert bad.value.param == "audio_sample"
    with pytest.raises(openai.BadRequestError) as raised:
        add(client, "Absent", consent=" ")
    assert raised.value.code == "bad_parameter"
    with pytest.raises(openai.ConflictError) as taken:
        add(client, "MAN")
    assert taken.value.code == "voice_exists"
    with pytest.raises(openai.APIStatusError) as large:
        add(client, "Absent", bytes(11 * 2**20))
    assert large.value.status_code == 413
    assert sorted(folder.rglob("*")) == before
