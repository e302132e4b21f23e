"""Location of the weights for `parakeet`: a folder, an earlier download, or the hub.

A model is a folder in the layout of onnx-asr: `config.json` with the `model_type`, `vocab.txt`, and the graphs, each as
`NAME.onnx` (float32, perhaps with `NAME.onnx.data`) or `NAME.int8.onnx`.
"""

import asyncio
import json
from pathlib import Path

from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.support.model_hub import Hub, RemoteFile
from pipeline.support.progress import Report

DEFAULT_MODEL = "istupakov/parakeet-tdt-0.6b-v3-onnx"
REMEDY = f"Set STT_MODEL to a hub name, such as {DEFAULT_MODEL}, or to a folder of that layout."
GRAPHS = {
    "nemo-conformer-tdt": ("encoder-model", "decoder_joint-model"),
    "nemo-conformer-rnnt": ("encoder-model", "decoder_joint-model"),
    "nemo-conformer-ctc": ("model",),
    "nemo-conformer-aed": ("encoder-model", "decoder-model"),
}
"""`model_type` → its graphs: Parakeet TDT, RNN-T and CTC, and Canary."""
PLAIN = ("config.json", "vocab.txt")
INT8 = ".int8"
LIMITS = {"features_size": 1024, "subsampling_factor": 64, "max_tokens_per_step": 100, "max_sequence_length": 16_384}
"""Numbers in `config.json` → the largest that makes sense; with a larger one, decoding could take for ever."""
LARGEST = 16 * 2**20
"""Most bytes of a file beside the graphs; a vocabulary of 16,384 tokens has a hundredth of it."""


def model_name(settings: Settings) -> str:
    """Return the hub name or the folder of the model."""
    return settings.stt_model or DEFAULT_MODEL


def find(settings: Settings) -> Path | None:
    """Return the folder with the weights that STT_MODEL names, None if they are not on this machine.

    Looks for the name as a folder, as a folder in MODELS_DIR, and where `fetch` stores a model. Raises
    EngineUnavailable for a folder without a model and for an invalid name.
    """
    name = model_name(settings)
    for folder in (Path(name).expanduser(), settings.models_dir / name):
        if folder.is_dir():
            check_folder(folder)
            return folder
    folder = settings.models_dir / _hub_name(name).replace("/", "--")
    if not folder.is_dir():
        return None
    check_folder(folder)
    return folder


async def check(settings: Settings) -> None:
    """Raise EngineUnavailable if the weights are neither here nor available from the hub; takes 2 s at most."""
    if await asyncio.to_thread(find, settings) is None:
        await Hub.of(settings).check(_hub_name(model_name(settings)))


async def fetch(settings: Settings, report: Report) -> Path:
    """Return the folder with the weights, after downloading them if necessary: the int8 graphs if the hub has them.
    Raises EngineUnavailable."""
    folder = await asyncio.to_thread(find, settings)
    if folder is not None:
        return folder
    repo = _hub_name(model_name(settings))
    hub = Hub.of(settings)
    files = _needed(await hub.files(repo, lambda name: name in PLAIN or ("/" not in name and ".onnx" in name)))
    if not files:
        raise EngineUnavailable(f"{repo} is not a model for onnx-asr.", remedy=REMEDY)
    folder = settings.models_dir / repo.replace("/", "--")
    await hub.fetch(repo, files, folder, report)
    await asyncio.to_thread(check_folder, folder)
    return folder


def _needed(files: list[RemoteFile]) -> list[RemoteFile]:
    """The files of the smallest complete set of graphs; empty if there is none."""
    names = {file.name for file in files}
    for graphs in dict.fromkeys(GRAPHS.values()):
        for suffix in (INT8, ""):
            wanted = {*PLAIN, *(f"{graph}{suffix}.onnx" for graph in graphs)}
            if wanted <= names:
                return [file for file in files if file.name in wanted or file.name.removesuffix(".data") in wanted]
    return []


def _hub_name(model: str) -> str:
    """Return a hub's name (owner/name). Raises EngineUnavailable for any other name."""
    owner, slash, name = model.partition("/")
    if slash and owner and name and "/" not in name and not model.startswith((".", "~", "/")):
        return model
    raise EngineUnavailable(f"STT_MODEL={model} is not a hub name or a folder.", remedy=REMEDY)


def check_folder(folder: Path) -> None:
    """Raise EngineUnavailable unless a folder contains a complete model."""
    quantization_of(folder)
    if not (folder / "vocab.txt").is_file():
        raise EngineUnavailable(f"The folder {folder.name} has no vocab.txt.", remedy=REMEDY)
    try:
        _text(folder / "vocab.txt")
    except (OSError, ValueError):
        raise EngineUnavailable(f"The vocab.txt in the folder {folder.name} is damaged.", remedy=REMEDY) from None


def _text(path: Path) -> str:
    """Return a small file's text. Raises OSError, ValueError."""
    if path.stat().st_size > LARGEST:
        raise ValueError("too large")
    return path.read_text("utf-8")


def type_of(folder: Path) -> str:
    """Return the `model_type` of a folder's model. Raises EngineUnavailable if it is not one of GRAPHS, or if
    `config.json` has an impossible number."""
    try:
        config = json.loads(_text(folder / "config.json"))
        kind = config["model_type"]
        if not isinstance(kind, str):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise EngineUnavailable(
            f"The folder {folder.name} has no config.json with a model_type.", remedy=REMEDY
        ) from error
    if kind not in GRAPHS:
        raise EngineUnavailable(
            f"Models of type {kind[:40]!r} are not supported: only {', '.join(GRAPHS)}.", remedy=REMEDY
        )
    for name, most in LIMITS.items():
        value = config.get(name, 1)
        if not isinstance(value, int) or not 1 <= value <= most:
            raise EngineUnavailable(
                f"The {name} in the config.json of the folder {folder.name} is not from 1 to {most}.", remedy=REMEDY
            )
    return kind


def quantization_of(folder: Path) -> str | None:
    """Return "int8" if a folder has such graphs, else None. Raises EngineUnavailable if graphs are missing."""
    graphs = GRAPHS[type_of(folder)]
    for suffix in (INT8, ""):
        if all((folder / f"{graph}{suffix}.onnx").is_file() for graph in graphs):
            return suffix.removeprefix(".") or None
    raise EngineUnavailable(
        f"The folder {folder.name} lacks a graph: it needs {' and '.join(f'{graph}.onnx' for graph in graphs)}.",
        remedy=REMEDY,
    )
