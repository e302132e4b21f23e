"""Refusals before any work: too many conversations, too many requests, bodies that are too large or too slow."""

import asyncio
import json
from collections.abc import MutableMapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipeline import workers
from pipeline.errors import ConfigError, Overloaded
from pipeline.settings import Settings
from pipeline.workers.lag import HALF_S, Lag
from server.access import Access, AccessMiddleware, Caller, bodies, budgets, rates
from server.access.callers import USE
from server.access.limits import HELD, AtMost, Budget, Share, share
from server.access.pace import MIN_PER_S, PACE_WAIT_S
from server.access.rates import Rates, TooOften
from server.access.rules import Open, Rule
from server.access.slots import Full, Slots, TooMany
from server.app import create_app
from tests import virtual_time
from tests.access.calls import Route, call, scope
from tests.servers.redis_server import needs_redis, redis
from tests.servers.running import closed_port
from tests.waiting import WAIT_S

SOCKET = Route("WEBSOCKET", "/ws")
KEYS = {"api_keys": "anna:talk:first,ben:talk:second"}


def caller(name: str = "", address: str = "203.0.113.7") -> Caller:
    return Caller(name, USE, kind="key" if name else "anonymous", address=address)


# --- conversations ---


def test_slots_are_limited_in_total_per_caller() -> None:
    slots = Slots(Settings(max_sessions=6, caller_share=0.3))
    with ExitStack() as stack:
        for name in ("anna", ""):
            for _ in range(2):
                stack.enter_context(slots.one(caller(name)))
        with pytest.raises(TooMany, match="with this key"):
            stack.enter_context(slots.one(caller("anna", "203.0.113.8")))
        with pytest.raises(TooMany, match="from this address"):
            stack.enter_context(slots.one(caller("")))
        stack.enter_context(slots.one(caller("ben")))
        stack.enter_context(slots.one(caller("", "")))
        with pytest.raises(Full):
            stack.enter_context(slots.one(caller("carl", "203.0.113.9")))
        assert slots.taken == 6
    assert slots.taken == 0
    assert not slots._taken, "callers who have left are forgotten"


def test_new_conversations_are_refused_while_the_models_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    lag = Lag(clock)
    monkeypatch.setattr(workers, "MAX_WAIT_S", 8.0)
    slots = Slots(Settings())
    slots.lag_s = lambda: lag.seconds
    for _ in range(20):
        lag.note(1.5)
    with slots.one(caller()):
        for _ in range(10):
            lag.note(4.0)
        with pytest.raises(Full, match="cannot keep up"), slots.one(caller()):
            pass
    clock.now += HALF_S
    with slots.one(caller()):
        assert 1.5 < lag.seconds < 2


def test_by_default_one_key_gets_half_of_the_slots() -> None:
    slots = Slots(Settings(max_sessions=5))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(slots.one(caller("anna")))
        with pytest.raises(TooMany):
            stack.enter_context(slots.one(caller("anna")))
        stack.enter_context(slots.one(caller("ben")))
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(slots.one(caller("", "")))
        with pytest.raises(Full):
            stack.enter_context(slots.one(caller("", "")))


@pytest.mark.parametrize("who", [caller("anna"), caller("", "203.0.113.7")], ids=["key", "address"])
def test_one_caller_gets_half_of_a_limit_unless_configured(who: Caller) -> None:
    for most, set_to, allowed in ((1, 0, 1), (4, 0, 2), (5, 0, 3), (4, 0.25, 1), (1, 0.1, 1), (4, 1, 4)):
        counted = AtMost(most, share(most, set_to), "recordings are being transcribed")
        with ExitStack() as stack:
            for _ in range(allowed):
                stack.enter_context(counted.one(who))
            with pytest.raises(Overloaded) as refused:
                stack.enter_context(counted.one(who))
            assert refused.value.code == ("overloaded" if allowed == most else "too_many_requests")
            for _ in range(most - allowed):  # the others' share, which they and local callers can still use
                stack.enter_context(counted.one(caller("", "")))
        assert not counted._of, "callers who have left are forgotten"


async def test_endless_uploads_of_one_key_leave_half_of_the_slots_to_others() -> None:
    """The caller gets an error in the format of the API that it called, before a byte of its body is read."""
    entered, leave = asyncio.Semaphore(0), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        entered.release()
        await leave.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    access = Access(Settings(api_keys="anna:transcribe:first,ben:transcribe:second", max_files=1))
    middleware = AccessMiddleware(app, access)
    upload = Route("POST", "/v1/audio/transcriptions")

    def send(key: str) -> asyncio.Task[Any]:
        return asyncio.create_task(call(middleware, scope(upload, {"Authorization": f"Bearer {key}"})))

    async with asyncio.timeout(WAIT_S):
        running = [send("first") for _ in range(2)]
        for _ in running:
            await entered.acquire()
        refused = await send("first")
        assert (refused.status, json.loads(refused.body)["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(refused.headers["retry-after"]) > 0
        running += [send("second") for _ in range(2)]
        for _ in range(2):
            await entered.acquire()
        leave.set()
        assert [(await one).status for one in running] == [200] * 4
    assert access.budgets.uploads.taken == 0


async def test_uploads_over_the_limit_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "UPLOADS_PER_FILE", 1)
    inside, leave = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        inside.set()
        await leave.wait()
        raise RuntimeError("an upload that fails")

    access = Access(Settings(max_files=1))
    middleware = AccessMiddleware(app, access)
    upload = Route("POST", "/jobs")
    first = asyncio.create_task(call(middleware, scope(upload)))
    await inside.wait()
    refused = await call(middleware, scope(upload))
    assert refused.status == 503
    assert "retry-after" in refused.headers
    leave.set()
    with pytest.raises(RuntimeError):
        await first
    assert access.budgets.uploads.taken == 0


async def test_a_slot_is_taken_before_accept_and_always_released() -> None:
    inside, leave = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        inside.set()
        await leave.wait()
        raise RuntimeError("a conversation that fails")

    access = Access(Settings(max_sessions=1))
    middleware = AccessMiddleware(app, access)
    first = asyncio.create_task(call(middleware, scope(SOCKET)))
    await inside.wait()
    refused = await call(middleware, scope(SOCKET))
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) > 0
    realtime = await call(middleware, scope(Route("WEBSOCKET", "/v1/realtime")))
    assert realtime.status == 503
    assert json.loads(realtime.body)["error"]["code"] == "session_limit_reached"
    leave.set()
    with pytest.raises(RuntimeError):
        await first
    assert access.sessions == 0


@pytest.mark.parametrize(
    ("client", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("nonsense", ""),
    ],
)
async def test_the_caller_address_is_found(client: str, address: str) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["parley.caller"].address)

    await AccessMiddleware(app, Access(Settings()))(scope(SOCKET, client=client), None, None)  # type: ignore[arg-type]
    assert seen == [address]


# --- requests ---


async def test_requests_per_key_and_without_a_key_are_limited() -> None:
    for path, form in (("/v1/models/x", {"message", "type", "param", "code"}), ("/jobs/x/retry", {"code", "message"})):
        app = create_app(Settings(**KEYS, rate_limit="8/minute"))  # type: ignore[arg-type]
        told = [await call(app, scope(Route("GET", path), client="203.0.113.9")) for _ in range(4)]
        assert [one.status for one in told] == [401, 401, 429, 429]
        error = json.loads(told[-1].body)["error"]
        assert set(error) >= form
        assert error["code"] in ("rate_limited", "rate_limit_exceeded")
        assert 1 <= int(told[-1].headers["retry-after"]) <= 60
        # Another address, and a key from this address, are still let in.
        assert (await call(app, scope(Route("GET", path)))).status == 401
        key = {"Authorization": "Bearer first"}
        allowed = [await call(app, scope(SOCKET_OF_RECORDINGS, key, "203.0.113.9")) for _ in range(9)]
        assert [one.status for one in allowed] == [*[403] * 8, 429]
        assert (await call(app, scope(SOCKET_OF_RECORDINGS, {"X-API-Key": "second"}))).status == 403


SOCKET_OF_RECORDINGS = Route("WEBSOCKET", "/api/v1/streaming")


async def test_without_keys_an_address_has_the_rate_limit_of_a_key() -> None:
    app = create_app(Settings(rate_limit="3/minute"))
    told = [await call(app, scope(Route("GET", "/no/such/route"), client="203.0.113.9")) for _ in range(4)]
    assert [one.status for one in told] == [404, 404, 404, 429]


async def test_local_requests_and_health_checks_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "OPEN_LIMIT", "3/minute")
    app = create_app(Settings(**KEYS, rate_limit="4/minute"))  # type: ignore[arg-type]
    for _ in range(4):
        assert (await call(app, scope(Route("GET", "/jobs"), client="127.0.0.1"))).status == 401
        assert (await call(app, scope(Route("GET", "/"), client="127.0.0.1"))).status == 200
    page = [await call(app, scope(Route("GET", path))) for path in ("/", "/openapi.json", "/", "/web/app.js")]
    assert [one.status for one in page] == [200, 200, 200, 429]
    assert 1 <= int(page[-1].headers["retry-after"]) <= 60
    assert (await call(app, scope(Route("GET", "/jobs")))).status == 401, "keyless requests are counted separately"
    asked = [await call(app, scope(Route("GET", "/health/live"), client=client)) for client in ["203.0.113.7"] * 4]
    assert [one.status for one in asked] == [200, 200, 200, 429]
    assert (await call(app, scope(Route("GET", "/health/live"), client="203.0.113.8"))).status == 200


async def test_by_default_health_checks_are_allowed_20_times_a_second() -> None:
    rates = Rates(Settings())
    with pytest.raises(TooOften):
        while True:
            await rates.count_open(caller(), health=False)  # another client behind the balancer
    for _ in range(60 * 20):  # 20 times a second
        await rates.count_open(caller(), health=True)
    await rates.close()


async def test_a_request_succeeds_after_the_advised_delay() -> None:
    rates = Rates(Settings(rate_limit="4/2seconds"))
    for _ in range(4):
        await rates.count(caller("anna"))
    with pytest.raises(TooOften) as refused:
        await rates.count(caller("anna"))
    await asyncio.sleep(refused.value.retry_after_s)
    await rates.count(caller("anna"))
    await rates.close()


def test_a_burst_of_one_caller_waits_for_its_turns() -> None:
    async def run() -> None:
        rates, clock = (
            Rates(Settings(rate_limit="1000/minute"), asyncio.get_running_loop().time),
            asyncio.get_running_loop(),
        )
        began: dict[str, list[float]] = {"anna": [], "ben": []}

        refused_at: list[float] = []

        async def request(name: str) -> None:
            try:
                await rates.count(caller(name))
            except TooOften:
                refused_at.append(clock.time() - start)
                raise
            began[name].append(clock.time())

        start = clock.time()
        burst = await asyncio.gather(*(request("anna") for _ in range(400)), request("ben"), return_exceptions=True)
        assert began["ben"][0] - start < 0.1, "another caller does not wait"
        waits = [moment - start for moment in began["anna"]]
        assert sum(wait < 0.02 for wait in waits) == pytest.approx(MIN_PER_S, abs=2)
        assert max(waits) == pytest.approx(PACE_WAIT_S, abs=0.1), "later ones are refused"
        assert len(waits) == pytest.approx(MIN_PER_S * (1 + PACE_WAIT_S), abs=2)
        refused = [one for one in burst if isinstance(one, TooOften)]
        assert len(waits) + len(refused) == 400
        assert min(refused_at) >= PACE_WAIT_S, "retries of refused requests do not fill the event loop"
        await asyncio.sleep(refused[0].retry_after_s)
        await request("anna")
        await rates.close()

    virtual_time.run(run())


@pytest.mark.parametrize(("limit", "waits"), [("60000/minute", False), ("none", False), ("1200/minute", True)])
def test_the_pace_follows_the_rate_limit(limit: str, waits: bool) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        rates = Rates(Settings(rate_limit=limit), loop.time)
        start = loop.time()
        for _ in range(100):
            await rates.count(caller("anna"))
        assert (loop.time() - start > 1) is waits
        await rates.close()

    virtual_time.run(run())


def test_invalid_limits_are_refused_at_startup() -> None:
    with pytest.raises(ConfigError, match="RATE_LIMIT"):
        Rates(Settings(rate_limit="often"))


@needs_redis
async def test_services_share_counts_in_redis_and_count_alone_without_it(tmp_path: Path) -> None:
    port = closed_port()
    settings = Settings(rate_limit="3/minute", redis_url=f"redis://127.0.0.1:{port}")
    with redis(tmp_path, port) as process:
        one, other = Rates(settings), Rates(settings)
        await one.count(caller("anna"))
        await other.count(caller("anna"))
        await one.count(caller("anna"))
        with pytest.raises(TooOften):
            await other.count(caller("anna"))
        process.terminate()
        process.wait()
        async with asyncio.timeout(30):
            for _ in range(3):
                await one.count(caller("anna"))
        with pytest.raises(TooOften):
            await one.count(caller("anna"))
        await one.close()
        await other.close()


async def test_counters_of_old_callers_are_forgotten() -> None:
    rates = Rates(Settings(rate_limit="400/second"))
    for number in range(2000):
        await rates.count(caller("", f"198.51.{number // 250}.{number % 250}"), refused=True)
    await asyncio.sleep(2.1)
    async with asyncio.timeout(WAIT_S):
        while len(rates._here.storage.storage) > 10:  # type: ignore[attr-defined]
            await rates.count(caller("", "203.0.113.7"), refused=True)
            await asyncio.sleep(0.05)
    await rates.close()


# --- bodies ---


class Sender:
    """A body that arrives in chunks, each after a pause."""

    def __init__(self, *pieces: bytes, pause_s: float = 0.0, ends: bool = True) -> None:
        self._pieces = list(pieces)
        self._pause_s = pause_s
        self._ends = ends

    async def __call__(self) -> dict[str, Any]:
        await asyncio.sleep(self._pause_s)
        if not self._pieces:
            await asyncio.Event().wait()
        piece = self._pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces) or not self._ends}


async def answered(sender: Sender, path: str = "/v1/audio/speech", **options: Any) -> tuple[int, str]:
    """Status and error code of the response to such a body."""
    sent: list[dict[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(dict(message))

    app = create_app(Settings())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "BODY_TIMEOUT_S", options.pop("timeout_s", 5.0))
        headers = {"content-type": "application/json", **options}
        async with asyncio.timeout(WAIT_S):
            await app(scope(Route("POST", path), headers), sender, send)
    return sent[0]["status"], json.loads(sent[1]["body"])["error"]["code"]


async def test_too_large_bodies_are_refused_with_and_without_a_length() -> None:
    assert await answered(Sender(ends=False), **{"content-length": str(10**9)}) == (413, "file_too_large")
    pieces = [b"x" * 2**19] * 3
    assert await answered(Sender(*pieces)) == (413, "file_too_large")
    assert (await answered(Sender(b"{}")))[0] == 400


async def test_a_body_that_does_not_arrive_times_out() -> None:
    assert await answered(Sender(b"{", ends=False), timeout_s=0.2) == (408, "slow_body")
    assert await answered(Sender(ends=False), "/api/v1/upload/url", timeout_s=0.2) == (408, "slow_body")


async def test_a_trickling_body_times_out_but_a_slow_connection_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await answered(Sender(*[b" "] * 600, pause_s=0.1), timeout_s=0.5))[1] == "slow_body"
    monkeypatch.setattr(bodies, "SLOWEST_BYTES_PER_S", 100)  # 2 s of data each arrive in 0.2 s
    assert (await answered(Sender(*[b" " * 200] * 15, pause_s=0.2), timeout_s=2.0))[0] == 400


async def test_waiting_for_a_disconnect_has_no_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.1)
    scope = {"headers": [], HELD: Share(Budget(1000), None)}
    bounded = bodies.Bounded(scope, Sender(b"all"), Rule("/x", Open.ALL))
    assert (await bounded())["body"] == b"all"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await bounded()
