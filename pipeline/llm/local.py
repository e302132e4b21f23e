"""Local language models without another server: CTranslate2, in a worker.

LOCAL_LLM names a folder (`main.py convert` makes one from a gguf file) or a CTranslate2 model on the hub.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from pipeline import llm
from pipeline.engines import Opened
from pipeline.errors import EngineUnavailable
from pipeline.llm import Generation, Message, Tool, streaming
from pipeline.llm.chat_message import ChatMessage
from pipeline.llm.local_config import TOO_SMALL, WANTED, Chunk, LocalConfig, check, parameters
from pipeline.llm.reading import read_arguments
from pipeline.llm.streaming import Piece, ServedModel
from pipeline.settings import Settings
from pipeline.support.channel import Channel
from pipeline.support.installing import COMMAND
from pipeline.support.model_hub import Hub
from pipeline.support.progress import Report
from pipeline.workers import EngineSpec, Serving, Worker, models_hardware, open_worker
from pipeline.workers.hardware import Hardware

MOST_THREADS = 8
"""Threads of the model on a CPU: beyond this, memory is the limit."""
ON_CUDA = ("int8_float16", "float16", "int8", "float32")
"""Compute types on a GPU, best first."""
SMALL_PENALTY = 1.1
"""Repetition penalty of a model that is TOO_SMALL: without it, it repeats itself."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable when LOCAL_LLM is empty, or its model is missing and cannot be downloaded."""
    if not settings.local_llm:
        raise EngineUnavailable(
            "LOCAL_LLM is not set.", remedy=f"Set it to a model's folder: {COMMAND} convert FILE.gguf FOLDER"
        )
    if await asyncio.to_thread(_found, settings) is None:
        await Hub.of(settings).check(settings.local_llm)


def _found(settings: Settings) -> Path | None:
    """Return the model's folder, or None when it must be downloaded. Raises EngineUnavailable."""
    named = Path(settings.local_llm).expanduser()
    if not named.is_dir() and _HUB_NAME.fullmatch(settings.local_llm):
        named = _store(settings)
        if not named.is_dir():
            return None
    check(named)
    return named.resolve()


def _store(settings: Settings) -> Path:
    return settings.models_dir / "llm" / settings.local_llm.replace("/", "--")


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened["LocalLanguageModel"]]:
    """Start the model in its worker, downloading it if necessary. Raises EngineUnavailable, EngineError."""
    await probe(settings)
    folder = await asyncio.to_thread(_found, settings)
    if folder is None:
        hub = Hub.of(settings)
        files = await hub.files(settings.local_llm, lambda name: name in WANTED)
        await hub.fetch(settings.local_llm, files, _store(settings), report)
        await asyncio.to_thread(check, _store(settings))
        folder = _store(settings).resolve()
    size = await asyncio.to_thread(parameters, folder)
    config = _config(settings, folder, size, await models_hardware(settings))
    spec = EngineSpec("local", "pipeline.llm.local_engine:LocalModel", config)
    async with open_worker(spec, settings, Serving(streaming.FIRST_TOKEN_TIMEOUT_S)) as worker:
        about = await worker.call("describe")
        name = folder.name
        kind = str(about["compute_type"]).removesuffix("_float32")
        small = size < TOO_SMALL
        details = f"{kind}, {size / 1e9:.2g} billion parameters" + (": too small to be trusted" if small else "")
        model = LocalLanguageModel(worker, name, settings, calls_tools=bool(about["calls_tools"]), small=small)
        yield Opened(
            model, f"{name} ({details})", about["device"], worker.load,
            name=name, compute_type=kind, notes=(_warning(name, size),) if small else (),
        )  # fmt: skip


def _warning(name: str, size: int) -> str:
    return (
        f"{name} has {size / 1e6:.0f} million parameters, too few to be trusted: it is fluent and often wrong. Use a "
        "model with several billion."
    )


def _config(settings: Settings, folder: Path, size: int, hardware: Hardware) -> LocalConfig:
    kinds = [kind for kind in ON_CUDA if hardware.cuda and kind in hardware.gpus[0].compute_types]
    return LocalConfig(
        folder=str(folder),
        device="cuda" if kinds else "cpu",
        compute_type=kinds[0] if kinds else "int8",
        threads=max(1, min(MOST_THREADS, hardware.cores)),
        context=settings.context_tokens,
        max_tokens=settings.llm_max_tokens,
        temperature=llm.TEMPERATURE,
        repetition_penalty=SMALL_PENALTY if size < TOO_SMALL else 1.0,
    )


class LocalLanguageModel(ServedModel):
    """One model in one worker, for all sessions; replies take turns as the scheduler decides."""

    def __init__(self, worker: Worker, model: str, settings: Settings, *, calls_tools: bool, small: bool) -> None:
        """calls_tools: whether its chat template has functions. small: whether the model is TOO_SMALL; it does not get
        the date, which it would repeat whatever it is asked."""
        super().__init__("The local model", model, settings)
        self._worker, self._calls_tools, self._small = worker, calls_tools, small

    async def _pieces(
        self, messages: Sequence[Message], tools: Sequence[Tool], must_call: bool, generation: Generation
    ) -> AsyncGenerator[Piece, None]:
        """See `ServedModel`. Nothing enforces `must_call`: CTranslate2 has no grammars."""
        # Room for the whole reply: a caller that stops reading must not hold the model, which others wait for.
        whole: Channel[Chunk] = Channel(self._settings.llm_max_tokens + 1)
        told = messages if self._small else self._dated(messages, tools, calls_tools=self._calls_tools)
        arguments = (
            _told(told), [tool.as_function() for tool in tools],
            generation.max_tokens or 0, generation.temperature, generation.top_p,
        )  # fmt: skip
        reading = asyncio.create_task(self._read(arguments, whole))
        try:
            async for chunk in whole:
                yield Piece(chunk.text, usage=chunk.usage, finished=chunk.usage is not None, cut=chunk.cut)
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(self, arguments: Sequence[object], whole: Channel[Chunk]) -> None:
        """Read a reply into `whole`, which ends with it or with its error. arguments: of `LocalModel.reply`."""
        try:
            async with aclosing(self._worker.stream("reply", *arguments)) as chunks:
                async for chunk in chunks:
                    await whole.send(chunk)
        except Exception as error:  # raised where the reply is read
            whole.close(error)
        finally:
            whole.close()


def _told(messages: Sequence[Message]) -> list[ChatMessage]:
    """Return the messages in the form that chat templates read."""
    names = {call.id: call.name for message in messages for call in message.calls}
    told: list[ChatMessage] = []
    for message in messages:
        one: ChatMessage = {"role": message.role, "content": message.content}
        if message.calls:
            one["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": read_arguments(call.arguments)},
                }
                for call in message.calls
            ]
        if message.call_id is not None:
            one["tool_call_id"], one["name"] = message.call_id, names.get(message.call_id, "")
        told.append(one)
    return told
