"""The example clients, started as the documentation says."""

import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from pipeline.settings import HOME
from tests.browser.conftest import Visit, said
from tests.server_process import serving
from tests.stt.recordings import TRAINED

pytestmark = pytest.mark.real_time
EXAMPLES = HOME / "examples"


def test_the_python_client_sends_a_file_and_writes_the_reply(tmp_path: Path) -> None:
    with serving(tmp_path, **TRAINED, API_KEYS="sesame") as server:
        told = subprocess.run(
            [sys.executable, str(EXAMPLES / "live_client.py"), str(HOME / "audios/samples/what_is_two_plus_three.wav"),
             "--url", f"ws://127.0.0.1:{server.port}/ws", "--reply", str(tmp_path / "reply.wav"), "--key", "sesame",
             "--option", "voice=woman"],
            capture_output=True, text=True, timeout=120, check=True,
        ).stdout  # fmt: skip
    assert '"text": "what is two plus three"' in told
    assert '"reply": "2 plus 3 is 5."' in told
    sound, rate_hz = soundfile.read(tmp_path / "reply.wav")
    assert len(sound) / rate_hz > 0.5
    assert abs(sound).max() > 0.05


def test_the_browser_client_works_from_a_local_file(visit: Visit, tmp_path: Path) -> None:
    question = said(2.0, "tell_me_a_story", 6.0, "what_is_two_plus_three", 60.0)
    with serving(tmp_path, **TRAINED, API_KEYS="sesame", ALLOWED_ORIGINS="null") as server:
        visitor = visit((EXAMPLES / "live_client.html").as_uri(), microphone=question)
        visitor.page.fill("#address", f"ws://127.0.0.1:{server.port}/ws")
        visitor.page.fill("#key", "sesame")
        visitor.page.click("#talk")
        visitor.see("text=2 plus 3 is 5.")
        told = visitor.words("#log").splitlines()
    assert told[0] == "You: tell me a story"
    assert told[1].startswith("Parley: Once upon a time")
    assert told[1].endswith(" …")
    assert visitor.complaints == []
