"""The task that writes queued insights, one at a time and behind conversations, which need the model more urgently."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from jobs.change_signal import Notice
from jobs.insights.rows import Insight, InsightStore
from jobs.insights.writing import Writer
from jobs.job import Job
from pipeline.errors import EngineError, Overloaded, ParleyError, StorageError
from pipeline.support.background import background
from pipeline.workers.caller import Urgency, calling

log = logging.getLogger(__name__)

LOOK_S = 10.0
"""Maximum delay in seconds until insights queued by another process are found, or a language model that has started."""
BEAT_S = 5.0
SILENT_S = 30.0
"""Seconds without a heartbeat after which a process counts as gone, and its insight is queued again."""
ATTEMPTS = 3
RETRY_S = 10.0
"""Delay before the second attempt, in seconds; doubles each time."""
FAILED_S = 5.0
"""Wait after a database failure, in seconds."""
Transcript = Callable[[str], Awaitable[tuple[Job, str]]]


class InsightWorker:
    """Writes the insights of one deployment; other processes may do so, too."""

    def __init__(
        self,
        store: InsightStore,
        writer: Writer,
        *,
        has_model: Callable[[], Awaitable[bool]],
        model: Callable[[], str],
        transcript: Transcript,
        added: Notice,
    ) -> None:
        """added: told of new insights, and of jobs that ended. has_model: whether there is a language model now.
        model: its name. transcript: returns a job and its stored result; raises JobNotFound, NotPossible."""
        self._store = store
        self._writer = writer
        self._has_model = has_model
        self._model = model
        self._transcript = transcript
        self._added = added

    async def run(self) -> None:
        """Write insights until cancelled."""
        recovered = -SILENT_S
        while True:
            changed = self._added.changed
            try:
                if time.monotonic() - recovered >= SILENT_S / 2:
                    recovered = time.monotonic()
                    await self._store.recover(SILENT_S, most=ATTEMPTS)
                due = await self._store.next_due()
                if due is not None and due <= time.time() and await self._has_model():
                    if (insight := await self._store.claim()) is not None:
                        await self._write(insight)
                        continue
                    due = None
                wait_s = LOOK_S if due is None or due <= time.time() else min(LOOK_S, due - time.time())
            except StorageError:  # already logged
                wait_s = FAILED_S
            except Exception:
                log.exception("insights cannot be written; retrying in %g s", FAILED_S)
                wait_s = FAILED_S
            await self._added.wait(changed, wait_s)

    async def _write(self, insight: Insight) -> None:
        try:
            async with background(self._attempt(insight)) as working, background(self._beat(insight)) as beating:
                await asyncio.wait([working, beating], return_when=asyncio.FIRST_COMPLETED)
            if not working.cancelled():  # its lease is lost: it was deleted
                working.result()
        except asyncio.CancelledError:
            await asyncio.shield(self._store.release(insight))
            raise
        except Overloaded as error:
            in_s = float(error.retry_after_s)
            await self._store.again(insight, error.code, error.message, in_s=in_s, counted=False)
        except EngineError as error:
            await self._again(insight, error, RETRY_S * 2.0 ** (insight.attempts - 1))
        except StorageError:
            raise
        except ParleyError as error:  # without its transcript
            await self._store.fail(insight, error.code, error.message)
        except Exception:
            log.exception("insight %s failed", insight.id)
            await self._store.fail(insight, "internal", "Something went wrong inside the service.")

    async def _attempt(self, insight: Insight) -> None:
        async def told(share: float) -> None:
            await self._store.change(insight, done=share)

        job, body = await self._transcript(insight.job_id)
        # For a question about any recording a user waits.
        urgency = Urgency.IDLE if job.background and insight.question is None else Urgency.FILE
        with calling(session=insight.id, account=job.owner, urgency=urgency):
            text = await self._writer.write(insight, body, dict(job.speakers), told)
        if not text:
            raise EngineError("The language model wrote nothing.", code="empty_reply")
        await self._store.finish(insight, text, self._model())

    async def _again(self, insight: Insight, error: ParleyError, in_s: float) -> None:
        if insight.attempts >= ATTEMPTS:
            log.info("insight %s: %s: %s", insight.id, error.code, error.message)
            await self._store.fail(insight, error.code, error.message)
        else:
            await self._store.again(insight, error.code, error.message, in_s=in_s)

    async def _beat(self, insight: Insight) -> None:
        """Renew the heartbeat until the lease is lost."""
        held = True
        while held:
            await asyncio.sleep(BEAT_S)
            held = await self._store.change(insight)
