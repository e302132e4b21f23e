"""The page with a service on real models: a question in a human-like voice is understood and answered aloud."""

import httpx
import pytest

from pipeline.audio.decode import decode_blocking
from tests.browser.conftest import Visit, said
from tests.server_process import ServerProcess

pytestmark = pytest.mark.real_time
CAPITAL = "What is the capital of France?"


def test_a_spoken_question_is_understood_and_answered_aloud(real_service: ServerProcess, visit: Visit) -> None:
    asked = {"model": "tts-1", "voice": "woman", "input": CAPITAL, "response_format": "wav"}
    speech = httpx.post(f"{real_service.url}/v1/audio/speech", json=asked, timeout=120).raise_for_status().content
    visitor = visit(real_service.url, microphone=said(2.0, decode_blocking(speech, max_seconds=60), 120.0))
    visitor.page.click("#press")
    visitor.see(".reply .waterfall")
    assert visitor.words(".you p") == CAPITAL
    assert "Paris" in visitor.words(".reply p")
    visitor.until("import('/web/app.js').then(({ talk }) => talk.turns.player.total > 12_000)")  # half a second
    assert visitor.talk("talk.turns.player.loudest") > 0.02
    assert visitor.complaints == []
