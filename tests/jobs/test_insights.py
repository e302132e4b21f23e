"""Insights on both databases: durable, retried, and written in parts that fit the language model."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.change_signal import Notice
from jobs.errors import NotPossible
from jobs.insights.prompts import PROMPTS, kinds_after, read_prompts
from jobs.insights.rows import Insight, InsightStore
from jobs.insights.worker import InsightWorker
from jobs.insights.writing import Writer
from jobs.job import Job
from jobs.result import store_form
from jobs.store import JobStore
from pipeline.errors import ConfigError, EngineError
from pipeline.llm import Message, ReplyDelta
from pipeline.stt import Segment
from pipeline.support.background import background
from pipeline.workers.caller import Caller, Urgency, current
from tests.jobs.conftest import submission

SENTENCES = [f"Sentence number {number} of this long recording." for number in range(400)]
BODY = store_form(
    [Segment(4.0 * n, 4.0 * n + 3, text, speaker="A") for n, text in enumerate(SENTENCES)],
    language="en", duration_s=1600.0, engine="e",
)  # fmt: skip


class Model:
    """A language model that writes the numbers of the sentences in its prompt; it fails `failures` times first."""

    def __init__(self, failures: int = 0) -> None:
        self.prompts: list[Sequence[Message]] = []
        self.failures = failures
        self.callers: list[Caller] = []

    async def reply(self, messages: Sequence[Message]) -> AsyncGenerator[ReplyDelta, None]:
        self.prompts.append(messages)
        self.callers.append(current())
        if self.failures:
            self.failures -= 1
            raise EngineError("The model is gone.", code="llm_unavailable")
        yield ReplyDelta(" ".join(re.findall(r"number (\d+)", messages[-1].content)) or "a title")


def wanted(kind: str, **values: object) -> Insight:
    common = {"prompt": "", "language": None, "question": None, "done": 0.0, "text": None, "model": None}
    times = {"created_at": 0.0, "due_at": 0.0, "finished_at": None, "lease": None, "heartbeat_at": None}
    errors = {"error_code": None, "error_message": None, "attempts": 1}
    return Insight(id="i", job_id="j", kind=kind, status="running", **{**common, **times, **errors, **values})  # type: ignore[arg-type]


async def test_a_long_transcript_is_read_in_parts() -> None:
    told: list[float] = []

    async def progress(share: float) -> None:
        told.append(share)

    for kind, context, reply in (("summary", 3000, 512), ("translation", 3000, 512), ("summary", 100_000, 512)):
        model = Model()
        writer = Writer(model.reply, context_tokens=context, reply_tokens=reply)
        text = await writer.write(wanted(kind, language="pt"), BODY, {"A": "Ana"}, progress)
        sizes = [sum(len(message.content.encode()) for message in prompt) for prompt in model.prompts]
        assert max(sizes) <= 3.5 * context
        read = " ".join(prompt[-1].content for prompt in model.prompts)
        assert set(re.findall(r"number (\d+)", read)) == {str(number) for number in range(400)}
        assert "Ana: Sentence number 0" in read
        assert "plain text in Portuguese" in model.prompts[0][0].content
        if kind == "translation":  # the parts, one after the other
            assert text.split() == [str(number) for number in range(400)]
        assert (len(model.prompts) == 1) == (context == 100_000)
    assert max(told) < 1.0


async def test_a_line_without_spaces_is_cut_and_keeps_its_time() -> None:
    async def progress(share: float) -> None:
        pass

    for said in ("\u5929\u6c14\u3002" * 3000, "\u5929" * 9001, "weather " * 4000):
        model = Model()
        body = store_form([Segment(65.0, 900.0, said)], language=None, duration_s=900.0, engine="e")
        writer = Writer(model.reply, context_tokens=1000, reply_tokens=512)
        await writer.write(wanted("translation", language="en"), body, {}, progress)
        read = [prompt[-1].content.rpartition("\n")[2] for prompt in model.prompts]
        assert all(part.startswith("[1:05] ") and len(part.encode()) <= 3500 for part in read)
        assert "".join(part.removeprefix("[1:05] ") for part in read).replace(" ", "") == said.replace(" ", "")


async def test_a_reply_that_is_cut_off_is_asked_for_in_halves() -> None:
    async def progress(share: float) -> None:
        pass

    async def short(messages: Sequence[Message]) -> AsyncGenerator[ReplyDelta, None]:
        numbers = re.findall(r"number (\d+)", messages[-1].content)
        yield ReplyDelta(" ".join(numbers[:30]), cut=len(numbers) > 30)

    writer = Writer(short, context_tokens=100_000, reply_tokens=100_000)
    text = await writer.write(wanted("translation", language="pt"), BODY, {}, progress)
    assert text.split() == [str(number) for number in range(400)]
    assert (await writer.write(wanted("summary"), BODY, {}, progress)).endswith("29 …")


async def completed(store: JobStore, owner: str = "key:anna") -> Job:
    await store.submit([submission(owner=owner)], cached=[None])
    job = await store.claim()
    assert job is not None
    assert await store.complete(job, "k" * 64, BODY, 1600.0)
    return await store.get(job.id)


async def test_an_insight_outlives_its_process(store: JobStore) -> None:
    insights, job = InsightStore(store.database), await completed(store)
    made = await insights.create(job.id, "summary", prompt="Rhyme.")
    first = await insights.claim()
    assert first is not None
    assert (first.id, first.prompt, first.attempts) == (made.id, "Rhyme.", 1)
    assert await insights.claim() is None
    assert await insights.recover(0.0, most=3) == 1
    second = await insights.claim()
    assert second is not None
    assert not await insights.finish(first, "late", "m")
    assert await insights.finish(second, "in time", "m")
    [found] = await insights.of_job(job.id)
    assert (found.status, found.text, found.model) == ("completed", "in time", "m")
    await store.delete(job.id)
    assert await insights.of_job(job.id) == []


async def test_owners_take_turns_and_have_a_limit(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.insights.rows.MAX_WAITING", 4)
    insights = InsightStore(store.database)
    hers, his = await completed(store, "key:anna"), await completed(store, "key:ben")
    for _ in range(4):
        await insights.create(hers.id, "title")
    with pytest.raises(NotPossible, match="at most 4 insights"):
        await insights.create(hers.id, "title")
    await insights.create(his.id, "title")
    await insights.create(his.id, "title")
    claimed = [await insights.claim() for _ in range(6)]
    assert [one.job_id for one in claimed if one] == [hers.id, his.id, hers.id, his.id, hers.id, hers.id]


async def test_an_insight_that_ends_its_process_fails_in_the_end(store: JobStore) -> None:
    insights, job = InsightStore(store.database), await completed(store)
    await insights.create(job.id, "title")
    for _ in range(3):
        assert await insights.claim()
        await insights.recover(0.0, most=3)
    [found] = await insights.of_job(job.id)
    assert (found.status, found.error_code, found.attempts) == ("failed", "interrupted", 3)


@pytest.mark.parametrize(("failures", "status"), [(2, "completed"), (3, "failed")])
async def test_a_failure_of_the_model_is_retried(
    store: JobStore, monkeypatch: pytest.MonkeyPatch, failures: int, status: str
) -> None:
    monkeypatch.setattr("jobs.insights.worker.RETRY_S", 0.001)
    insights, job, model = InsightStore(store.database), await completed(store), Model(failures)
    await insights.create(job.id, "title")

    async def yes() -> bool:
        return True

    async def transcript(job_id: str) -> tuple[Job, str]:
        return job, await store.result("k" * 64) or ""

    writer = Writer(model.reply, context_tokens=100_000, reply_tokens=512)
    worker = InsightWorker(
        insights, writer, has_model=yes, model=lambda: "m", transcript=transcript, added=Notice()
    )  # fmt: skip

    async with background(worker.run()):
        for _ in range(3000):
            [found] = await insights.of_job(job.id)
            if found.finished_at is not None:
                break
            await asyncio.sleep(0.02)
    assert {(one.session, one.account, one.urgency) for one in model.callers} == {(found.id, job.owner, Urgency.FILE)}
    assert (found.status, found.error_code) == (status, None if status == "completed" else "llm_unavailable")


@pytest.mark.parametrize(
    ("background_job", "question", "urgency"),
    [(True, None, Urgency.IDLE), (True, "Who spoke?", Urgency.FILE), (False, None, Urgency.FILE)],
)
async def test_insights_of_watched_folders_come_after_those_that_users_wait_for(
    store: JobStore, background_job: bool, question: str | None, urgency: Urgency
) -> None:
    insights, model = InsightStore(store.database), Model()
    job = replace(await completed(store), background=background_job)
    await insights.create(job.id, "title", question=question)
    ended = asyncio.Event()

    async def yes() -> bool:
        return True

    def named() -> str:
        ended.set()
        return "m"

    async def transcript(job_id: str) -> tuple[Job, str]:
        return job, await store.result("k" * 64) or ""

    writer = Writer(model.reply, context_tokens=100_000, reply_tokens=512)
    worker = InsightWorker(insights, writer, has_model=yes, model=named, transcript=transcript, added=Notice())
    async with background(worker.run()):
        await asyncio.wait_for(ended.wait(), 60)
    assert {one.urgency for one in model.callers} == {urgency}


async def test_each_completed_job_gets_the_insights_of_the_setting(store: JobStore) -> None:
    ruled = JobStore(store.database, max_waiting=10, after=kinds_after("title, summary,title"))
    job = await completed(ruled)
    [[again], _] = await ruled.submit([submission()], cached=["k" * 64])  # completed at once
    for one in (job, again):
        assert [each.kind for each in await InsightStore(store.database).of_job(one.id)] == ["title", "summary"]
    with pytest.raises(ConfigError, match="'poem' is not one of title, summary, actions, chapters"):
        kinds_after("poem")


async def test_a_deployment_has_instructions_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "prompts.toml").write_text('title = "Name this call."')
    model = Model()
    writer = Writer(
        model.reply, context_tokens=100_000, reply_tokens=512, prompts=read_prompts(tmp_path / "prompts.toml")
    )

    async def progress(share: float) -> None:
        pass

    for kind, told in (("title", "Name this call."), ("summary", PROMPTS["summary"])):
        await writer.write(wanted(kind), BODY, {}, progress)
        assert model.prompts[-1][-1].content.startswith(told)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title = ", "not valid TOML"),
        ('poem = "Write a poem."', "'poem' is not one of title, summary"),
        ('title = " "', "title must be a text of at most 2000 characters"),
        ("title = 3", "title must be a text"),
        (f'title = "{"x" * 2001}"', "title must be a text"),
    ],
)
def test_wrong_instructions_end_the_start(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_prompts(path)
