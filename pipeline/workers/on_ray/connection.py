"""The connection to a Ray cluster, and the cluster of this machine alone where the settings name none."""

import asyncio
import contextlib
import importlib.util
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pipeline.errors import ConfigError
from pipeline.folders import HOME
from pipeline.settings import Settings
from pipeline.support.background import background
from pipeline.support.environment import clean_environment
from pipeline.support.on_demand import OnDemand
from pipeline.workers import START_TIMEOUT_S
from pipeline.workers.on_ray.cluster import Cluster
from pipeline.workers.on_ray.versions import versions

CHECK_S = 5.0
"""Timeout for asking a cluster whether it needs a token, in seconds."""
END_S = 15.0
"""Grace period for the cluster of this machine to end, in seconds."""
MAX_MESSAGE_BYTES = 256 * 2**20
"""Largest call or result: more than an hour of sound."""
HEADLESS_S = 600
"""Time for which Ray lets this process wait for the head of an existing cluster, in seconds; its default is 60."""
CHECKED_METHOD = "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"
"""A request to the cluster's head without arguments, which needs the token."""

_opened: OnDemand[Cluster] | None = None
_users = 0
# Module state, because Ray itself has one connection a process.


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Cluster]:
    """Connect to the cluster of the settings; all blocks share one connection. Raises ConfigError if it cannot be
    reached, or if it is open to everyone."""
    global _opened, _users
    if _opened is None:
        _opened = OnDemand(lambda: _connect(settings))
    opened = _opened
    _users += 1
    try:
        yield await opened.get()
    finally:
        _users -= 1
        if not _users:
            _opened = None
            await opened.close()


@asynccontextmanager
async def _connect(settings: Settings) -> AsyncIterator[Cluster]:
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("MODEL_HOST=ray needs the extra `ray`: pip install 'parley[ray]'.")
    # Ray reads its token once a process, so a second cluster of this process has the same.
    token = settings.ray_auth_token or os.environ.get("RAY_AUTH_TOKEN") or secrets.token_urlsafe(32)
    address = settings.ray_address
    if address:
        if not settings.ray_auth_token:
            raise ConfigError("RAY_ADDRESS needs RAY_AUTH_TOKEN: the token that the cluster was started with.")
        await asyncio.to_thread(_check, address, token)
    async with AsyncExitStack() as stack:
        environment = _environment(token)
        if not address:
            # Without support for clusters, Ray listens on loopback only (on any system).
            environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
            address = await stack.enter_async_context(_cluster_here(environment))
        else:
            os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(HEADLESS_S))
        os.environ.update(environment)
        socket = await asyncio.to_thread(_join, address, settings.ray_temp_dir)
        _take_signals_back()
        import ray

        stack.push_async_callback(asyncio.to_thread, ray.shutdown)
        own = not settings.ray_address
        cluster = Cluster(own=own, versions=None if own else await asyncio.to_thread(versions))
        async with background(cluster.watch()), background(cluster.watch_node(socket)):
            yield cluster


def _environment(token: str) -> dict[str, str]:
    """Return Ray's own settings, for this process and the cluster."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        # No threads and logs of Serve's own on the way of a call; our code there does not block.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # Calls go straight to the replica, whose server asks for the token, too.
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(MAX_MESSAGE_BYTES),
    }


@asynccontextmanager
async def _cluster_here(environment: dict[str, str]) -> AsyncIterator[str]:
    """Run a cluster of this machine alone, on loopback; yield its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pipeline.workers.on_ray.head",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
        env={
            **clean_environment(PYTHONPATH=os.pathsep.join([str(HOME), os.environ.get("PYTHONPATH", "")])),
            **environment,
        },
    )  # fmt: skip
    assert process.stdin is not None  # noqa: S101  # they are pipes
    assert process.stdout is not None  # noqa: S101
    try:
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await process.stdout.readline()
        if not line:
            raise ConfigError("Ray did not start on this machine; its messages are above.")
        yield line.decode().strip()
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            process.kill()  # Ray's own reaper ends the rest
            await process.wait()


def _check(address: str, token: str) -> None:
    """Raise ConfigError unless the cluster answers with the token, and only with it. Blocking."""
    import grpc

    def asked(*metadata: tuple[str, str]) -> Any:
        with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            try:
                channel.unary_unary(CHECKED_METHOD)(b"", timeout=CHECK_S, metadata=metadata)
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    code = asked()
    if code is grpc.StatusCode.OK:
        raise ConfigError(
            f"The Ray cluster at {address} is open to everyone: start it with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN."
        )
    if code is grpc.StatusCode.UNAUTHENTICATED:
        code = asked(("authorization", f"Bearer {token}"))
        if code is grpc.StatusCode.UNAUTHENTICATED:
            raise ConfigError(f"RAY_AUTH_TOKEN is not the token of the Ray cluster at {address}.")
    if code is not grpc.StatusCode.OK:
        raise ConfigError(f"RAY_ADDRESS={address} does not answer as a Ray cluster ({code.name.lower()}).")


def _take_signals_back() -> None:
    """Replace Ray's native handler of SIGTERM, which calls Python's, and aborts the process 3 s later, in the middle of
    its shutdown."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _join(address: str, temp_dir: str) -> str:
    """Connect this process to a cluster, and start Serve there if it does not run; return the path of its node's
    socket. Blocking; not in the main thread, because Ray would replace the handlers of signals. temp_dir: see
    RAY_TEMP_DIR."""
    import ray
    from ray import serve

    try:
        joined = ray.init(
            address,
            namespace="parley",
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=temp_dir or None,
        )
    except Exception as error:
        raise ConfigError(
            f"This machine is not a node of the Ray cluster at {address} ({type(error).__name__}): run `ray start "
            f"--address={address} --num-cpus=0` here{f', with --temp-dir={temp_dir}' if temp_dir else ''}."
        ) from error
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(proxy_location="Disabled")
    return str(joined.address_info["raylet_socket_name"])
