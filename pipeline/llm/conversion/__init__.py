"""Converts a language model from a gguf file into a CTranslate2 folder, for the engine `local`.

Only `main.py convert` imports it: the service never reads a gguf file. The folder gets the weights in int8, the
vocabulary, `tokenizer.json`, and `tokenizer_config.json` with the chat template and the length of the context.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import common_spec, transformer_spec
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray

from pipeline.errors import BadInput
from pipeline.llm.gguf_tokenizer import build_tokenizer

ROPE_INTERLEAVED = {"llama": True, "qwen2": False}
"""Architecture → whether gguf's converter has permuted the rows of its queries and keys. Mistral is a "llama", too."""
COMPUTE_TYPES = ("int8", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")

_UNREADABLE = (ValueError, LookupError, TypeError, OverflowError, AttributeError, MemoryError, NotImplementedError)
"""Errors of the reader for a damaged file."""

Weights = Callable[[str], NDArray[np.float32]]


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
    partial = folder.with_name(folder.name + ".partial")
    try:
        reader = GGUFReader(source)
        spec = _spec(_Metadata(reader), reader)
        spec.optimize(quantization=compute_type)
        partial.mkdir(parents=True)
        spec.save(str(partial))
        _write_tokenizer(_Metadata(reader), partial)
        partial.rename(folder)
    except _UNREADABLE as error:
        raise BadInput(
            f"{source} cannot be read as a gguf file ({type(error).__name__}: {str(error)[:200]})."
        ) from error
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Metadata:
    """The key-value pairs of a file. `of_model` are those whose names begin with the architecture."""

    def __init__(self, reader: GGUFReader) -> None:
        self._fields = reader.fields
        self.architecture = str(self.get("general.architecture", ""))
        if self.architecture not in ROPE_INTERLEAVED:
            raise BadInput(
                f"The architecture {self.architecture[:40]!r} is not supported; these are: "
                f"{', '.join(sorted(ROPE_INTERLEAVED))}."
            )

    def get(self, key: str, default: Any = None) -> Any:
        field = self._fields.get(key)
        if field is None:
            if default is None:
                raise BadInput(f"The gguf file lacks {key}.")
            return default
        return field.contents()

    def of_model(self, key: str, default: Any = None) -> Any:
        return self.get(f"{self.architecture}.{key}", default)


def _spec(metadata: _Metadata, reader: GGUFReader) -> transformer_spec.TransformerDecoderModelSpec:
    """Return the model's weights in CTranslate2's layout."""
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def weights(name: str) -> NDArray[np.float32]:
        if name not in tensors:
            raise BadInput(f"The gguf file lacks the weights {name}.")
        tensor = tensors[name]
        shape = tuple(int(size) for size in reversed(tensor.shape))
        plain = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32, order="C")
        return plain.reshape(shape)  # a copy: plain weights are read-only views of the file

    heads = int(metadata.of_model("attention.head_count"))
    width = int(metadata.of_model("embedding_length"))
    head_size = int(metadata.of_model("attention.key_length", width // heads))
    if int(metadata.of_model("rope.dimension_count", head_size)) != head_size:
        raise BadInput("Rotary embeddings of a part of each head are not supported.")
    if metadata.of_model("rope.scaling.type", "none") != "none" or "rope_freqs.weight" in tensors:
        raise BadInput("Scaled rotary embeddings (Llama 3.1 and later) are not supported.")
    layers = int(metadata.of_model("block_count"))
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        layers, heads, activation=common_spec.Activation.SWISH, pre_norm=True, ffn_glu=True, rms_norm=True,
        rotary_dim=0, rotary_interleave=ROPE_INTERLEAVED[metadata.architecture],
        rotary_base=float(metadata.of_model("rope.freq_base", 10_000.0)),
        num_heads_kv=int(metadata.of_model("attention.head_count_kv", heads)), head_dim=head_size,
    )  # fmt: skip
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = weights("token_embd.weight")
    decoder.layer_norm.gamma = weights("output_norm.weight")
    decoder.projection.weight = weights("output.weight") if "output.weight" in tensors else decoder.embeddings.weight
    for number, layer in enumerate(decoder.layer):
        _fill(layer, f"blk.{number}.", weights, tensors)
    tokens = [str(token) for token in metadata.get("tokenizer.ggml.tokens")]
    spec.register_vocabulary(tokens)
    end = tokens[int(metadata.get("tokenizer.ggml.eos_token_id"))]
    spec.config.bos_token = tokens[int(metadata.get("tokenizer.ggml.bos_token_id", tokens.index(end)))]
    spec.config.eos_token = end
    spec.config.unk_token = tokens[int(metadata.get("tokenizer.ggml.unknown_token_id", tokens.index(end)))]
    spec.config.layer_norm_epsilon = float(metadata.of_model("attention.layer_norm_rms_epsilon"))
    spec.validate()
    return spec


def _fill(layer: Any, prefix: str, weights: Weights, tensors: dict[str, Any]) -> None:
    """Fill one layer. The queries, keys and values are one matrix."""
    attention, ffn = layer.self_attention, layer.ffn
    attention.layer_norm.gamma = weights(prefix + "attn_norm.weight")
    attention.linear[0].weight = np.concatenate([weights(f"{prefix}attn_{name}.weight") for name in "qkv"])
    if f"{prefix}attn_q.bias" in tensors:
        attention.linear[0].bias = np.concatenate([weights(f"{prefix}attn_{name}.bias") for name in "qkv"])
    attention.linear[1].weight = weights(prefix + "attn_output.weight")
    ffn.layer_norm.gamma = weights(prefix + "ffn_norm.weight")
    ffn.linear_0.weight = weights(prefix + "ffn_gate.weight")
    ffn.linear_0_noact.weight = weights(prefix + "ffn_up.weight")
    ffn.linear_1.weight = weights(prefix + "ffn_down.weight")


def _write_tokenizer(metadata: _Metadata, folder: Path) -> None:
    """Write the tokeniser's files."""
    tokens = [str(token) for token in metadata.get("tokenizer.ggml.tokens")]
    tokenizer = build_tokenizer(
        model=str(metadata.get("tokenizer.ggml.model")),
        pre=str(metadata.get("tokenizer.ggml.pre", "default")),
        tokens=tokens,
        types=[int(kind) for kind in metadata.get("tokenizer.ggml.token_type")],
        merges=[str(merge) for merge in metadata.get("tokenizer.ggml.merges", [])],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "model_max_length": int(metadata.of_model("context_length")),
        "eos_token": tokens[int(metadata.get("tokenizer.ggml.eos_token_id"))],
        "chat_template": str(metadata.get("tokenizer.chat_template")),
    }
    if (start := metadata.get("tokenizer.ggml.bos_token_id", -1)) >= 0:
        config["bos_token"] = tokens[int(start)]
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1), "utf-8")
