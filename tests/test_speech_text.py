"""Text of `/v1/audio/speech`: detection of its language, and text without words."""

import base64
import json

import httpx
import numpy as np
import pytest

from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode_blocking
from pipeline.audio.encode import FORMATS
from tests.server_process import ServerProcess


def speech(server: ServerProcess, text: str, **fields: str) -> httpx.Response:
    body = {"model": "tts-1", "voice": "alloy", "input": text, "response_format": "pcm", **fields}
    return httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=60)


def heard(data: bytes, kind: str) -> Clip:
    return Clip.from_pcm16(data, 24_000) if kind == "pcm" else decode_blocking(data, max_seconds=60)


@pytest.mark.parametrize("kind", sorted(FORMATS))
@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_text_without_words_is_a_short_silence(server: ServerProcess, kind: str, stream_format: str) -> None:
    for text in (".", "…", "😀", "***", "```\n```", "—", "<br>"):
        answer = speech(server, text, response_format=kind, stream_format=stream_format)
        assert answer.status_code == 200, (text, answer.text)
        data = answer.content
        if stream_format == "sse":
            events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
            assert events[-1]["type"] == "speech.audio.done"
            data = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
        clip = heard(data, kind)
        assert 0.2 <= clip.seconds <= 0.5
        assert float(np.abs(clip.samples).max()) < 0.001


def test_instructions_without_effect_are_reported(server: ServerProcess) -> None:
    assert speech(server, "Hello.", instructions="Whisper.").headers["parley-ignored"] == "instructions"
    assert speech(server, "Hello.", instructions="Whisper.", stream_format="sse").headers["parley-ignored"]
    assert "parley-ignored" not in speech(server, "Hello.").headers


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Привет, как твои дела сегодня?", "ru"),
        ("Καλημέρα, τι κάνεις σήμερα;", "el"),
        ("Привіт, як твої справи?", "uk"),
        ("Les trains qui partent aujourd'hui vers les grandes villes sont tous en retard.", "fr"),
    ],
)
def test_text_decides_its_language(server: ServerProcess, text: str, language: str) -> None:
    guessed, told, english = (
        heard(speech(server, text, **fields).content, "pcm").seconds
        for fields in ({}, {"language": language}, {"language": "en"})
    )
    assert guessed == pytest.approx(told, rel=0.05)
    assert abs(english - told) > 0.05 * told, "English reads it differently"
