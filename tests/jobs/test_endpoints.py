"""Jobs as clients see them: both job APIs of the running service, over real sockets."""

import io
import json
import socket
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import soundfile

from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.server_process import ServerProcess, constants, serving
from tests.servers import web as servers
from tests.stt.recordings import MODEL, TRAINED, encoded, spliced
from tests.waiting import until

WAIT_S = 120.0
HEARS = {**TRAINED, "URL_ALLOW": "127.0.0.1"}
SAID = [one["text"] for one in json.loads((MODEL / "utterances.json").read_text("utf-8"))["utterances"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[ServerProcess]:
    with serving(
        folder,
        MAX_FILE_SIZE="2MB",
        **HEARS,
        **constants(
            {
                "pipeline.settings.service:LONGEST_S": 600.0,
                "jobs.archives:MAX_ARCHIVE_FILES": 5,
                "jobs.archives:FILE_SIZES": 1,
            }
        ),
    ) as running:
        yield running


@pytest.fixture
def client(service: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as opened:
        yield opened


def left_incoming(folder: Path) -> list[Path]:
    """Incomplete files."""
    return [path for path in (folder / "uploads" / "incoming").glob("*/*") if path.name != ".lock"]


def done(client: httpx.Client, job_id: str, *statuses: str) -> dict[str, Any]:
    """Wait until the job has ended, and return it."""

    def rests() -> dict[str, Any] | None:
        job: dict[str, Any] = client.get(f"/jobs/{job_id}").raise_for_status().json()
        return job if job["status"] in (statuses or ("completed", "failed", "cancelled", "expired")) else None

    found = until(rests, WAIT_S)
    assert found is not None
    return found


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.wav", data)
    return out.getvalue()


def test_files_and_a_zip_become_a_job_each_in_order(client: httpx.Client) -> None:
    files = [
        ("files", ("Olá você.wav", recording(0, 1))),
        ("files", ("all.zip", zipped(b=recording(2), a=recording(3)))),
        ("files", ("../../d.wav", recording(4))),
    ]
    answer = client.post("/jobs", files=files, data={"language": "en", "session_id": "s1"})
    assert answer.status_code == 202
    jobs = answer.json()["jobs"]
    assert [job["filename"] for job in jobs] == ["Olá você.wav", "b.wav", "a.wav", "d.wav"]
    assert all(set(job) == {"job_id", "filename", "status"} and job["status"] == "queued" for job in jobs)
    ended = [done(client, job["job_id"]) for job in jobs]
    assert [job["result"]["text"] for job in ended] == [f"{SAID[0]} {SAID[1]}", SAID[2], SAID[3], SAID[4]]
    assert {(job["status"], job["progress"], job["error"], job["session_id"]) for job in ended} == {
        ("completed", 100.0, None, "s1")
    }
    told = client.get(f"/jobs/{jobs[0]['job_id']}/download")
    assert told.text.split("\n")[:2] == [SAID[0], SAID[1]]
    assert told.headers["content-type"] == "text/plain; charset=utf-8"
    both = "attachment; filename=\"Ol_ voc_.txt\"; filename*=UTF-8''Ol%C3%A1%20voc%C3%AA.txt"
    assert told.headers["content-disposition"] == both


def test_the_echo_api_works_from_upload_to_subtitles(client: httpx.Client) -> None:
    answer = client.post("/api/v1/upload/file", files={"file": ("talk.wav", recording(5, 6))}, data={"language": "en"})
    assert answer.status_code == 202
    assert set(answer.json()) == {"job_id", "status"}
    assert answer.json()["status"] == "pending"
    job_id = answer.json()["job_id"]
    done(client, job_id)
    job = client.get(f"/api/v1/transcription/{job_id}").json()
    assert (job["status"], job["progress"]) == ("completed", 100.0)
    first = job["result"]["segments"][0]
    assert first["start"] == pytest.approx(2, abs=0.6)
    assert [word["word"] for word in first["words"]]
    texts = {
        kind: client.get(f"/api/v1/transcription/{job_id}/download?format={kind}")
        for kind in ("txt", "json", "srt", "vtt")
    }
    assert texts["vtt"].text.startswith("WEBVTT\n")
    assert texts["srt"].text.startswith("1\n00:00:0")
    assert json.loads(texts["json"].text)["segments"][1]["text"] == SAID[6]
    for path in (f"/api/v1/transcription/{job_id}", f"/jobs/{job_id}"):
        narrow = client.get(f"{path}/download?format=srt&line_width=16&max_lines=1").text.split("\n\n")
        shown = [cue.splitlines()[2:] for cue in narrow if cue.strip()]
        assert all(len(lines) == 1 and len(lines[0]) <= 16 for lines in shown)
        assert len(shown) > 2
        assert client.get(f"{path}/download?format=srt&max_lines=0").status_code == 400
    assert client.get(f"/api/v1/transcription/{job_id}/download?format=exe").status_code == 400
    assert client.delete(f"/api/v1/transcription/{job_id}").status_code == 409


def test_a_url_is_fetched_and_transcribed(client: httpx.Client) -> None:
    with servers.serving() as web:
        web.data, web.breaks = recording(7), [5000]
        answer = client.post("/api/v1/upload/url", json={"url": f"{web.address}/talk.wav", "language": "en"})
        assert answer.status_code == 202, answer.text
        job = done(client, answer.json()["job_id"])
    assert (job["result"]["text"], job["filename"]) == (SAID[7], "talk.wav")


def test_the_server_of_a_url_can_name_the_file(client: httpx.Client) -> None:
    with servers.serving() as web:
        web.data = recording(7)
        web.headers = {"Content-Disposition": "attachment; filename=\"x\"; filename*=UTF-8''..%2fOl%C3%A1.wav"}
        answer = client.post("/api/v1/upload/url", json={"url": f"{web.address}/download?id=3", "language": "en"})
        job = done(client, answer.json()["job_id"])
    assert (job["status"], job["filename"]) == ("completed", "Olá.wav")
    told = client.get(f"/jobs/{job['job_id']}/download").headers["content-disposition"]
    assert told.endswith("filename*=UTF-8''Ol%C3%A1.txt")


def test_a_null_field_counts_as_not_sent(client: httpx.Client) -> None:
    nulls = dict.fromkeys(
        ("language", "model_id", "prompt", "words", "translate", "align", "diarize", "min_speakers", "max_speakers",
         "session_id", "webhook_url")
    )  # fmt: skip
    with servers.serving() as web:
        web.data = recording(7)
        answer = client.post("/api/v1/upload/url", json={"url": f"{web.address}/talk.wav", **nulls})
        assert answer.status_code == 202, answer.text
        job = done(client, answer.json()["job_id"])
    assert job["result"]["segments"][0]["words"]
    assert client.post("/api/v1/upload/url", json={"url": None}).status_code == 400
    path = f"/jobs/{job['job_id']}/speakers"
    assert client.put(path, json={"A": "Ana", "B": "Ben"}).json()["speakers"] == {"A": "Ana", "B": "Ben"}
    assert client.put(path, json={"A": "Ana", "B": None}).json()["speakers"] == {"A": "Ana"}


def test_one_of_several_audio_tracks_is_chosen(client: httpx.Client) -> None:
    film = encoded([spliced([(1.0, number)])[0] for number in (0, 1)], "matroska", "libopus")
    made = [
        client.post("/jobs", files={"files": ("film.mkv", film)}, data={"language": "en", "audio_track": track}).json()
        for track in ("", "0", "1", "2")
    ]
    first, same, second, none = (done(client, one["jobs"][0]["job_id"]) for one in made)
    assert first["result"]["text"] == same["result"]["text"] != second["result"]["text"]
    assert (none["status"], none["error"]["message"]) == ("failed", "There is no audio track 2; the file has 2.")
    for wrong in ("-1", "100", "x"):
        answer = client.post("/jobs", files={"files": ("film.mkv", film)}, data={"audio_track": wrong})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_parameter")


def test_a_zip_can_contain_other_files(client: httpx.Client) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in (
            ("talks/notes.txt", b"read me"), ("talks/cover.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF"),
            ("talks/1.wav", recording(2)), ("__MACOSX/talks/._1.wav", b"\0\x05\x16\x07"),
            (".DS_Store", b"\0\0\0\1Bud1"),
        ):  # fmt: skip
            archive.writestr(name, data)
    told = client.post("/jobs", files={"files": ("talks.zip", out.getvalue())}, data={"language": "en"}).json()
    assert [job["filename"] for job in told["jobs"]] == ["1.wav"]
    assert told["skipped"] == [
        {"filename": "talks.zip/talks/notes.txt", "reason": "text"},
        {"filename": "talks.zip/talks/cover.jpg", "reason": "a picture"},
        {"filename": "talks.zip/__MACOSX/talks/._1.wav", "reason": "a hidden file"},
        {"filename": "talks.zip/.DS_Store", "reason": "a hidden file"},
    ]
    assert done(client, told["jobs"][0]["job_id"])["result"]["text"] == SAID[2]
    one = client.post("/api/v1/upload/file", files={"file": ("talks.zip", out.getvalue())}, data={"language": "en"})
    assert (one.status_code, len(one.json()["skipped"])) == (202, 4)
    none = client.post("/jobs", files={"files": ("n.zip", zipped(notes=b"read me"))})
    assert (none.status_code, none.json()["error"]["code"]) == (400, "no_files")
    assert none.json()["detail"] == "There is no recording in the archive, but notes.wav (text)."


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.2/", "http://169.254.169.254/", "file:///etc/passwd", "http://[::1]/", "http://2130706433/",
     "http://xn--a.example/", "http://[::1", "http://a..b/", "http://192.0.0.192/", "http://e:99999/"],
)  # fmt: skip
def test_a_forbidden_url_creates_no_job(client: httpx.Client, url: str) -> None:
    before = client.get("/queues").json()["total"]
    answer = client.post("/api/v1/upload/url", json={"url": url})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("forbidden_address", "bad_url")
    assert client.post("/jobs", files={"files": b"x"}, data={"webhook_url": url}).status_code == 400
    assert client.get("/queues").json()["total"] == before


def test_the_same_file_with_the_same_options_is_transcribed_once(client: httpx.Client, folder: Path) -> None:
    data = recording(8)
    first = done(client, client.post("/jobs", files={"files": ("a.wav", data)}).json()["jobs"][0]["job_id"])
    again = client.post("/jobs", files={"files": ("b.wav", data)}).json()["jobs"][0]
    assert again["status"] == "completed"
    listed = {job["job_id"]: job["duration"] for job in client.get("/jobs").json()["items"]}
    assert listed[first["job_id"]] == pytest.approx(first["result"]["duration"], abs=0.01)
    assert listed[again["job_id"]] == listed[first["job_id"]]
    assert done(client, again["job_id"])["result"] == first["result"]
    other = client.post("/jobs", files={"files": ("b.wav", data)}, data={"language": "en"}).json()["jobs"][0]
    assert other["status"] == "queued"
    sizes = [path.stat().st_size for path in (folder / "uploads").glob("??/*")]
    assert sizes.count(len(data)) == 1 or len(set(sizes)) == len(sizes)


def test_a_hundred_identical_requests_at_once_make_one_job(client: httpx.Client, service: ServerProcess) -> None:
    data, before = recording(9), client.get("/queues").json()["total"]

    def post(_: int) -> httpx.Response:
        return httpx.post(
            f"{service.url}/jobs", files={"files": ("a.wav", data)}, headers={"Idempotency-Key": "one"}, timeout=60
        )

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(100)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["jobs"][0]["job_id"] for answer in answers}) == 1
    assert client.get("/queues").json()["total"] == before + 1
    other = client.post("/jobs", files={"files": ("a.wav", recording(1))}, headers={"Idempotency-Key": "one"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")


def slow_recording(first: int = 0, count: int = 10) -> bytes:
    """A compressed recording of this many sentences, which takes the recogniser some seconds."""
    numbers = [number % 12 for number in range(first, first + count)]
    sound, rate_hz = soundfile.read(io.BytesIO(recording(*numbers, silence_s=2.5)), dtype="float32")
    out = io.BytesIO()
    soundfile.write(out, sound, rate_hz, format="FLAC")
    return out.getvalue()


def test_a_cancelled_job_stops_and_never_has_a_result(client: httpx.Client, service: ServerProcess) -> None:
    long = ("long.flac", slow_recording(count=48))
    job_id = client.post("/jobs", files={"files": long}).json()["jobs"][0]["job_id"]
    behind = client.post("/jobs", files={"files": ("next.wav", recording(10))}, data={"language": "en"}).json()["jobs"][
        0
    ]["job_id"]
    done(client, job_id, "processing")
    before_s = service.busy_s()
    assert client.post(f"/jobs/{job_id}/cancel").json()["status"] == "cancelled"
    done(client, behind, "processing", "completed")
    assert service.busy_s() - before_s < 3
    done(client, behind)
    job = done(client, job_id)
    assert (job["status"], job["result"]) == ("cancelled", None)
    assert client.get(f"/jobs/{job_id}/download").status_code == 409
    assert client.post(f"/jobs/{job_id}/cancel").json()["status"] == "cancelled"
    assert client.post(f"/jobs/{job_id}/retry").status_code == 202
    assert client.delete(f"/api/v1/transcription/{job_id}").json() == {"job_id": job_id, "status": "cancelled"}
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert client.get(f"/jobs/{job_id}").status_code == 404


def test_waiting_and_running_jobs_can_be_deleted(client: httpx.Client) -> None:
    files = [("files", ("long.flac", slow_recording(1))), ("files", ("waits.wav", recording(9)))]
    made = client.post("/jobs", files=files, data={"language": "en"}).json()["jobs"]
    long, waits = (job["job_id"] for job in made)
    done(client, long, "processing")
    before = client.get("/queues").json()["total"]
    assert client.delete(f"/jobs/{waits}").status_code == 204
    assert client.delete(f"/jobs/{long}").status_code == 204
    assert client.delete(f"/jobs/{long}").status_code == 404
    behind = client.post("/jobs", files={"files": recording(10)}, data={"prompt": "z"}).json()["jobs"][0]["job_id"]
    assert done(client, behind)["status"] == "completed"
    assert client.get(f"/jobs/{long}").status_code == client.get(f"/jobs/{waits}").status_code == 404
    queues = client.get("/queues").json()
    assert (queues["total"], queues["queued"], queues["processing"]) == (before - 1, 0, 0)


def test_progress_events_arrive_while_a_job_runs(client: httpx.Client) -> None:
    job_id = client.post("/jobs", files={"files": ("long.flac", slow_recording())}, data={"prompt": "x"}).json()[
        "jobs"
    ][0]["job_id"]
    told = []
    with client.stream("GET", f"/jobs/{job_id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                told.append((name, json.loads(line.removeprefix("data: "))))
    progress = [job["progress"] for _, job in told]
    assert progress == sorted(progress)
    assert sum(0 < value < 100 for value in progress) >= 2
    assert (told[-1][0], told[-1][1]["status"], progress[-1]) == ("completed", "completed", 100.0)


def test_closing_an_event_stream_is_not_an_error(client: httpx.Client, service: ServerProcess) -> None:
    job_id = client.post("/jobs", files={"files": ("long.flac", slow_recording(3))}).json()["jobs"][0]["job_id"]
    request = f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for number in range(60):
        with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
            connection.sendall(request)
            assert b"200 OK" in connection.recv(4096)
            time.sleep(0.001 * (number % 20))
    client.delete(f"/jobs/{job_id}").raise_for_status()
    assert "Traceback" not in service.text


def test_a_file_without_audio_fails_with_a_message_also_in_the_log(
    client: httpx.Client, service: ServerProcess
) -> None:
    job = done(client, client.post("/jobs", files={"files": ("a.wav", b"no audio at all")}).json()["jobs"][0]["job_id"])
    assert (job["status"], job["error"]["code"], job["attempts"]) == ("failed", "bad_audio", 1)
    assert "/" not in job["error"]["message"]
    until(lambda: f"job {job['job_id']}: bad_audio: {job['error']['message']}" in service.text)


def test_two_identical_recordings_at_once_both_get_a_duration(client: httpx.Client) -> None:
    form = [("files", (name, recording(6, 7, 0))) for name in ("one.wav", "two.wav")]
    made = client.post("/jobs", files=form, data={"session_id": "twins"}).json()["jobs"]
    for job in made:
        done(client, job["job_id"])
    listed = client.get("/jobs", params={"session_id": "twins"}).json()["items"]
    assert len(listed) == 2
    assert listed[0]["duration"] == pytest.approx(listed[1]["duration"], abs=0.01)
    assert listed[0]["duration"] > 1


def test_an_empty_url_creates_no_job(client: httpx.Client) -> None:
    before = client.get("/queues").json()["total"]
    answer = client.post("/api/v1/upload/url", json={"url": ""})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_url")
    assert client.get("/queues").json()["total"] == before


def test_refused_uploads_leave_nothing_on_disk(client: httpx.Client, folder: Path) -> None:
    before = sorted((folder / "uploads").glob("??/*"))
    good = ("files", ("good.wav", recording(11)))
    for bad, status, code in (
        (zipped(**{"../evil": recording(0)}), 400, "bad_archive"),
        (zipped(a=b"\0" * 1_900_000, b=b"\0" * 1_900_000), 413, "file_too_large"),
        (zipped(**{f"m{n}": b"x" for n in range(6)}), 413, "file_too_large"),
        (zipped(a=zipped(b=b"x")), 400, "bad_archive"),
        (b"#EXTM3U\n/etc/passwd\n", 400, "bad_audio"),
        (zipped(a=recording(0), b=b"#EXTM3U\n/etc/passwd\n"), 400, "bad_audio"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 400, "bad_audio"),
        (b"", 400, "empty_message"),
        (b"\0" * 2_100_000, 413, "file_too_large"),
    ):
        answer = client.post("/jobs", files=[good, ("files", ("bad", bad))])
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert client.post("/jobs", data={"a": "b"}).status_code == 400
    assert (
        client.post("/jobs", content=b"x", headers={"content-type": "multipart/form-data; boundary=y"}).status_code
        == 400
    )
    assert client.post("/jobs", files=[good] * 6).status_code == 413
    assert left_incoming(folder) == []
    assert sorted((folder / "uploads").glob("??/*")) == before


def test_a_chunked_body_is_refused_at_the_limit(service: ServerProcess, folder: Path) -> None:
    """The response comes before the whole body has arrived."""
    sent = 0
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(
            b"POST /api/v1/upload/file HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        connection.sendall(b"%x\r\n%b\r\n" % (len(head), head))
        connection.settimeout(0.001)
        answer = b""
        while sent < 50_000_000 and not answer:
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                connection.settimeout(60)
                connection.sendall(b"10000\r\n" + b"\0" * 65_536 + b"\r\n")
                connection.settimeout(0.001)
                sent += 65_536
            except OSError:
                break
            if sent > 2 * 2**20 + 2**20 and not answer:
                connection.settimeout(60)
                answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413")
    assert left_incoming(folder) == []


def test_an_aborted_upload_leaves_nothing(service: ServerProcess, folder: Path) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(
            b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            b'Content-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n' + b"\0" * 100_000
        )
        until(lambda: left_incoming(folder))
    until(lambda: not left_incoming(folder))


def test_hours_of_silence_in_a_small_file_stop_at_the_limit(service: ServerProcess, client: httpx.Client) -> None:
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", 16_000, 1, format="FLAC") as file:
        for _ in range(400):
            file.buffer_write(b"\0\0" * 160_000, "int16")
    assert len(out.getvalue()) < 2_000_000
    process = psutil.Process(service.process.pid)
    # The first job also loads the decoder.
    done(client, client.post("/jobs", files={"files": recording(0)}).json()["jobs"][0]["job_id"])
    before = process.memory_info().rss
    job = done(client, client.post("/jobs", files={"files": out.getvalue()}).json()["jobs"][0]["job_id"])
    grown = process.memory_info().rss - before
    assert (job["status"], job["error"]["code"]) == ("failed", "audio_too_long")
    assert grown < 40 * 2**20


def test_lists_queues_and_models_are_served(client: httpx.Client) -> None:
    made = client.post("/jobs", files=[("files", recording(n)) for n in range(3)], data={"language": "en"}).json()[
        "jobs"
    ]
    for job in made:
        done(client, job["job_id"])
    listed = client.get("/api/v1/transcriptions", params={"limit": 2, "status": "completed"}).json()
    assert set(listed) == {"items", "next_cursor", "total"}
    assert len(listed["items"]) == 2
    more = client.get("/api/v1/transcriptions", params={"limit": 2, "cursor": listed["next_cursor"]}).json()
    assert {job["job_id"] for job in more["items"]}.isdisjoint(job["job_id"] for job in listed["items"])
    assert client.get("/api/v1/transcriptions?page=2&limit=1&status=completed").json()["items"][0] != listed["items"][0]
    queues = client.get("/queues").json()
    assert {"queued", "processing", "completed", "failed", "cancelled", "jobs"} <= set(queues)
    assert queues["completed"] == listed["total"]
    assert client.get("/models").json()["models"]
    named = client.post("/jobs", files={"files": ("Weekly_Meeting.wav", recording(0))}, data={"language": "en"})
    found = client.get("/jobs?search=weekly_").json()["items"]
    assert [job["job_id"] for job in found] == [named.json()["jobs"][0]["job_id"]]
    for wrong in ("limit=0", "limit=x", "cursor=..", "status=nice", "page=0"):
        assert client.get(f"/api/v1/transcriptions?{wrong}").status_code in (400, 422)
    assert client.get("/jobs/none").status_code == 404
    assert client.get("/jobs/..%2f..%2fetc").status_code == 404


def test_the_recording_is_served_in_ranges_and_never_as_a_page(client: httpx.Client) -> None:
    page = b"<html><script>alert(1)</script></html>"
    job_id = client.post("/jobs", files={"files": ("x.html", page, "text/html")}).json()["jobs"][0]["job_id"]
    answer = client.get(f"/jobs/{job_id}/file", headers={"Range": "bytes=1-4"})
    assert (answer.status_code, answer.content) == (206, b"html")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_a_webhook_is_delivered_and_its_attempts_are_shown(client: httpx.Client) -> None:
    with servers.serving() as web:
        web.statuses = [410]
        made = client.post(
            "/jobs", files={"files": ("a.wav", recording(1, 2))}, data={"webhook_url": f"{web.address}/hook"}
        )
        job_id = made.json()["jobs"][0]["job_id"]
        done(client, job_id)
        until(lambda: web.seen)
        assert json.loads(web.seen[0].body)["data"]["text"] == f"{SAID[1]} {SAID[2]}"

        def delivery_of_it() -> dict[str, Any]:
            [one] = client.get(f"/jobs/{job_id}/deliveries").json()["deliveries"]
            return dict(one)

        until(lambda: delivery_of_it()["status"] == "disabled")
        delivery = delivery_of_it()
        path = f"/jobs/{job_id}/deliveries/{delivery['id']}/redeliver"
        assert client.post(path).status_code == 202
        until(lambda: len(web.seen) > 1)
    assert web.seen[1].headers["webhook-id"] == delivery["id"]


def test_every_job_endpoint_requires_a_key(tmp_path: Path) -> None:
    with in_process(tmp_path, API_KEYS="right") as guarded, httpx.Client(base_url=guarded.url) as client:
        for method, path in (
            ("POST", "/jobs"), ("GET", "/jobs"), ("GET", "/queues"), ("GET", "/jobs/x"), ("POST", "/jobs/x/cancel"),
            ("GET", "/jobs/x/download"), ("GET", "/jobs/x/events"), ("GET", "/jobs/x/file"), ("DELETE", "/jobs/x"),
            ("POST", "/api/v1/upload/file"), ("POST", "/api/v1/upload/url"), ("GET", "/api/v1/transcription/x"),
            ("GET", "/api/v1/transcriptions"), ("DELETE", "/api/v1/transcription/x"),
        ):  # fmt: skip
            answer = client.request(method, path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        assert client.get("/queues", headers={"Authorization": "Bearer right"}).status_code == 200


def test_health_responds_during_a_transcription(client: httpx.Client) -> None:
    job_id = client.post("/jobs", files={"files": ("long.flac", slow_recording())}, data={"prompt": "y"}).json()[
        "jobs"
    ][0]["job_id"]
    done(client, job_id, "processing")
    assert client.get("/health").status_code == 200
    assert client.get("/docs").status_code == 200
    assert client.get(f"/jobs/{job_id}").json()["status"] == "processing"  # the check did not wait for the job's end
    client.post(f"/jobs/{job_id}/cancel")
