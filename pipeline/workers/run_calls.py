"""One call, or a batch of calls, on a synchronous engine, in a thread or in a separate process.

A method `transcribe` that supports batches has a second form for them:

    def transcribe_many(self, calls: Sequence[tuple[args…]], cancelled: Callable[[int], bool])
        -> Iterator[tuple[int, item | Exception]]

It yields (index of the call, item), in any order; an Exception as the item ends that call alone. `cancelled(index)`
returns whether a call was cancelled.
"""

import importlib
import inspect
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from pipeline.workers import EngineSpec
from pipeline.workers.wire import Call, Done, Failed, Item, Ran


def build(spec: EngineSpec) -> object:
    """Build the engine that a spec describes, and load it."""
    module, _, name = spec.target.partition(":")
    engine: object = getattr(importlib.import_module(module), name)(spec.config)
    return engine


def run(engine: object, calls: Sequence[Call], cancelled: Callable[[int], bool]) -> Iterator[Item | Done | Failed]:
    """Run calls (of one method) and yield the messages of each, up to its Done or Failed.

    cancelled: whether the call with a number was cancelled; asked after each item.
    """
    over: set[int] = set()
    began_ns = time.time_ns()

    def ran() -> Ran:
        return Ran(os.getpid(), began_ns, time.time_ns(), len(calls))

    try:
        for message in _one(engine, calls[0], cancelled) if len(calls) == 1 else _many(engine, calls, cancelled):
            if isinstance(message, Done | Failed):
                over.add(message.number)
                message = replace(message, ran=ran())
            yield message
    except Exception as error:
        yield from (Failed(call.number, error, ran()) for call in calls if call.number not in over)
    else:
        yield from (Done(call.number, ran=ran()) for call in calls if call.number not in over)


def _one(engine: object, call: Call, cancelled: Callable[[int], bool]) -> Iterator[Item | Done]:
    result = getattr(engine, call.method)(*call.args)
    if not inspect.isgenerator(result):
        yield Done(call.number, result)
        return
    try:
        for value in result:
            if cancelled(call.number):
                return
            yield Item(call.number, value)
    finally:
        result.close()


def _many(engine: object, calls: Sequence[Call], cancelled: Callable[[int], bool]) -> Iterator[Item | Failed]:
    numbers = [call.number for call in calls]
    together = getattr(engine, f"{calls[0].method}_many")
    steps = together([call.args for call in calls], lambda index: cancelled(numbers[index]))
    try:
        for index, value in steps:
            number = numbers[index]
            yield Failed(number, value) if isinstance(value, Exception) else Item(number, value)
            if all(map(cancelled, numbers)):
                return
    finally:
        steps.close()
