"""Prometheus metrics of a process's engines, collected on each scrape, and a separate port for processes without an
HTTP service."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prometheus_client import REGISTRY, disable_created_metrics, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

import pipeline.telemetry.metrics  # noqa: F401  # registers the metrics before the first scrape
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.engines import EngineInfo

disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the number of series

NOT_AN_ADDRESS = "The address for metrics must be a host and a port, such as 127.0.0.1:9464."
CALLS = ("waiting", "running")
REPLICAS = ("loaded", "unloaded")
CLOSE_S = 0.1


class Collected:
    """A collector that calls a function on each scrape."""

    def __init__(self, found: Callable[[], Iterable[Metric]]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        yield from self._found()


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)


def engine_metrics(engines: Sequence["EngineInfo"]) -> Iterator[Metric]:
    """Yield the metrics of these engines."""
    about = GaugeMetricFamily(
        "parley_engine", "What each stage runs on.", labels=["stage", "engine", "model", "device"]
    )
    calls = GaugeMetricFamily("parley_model_calls", "Calls of a local model.", labels=["stage", "state"])
    replicas = GaugeMetricFamily("parley_model_replicas", "Copies of a local model.", labels=["stage", "state"])
    restarts = CounterMetricFamily(
        "parley_model_restarts", "Number of times that a local model died and was restarted.", labels=["stage"]
    )
    for info in engines:
        about.add_metric([info.stage, info.engine, info.model, info.device], 1)
        if (load := info.load) is not None:
            for state, number in zip(CALLS, (load.waiting, load.running), strict=True):
                calls.add_metric([info.stage, state], number)
            for state, number in zip(REPLICAS, (load.loaded, load.replicas - load.loaded), strict=True):
                replicas.add_metric([info.stage, state], number)
            restarts.add_metric([info.stage], load.restarts)
    yield from (about, calls, replicas, restarts)


@asynccontextmanager
async def exposed(address: str, engines: Callable[[], Sequence["EngineInfo"]]) -> AsyncIterator[None]:
    """Serve metrics on an address (HOST:PORT), by plain HTTP and without a key, while the block runs; not at all if it
    is empty. Raises ConfigError if it is not an address, or cannot be listened on."""
    if not address:
        yield
        return
    here = Collected(lambda: engine_metrics(engines()))
    host, port = _address(address)
    try:
        server, thread = start_http_server(port, host)
    except OSError as error:
        raise ConfigError(f"Cannot listen on {address} for metrics: {error.strerror}.") from None
    REGISTRY.register(here)
    try:
        yield
    finally:
        REGISTRY.unregister(here)
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join(CLOSE_S)


def _address(text: str) -> tuple[str, int]:
    """Return the host and the port of an address. Raises ConfigError."""
    try:
        found = urlsplit(f"//{text}")
        host, port = found.hostname, found.port
    except ValueError:
        raise ConfigError(NOT_AN_ADDRESS) from None
    if not host or not port:
        raise ConfigError(NOT_AN_ADDRESS)
    return host, port
