"""Converts a language model from a gguf file into a CTranslate2 folder, for the engine `local`.

Only `main.py convert` imports it: the service never reads a gguf file. The folder gets the weights in int8, the
vocabulary, `tokenizer.json`, `generation_config.json`, and `tokenizer_config.json` with the chat template and the
length of the context.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.llm.conversion.gguf_file import GgufFile
from pipeline.llm.conversion.metadata import Metadata
from pipeline.llm.conversion.spec import architecture_of, build_spec
from pipeline.llm.conversion.tokenizer import build_tokenizer

COMPUTE_TYPES = ("int8", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")


def convert(source: Path, folder: Path, compute_type: str = "int8") -> None:
    """Convert `source` into `folder`, which appears when it is complete.

    Raises BadInput when the file cannot be read, its architecture or tokeniser is not supported, or the folder exists.
    """
    if folder.exists():
        raise BadInput(f"{folder} exists already.")
    if compute_type not in COMPUTE_TYPES:
        raise BadInput(f"{compute_type!r} is not one of {', '.join(COMPUTE_TYPES)}.")
    if not source.is_file():
        raise BadInput(f"{source}: file not found.")
    try:
        file = GgufFile(source)
    except OSError as error:
        raise BadInput(f"{source} cannot be read: {error.strerror or error}.") from error
    partial = folder.with_name(folder.name + ".partial")
    try:
        partial.mkdir(parents=True)
        _write(file, partial, compute_type)
        partial.rename(folder)
    except MemoryError:
        raise BadInput("There is too little memory: the conversion needs four bytes for each parameter.") from None
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(file: GgufFile, folder: Path, compute_type: str) -> None:
    """Write a model's files; first the small ones, which are most likely to be refused."""
    metadata = Metadata(file.metadata)
    architecture_of(metadata)
    end = metadata.token("eos_token_id")
    if end is None:
        raise BadInput("The gguf file names no token that ends a reply.")
    start, unknown = metadata.token("bos_token_id"), metadata.token("unknown_token_id")
    build_tokenizer(metadata).save(str(folder / "tokenizer.json"))
    about: dict[str, object] = {
        "model_max_length": metadata.integer("context_length", 1, 2**31 - 1),
        "eos_token": end,
        "chat_template": metadata.text("tokenizer.chat_template"),
    }
    if start is not None:
        about["bos_token"] = start
    _save(folder / "tokenizer_config.json", about)
    ends = {token for token in (end, metadata.token("eot_token_id"), metadata.token("eom_token_id")) if token}
    _save(folder / "generation_config.json", {"eos_token_id": sorted(map(metadata.tokens.index, ends))})
    spec = build_spec(file, metadata)
    spec.register_vocabulary(list(metadata.tokens))
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = start or end, end, unknown or end
    spec.validate()
    spec.optimize(quantization=compute_type)
    spec.save(str(folder))


def _save(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), "utf-8")
