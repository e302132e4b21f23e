"""The models of this process on a Ray cluster: starting, unloading and watching them."""

import asyncio
import contextlib
import hashlib
import logging
import os
import pickle
import re
import threading
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import ConfigError, EngineError, HostLost
from pipeline.support.background import background
from pipeline.workers import START_TIMEOUT_S, EngineSpec, Hosting, Serving
from pipeline.workers.hardware import Hardware, detect

log = logging.getLogger(__name__)

WATCH_S, LOOK_S = 5.0, 0.2
"""Intervals between looks at the number of replicas, in seconds: while the service runs, and while it starts."""
MAX_CALLS = 4096
"""Calls that Serve passes to one replica. The replica's own scheduler refuses conversations' calls long before that;
windows of files wait there without being refused."""
TARGET_CALLS = 2.0
"""Calls of one replica, running and waiting, above which another one is started."""
UPSCALE_S, DOWNSCALE_S = 3.0, 60.0
"""Time of too many or too few calls before the number of replicas changes, in seconds."""
PREFIX = "parley-"
"""Beginning of our models' names on a cluster."""
OURS = re.compile(rf"{PREFIX}.+-[0-9a-f]{{12}}")
"""Our models' names on an existing cluster, see `_name`. Other applications there are not ours to unload."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Hardware and number of a model's replicas."""

    gpus: float
    """GPUs for each replica."""
    max_replicas: int
    """Limit while calls wait; 0: the number is fixed."""
    idle_s: float
    """Time without calls after which even the last replica of a variable number ends; 0: never."""

    @property
    def to_zero(self) -> bool:
        """Whether there may be no replica."""
        return bool(self.max_replicas and self.idle_s)

    def options(self, replicas: int) -> dict[str, Any]:
        """Return Serve's options for at least `replicas`."""
        if self.max_replicas <= replicas and not self.to_zero:
            return {"num_replicas": replicas}
        return {
            "autoscaling_config": {
                "min_replicas": 0 if self.to_zero else replicas,
                "initial_replicas": replicas,
                "max_replicas": max(replicas, self.max_replicas),
                "target_ongoing_requests": TARGET_CALLS,
                "upscale_delay_s": UPSCALE_S,
                "downscale_delay_s": self.idle_s or DOWNSCALE_S,
                "metrics_interval_s": 1.0,
                "look_back_period_s": 5.0,
            }
        }


class Cluster:
    """A cluster that this process is connected to."""

    def __init__(self, *, own: bool, versions: Any = None) -> None:
        """own: it ends with this process. versions: the actor of `versions.py` on an existing cluster."""
        self._own = own
        self._versions = versions
        self.replicas: dict[str, int] = {}
        """Running replicas by model, as of the last look."""
        self._users: Counter[str] = Counter()
        self._names: dict[str, str] = {}
        """Model → its name on the cluster."""
        self._loads = 0
        self._changing = asyncio.Lock()
        self.lost = asyncio.Event()
        """Set when the node of this process is lost. The replicas that run then still answer, but no later ones are
        found, even if the node comes back."""

    async def hardware(self, gpus: float) -> Hardware:
        """Return the hardware of a node for models. gpus: see RAY_GPUS. Raises ConfigError when no node has them."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        wanted = self._needed(gpus)
        for node in await asyncio.to_thread(_nodes_with, wanted):
            # Without a claim to resources, which replicas may use up already.
            task = ray.remote(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
            async with asyncio.timeout(START_TIMEOUT_S):
                found: Hardware = await task(_hardware_here).remote(bool(gpus))
            return found
        raise ConfigError(
            f"No node of the Ray cluster has {' and '.join(f'{n} {name}' for name, n in wanted.items())}."
        )

    def _needed(self, gpus: float) -> dict[str, float]:
        """Return the resources that a node for models must have."""
        return {"GPU": gpus} if gpus else {} if self._own else {"CPU": 1}

    def _apart(self, replicas: int, placement: Placement) -> dict[str, int]:
        """Return Serve's option that keeps one of several replicas on another node than the rest, so that a node that
        is lost does not take all of them. Without it, all run on the other node of two once the first has been lost,
        and stay there when it is back. Blocking."""
        fixed = "num_replicas" in placement.options(replicas)
        if replicas > 1 and fixed and len(_nodes_with(self._needed(placement.gpus))) > 1:
            return {"max_replicas_per_node": replicas - 1}
        return {}

    @asynccontextmanager
    async def deployed(
        self, spec: EngineSpec, serving: Serving, hosting: Hosting, placement: Placement
    ) -> AsyncIterator[tuple[str, Any]]:
        """Start a model on the cluster, unless the same one was started before; yield its name there and its
        DeploymentHandle. It may not be loaded yet. At the end of the block it is unloaded, except on an existing
        cluster, where others may use it."""
        model = _name(spec, serving, hosting, placement)
        async with self._changing:
            if self._own and not self._users[model]:
                self._loads += 1  # replicas of an earlier load may still be ending
                self._names[model] = f"{model}-{self._loads}"
            name = self._names.setdefault(model, model)
            await self._claim(name)
            handle = await asyncio.to_thread(self._deploy, name, spec, serving, hosting, placement)
            self._users[model] += 1
        try:
            yield name, handle
        finally:
            await handle.shutdown_async()
            async with self._changing:
                self._users[model] -= 1
                if self._own and not self._users[model]:
                    await self.discard(name)

    async def _claim(self, name: str) -> None:
        """Wait until an old version of this name is unloaded, and keep it from now on. Raises EngineError."""
        if self._versions is None:
            return
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while True:
                    if await self._versions.claim.remote(name):
                        return
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise EngineError(f"{name} was not unloaded on Ray after {START_TIMEOUT_S:g} s.") from None

    async def discard(self, name: str) -> None:
        """Unload a model. Returns before that is done."""
        from ray import serve

        await asyncio.to_thread(serve.delete, name, _blocking=False)

    def _deploy(self, name: str, spec: EngineSpec, serving: Serving, hosting: Hosting, placement: Placement) -> Any:
        from ray import serve
        from ray.serve.config import RequestRouterConfig

        from pipeline.workers.on_ray.replica import Replica
        from pipeline.workers.on_ray.router import Router

        there = _applications().get(name)
        if there is not None and there.status in ("DEPLOYING", "RUNNING", "UNHEALTHY"):
            return serve.get_app_handle(name)
        with _CONFIGURING:
            deployment = serve.deployment(Replica).options(
                name=spec.name,
                max_ongoing_requests=MAX_CALLS,
                # A node with --num-cpus=0 gets no replicas. On this machine alone there is nothing to distribute.
                ray_actor_options={"num_cpus": 0 if self._own else 1, "num_gpus": placement.gpus},
                health_check_period_s=2.0,
                health_check_timeout_s=5.0,
                graceful_shutdown_wait_loop_s=0.1,
                graceful_shutdown_timeout_s=10.0,
                request_router_config=RequestRouterConfig(request_router_class=Router),
                **placement.options(serving.replicas),
                **self._apart(serving.replicas, placement),
            )
            target = serve.RunTarget(deployment.bind(spec, serving, hosting), name=name, route_prefix=None)
            (handle,) = serve.run_many([target], wait_for_applications_running=False)
        return handle

    async def complete(self, name: str, replicas: int) -> None:
        """Wait until all replicas of a model run. On an existing cluster the first one is enough."""
        while self._own and self.replicas.get(name, 0) < replicas:
            await asyncio.sleep(LOOK_S)
            await self._look()

    async def watch(self) -> None:
        """Look at the replicas again and again."""
        while True:
            try:
                await self._look()
            except Exception as error:  # the head restarts; calls do not need it
                log.warning("the Ray cluster does not tell its replicas: %s", type(error).__name__)
            await asyncio.sleep(WATCH_S)

    async def watch_node(self, socket: str) -> None:
        """Wait until the node that connects this process to the cluster is lost: it has ended, or the head has given it
        up. socket: path of the node's socket."""
        async with background(_closed(socket)) as ended, background(_given_up()) as given_up:
            await asyncio.wait([ended, given_up], return_when=asyncio.FIRST_COMPLETED)
        log.error(HostLost().message)
        self.lost.set()

    async def _look(self) -> None:
        applications = await asyncio.to_thread(_applications)
        self.replicas = {
            name: sum(one.replica_states.get("RUNNING", 0) for one in application.deployments.values())
            for name, application in applications.items()
        }
        if self._versions is not None:
            used = [model for model, users in self._users.items() if users]
            there = [name for name in applications if OURS.fullmatch(name)]
            for name in await self._versions.report.remote(used, there):
                log.info("%s is unloaded on Ray: no process uses it", name)
                await self.discard(name)


async def _closed(socket: str) -> None:
    """Wait until the process with this socket has ended."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_unix_connection(socket)
        with contextlib.closing(writer):
            await reader.read()


async def _given_up() -> None:
    """Wait until the cluster's head counts the node of this process as dead."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    while True:
        with contextlib.suppress(Exception):  # the head restarts
            nodes = await asyncio.to_thread(ray.nodes)
            if any(node["NodeID"] == own and not node["Alive"] for node in nodes):
                return
        await asyncio.sleep(WATCH_S)


_CONFIGURING = threading.Lock()
"""Lock for the functions of Serve that read or write configurations: each registers a module with its pickler for a
moment, so of two threads at once one fails."""


def _applications() -> Any:
    """Return Serve's applications by name. Blocking."""
    from ray import serve

    with _CONFIGURING:
        return serve.status().applications


def _nodes_with(resources: Mapping[str, float]) -> list[str]:
    """Return the ids of the running nodes that have these resources, free or not. Blocking."""
    import ray

    return [
        node["NodeID"]
        for node in ray.nodes()
        if node["Alive"] and all(node["Resources"].get(name, 0) >= amount for name, amount in resources.items())
    ]


def _hardware_here(cuda: bool) -> Hardware:
    """Detect a node's hardware, in a new process of the cluster."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides GPUs from a task without a claim to them
    return detect(cuda=cuda)


def _name(spec: EngineSpec, serving: Serving, hosting: Hosting, placement: Placement) -> str:
    """Return the name of a model on the cluster: the same for all processes with the same settings."""
    made_of = spec if spec.identity is None else replace(spec, config=None)
    parts = (made_of, sorted(serving.batched), replace(serving, batched=frozenset()), hosting, placement)
    return f"{PREFIX}{spec.name}-{hashlib.sha256(pickle.dumps(parts, protocol=5)).hexdigest()[:12]}"
