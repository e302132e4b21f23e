"""Upload of voices with OpenAI's client: atomic, only inside their folder, and only with consent."""

import io
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from pipeline.audio.clip import Clip, encode_wav
from tests.clips import hearing
from tests.in_process import in_process
from tests.server_process import Service
from tests.strict_client import strict_client
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
    with strict_client(running) as client:
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


def sample(number: int = 0) -> bytes:
    return encode_wav(spliced([(0.5, number), (0.5, number + 1), (0.5, number + 2)])[0])


def consent(client: openai.OpenAI, name: str = "Maria") -> Any:
    return client.audio.voice_consents.create(
        name=name, language="pt-PT", recording=("consent.wav", sample(), "audio/wav")
    )


def test_consent_is_kept_with_its_date_and_recording(client: openai.OpenAI, folder: Path) -> None:
    began = int(time.time())
    given = consent(client)
    assert (given.object, given.name, given.language) == ("audio.voice_consent", "Maria", "pt-PT")
    assert began <= given.created_at <= time.time()
    kept = folder / ".consents" / given.id
    with wave.open(str(kept / "recording.wav")) as recording:
        assert recording.getnframes() / recording.getframerate() > 2
    assert kept.stat().st_mode & 0o077 == 0
    assert (kept / "recording.wav").stat().st_mode & 0o077 == 0


def test_consent_first_flow_of_the_client(client: openai.OpenAI, folder: Path) -> None:
    given = consent(client, "Inês")
    voice = add(client, "Inês", consent=given.id)
    assert given.id in (folder / "Inês" / "voice.toml").read_text()
    assert len(client.audio.speech.create(model="tts-1", voice={"id": voice.id}, input="Hello.").read()) > 500
    with pytest.raises(openai.ConflictError) as used:
        client.audio.voice_consents.delete(given.id)
    assert used.value.code == "consent_in_use"
    gone = client.audio.voices.delete(voice.id)
    assert (gone.id, gone.deleted, gone.object) == ("Inês", True, "audio.voice.deleted")
    assert not (folder / "Inês").exists()
    with pytest.raises(openai.BadRequestError):
        client.audio.speech.create(model="tts-1", voice={"id": voice.id}, input="Hello.")
    removed = client.audio.voice_consents.delete(given.id)
    assert (removed.id, removed.deleted, removed.object) == (given.id, True, "audio.voice_consent")
    assert not (folder / ".consents" / given.id).exists()


def test_consents_are_listed_renamed_and_paged(client: openai.OpenAI) -> None:
    given = [consent(client, name) for name in ("A", "B", "C")]
    renamed = client.audio.voice_consents.update(given[0].id, name="Ana")
    assert (renamed.name, renamed.created_at) == ("Ana", given[0].created_at)
    assert client.audio.voice_consents.retrieve(given[0].id) == renamed
    paged = [one.id for one in client.audio.voice_consents.list(limit=1)]
    whole = [one.id for one in client.audio.voice_consents.list()]
    assert paged == whole
    assert {one.id for one in given} <= set(whole)
    for one in given:
        client.audio.voice_consents.delete(one.id)


def test_unknown_consents_are_not_found(client: openai.OpenAI, folder: Path) -> None:
    (folder / "secret").mkdir()
    (folder / "secret" / "consent.json").write_text("{}")
    for wrong in ("cons_x", "x", "cons_" + "0" * 32, "..%2fsecret", "../secret"):
        for call in (
            lambda wrong=wrong: client.audio.voice_consents.retrieve(wrong),
            lambda wrong=wrong: client.audio.voice_consents.update(wrong, name="x"),
            lambda wrong=wrong: client.audio.voice_consents.delete(wrong),
        ):
            with pytest.raises(openai.NotFoundError):
                call()
    with pytest.raises(openai.NotFoundError) as missing:
        add(client, "Absent", consent="cons_" + "0" * 32)
    assert (missing.value.code, missing.value.param) == ("consent_not_found", "consent")


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("language", {"language": "??"}),
        ("name", {"name": "\n"}),
        ("recording", {"recording": ("a.wav", b"no audio" * 50, "audio/wav")}),
        ("recording", {"recording": ("a.wav", encode_wav(Clip(np.zeros(32_000, np.float32), 16_000)), "audio/wav")}),
    ],
)
def test_rejected_consent_leaves_no_files(client: openai.OpenAI, folder: Path, param: str, fields: Any) -> None:
    before = sorted(folder.rglob("*"))
    wanted = {"name": "Ana", "language": "pt", "recording": ("a.wav", sample(), "audio/wav")} | fields
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.voice_consents.create(**wanted)
    assert refused.value.param == param
    assert sorted(folder.rglob("*")) == before


def test_other_voices_cannot_be_deleted(client: openai.OpenAI, folder: Path) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.audio.voices.delete("nothing")
    assert missing.value.code == "voice_not_found"
    for name in ("man", "woman"):  # the default voice, and one of Parley's own
        with pytest.raises(openai.ConflictError) as kept:
            client.audio.voices.delete(name)
        assert kept.value.code == "voice_protected"
    assert (folder / "man" / "voice.toml").exists()


def test_voice_from_a_prompt_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.voices.create(name="New", prompt="A calm man.", type="prompt")
    assert refused.value.param == "type"


def test_models_for_speech_are_listed(running: Service) -> None:
    listed = httpx.get(f"{running.url}/v1/audio/models").json()
    assert {"tts-1", "gpt-4o-mini-tts"} <= {one["id"] for one in listed["models"]}
    assert "whisper-1" not in {one["id"] for one in listed["models"]}
    assert listed["models"] == listed["data"]


@pytest.mark.parametrize("public", [False, True])
def test_lists_need_a_key_unless_they_are_public(tmp_path: Path, public: bool) -> None:
    with in_process(tmp_path, API_KEYS="right", PUBLIC_LISTS=str(public)) as service:
        for path in ("/v1/audio/voices", "/v1/audio/models"):
            assert httpx.get(service.url + path).status_code == (200 if public else 401)
            assert httpx.get(service.url + path, headers={"Authorization": "Bearer right"}).status_code == 200
        for method, path in (("POST", "/v1/audio/voices"), ("GET", "/v1/models"), ("GET", "/v1/audio/voice_consents")):
            assert httpx.request(method, service.url + path).status_code == 401
