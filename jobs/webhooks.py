"""Delivery to webhooks: signed according to Standard Webhooks, retried for a day, and not lost by a restart.

The transaction that ends a job adds its deliveries to the outbox; this module sends them. A message can arrive twice,
with the same ID, if this process ends between the response and its record.
"""

import asyncio
import base64
import contextlib
import json
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from standardwebhooks import Webhook

from jobs.addresses import Reachable
from jobs.change_signal import Notice
from jobs.client import Client, open_client
from jobs.errors import FetchFailed, JobNotFound, Refused
from jobs.lanes import Lanes
from jobs.outbox import Delivery, Outbox
from pipeline.errors import ConfigError, StorageError
from pipeline.settings import Settings
from pipeline.support.storage_errors import storing
from pipeline.support.untrusted import seconds_until
from pipeline.telemetry import tracing

log = logging.getLogger(__name__)

DEADLINE_S = 15.0
"""Timeout for one attempt, in seconds."""
RETRY_S = 5.0
"""Delay between the first failed delivery and the next, in seconds; triples each time, up to LONGEST_S, for a day."""
DAY_S = 86_400.0
LONGEST_S = 4 * 3600.0
MOST_GROWTH = 20
"""Number of attempts after which the wait no longer grows, because the power could exceed a float. It has reached
LONGEST_S by then."""
LOOK_S = 5.0
"""Maximum delay in seconds until deliveries added by another process are found."""

Describe = Callable[[str], Awaitable[Mapping[str, object]]]
TraceOf = Callable[[str], Awaitable[str | None]]


class Webhooks:
    """Sends the deliveries in the outbox."""

    def __init__(
        self, outbox: Outbox, settings: Settings, secret: str, describe: Describe, trace_of: TraceOf | None = None
    ) -> None:
        """describe: returns a job's data for webhooks by its ID; raises JobNotFound. trace_of: returns the trace of the
        request that sent a job by its ID; raises JobNotFound; None: without traces."""
        self._outbox = outbox
        self._signer = signer(secret)
        self._rule = Reachable(settings.url_allow)
        self._describe = describe
        self._trace_of = trace_of
        self.added = Notice()

    async def run(self) -> None:
        """Send deliveries until cancelled."""
        lanes = Lanes()
        async with open_client(self._rule, timeout_s=DEADLINE_S) as client, asyncio.TaskGroup() as group:
            while True:
                changed = self.added.changed
                try:
                    taken = await self._outbox.take(lanes)
                    wait_s = LOOK_S if taken else await self._idle_s(lanes)
                except StorageError:  # from the database; already logged
                    taken, wait_s = [], LOOK_S
                except Exception as error:  # a short failure of the database; nothing is lost
                    log.warning("the search for due webhooks failed: %s", type(error).__name__)
                    taken, wait_s = [], LOOK_S
                for delivery in taken:
                    group.create_task(self._in_lane(client, delivery, lanes))
                if not taken:
                    await self.added.wait(changed, wait_s)

    async def _idle_s(self, lanes: Lanes) -> float:
        """Return the maximum wait until the next delivery is due. The end of a delivery also ends the wait."""
        due = await self._outbox.next_due(lanes)
        return LOOK_S if due is None else min(LOOK_S, max(0.01, due - time.time()))

    async def _in_lane(self, client: Client, delivery: Delivery, lanes: Lanes) -> None:
        """Make one attempt in the slot that `Outbox.take` took for it. An error affects only this delivery: it is taken
        again when its claim expires."""
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
        """Make one attempt; return the reason of its failure, or None."""
        if await self._outbox.is_silenced(delivery.url):
            await self._outbox.record(delivery, took_ms=0, status="disabled", error="the URL returned 410 before")
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
                # Wait only for the head of the response; the body is ignored.
                async with client.stream("POST", url, headers, body.encode()) as response:
                    code, wanted_s = response.status, retry_after_s(response.header("retry-after"))
        except (Refused, FetchFailed, JobNotFound) as refused:
            error = refused.message
        except TimeoutError:
            error = f"no response within {DEADLINE_S:g} s"
        except Exception as failed:  # including our own errors: record and retry
            log.exception("the delivery %s failed", delivery.id)
            error = f"internal: {type(failed).__name__}"
        status, due_at = self._outcome(delivery, code, wanted_s)
        took_ms = round((time.monotonic() - start) * 1000)
        await self._outbox.record(
            delivery, took_ms=took_ms, status=status, http_status=code, error=error, due_at=due_at
        )
        return None if status == "delivered" else "unreachable" if code is None else str(code)

    async def _payload(self, delivery: Delivery) -> dict[str, object]:
        at = datetime.fromtimestamp(delivery.created_at, UTC).isoformat()
        # Report the state of that time, even if the job was retried since.
        data = {**await self._describe(delivery.job_id), "status": delivery.event.rpartition(".")[2]}
        return {"type": delivery.event, "timestamp": at, "data": data}

    def _outcome(self, delivery: Delivery, code: int | None, wanted_s: float) -> tuple[str, float]:
        if code is not None and 200 <= code < 300:
            return "delivered", 0.0
        if code == 410:
            return "disabled", 0.0
        # Jitter: a recovered receiver must not get all deliveries at once.
        grown_s = min(LONGEST_S, RETRY_S * 3.0 ** min(delivery.attempts, MOST_GROWTH)) * random.uniform(0.8, 1.2)  # noqa: S311
        due_at = time.time() + max(wanted_s, grown_s)
        return ("failed", 0.0) if due_at > delivery.since + DAY_S else ("pending", due_at)


def sign(signer: Webhook, message_id: str, body: str) -> dict[str, str]:
    """Return the headers of a signed message."""
    now = datetime.now(UTC)
    return {
        "content-type": "application/json",
        "user-agent": "parley",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign(message_id, now, body),
    }


def signer(secret: str) -> Webhook:
    """Return a signer. Raises ConfigError for an invalid secret."""
    try:
        return Webhook(secret)
    except Exception:
        raise ConfigError("WEBHOOK_SECRET must be whsec_ and base64 (openssl rand -base64 32).") from None


def secret_of(settings: Settings) -> str:
    """Return the deployment's secret; create it once if none is set. Blocks."""
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
    """Return the seconds of a Retry-After in either form, at most a day."""
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        seconds = seconds_until(header) or 0.0
    return min(DAY_S, max(0.0, seconds)) if seconds == seconds else 0.0
