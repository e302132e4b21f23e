"""The config and the output of the engine `local`, and checks of a model's folder."""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import EngineUnavailable
from pipeline.llm import Usage
from pipeline.support.installing import COMMAND

NEEDED = ("model.bin", "config.json", "tokenizer.json", "tokenizer_config.json")
WANTED = (
    *NEEDED, "vocabulary.json", "vocabulary.txt", "generation_config.json", "chat_template.jinja",
    "special_tokens_map.json",
)  # fmt: skip
"""Files to download."""
LARGEST = 64 * 2**20
"""Most bytes of a file beside the weights; the largest tokenizer.json, Gemma's, has half of it."""
MAX_DIMENSIONS = 8
ITEM_BYTES = {0: 4, 1: 1, 2: 2, 3: 4, 4: 2, 5: 2}
"""CTranslate2's number of a type → bytes: float32, int8, int16, int32, float16, bfloat16."""
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
    cut: bool = False
    """The reply ended at its token limit; only in the last chunk."""


def check(folder: Path) -> None:
    """Check that this is a model's folder. Raises EngineUnavailable."""
    if not folder.is_dir():
        raise EngineUnavailable("The folder in LOCAL_LLM does not exist.", remedy=f"{COMMAND} convert FILE FOLDER")
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise EngineUnavailable(
            f"The folder in LOCAL_LLM lacks {missing[0]}.",
            remedy=f"Set it to a folder with a CTranslate2 model, or make one: {COMMAND} convert FILE FOLDER",
        )
    for name in WANTED:
        if name != "model.bin" and (folder / name).is_file() and (folder / name).stat().st_size > LARGEST:
            raise EngineUnavailable(
                f"The {name} in LOCAL_LLM is larger than {LARGEST // 2**20} MB.",
                remedy="Download or convert the model again.",
            )


def parameters(folder: Path) -> int:
    """Count the parameters of a CTranslate2 model, from the shapes in its `model.bin`. Raises EngineUnavailable when
    they contradict the file's length: CTranslate2 reserves memory as they say."""
    try:
        with (folder / "model.bin").open("rb") as file:
            left = (folder / "model.bin").stat().st_size
            _number(file, "I")
            _skip_string(file)
            _number(file, "I")
            count = _number(file, "I")
            if count * 8 > left:
                raise ValueError
            return sum(_variable(file, left) for _ in range(count))
    except (OSError, struct.error, ValueError):
        raise EngineUnavailable(
            "The model.bin in LOCAL_LLM is damaged.", remedy="Download or convert the model again."
        ) from None


def _variable(file: BinaryIO, length: int) -> int:
    """Skip one variable; return its size. Raises ValueError when its shape and its bytes contradict each other."""
    _skip_string(file)
    dimensions = _number(file, "B")
    if dimensions > MAX_DIMENSIONS:
        raise ValueError
    size = prod(_number(file, "I") for _ in range(dimensions))
    item, stored = ITEM_BYTES.get(_number(file, "B")), _number(file, "I")
    if item is None or size * item != stored or file.tell() + size * item > length:
        raise ValueError
    file.seek(size * item, 1)
    return size


def _skip_string(file: BinaryIO) -> None:
    file.seek(_number(file, "H"), 1)


def _number(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0])
