"""Media types of served recordings, checked with files of real encoders."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.clip import Clip, encode_wav
from server.http.media_types import UNKNOWN, media_type
from tests.stt.recordings import encoded

TONE = Clip(np.sin(np.arange(16_000) / 10).astype(np.float32), 16_000)


@pytest.mark.parametrize(
    ("container", "codec", "kind"),
    [
        ("mp3", "libmp3lame", "audio/mpeg"),
        ("ogg", "libopus", "audio/ogg"),
        ("flac", "flac", "audio/flac"),
        ("adts", "aac", "audio/aac"),
        ("ipod", "aac", "audio/mp4"),
        ("mp4", "aac", "video/mp4"),
        ("webm", "libopus", "video/webm"),
        ("au", "pcm_s16be", "audio/basic"),
    ],
)
def test_files_of_encoders_are_recognised(tmp_path: Path, container: str, codec: str, kind: str) -> None:
    (tmp_path / "file").write_bytes(encoded([TONE], container, codec))
    assert media_type(tmp_path / "file") == kind


def test_wav_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(encode_wav(TONE))
    assert media_type(tmp_path / "file") == "audio/wav"


@pytest.mark.parametrize(
    "head", [b"", b"\xff", b"<html>", b"<svg xmlns=", b"%PDF-1.7", b"RIFF1234WEBP", b"GIF89a", b"\0" * 12]
)
def test_other_files_have_an_unknown_type(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "file").write_bytes(head)
    assert media_type(tmp_path / "file") == UNKNOWN
