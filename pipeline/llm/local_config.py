"""The config and the output of the engine `local`, and checks of a model's folder."""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import EngineUnavailable
from pipeline.llm import Usage

NEEDED = ("model.bin", "config.json", "tokenizer.json", "tokenizer_config.json")
WANTED = (
    *NEEDED, "vocabulary.json", "vocabulary.txt", "generation_config.json", "chat_template.jinja",
    "special_tokens_map.json",
)  # fmt: skip
"""Files to download."""
TOO_SMALL = 1_000_000_000
"""Parameters below which a model invents too much to be trusted."""


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """The argument of the engine's constructor."""

    folder: str
    device: str
    """cpu or cuda."""
    compute_type: str
    threads: int
    context: int
    """Most tokens of prompt and reply together; the model's own limit, if it is lower, replaces it."""
    max_tokens: int
    """Most tokens of a reply."""
    temperature: float
    repetition_penalty: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next part of a reply, "" for a token within a character. The last one has the usage."""

    text: str
    usage: Usage | None = None


def check(folder: Path) -> None:
    """Check that this is a model's folder. Raises EngineUnavailable."""
    if not folder.is_dir():
        raise EngineUnavailable("The folder in LOCAL_LLM does not exist.", remedy="python main.py convert FILE FOLDER")
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise EngineUnavailable(
            f"The folder in LOCAL_LLM lacks {missing[0]}.",
            remedy="Set it to a folder with a CTranslate2 model, or make one: python main.py convert FILE FOLDER",
        )


def parameters(folder: Path) -> int:
    """Count the parameters of a CTranslate2 model, from the shapes in its `model.bin`. Raises EngineUnavailable."""
    try:
        with (folder / "model.bin").open("rb") as file:
            _number(file, "I")
            _skip_string(file)
            _number(file, "I")
            return sum(_variable(file) for _ in range(min(_number(file, "I"), 100_000)))
    except (OSError, struct.error):
        raise EngineUnavailable(
            "The model.bin in LOCAL_LLM is damaged.", remedy="Download or convert the model again."
        ) from None


def _variable(file: BinaryIO) -> int:
    """Skip one variable; return its size."""
    _skip_string(file)
    size = prod(_number(file, "I") for _ in range(_number(file, "B")))
    _number(file, "B")
    file.seek(_number(file, "I"), 1)
    return size


def _skip_string(file: BinaryIO) -> None:
    file.seek(_number(file, "H"), 1)


def _number(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0])
