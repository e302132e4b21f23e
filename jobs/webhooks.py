"""Telling webhooks: signed as Standard Webhooks has it, tried for a day, never forgotten by a restart.

What is to be told is in the outbox from the transaction in which it became true; here it is delivered. A message may
arrive twice, when this process ends between the answer and its record; its id is the same then.
"""

import asyncio
import base64
import contextlib
import json
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook

from jobs.addresses import Reachable
from jobs.client import Client, open_client
from jobs.errors import FetchFailed, JobNotFound, Refused
from jobs.lanes import Lanes
from jobs.notice import Notice
from jobs.outbox import Delivery, Outbox
from pipeline import tracing
from pipeline.errors import ConfigError, StorageError
from pipeline.settings import Settings
from pipeline.storing import storing
from pipeline.untrusted import seconds_until

log = logging.getLogger(__name__)

DEADLINE_S = 15.0
"""From the request to the end of its answer."""
DAY_S = 86_400.0
LONGEST_S = 4 * 3600.0
MOST_GROWTH = 20
"""Attempts after which the wait is LONGEST_S in any case: a power of their number may be no float any more."""
LOOK_S = 5.0
"""Deliveries that another process has put into the outbox are seen at the latest after this."""

Describe = Callable[[str], Awaitable[dict[str, Any]]]
TraceOf = Callable[[str], Awaitable[str | None]]


class Webhooks:
    """Delivers what is in the outbox."""

    def __init__(
        self, outbox: Outbox, settings: Settings, secret: str, describe: Describe, trace_of: TraceOf | None = None
    ) -> None:
        """describe: a job as it is shown outside, by its id; raises JobNotFound. trace_of: the trace that a job was
        sent in, likewise; None: there are none."""
        self._outbox = outbox
        self._retry_s = settings.webhook_retry_s
        self._signer = signer(secret)
        self._rule = Reachable(settings.url_allow)
        self._describe = describe
        self._trace_of = trace_of
        self.added = Notice()

    async def run(self) -> None:
        """For ever."""
        lanes = Lanes()
        async with open_client(self._rule, timeout_s=DEADLINE_S) as client, asyncio.TaskGroup() as group:
            while True:
                changed = self.added.changed
                try:
                    taken = await self._outbox.take(lanes)
                    wait_s = LOOK_S if taken else await self._idle_s(lanes)
                except StorageError:  # the database, logged where it was found
                    taken, wait_s = [], LOOK_S
                except Exception as error:  # the database, for a moment; nothing is lost
                    log.warning("webhooks cannot be looked for: %s", type(error).__name__)
                    taken, wait_s = [], LOOK_S
                for delivery in taken:
                    group.create_task(self._in_lane(client, delivery, lanes))
                if not taken:
                    await self.added.wait(changed, wait_s)

    async def _idle_s(self, lanes: Lanes) -> float:
        """For how long there is nothing to begin, at most; a delivery that ends tells."""
        due = await self._outbox.next_due(lanes)
        return LOOK_S if due is None else min(LOOK_S, max(0.01, due - time.time()))

    async def _in_lane(self, client: Client, delivery: Delivery, lanes: Lanes) -> None:
        """One attempt, in the place that `Outbox.take` took for it. Whatever goes wrong is this delivery's alone: it is
        taken again when its claim is over."""
        try:
            await self._traced(client, delivery)
        except Exception as error:
            log.error("the delivery %s was not recorded: %s", delivery.id, type(error).__name__)
        finally:
            lanes.leave(delivery.owner, delivery.host)
            self.added.tell()

    async def _traced(self, client: Client, delivery: Delivery) -> None:
        within: str | None = None
        if tracing.on() and self._trace_of is not None:
            with contextlib.suppress(JobNotFound):
                within = await self._trace_of(delivery.job_id)
        about: tracing.Attributes = {"parley.job": delivery.job_id, "parley.attempt": delivery.attempts + 1}
        with tracing.span("webhook", about, within=within, outgoing=True) as span:
            if (failure := await self._deliver(client, delivery)) is not None:
                tracing.fail(span, failure)

    async def _deliver(self, client: Client, delivery: Delivery) -> str | None:
        """One attempt; why it failed."""
        if await self._outbox.is_silenced(delivery.url):
            await self._outbox.record(delivery, took_ms=0, status="disabled", error="the address answered 410 before")
            return "disabled"
        start = time.monotonic()
        code: int | None = None
        error: str | None = None
        wanted_s = 0.0
        try:
            body = await asyncio.to_thread(json.dumps, await self._payload(delivery))
            async with asyncio.timeout(DEADLINE_S):
                url = self._rule.check(delivery.url)
                headers = sign(self._signer, delivery.id, body) | tracing.headers()
                # Only the head of the answer is waited for: its body is of no interest.
                async with client.stream("POST", url, headers, body.encode()) as answer:
                    code, wanted_s = answer.status, retry_after_s(answer.header("retry-after"))
        except (Refused, FetchFailed, JobNotFound) as refused:
            error = refused.message
        except TimeoutError:
            error = f"no answer within {DEADLINE_S:g} s"
        except Exception as failed:  # also of this program or its tables: it is recorded, and tried again
            log.exception("the delivery %s failed", delivery.id)
            error = f"internal: {type(failed).__name__}"
        status, due_at = self._outcome(delivery, code, wanted_s)
        took_ms = round((time.monotonic() - start) * 1000)
        await self._outbox.record(
            delivery, took_ms=took_ms, status=status, http_status=code, error=error, due_at=due_at
        )
        return None if status == "delivered" else "unreachable" if code is None else str(code)

    async def _payload(self, delivery: Delivery) -> dict[str, Any]:
        at = datetime.fromtimestamp(delivery.created_at, UTC).isoformat()
        # What became true then, also when the job was tried again since.
        data = {**await self._describe(delivery.job_id), "status": delivery.event.rpartition(".")[2]}
        return {"type": delivery.event, "timestamp": at, "data": data}

    def _outcome(self, delivery: Delivery, code: int | None, wanted_s: float) -> tuple[str, float]:
        if code is not None and 200 <= code < 300:
            return "delivered", 0.0
        if code == 410:
            return "disabled", 0.0
        # Jitter: a receiver that comes back is not met by everything at once.
        grown_s = min(LONGEST_S, self._retry_s * 3.0 ** min(delivery.attempts, MOST_GROWTH)) * random.uniform(0.8, 1.2)  # noqa: S311
        due_at = time.time() + max(wanted_s, grown_s)
        return ("failed", 0.0) if due_at > delivery.since + DAY_S else ("pending", due_at)


def sign(signer: Webhook, message_id: str, body: str) -> dict[str, str]:
    """The headers of a signed message."""
    now = datetime.now(UTC)
    return {
        "content-type": "application/json",
        "user-agent": "parley",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign(message_id, now, body),
    }


def signer(secret: str) -> Webhook:
    """Raises ConfigError for a secret that cannot be used."""
    try:
        return Webhook(secret)
    except Exception:
        raise ConfigError("WEBHOOK_SECRET: send whsec_ and base64 (openssl rand -base64 32).") from None


def secret_of(settings: Settings) -> str:
    """Blocking: the deployment's secret, made once where none is set."""
    if settings.webhook_secret:
        return settings.webhook_secret
    path = Path(settings.upload_dir) / "webhook-secret"
    with storing("UPLOAD_DIR"):
        if not path.exists():
            made = path.with_name(f".{secrets.token_hex(8)}")
            made.touch(mode=0o600)
            try:
                made.write_text(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}\n", "ascii")
                path.hardlink_to(made)
            except FileExistsError:
                pass  # another service was first
            finally:
                made.unlink()
        return path.read_text("ascii").strip()


def retry_after_s(header: str | None) -> float:
    """Seconds that a Retry-After asks for, in either of its forms; a day at most."""
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        seconds = seconds_until(header) or 0.0
    return min(DAY_S, max(0.0, seconds)) if seconds == seconds else 0.0
