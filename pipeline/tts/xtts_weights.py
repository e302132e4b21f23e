"""Finds the weights of XTTS v2: in TTS_MODEL, in an earlier download, or on the hub once their licence is accepted."""

import asyncio
import os
from pathlib import Path

from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.support.model_hub import Hub
from pipeline.support.progress import Report

REPOSITORY = "tts-hub/XTTS-v2"
"""Repository that coqui-tts itself uses."""
AGREED = "COQUI_TOS_AGREED"
"""coqui-tts's own variable: whether the operator accepts the licence of the weights."""
NEEDED = ("config.json", "vocab.json", "model.pth")
WANTED = (*NEEDED, "speakers_xtts.pth")
"""Files to download. The last one has the built-in speakers; fine-tuned models can lack it."""


def find(settings: Settings) -> Path | None:
    """Return the folder with the weights, or None when they are not on this machine. Raises EngineUnavailable when
    TTS_MODEL is not a folder with the weights."""
    folder = Path(settings.tts_model).expanduser() if settings.tts_model else _store(settings)
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing and settings.tts_model:
        raise EngineUnavailable(
            f"The folder in TTS_MODEL lacks {missing[0]}.",
            remedy=f"Set TTS_MODEL to a folder with XTTS v2's {', '.join(WANTED)}.",
        )
    return None if missing else folder.resolve()


async def check(settings: Settings) -> None:
    """Raise EngineUnavailable when the weights are missing and cannot be downloaded. Takes at most 2 s."""
    if await asyncio.to_thread(find, settings) is None:
        _need_licence()
        await Hub.of(settings).check(REPOSITORY)


async def fetch(settings: Settings, report: Report) -> Path:
    """Return the folder with the weights, after downloading (1.9 GB) if they are missing. Raises EngineUnavailable."""
    folder = await asyncio.to_thread(find, settings)
    if folder is not None:
        return folder
    _need_licence()
    hub = Hub.of(settings)
    files = await hub.files(REPOSITORY, lambda name: name in WANTED)
    await hub.fetch(REPOSITORY, files, _store(settings), report)
    folder = await asyncio.to_thread(find, settings)
    if folder is None:
        raise EngineUnavailable(
            f"The hub's {REPOSITORY} is not XTTS v2.", remedy="Set TTS_MODEL to a folder with XTTS v2."
        )
    return folder


def _store(settings: Settings) -> Path:
    return settings.models_dir / "xtts_v2"


def _need_licence() -> None:
    if os.environ.get(AGREED, "").lower() not in ("1", "true", "yes", "on"):
        raise EngineUnavailable(
            "XTTS's weights are missing, and their licence was not accepted.",
            remedy="Read the Coqui Public Model License (non-commercial), then set COQUI_TOS_AGREED=1 to download "
            "them, or set TTS_MODEL to a folder with them.",
        )
