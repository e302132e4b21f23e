"""Location of a Whisper model's weights: a folder, an earlier download, the hub, or the package index."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.stt import whisper_size
from pipeline.support import model_index, model_sources
from pipeline.support.model_catalogue import CATALOGUE, KnownModel, of_repo
from pipeline.support.model_hub import Hub
from pipeline.support.model_sources import Obtained
from pipeline.support.progress import Report
from pipeline.workers import models_hardware

NEEDED = ("model.bin", "config.json", "tokenizer.json")
"""Files that make a folder a model; without the last one faster-whisper would contact the hub itself."""
DEFAULT = "base"
"""The size that is used until the machine's speed is known."""
SMALLEST = "tiny.en"
"""The size that the package index has, for English."""
MULTILINGUAL = "whisper-base"
"""The model of the catalogue for other languages: never fetched by itself, because its digest is not pinned."""
WANTED = (*NEEDED, "preprocessor_config.json")
"""Files of a model that are downloaded, besides vocabulary.*."""

SIZES_MB = {
    "distil-small": 320, "distil-medium": 760, "distil-large": 1450, "turbo": 1550,
    "tiny": 75, "base": 140, "small": 470, "medium": 1460, "large": 2950,
}  # fmt: skip
"""Part of a size's name → its weights at half precision, in MB; the first match counts."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model and the source of its weights: a folder, the package index, or else the hub."""

    settings: Settings
    """Settings with the model in WHISPER_MODEL."""
    folder: Path | None = None
    """Folder with the weights, if they are on this machine."""
    mirrored: KnownModel | None = None
    """Entry of the catalogue, if the package index is to be used."""
    note: str = ""
    """Reason why it is not the model of the settings."""


def find(settings: Settings) -> Path | None:
    """Return the folder with the weights that WHISPER_MODEL names, None if they are not on this machine.

    Looks for the name as a folder, as a folder in MODELS_DIR, and where downloads are stored. Raises
    EngineUnavailable for a folder without a model and for an invalid name.
    """
    name = settings.whisper_model
    folders = [folder for folder in (Path(name).expanduser(), settings.models_dir / name) if folder.is_dir()]
    for folder in folders:
        if is_model(folder):
            return folder
    known = _known(settings)
    if known is not None and is_model(settings.models_dir / known.name):
        return settings.models_dir / known.name
    try:
        folder = _store(settings)
    except EngineUnavailable:
        if known is not None:
            return None
        if not folders:
            raise
        raise EngineUnavailable(
            f"The folder {name} has no faster-whisper model: it needs {', '.join(NEEDED)}.",
            remedy="Set WHISPER_MODEL to a size (base), a hub name (owner/name) or a folder with such a model.",
        ) from None
    return folder if is_model(folder) else None


async def choose(settings: Settings) -> Choice:
    """Return the model to use and the source of its weights. Asks the hub at most once, for 2 s at most.

    Without WHISPER_MODEL it is the size that this machine carries (`pipeline.stt.whisper_size`), at first DEFAULT.
    Where the hub does not answer, it is DEFAULT if it is here, or else SMALLEST for English and MULTILINGUAL, if it is
    here, for other languages. Raises EngineUnavailable if no source has the weights.
    """
    if "whisper_model" in settings.model_fields_set:
        return await _named(settings)
    hardware = await models_hardware(settings)
    size = await asyncio.to_thread(whisper_size.kept, settings, hardware) or DEFAULT
    english = settings.speech_language.partition("-")[0] in ("", "en")
    only_english = settings.speech_language and english
    size = f"{size}.en" if size == "tiny" and only_english else size
    try:
        return await _named(_with(settings, size))
    except EngineUnavailable as error:
        other = SMALLEST if english else MULTILINGUAL
        what = "understands English only" if english else "was installed by name"
        for name in (DEFAULT, other):
            folder = await asyncio.to_thread(find, _with(settings, name))
            if folder is not None:
                note = f"{error.message} {name} is used instead{f', which {what}' if name == other else ''}."
                return Choice(_with(settings, name), folder, note=note)
        if english and "index" in settings.model_sources:
            note = f"{error.message} {SMALLEST} is used instead, which {what}."
            return Choice(_with(settings, SMALLEST), mirrored=_known(_with(settings, SMALLEST)), note=note)
        raise


async def _named(settings: Settings) -> Choice:
    """Return the model of the settings with its source."""
    folder, known = await asyncio.to_thread(find, settings), _known(settings)
    if folder is not None:
        return Choice(settings, folder)
    try:
        await Hub.of(settings).check(hub_name(settings.whisper_model))
    except EngineUnavailable:
        if known is None or "index" not in settings.model_sources:
            raise
        return Choice(settings, mirrored=known)
    return Choice(settings)


def _with(settings: Settings, model: str) -> Settings:
    return settings.model_copy(update={"whisper_model": model})


async def check(settings: Settings) -> None:
    """Raise EngineUnavailable if no weights are here, or available from the hub or the package index; takes 7 s at
    most."""
    choice = await choose(settings)
    if choice.mirrored is not None:
        await model_index.check(choice.mirrored)


async def fetch(choice: Choice, report: Report) -> Path:
    """Return the folder with the weights, after downloading them if necessary. Raises EngineUnavailable."""
    if choice.folder is not None:
        return choice.folder
    settings = choice.settings
    if choice.mirrored is not None:
        return (await model_sources.from_index(settings, choice.mirrored, report)).folder
    repo, folder = hub_name(settings.whisper_model), _store(settings)
    hub = Hub.of(settings)
    files = await hub.files(repo, lambda name: name in WANTED or name.startswith("vocabulary."))
    missing = [name for name in NEEDED if name not in {file.name for file in files}]
    if missing:
        raise EngineUnavailable(
            f"{repo} is not a faster-whisper model: it lacks {' and '.join(missing)}.",
            remedy="Use one that is converted to CTranslate2, such as Systran/faster-whisper-base.",
        )
    await hub.fetch(repo, files, folder, report)
    return folder


def described(settings: Settings, folder: Path) -> Obtained:
    """Return where the weights in a folder came from. Blocking."""
    try:
        if folder == _store(settings):
            repo = hub_name(settings.whisper_model)
            return Obtained(folder, model_sources.HUB, "MIT" if repo in sizes().values() else "")
    except EngineUnavailable:  # the name of a folder
        pass
    return model_sources.described(folder)


def hub_name(model: str) -> str:
    """Return the hub's name (owner/name) for a size or a hub name. Raises EngineUnavailable for any other name."""
    known = sizes()
    if model in known:
        return known[model]
    owner, slash, name = model.partition("/")
    if slash and owner and name and "/" not in name and not model.startswith((".", "~", "/")):
        return model
    raise EngineUnavailable(
        f"WHISPER_MODEL={model} is not a size, a hub name or a folder.",
        remedy=f"Use one of {', '.join(known)}, a hub name (owner/name) or a folder with a CTranslate2 model.",
    )


def size_of(name: str) -> str | None:
    """Return the size that a name means ("small", "whisper-small", "openai/whisper-small", the hub's name), or None."""
    found = sizes()
    asked = name.lower()
    plain = asked.rpartition("/")[2] if asked.startswith("openai/") else asked
    repo = found.get(plain.removeprefix("whisper-"), name)
    return next((size for size, hub in found.items() if hub.lower() == repo.lower()), None)


def folders(settings: Settings) -> list[str]:
    """Names of the folders in MODELS_DIR that contain a model, without those of downloaded sizes."""
    stored = {repo.replace("/", "--") for repo in sizes().values()}
    stored |= {known.name for known in CATALOGUE.values() if known.repo}
    if not settings.models_dir.is_dir():
        return []
    return sorted(one.name for one in settings.models_dir.iterdir() if one.name not in stored and is_model(one))


def weights_mb(settings: Settings, model: str) -> int:
    """Size of a model's weights at half precision, in MB; estimated from its name if the model is not here."""
    try:
        folder = find(settings.model_copy(update={"whisper_model": model}))
    except EngineUnavailable:
        folder = None
    if folder is not None:
        return (folder / "model.bin").stat().st_size // 2**20
    size = size_of(model) or "large"
    return next((mb for name, mb in SIZES_MB.items() if name in size), SIZES_MB["large"])


def sizes() -> dict[str, str]:
    """Size → hub name."""
    try:
        # Private, but the only list that grows with the library. If it is removed: the plain sizes follow one scheme.
        from faster_whisper.utils import _MODELS

        return dict(_MODELS)
    except ImportError:
        plain = ("tiny", "base", "small", "medium", "large-v2", "large-v3")
        return {size: f"Systran/faster-whisper-{size}" for size in plain}


def _known(settings: Settings) -> KnownModel | None:
    """The entry of the catalogue for WHISPER_MODEL: of its size, its hub name, or its own name (whisper-base)."""
    name = settings.whisper_model
    if name.startswith("whisper-") and name in CATALOGUE:
        return CATALOGUE[name]
    return of_repo(sizes().get(name, name))


def _store(settings: Settings) -> Path:
    """Folder for a model from the hub."""
    return settings.models_dir / hub_name(settings.whisper_model).replace("/", "--")


def is_model(folder: Path) -> bool:
    """Whether a folder contains a model."""
    return all((folder / name).is_file() for name in NEEDED)
