"""Ownership of jobs, in both job APIs of a service with keys."""

import time
from collections.abc import Iterator

import httpx
import jwt
import pytest

from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import HEARS, SAID, done
from tests.server_process import Service

SECRET = "s" * 40
KEYS = {name: f"{name}-" + name[0] * 40 for name in ("anna", "ben", "root")}
API_KEYS = f"anna:transcribe:{KEYS['anna']},ben:transcribe+talk:{KEYS['ben']},root:admin:{KEYS['root']}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with in_process(tmp_path_factory.mktemp("owners"), **HEARS, API_KEYS=API_KEYS, JWT_SECRET=SECRET) as running:
        yield running


def caller(service: Service, key: str) -> httpx.Client:
    return httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def login(name: str) -> str:
    return jwt.encode({"sub": name, "exp": time.time() + 600, "scope": "transcribe"}, SECRET, "HS256")


@pytest.fixture
def anna(service: Service) -> Iterator[httpx.Client]:
    with caller(service, KEYS["anna"]) as client:
        yield client


@pytest.fixture
def ben(service: Service) -> Iterator[httpx.Client]:
    with caller(service, KEYS["ben"]) as client:
        yield client


@pytest.fixture
def root(service: Service) -> Iterator[httpx.Client]:
    with caller(service, KEYS["root"]) as client:
        yield client


def send(client: httpx.Client, *numbers: int, **fields: str) -> str:
    """Create a job and wait until it is done."""
    files = {"files": ("a.wav", recording(*numbers))}
    answer = client.post("/jobs", files=files, data={"language": "en", **fields}).raise_for_status()
    job_id = str(answer.json()["jobs"][0]["job_id"])
    done(client, job_id)
    return job_id


def ids(client: httpx.Client, path: str) -> list[str]:
    return [job["job_id"] for job in client.get(path).raise_for_status().json()["items"]]


def routes_of_a_job(service: Service) -> list[tuple[str, str]]:
    """All job routes in the OpenAPI document, except those of remote workers, which sign their requests."""
    paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    return [
        (method, path) for path, methods in paths.items() for method in methods
        if "{job_id}" in path and not path.startswith("/api/v1/webhooks/")
    ]  # fmt: skip


def test_a_caller_cannot_touch_the_job_of_another(service: Service, anna: httpx.Client, ben: httpx.Client) -> None:
    job_id = send(anna, 0)
    routes = routes_of_a_job(service)
    assert len(routes) >= 13
    bodies: dict[str, object] = {"put": {"A": "Mallory"}, "patch": {"filename": "mallory.wav"}}
    for method, path in routes:
        for name, value in {"delivery_id": "msg_x", "insight_id": "x", "version": "0"}.items():
            path = path.replace(f"{{{name}}}", value)
        there, nowhere = path.replace("{job_id}", job_id), path.replace("{job_id}", "0" * 32)
        body = {"kind": "summary"} if method == "post" and path.endswith("/insights") else bodies.get(method)
        answer, other = (ben.request(method, url, json=body) for url in (there, nowhere))
        assert (answer.status_code, answer.json()) == (404, other.json()), (method, path)
    mine = anna.get(f"/jobs/{job_id}").json()
    assert (mine["status"], mine["speakers"], mine["result"]["text"]) == ("completed", {}, SAID[0])


def test_lists_and_counts_contain_only_the_callers_jobs(
    anna: httpx.Client, ben: httpx.Client, root: httpx.Client
) -> None:
    hers, his = send(anna, 1, session_id="both"), send(ben, 2, session_id="both")
    for path in ("/jobs?limit=200", "/api/v1/transcriptions?limit=200", "/jobs?session_id=both", "/jobs?search=a.wav"):
        assert hers in ids(anna, path), path
        assert his not in ids(anna, path), path
        assert his in ids(ben, path), path
        assert {hers, his} <= set(ids(root, path)), path
    listed = anna.get("/jobs?limit=200").json()
    assert listed["total"] == len(listed["items"]) == anna.get("/queues").json()["total"]
    assert anna.get("/jobs?session_id=both").json()["total"] == 1
    whole = root.get("/queues").json()
    assert whole["completed"] >= anna.get("/queues").json()["completed"] + ben.get("/queues").json()["completed"]


def test_admins_see_and_touch_all_jobs(anna: httpx.Client, root: httpx.Client) -> None:
    job_id = send(anna, 3)
    assert root.get(f"/jobs/{job_id}").json()["result"]["text"] == SAID[3]
    assert root.get(f"/api/v1/transcription/{job_id}/download").text.strip() == SAID[3]
    assert root.put(f"/jobs/{job_id}/speakers", json={"A": "Ana"}).json()["speakers"] == {"A": "Ana"}
    assert root.delete(f"/jobs/{job_id}").status_code == 204
    assert anna.get(f"/jobs/{job_id}").status_code == 404


def test_a_jwt_subject_is_not_the_key_of_the_same_name(service: Service, anna: httpx.Client) -> None:
    job_id = send(anna, 4)
    with caller(service, login("anna")) as other:
        assert other.get(f"/jobs/{job_id}").status_code == 404
        own = send(other, 5)
    with caller(service, login("anna")) as later:
        assert ids(later, "/jobs") == [own]
    # Subjects with the same beginning differ, and none has the name of tokens without a subject.
    unnamed = jwt.encode({"exp": time.time() + 600, "scope": "transcribe"}, SECRET, "HS256")
    for one, another in ((login("x" * 100 + "a"), login("x" * 100 + "b")), (unnamed, login("jwt"))):
        with caller(service, one) as first, caller(service, another) as second:
            own = send(first, 5)
            assert second.get(f"/jobs/{own}").status_code == 404


def test_callers_can_use_the_same_idempotency_key(anna: httpx.Client, ben: httpx.Client) -> None:
    form: dict[str, object] = {"files": {"files": ("k.wav", recording(6))}, "headers": {"Idempotency-Key": "k"}}
    first, again, other = (client.post("/jobs", **form).json() for client in (anna, anna, ben))  # type: ignore[arg-type]
    assert first["jobs"][0]["job_id"] == again["jobs"][0]["job_id"] != other["jobs"][0]["job_id"]


def test_an_idempotency_key_cannot_collide_with_another_callers(service: Service) -> None:
    """A subject can end like a path. Path and key were once joined, which made two keys equal."""
    data = recording(6)
    made = []
    for subject, key in (("carla", "/jobs k"), ("carla /jobs", "k")):
        with caller(service, login(subject)) as client:
            answer = client.post("/jobs", files={"files": ("k.wav", data)}, headers={"Idempotency-Key": key})
            made.append(answer.raise_for_status().json()["jobs"][0]["job_id"])
    assert made[0] != made[1]
