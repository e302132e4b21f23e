"""A replica of a model, as a Ray Serve deployment: a worker of one copy, with its own scheduler and bounded queue."""

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import replace

from pipeline.support.on_demand import OnDemand
from pipeline.workers import EngineSpec, Hosting, Serving, open_here
from pipeline.workers.model_call import ModelCall
from pipeline.workers.on_ray.messages import BEAT_S, Alive, Ended, Message, Request
from pipeline.workers.pool import Pool
from pipeline.workers.wire import Done, Failed, Ready, dump, unpack


class Replica:
    """The class that Serve deploys. Its model is loaded before Serve sends the first call."""

    def __init__(self, spec: EngineSpec, serving: Serving, hosting: Hosting) -> None:
        # Ray sets it to 1 for processes without CPUs of their own. Engines have their number of threads in the config.
        os.environ.pop("OMP_NUM_THREADS", None)
        alone = replace(serving, replicas=1)
        self._model: OnDemand[Pool] = OnDemand(lambda: open_here(spec, alone, hosting))

    async def check_health(self) -> None:
        """Load the model, if it is not loaded. Called by Serve before the first call, and regularly afterwards. An
        error of loading is not raised here, because Serve would hide it and start the replica again and again: `ready`
        and all calls report it."""
        await self._failure()

    async def ready(self) -> bytes:
        """Return Ready once the model is loaded, or Failed with the error of loading it."""
        error = await self._failure()
        return dump(Ready() if error is None else Failed(0, error))

    async def run(self, request: bytes) -> AsyncGenerator[bytes, None]:
        """Run a Request and yield its messages. Closing stops the engine at its next item."""
        wanted: Request = unpack(request)
        try:
            pool = await self._model.get()
            with pool.submit(wanted.method, wanted.args, wanted.caller) as call:
                while not isinstance(message := await _next(call), Ended):
                    yield dump(message)
        except Exception as error:  # refused, or the model could not be loaded
            message = Ended(Failed(0, error))
        yield dump_end(message)

    async def _failure(self) -> Exception | None:
        try:
            await self._model.get()
        except Exception as error:
            return error
        return None


async def _next(call: ModelCall) -> Message:
    """Wait for the next message of a call, BEAT_S at most."""
    try:
        async with asyncio.timeout(BEAT_S):
            result = await anext(call.results)
    except TimeoutError:
        return Alive(call.waited_s is not None)
    except StopAsyncIteration:
        return Ended(Done(0, ran=call.ran), call.waited_s)
    except Exception as error:  # the engine's own, or WorkerCrashed
        return Ended(Failed(0, error, call.ran), call.waited_s)
    return Ended(result, call.waited_s) if isinstance(result, Done) else result


def dump_end(end: Ended) -> bytes:
    """Pickle the end of a call; an error that cannot be pickled becomes an EngineError with its text."""
    result = end.result
    if isinstance(result, Failed):
        result = unpack(dump(result))
    return dump(Ended(result, end.waited_s))
