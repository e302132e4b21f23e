"""Responses of the job endpoints match the OpenAPI document exactly."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from server.jobs.schemas import DeliveriesResponse, EchoJob, JobPage, JobResponse, NewJobs, QueuesResponse, Transcript
from server.transcribe.models import ModelsResponse
from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import HEARS, done, zipped
from tests.server_process import Service
from tests.servers import web as servers


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with in_process(tmp_path_factory.mktemp("answers"), **HEARS) as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as opened:
        yield opened


def like(model: type[BaseModel], answer: httpx.Response) -> Any:
    """Check the response against the model: all required fields, the right types, and no other fields."""
    told = answer.raise_for_status().json()
    assert model.model_validate(told, strict=True).model_dump(exclude_unset=True) == told
    return told


def test_all_responses_of_a_job_match_the_document(client: httpx.Client) -> None:
    files = {"files": ("all.zip", zipped(a=recording(0), notes=b"read me"))}
    made = like(NewJobs, client.post("/jobs", files=files, data={"language": "en"}))
    assert made["skipped"] == [{"filename": "all.zip/notes.wav", "reason": "text"}]
    job_id = made["jobs"][0]["job_id"]
    done(client, job_id)
    assert like(JobResponse, client.get(f"/jobs/{job_id}"))["result"]["segments"][0]["words"]
    like(JobResponse, client.get(f"/api/v1/transcription/{job_id}"))
    like(JobResponse, client.put(f"/jobs/{job_id}/speakers", json={"A": "Ana", "B": None}))
    like(Transcript, client.get(f"/jobs/{job_id}/download?format=json"))
    for path in ("/jobs", "/api/v1/transcriptions?limit=1"):
        like(JobPage, client.get(path))
    like(QueuesResponse, client.get("/queues"))
    like(ModelsResponse, client.get("/models"))


def test_responses_of_a_failed_job_match_the_document(client: httpx.Client) -> None:
    job_id = like(EchoJob, client.post("/api/v1/upload/file", files={"file": ("a.wav", b"no audio")}))["job_id"]
    done(client, job_id)
    assert like(JobResponse, client.get(f"/jobs/{job_id}"))["error"]["code"] == "bad_audio"
    like(JobResponse, client.post(f"/jobs/{job_id}/retry"))
    done(client, job_id)
    with servers.serving() as web:
        web.statuses = [503] * 100
        job_id = like(EchoJob, client.post("/api/v1/upload/url", json={"url": f"{web.address}/file"}))["job_id"]
        like(EchoJob, client.delete(f"/api/v1/transcription/{job_id}"))
        like(JobResponse, client.post(f"/jobs/{job_id}/cancel"))


def test_webhook_deliveries_match_the_document(client: httpx.Client) -> None:
    with servers.serving() as web:
        web.statuses = [410]
        form = {"webhook_url": f"{web.address}/hook", "language": "en"}
        made = client.post("/jobs", files={"files": ("a.wav", recording(1))}, data=form).json()
        path, until = f"/jobs/{made['jobs'][0]['job_id']}/deliveries", time.monotonic() + 60
        while not (told := like(DeliveriesResponse, client.get(path))["deliveries"]) or told[0]["status"] == "pending":
            assert time.monotonic() < until, told
            time.sleep(0.05)
        like(DeliveriesResponse, client.post(f"{path}/{told[0]['id']}/redeliver"))
    attempt = told[0]["attempts"][0]
    for moment in (told[0]["created_at"], attempt["at"]):
        # Job times are in this format, too.
        assert moment.endswith("+00:00")
        assert moment[:19] == time.strftime("%Y-%m-%dT%H:%M:%S", time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S"))
    assert attempt["http_status"] == 410
