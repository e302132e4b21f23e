"""Where the weights of a Whisper are: a folder, what was downloaded before, or the hub."""

import asyncio
from pathlib import Path

from pipeline.engines import Report
from pipeline.errors import EngineUnavailable
from pipeline.hub import Hub
from pipeline.settings import Settings

NEEDED = ("model.bin", "config.json", "tokenizer.json")
"""Without these a folder is no model; without the last one faster-whisper would go to the hub by itself."""
WANTED = (*NEEDED, "preprocessor_config.json")
"""What is downloaded of a model, and vocabulary.*."""

SIZES_MB = {
    "distil-small": 320, "distil-medium": 760, "distil-large": 1450, "turbo": 1550,
    "tiny": 75, "base": 140, "small": 470, "medium": 1460, "large": 2950,
}  # fmt: skip
"""A part of a size's name → its weights at half precision, in MB; the first that is found counts."""


def find(settings: Settings) -> Path | None:
    """The folder with the weights that WHISPER_MODEL names, None when they are not on this machine.

    Looks at the name as a folder, as a folder's name in MODELS_DIR, and where `fetch` puts a model. Raises
    EngineUnavailable when the name is that of a folder without a model, or no name at all.
    """
    name = settings.whisper_model
    folders = [folder for folder in (Path(name).expanduser(), settings.models_dir / name) if folder.is_dir()]
    for folder in folders:
        if is_model(folder):
            return folder
    try:
        folder = _store(settings)
    except EngineUnavailable:
        if not folders:
            raise
        raise EngineUnavailable(
            f"The folder {name} has no faster-whisper model in it: it needs {', '.join(NEEDED)}.",
            remedy="Let WHISPER_MODEL name a size (base), a hub name (owner/name) or a folder with such a model.",
        ) from None
    return folder if is_model(folder) else None


async def check(settings: Settings) -> None:
    """Raises EngineUnavailable when the weights are not here and the hub would not give them; takes 2 s at most."""
    if await asyncio.to_thread(find, settings) is None:
        await Hub.of(settings).check(hub_name(settings.whisper_model))


async def fetch(settings: Settings, report: Report) -> Path:
    """The folder with the weights, downloaded when they are not here. Raises EngineUnavailable."""
    folder = await asyncio.to_thread(find, settings)
    if folder is not None:
        return folder
    repo, folder = hub_name(settings.whisper_model), _store(settings)
    hub = Hub.of(settings)
    files = await hub.files(repo, lambda name: name in WANTED or name.startswith("vocabulary."))
    missing = [name for name in NEEDED if name not in {file.name for file in files}]
    if missing:
        raise EngineUnavailable(
            f"{repo} is no faster-whisper model: it has no {' and no '.join(missing)}.",
            remedy="Take one that was converted to CTranslate2, as Systran/faster-whisper-base.",
        )
    await hub.fetch(repo, files, folder, report)
    return folder


def hub_name(model: str) -> str:
    """The hub's name (owner/name) of a size or of a hub name. Raises EngineUnavailable for what is neither."""
    known = sizes()
    if model in known:
        return known[model]
    owner, slash, name = model.partition("/")
    if slash and owner and name and "/" not in name and not model.startswith((".", "~", "/")):
        return model
    raise EngineUnavailable(
        f"WHISPER_MODEL={model} is no size, no hub name and no folder.",
        remedy=f"Take one of {', '.join(known)}, a hub name (owner/name) or a folder with a CTranslate2 model.",
    )


def size_of(name: str) -> str | None:
    """The size that a name means ("small", "whisper-small", "openai/whisper-small", the hub's name); None: none."""
    found = sizes()
    asked = name.lower()
    plain = asked.rpartition("/")[2] if asked.startswith("openai/") else asked
    repo = found.get(plain.removeprefix("whisper-"), name)
    return next((size for size, hub in found.items() if hub.lower() == repo.lower()), None)


def folders(settings: Settings) -> list[str]:
    """Names of the folders in MODELS_DIR that have a model in them, but for those of sizes."""
    stored = {repo.replace("/", "--") for repo in sizes().values()}
    if not settings.models_dir.is_dir():
        return []
    return sorted(one.name for one in settings.models_dir.iterdir() if one.name not in stored and is_model(one))


def weights_mb(settings: Settings, model: str) -> int:
    """How large the weights of a model are, at half precision, in MB; of one that is not here, by its size."""
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
        # Private, but the only list that grows with the library; were it gone, the plain sizes follow one scheme.
        from faster_whisper.utils import _MODELS

        return dict(_MODELS)
    except ImportError:
        plain = ("tiny", "base", "small", "medium", "large-v2", "large-v3")
        return {size: f"Systran/faster-whisper-{size}" for size in plain}


def _store(settings: Settings) -> Path:
    """Where a model from the hub is kept."""
    return settings.models_dir / hub_name(settings.whisper_model).replace("/", "--")


def is_model(folder: Path) -> bool:
    """Whether there is a model in a folder."""
    return all((folder / name).is_file() for name in NEEDED)
