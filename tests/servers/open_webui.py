"""Stand-in for Open WebUI in deploy/check_image.sh: answers each request with what Parley told it.

`python -m tests.servers.open_webui`, with Open WebUI's own environment: the address, key, model and voice of each side.
Its requests are those of tests/test_clients.py.
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

PORT = 8080
QUESTION = Path("/app/audios/samples/what_is_two_plus_three.wav")


def told() -> dict[str, object]:
    """Request the lists, a transcript and speech."""
    hears, speaks = (os.environ[f"AUDIO_{side}_OPENAI_API_BASE_URL"] for side in ("STT", "TTS"))
    key = {"Authorization": f"Bearer {os.environ['AUDIO_TTS_OPENAI_API_KEY']}"}
    with httpx.Client(timeout=120) as client:
        lists = [client.get(f"{speaks}/audio/{name}").raise_for_status().json() for name in ("voices", "models")]
        heard = client.post(
            f"{hears}/audio/transcriptions", headers=key, data={"model": os.environ["AUDIO_STT_MODEL"]},
            files={"file": ("question.wav", QUESTION.read_bytes())},
        ).raise_for_status()  # fmt: skip
        asked = {
            "input": "Good morning.",
            "voice": os.environ["AUDIO_TTS_VOICE"],
            "model": os.environ["AUDIO_TTS_MODEL"],
        }
        speech = client.post(f"{speaks}/audio/speech", headers=key, json=asked).raise_for_status()
    return {
        "voices": [one["id"] for one in lists[0]["voices"]],
        "models": [one["id"] for one in lists[1]["models"]],
        "heard": heard.json()["text"],
        "speech_bytes": len(speech.content),
    }


class Page(BaseHTTPRequestHandler):
    """Any page."""

    def do_GET(self) -> None:
        """Respond with `told` as JSON, or with the error."""
        try:
            status, body = 200, told()
        except Exception as error:  # a check reads it
            status, body = 502, {"error": f"{type(error).__name__}: {error}"}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", PORT), Page).serve_forever()
