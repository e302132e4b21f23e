"""Voices that are remembered with consent, and suggested in the next recording of the same owner."""

from collections.abc import Iterator

import httpx
import pytest

from pipeline.audio.clip import encode_wav
from tests.clips import hearing
from tests.jobs.test_endpoints import done
from tests.jobs.test_owners import API_KEYS, KEYS, caller
from tests.server_process import Service
from tests.speakers.test_speakers import MAN, SENTENCES, WOMAN, conversation


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with hearing(tmp_path_factory.mktemp("voices"), API_KEYS=API_KEYS) as running:
        yield running


def transcribed(client: httpx.Client, *voices: str) -> str:
    """Send a conversation of these voices; return its job."""
    talk, _ = conversation(*[(voice, SENTENCES[n % 4]) for n, voice in enumerate(voices)])
    count = str(len(set(voices)))
    fields = {"language": "en", "diarize": "true", "min_speakers": count, "max_speakers": count}
    made = client.post("/jobs", files={"files": ("talk.wav", encode_wav(talk))}, data=fields).json()["jobs"][0]
    assert done(client, made["job_id"])["status"] == "completed"
    return str(made["job_id"])


def test_an_enrolled_voice_is_suggested_next_time_until_it_is_forgotten(service: Service) -> None:
    with caller(service, KEYS["anna"]) as anna, caller(service, KEYS["ben"]) as ben:
        first = transcribed(anna, WOMAN, MAN, WOMAN, MAN, WOMAN, MAN)
        assert anna.get(f"/jobs/{first}/voiceprints").json() == {"suggestions": []}
        voice = {"speaker": "B", "name": "Thomas"}
        for consent in ({}, {"consent": False}):
            assert anna.post(f"/jobs/{first}/voiceprints", json={**voice, **consent}).status_code == 400
        assert anna.get("/voiceprints").json() == {"voiceprints": []}
        for _ in range(2):  # a second time replaces the first
            made = anna.post(f"/jobs/{first}/voiceprints", json={**voice, "consent": True})
            assert made.status_code == 201, made.text
        assert [one["name"] for one in anna.get("/voiceprints").json()["voiceprints"]] == ["Thomas"]
        unknown = anna.post(f"/jobs/{first}/voiceprints", json={**voice, "speaker": "Z", "consent": True})
        assert unknown.status_code == 400

        second = transcribed(anna, MAN, MAN, MAN, MAN, WOMAN, WOMAN, WOMAN, WOMAN)
        [suggestion] = anna.get(f"/jobs/{second}/voiceprints").json()["suggestions"]
        assert (suggestion["speaker"], suggestion["name"]) == ("A", "Thomas")
        his = transcribed(ben, MAN, MAN, MAN, MAN, WOMAN, WOMAN, WOMAN, WOMAN)
        assert ben.get(f"/jobs/{his}/voiceprints").json() == {"suggestions": []}

        path = f"/voiceprints/{suggestion['voiceprint_id']}"
        assert ben.delete(path).status_code == 404
        assert anna.delete(path).status_code == 204
        assert anna.get(f"/jobs/{second}/voiceprints").json() == {"suggestions": []}
        assert anna.get("/voiceprints").json() == {"voiceprints": []}
