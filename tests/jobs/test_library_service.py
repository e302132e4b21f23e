"""The library as clients see it: search, names, tags, pins, deletion and downloads of several jobs, insights."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from docx import Document as open_docx

from server.jobs.insights import InsightResponse, InsightsResponse
from server.jobs.schemas import JobResponse
from server.jobs.transcript_library_schemas import Deleted, LibraryResponse, SearchResponse
from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import done
from tests.jobs.test_responses import like
from tests.server_process import Service
from tests.servers.chat import FakeChat
from tests.servers.running import running
from tests.waiting import until

KEYS = {name: f"{name}-" + name[0] * 40 for name in ("anna", "ben")}
API_KEYS = ",".join(f"{name}:transcribe:{key}" for name, key in KEYS.items())
SAID = "The heron waits by the river."


@pytest.fixture(scope="module")
def model() -> FakeChat:
    """A language model that repeats what it is asked."""
    return FakeChat(reply_to=lambda messages: f"[0:00] {messages[-1]['content']}")


@pytest.fixture(scope="module")
def service(model: FakeChat, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running(model.app())) as url:
        settings = {"LLM_ENGINE": "openai", "LLM_OPENAI_URL": f"{url}/v1", "AFTER_TRANSCRIPTION": "title"}
        folder = tmp_path_factory.mktemp("library")
        (folder / "insights.toml").write_text('title = "Name this call."')
        settings["VOICES_DIR"] = str(folder / "voices")
        with in_process(folder, heard=SAID, API_KEYS=API_KEYS, JOB_KEEP_HOURS="48", **settings) as started:
            yield started


def caller(service: Service, name: str) -> httpx.Client:
    return httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {KEYS[name]}"}, timeout=60)


@pytest.fixture
def anna(service: Service) -> Iterator[httpx.Client]:
    with caller(service, "anna") as client:
        yield client


@pytest.fixture
def ben(service: Service) -> Iterator[httpx.Client]:
    with caller(service, "ben") as client:
        yield client


def send(client: httpx.Client, *names: str) -> list[str]:
    """Create jobs and wait until they are done."""
    files = [("files", (name, recording(number % 5))) for number, name in enumerate(names)]
    made = client.post("/jobs", files=files).raise_for_status().json()["jobs"]
    return [done(client, job["job_id"], "completed")["job_id"] for job in made]


def test_a_transcript_is_found_renamed_tagged_and_pinned(anna: httpx.Client, ben: httpx.Client) -> None:
    [job_id] = send(anna, "river.wav")
    hit = like(SearchResponse, anna.get("/library/search?q=heron+riv"))["items"][0]
    assert hit["job"]["job_id"] == job_id
    [snippet] = hit["snippets"]
    assert [snippet["text"][start:end] for start, end in snippet["marks"]] == ["heron", "river"]
    assert ben.get("/library/search?q=heron").json()["items"] == []
    changes = {"filename": "../Ana\n& heron.wav", "tags": [" birds ", "Birds", "work"], "pinned": True}
    job = like(JobResponse, anna.patch(f"/jobs/{job_id}", json=changes))
    assert (job["filename"], job["tags"], job["pinned"]) == ("..-Ana& heron.wav", ["Birds", "work"], True)
    assert like(JobResponse, anna.patch(f"/jobs/{job_id}", json={"tags": None}))["tags"] == ["Birds", "work"]
    assert [one["job_id"] for one in anna.get("/jobs?tag=birds&pinned=true").json()["items"]] == [job_id]
    library = like(LibraryResponse, anna.get("/library"))
    assert (library["tags"], library["keep_hours"], library["language_model"]) == ({"Birds": 1, "work": 1}, 48, True)
    for wrong in ({"filename": " .. "}, {"tags": ['a"b']}, {"tags": ["x" * 51]}, {"tags": ["a"] * 21}):
        assert anna.patch(f"/jobs/{job_id}", json=wrong).status_code == 400, wrong
    for query in ("q=" + "x" * 201, "", "q=a&cursor=1-", "q=a&limit=51"):
        assert anna.get(f"/library/search?{query}").status_code == 400, query


def test_several_transcripts_are_downloaded_and_deleted_at_once(anna: httpx.Client, ben: httpx.Client) -> None:
    mine = send(anna, "one.wav", "ONE.mp3", "two.wav")
    [his] = send(ben, "his.wav")
    answer = anna.post("/library/download", json={"ids": [*mine, his, "0" * 32], "format": "docx"})
    assert answer.headers["content-type"] == "application/zip"
    assert 'filename="transcripts.zip"' in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["one.docx", "ONE (2).docx", "two.docx"]
        texts = [one.text for one in open_docx(io.BytesIO(archive.read("two.docx"))).paragraphs]
    assert texts[0] == "two"
    assert SAID in texts[2]
    assert anna.post("/library/download", json={"ids": [his]}).status_code == 404
    assert anna.post("/library/download", json={"ids": mine, "format": "exe"}).status_code == 400
    assert anna.post("/library/delete", json={"ids": ["0" * 32] * 501}).status_code == 400
    told = like(Deleted, anna.post("/library/delete", json={"ids": [*mine, his]}))
    assert told == {"deleted": mine, "not_found": [his]}
    assert anna.get(f"/jobs/{mine[0]}").status_code == 404
    assert ben.get(f"/jobs/{his}").status_code == 200


def test_every_format_can_be_downloaded(anna: httpx.Client) -> None:
    [job_id] = send(anna, "river.wav")
    begins = {"txt": b"The heron", "md": b"# river", "pdf": b"%PDF-", "docx": b"PK", "ttml": b"<?xml", "vtt": b"WEBVTT"}
    for kind, first in begins.items():
        answer = anna.get(f"/jobs/{job_id}/download?format={kind}").raise_for_status()
        assert answer.content.startswith(first), kind
        assert f'filename="river.{kind}"' in answer.headers["content-disposition"]


def insights(client: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    """Wait until all insights of a job are written."""

    def written() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = like(InsightsResponse, client.get(f"/jobs/{job_id}/insights"))["insights"]
        return found if found and all(one["status"] in ("completed", "failed") for one in found) else None

    found = until(written, 60)
    assert found is not None
    return found


def test_the_language_model_writes_about_a_transcript(anna: httpx.Client, model: FakeChat) -> None:
    [job_id] = send(anna, "river.wav")
    [title] = insights(anna, job_id)  # AFTER_TRANSCRIPTION
    assert (title["kind"], title["status"], title["model"]) == ("title", "completed", "openai: tiny")
    assert SAID in title["text"]
    assert "Name this call." in title["text"], "insights.toml"
    like(InsightResponse, anna.post(f"/jobs/{job_id}/insights", json={"kind": "summary", "prompt": "Rhyme."}))
    anna.post(f"/jobs/{job_id}/insights", json={"kind": "answer", "question": "Who waits?"}).raise_for_status()
    anna.post(f"/jobs/{job_id}/insights", json={"kind": "translation", "language": "pt"}).raise_for_status()
    [_, summary, answer, translation] = insights(anna, job_id)
    assert "Rhyme." in summary["text"]
    assert "Who waits?" in answer["text"]
    assert translation["language"] == "pt"
    assert "plain text in Portuguese" in model.requests[-1]["messages"][0]["content"]
    for wrong in ({"kind": "poem"}, {"kind": "answer"}, {"kind": "translation"}, {"kind": "summary", "language": "??"}):
        assert anna.post(f"/jobs/{job_id}/insights", json=wrong).status_code == 400, wrong
    assert anna.delete(f"/jobs/{job_id}/insights/{title['insight_id']}").status_code == 204
    assert len(insights(anna, job_id)) == 3
