"""The document of a transcript over HTTP: edits, versions, the outline of the recording, and another transcription."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import HEARS, SAID, done
from tests.jobs.test_owners import API_KEYS, KEYS, caller, send
from tests.server_process import Service

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with in_process(folder, **HEARS, API_KEYS=API_KEYS) as running:
        yield running


@pytest.fixture
def anna(service: Service) -> Iterator[httpx.Client]:
    with caller(service, KEYS["anna"]) as client:
        yield client


def test_an_edit_is_in_every_download_and_can_be_taken_back(anna: httpx.Client) -> None:
    job_id = send(anna, 0, 1)
    path = f"/jobs/{job_id}"
    before = anna.get(path).json()["result"]
    operations = [
        {"op": "text", "segment": 0, "text": "Something  else\n\ud83d was said."},
        {"op": "speaker", "first": 1, "last": 1, "speaker": "B"},
        {"op": "name", "speaker": "B", "name": "Ben"},
    ]
    # json.dumps, because httpx refuses the half of a character
    sent = {"content": json.dumps({"version": 0, "operations": operations}), "headers": JSON}
    saved = anna.post(f"{path}/edits", **sent).raise_for_status().json()  # type: ignore[arg-type]
    assert (saved["version"], [sorted(change) for change in saved["changes"]]) == (
        1, [["at", "count", "segments"], ["speakers"], ["names"]]
    )  # fmt: skip
    new = "Something else \ufffd was said."
    for kind in ("txt", "srt", "vtt", "json"):
        for prefix in ("/jobs", "/api/v1/transcription"):
            file = anna.get(f"{prefix}/{job_id}/download?format={kind}").text
            assert new in file, kind
            assert SAID[0] not in file, kind
            assert "Ben" in file, kind
    job = anna.get(path).json()
    assert (job["result"]["version"], job["result"]["segments"][0]["start"]) == (1, before["segments"][0]["start"])
    late = anna.post(f"{path}/edits", **sent)  # type: ignore[arg-type]
    assert (late.status_code, late.json()["error"]["code"], late.json()["error"]["version"]) == (
        409, "version_conflict", 1
    )  # fmt: skip
    assert anna.get(f"{path}/versions/0").json()["segments"] == before["segments"]
    anna.post(f"{path}/versions/0/restore", json={"version": 1}).raise_for_status()
    assert SAID[0] in anna.get(f"{path}/download?format=srt").text
    listed = anna.get(f"{path}/versions").json()
    assert (listed["version"], [(one["author"], one["operations"]) for one in listed["versions"]]) == (
        2, [("anna", ["restore"]), ("anna", ["text", "speaker", "name"])]
    )  # fmt: skip
    # The transcript of the same recording in another job is not edited.
    assert anna.get(f"/jobs/{send(anna, 0, 1)}").json()["result"]["text"] == before["text"]


def test_bad_edits_are_refused(anna: httpx.Client) -> None:
    path = f"/jobs/{send(anna, 2)}"
    good = {"op": "text", "segment": 0, "text": "x"}
    for body in (
        {"version": 0, "operations": []}, {"version": 0, "operations": [good] * 101}, {"operations": [good]},
        {"version": 0, "operations": [{**good, "op": "x"}]}, {"version": 0, "operations": [{**good, "segment": -1}]},
        {"version": 0, "operations": [{**good, "text": "x" * 20_001}]}, {"version": 0, "operations": [{"op": "text"}]},
        {"version": 0, "operations": [{"op": "name", "speaker": "A", "name": "a\u0000b"}]},
    ):  # fmt: skip
        answer = anna.post(f"{path}/edits", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_parameter"), body
    assert anna.post(f"{path}/edits", content=b'{"version": 0}' + b" " * 300_000, headers=JSON).status_code == 413
    assert anna.get(f"{path}/versions/1").status_code == 404
    assert anna.get(path).json()["result"]["text"] == SAID[2]


def test_a_recording_has_an_outline_and_is_transcribed_again(anna: httpx.Client, folder: Path) -> None:
    job_id = send(anna, 3)
    peaks = [anna.get(f"/jobs/{job_id}/waveform").raise_for_status().json()["peaks"] for _ in range(2)]
    assert peaks[0] == peaks[1]
    assert max(peaks[0]) == 100
    assert set(peaks[0][:15]) == {0}  # the silence at its beginning
    made = anna.post(f"/jobs/{job_id}/again", json={"language": "en", "words": False})
    assert made.status_code == 202
    again = done(anna, made.json()["job_id"])
    assert (again["filename"], again["result"]["text"], again["size"]) == ("a.wav", SAID[3], len(recording(3)))
    assert "words" not in again["result"]["segments"][0]
    assert anna.post(f"/jobs/{job_id}/again", json={"model_id": "nothing"}).status_code == 404
    with closing(sqlite3.connect(folder / "data" / "parley.db")) as database, database:
        database.execute("UPDATE jobs SET sha256 = NULL WHERE id = ?", (job_id,))  # as DELETE_AUDIO_AFTER does
    gone = anna.post(f"/jobs/{job_id}/again", json={})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "job_not_found")


def test_a_running_job_shows_its_text_so_far(anna: httpx.Client) -> None:
    made = anna.post("/jobs", files={"files": ("long.wav", recording(*range(10)))}, data={"language": "en"}).json()
    told = []
    with anna.stream("GET", f"/jobs/{made['jobs'][0]['job_id']}/events") as events:
        for line in events.iter_lines():
            if line.startswith("data: "):
                told.append(json.loads(line[6:]))
    partial = [job["partial"] for job in told if job["partial"]]
    if partial:  # a fast machine can be done before the first report
        assert SAID[0] in partial[0]
    assert (told[-1]["status"], told[-1]["partial"], told[-1]["seconds_left"]) == ("completed", None, None)
