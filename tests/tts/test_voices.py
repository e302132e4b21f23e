"""Voices by name: files in the voice folders appear at once, and other files are out of reach."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.clip import Clip, encode_wav
from pipeline.errors import BadInput
from pipeline.settings import Settings
from pipeline.voices.catalogue import Voices

TONE = encode_wav(Clip((0.3 * np.sin(np.arange(16_000) * 0.07)).astype(np.float32), 16_000))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    voices, audios = tmp_path / "voices", tmp_path / "audios"
    voices.mkdir()
    audios.mkdir()
    return voices, audios


@pytest.fixture
def voices(folders: tuple[Path, Path]) -> Voices:
    return Voices(*folders)


def test_the_shipped_voices_speak_three_languages_on_every_engine() -> None:
    shipped = Voices.load(Settings())
    for name in ("man", "woman"):
        voice = shipped.get(name)
        assert voice.languages == ("en", "pt", "es")
        assert set(voice.engines) == {"espeak", "xtts", "pocket", "kokoro", "openai"}
        assert voice.description
        assert voice.licence
        assert set(voice.languages) <= set(voice.engines["espeak"])
        assert set(voice.languages) <= set(voice.engines["pocket"])
        assert voice.engines["xtts"]["speaker"]
        assert voice.engines["openai"]["voice"]


def test_a_bare_recording_is_a_voice_at_once(voices: Voices, folders: tuple[Path, Path]) -> None:
    assert voices.names() == []
    (folders[0] / "ana.wav").write_bytes(TONE)
    (folders[1] / "Zé.WAV").write_bytes(TONE)
    assert voices.names() == ["Zé", "ana"]
    assert voices.get("ana").clips == (folders[0] / "ana.wav",)
    (folders[0] / "ana.wav").unlink()
    assert voices.names() == ["Zé"]
    assert len(voices) == 1


def test_a_described_voice_uses_its_recordings(voices: Voices, folders: tuple[Path, Path]) -> None:
    folder = folders[0] / "rita"
    folder.mkdir()
    (folder / "a.wav").write_bytes(TONE)
    (folder / "b.wav").write_bytes(TONE)
    assert [clip.name for clip in voices.get("rita").clips] == ["a.wav", "b.wav"]
    (folder / "voice.toml").write_text('description = "Rita"\nlanguages = ["pt"]\nclips = ["b.wav"]\n[xtts]\nx = 1\n')
    assert voices.names() == ["rita"]
    voice = voices.get("rita")
    assert [clip.name for clip in voice.clips] == ["b.wav"]
    assert (voice.description, voice.languages, voice.engines) == ("Rita", ("pt",), {"xtts": {"x": 1}})
    # A described voice has precedence over a bare recording of the same name.
    (folders[1] / "rita.wav").write_bytes(TONE)
    assert voices.get("rita").description == "Rita"


def test_a_deleted_voice_is_gone_a_second_later(
    voices: Voices, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("pipeline.voices.catalogue.time.monotonic", lambda: now)
    (folders[0] / "ana.wav").write_bytes(TONE)
    assert voices.get("ana").name == "ana"
    (folders[0] / "ana.wav").unlink()
    (folders[0] / "new.wav").write_bytes(TONE)
    now += 0.5
    assert voices.get("ana").name == "ana"
    now += 1
    with pytest.raises(BadInput, match="no voice 'ana'; there are: new"):
        voices.get("ana")


def test_a_new_voice_is_found_at_once(voices: Voices, folders: tuple[Path, Path]) -> None:
    (folders[0] / "ana.wav").write_bytes(TONE)
    assert voices.get("ana").name == "ana"
    (folders[0] / "new.wav").write_bytes(TONE)
    assert voices.get("new").name == "new"


@pytest.mark.parametrize(
    "toml",
    [
        b"description = ",
        b"\xff\xfe",
        b"languages = 3",
        b"languages = [1]",
        b"description = 3",
        b'clips = ["../../secret.wav"]',
        b'clips = ["/etc/passwd"]',
        b"#" * 100_000,
    ],
)
def test_a_broken_description_is_skipped_and_logged_once(
    toml: bytes, voices: Voices, folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    (folders[0] / "bad").mkdir()
    (folders[0] / "bad" / "voice.toml").write_bytes(toml)
    (folders[0] / "good.wav").write_bytes(TONE)
    with caplog.at_level(logging.WARNING):
        assert voices.names() == ["good"]
        assert voices.names() == ["good"]
    assert len([record for record in caplog.records if "bad" in record.getMessage()]) == 1
    (folders[0] / "bad" / "voice.toml").write_text('description = "mended"')  # language: allow
    assert voices.names() == ["bad", "good"]


def test_a_file_that_is_not_a_recording_is_not_a_voice(voices: Voices, folders: tuple[Path, Path]) -> None:
    folder = folders[0]
    (folder / "garbage.wav").write_bytes(b"RIFF not really")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "silent.wav").write_bytes(encode_wav(Clip(np.zeros(0, np.float32), 16_000)))
    (folder / "notes.txt").write_text("hello")
    (folder / ".hidden.wav").write_bytes(TONE)
    (folder / "nothing").mkdir()
    os.mkfifo(folder / "pipe.wav")
    (folder / "dir.wav").mkdir()
    (folders[1] / "samples").mkdir()
    (folders[1] / "samples" / "question.wav").write_bytes(TONE)
    (folders[1] / "real.wav").write_bytes(TONE)
    assert voices.names() == ["real"]


def test_links_out_of_the_folder_are_not_followed(voices: Voices, folders: tuple[Path, Path], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "secret.wav").write_bytes(TONE)
    folder = folders[0]
    (folder / "link.wav").symlink_to(secret / "secret.wav")
    (folder / "linked").symlink_to(secret)
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    (folder / "inner").mkdir()
    (folder / "inner" / "clip.wav").symlink_to(secret / "secret.wav")
    (folder / "own.wav").write_bytes(TONE)
    (folder / "alias.wav").symlink_to(folder / "own.wav")
    assert voices.names() == ["alias", "own"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc/passwd", "a\0b", "\ud800", "x" * 10_000, "ana.wav", "./ana", "ana/", "ANA", "~", "*"],
)
def test_a_malicious_name_is_an_unknown_voice(name: str, voices: Voices, folders: tuple[Path, Path]) -> None:
    (folders[0] / "ana.wav").write_bytes(TONE)
    with pytest.raises(BadInput) as raised:
        voices.get(name)
    assert raised.value.code == "unknown_voice"
    assert "ana" in raised.value.message
    assert len(raised.value.message) < 400
    raised.value.message.encode()


def test_a_voice_in_voices_dir_precedes_an_included_one(folders: tuple[Path, Path]) -> None:
    own = folders[0]
    (own / "ana.wav").write_bytes(TONE)
    (own / "man.wav").write_bytes(TONE)
    voices = Voices.load(Settings(voices_dir=own))
    assert {"ana", "man", "woman"} <= {*voices.names()}
    assert voices.get("man").clips == (own / "man.wav",)
    assert voices.get("woman").description


def test_without_folders_there_are_no_voices(tmp_path: Path) -> None:
    voices = Voices(tmp_path / "no", tmp_path / "none")
    assert list(voices) == []
    with pytest.raises(BadInput, match="there are: none"):
        voices.get("man")
