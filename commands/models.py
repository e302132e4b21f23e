"""`python main.py models`: known models, whether they are here, where they came from, and their licences."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from commands.start import JsonOption, load_settings, print_rows, progress_bar, refuse, run
from pipeline.settings import Settings
from pipeline.stt import weights
from pipeline.support import model_sources
from pipeline.support.model_catalogue import CATALOGUE
from pipeline.support.model_sources import Obtained

ALL = "all"
InstallOption = Annotated[
    list[str] | None, typer.Option(help="Install this model into MODELS_DIR; can be repeated. all: each of the list.")
]


def models(install: InstallOption = None, as_json: JsonOption = False) -> None:
    """List the models that Parley knows by their digests, or install some."""
    settings = load_settings()
    names = list(CATALOGUE) if install and ALL in install else install or []
    if unknown := [name for name in names if name not in CATALOGUE]:
        raise refuse(f"There is no model {unknown[0]}; known: {', '.join(CATALOGUE)}.")
    if names:
        run(settings, _install(settings, names))
    print_rows(_rows(settings), as_json=as_json)


def installed(settings: Settings) -> list[Obtained]:
    """The models in MODELS_DIR, with where they came from: known ones, and Whisper's."""
    found = {name: one for name in CATALOGUE if (one := model_sources.find(settings, name)) is not None}
    for size, repo in weights.sizes().items():
        folder = settings.models_dir / repo.replace("/", "--")
        if weights.is_model(folder):
            found[folder.name] = weights.described(settings.model_copy(update={"whisper_model": size}), folder)
    return list(found.values())


async def _install(settings: Settings, names: list[str]) -> None:
    await asyncio.to_thread(Path(settings.models_dir).mkdir, parents=True, exist_ok=True)
    async with progress_bar() as report:
        for name in names:
            await model_sources.obtain(settings, name, report)


def _rows(settings: Settings) -> list[dict[str, object]]:
    rows = []
    for name, known in CATALOGUE.items():
        found = model_sources.find(settings, name)
        rows.append(
            {
                "model": name,
                "MB": known.size >> 20,
                "from": found.source if found else "not here",
                "licence": known.licence,
            }
        )
    return rows
