"""A model's weights and sizes in CTranslate2's layout, for the architectures that CTranslate2 computes exactly."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import BadInput
from pipeline.llm.conversion.gguf_file import GgufFile
from pipeline.llm.conversion.metadata import Metadata

if TYPE_CHECKING:
    from ctranslate2.specs.transformer_spec import TransformerDecoderModelSpec

MAX_WIDTH = 2**17
"""Upper bound for the sizes in the metadata; the largest models have a tenth of it."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Differences of an architecture from Llama's."""

    rope_interleaved: bool = False
    """Whether gguf's converter has permuted the rows of its queries and keys."""
    qk_norm: bool = False
    """Whether queries and keys are normalised in each head."""
    gemma: bool = False
    """Whether embeddings are multiplied by the root of their width, and the activation is GELU. The norms' weights in
    gguf include the 1 that Gemma adds to them."""


ARCHITECTURES = {
    "llama": Architecture(rope_interleaved=True),
    "qwen2": Architecture(),
    "qwen3": Architecture(qk_norm=True),
    "gemma": Architecture(gemma=True),
}
"""gguf's name → architecture. Mistral and SmolLM2 are a "llama", too."""

REFUSED = {
    "gemma2": "Gemma 2 limits its attention scores (soft-capping), which CTranslate2 does not compute.",
    "gemma3": "Gemma 3 alternates between two kinds of attention, which the converter does not support.",
    "phi3": "Phi 3 stores its weights in another layout, which the converter does not support.",
    "qwen2moe": "Models of several experts are not supported.",
    "qwen3moe": "Models of several experts are not supported.",
}
"""gguf's name → the reason why this architecture cannot be converted."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a model."""

    vocabulary: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    layers: int


def architecture_of(metadata: Metadata) -> Architecture:
    """Return the file's architecture. Raises BadInput."""
    name = metadata.architecture
    if name not in ARCHITECTURES:
        supported = f"these are: {', '.join(ARCHITECTURES)}."
        raise BadInput(
            f"{REFUSED[name]} Supported architectures: {', '.join(ARCHITECTURES)}."
            if name in REFUSED
            else f"The architecture {name[:40]!r} is not supported; {supported}"
        )
    return ARCHITECTURES[name]


def build_spec(file: GgufFile, metadata: Metadata) -> "TransformerDecoderModelSpec":
    """Return the model. Raises BadInput when something is missing, contradictory or not supported."""
    from ctranslate2.specs import attention_spec, common_spec, transformer_spec  # imports torch if it is installed

    kind = architecture_of(metadata)
    sizes = _sizes(file, metadata)
    scaling: dict[str, Any] = {}
    if "rope_freqs.weight" in file.tensors:
        # Divisors of the frequencies (Llama 3.1 and later). This kind of scaling takes any; equal lengths mean that
        # nothing else is scaled, and that both lists of divisors are the same.
        length = max(2, metadata.integer("context_length", 1, 2**31 - 1))
        scaling = {
            "rotary_scaling_type": attention_spec.RotaryScalingType.Su,
            "original_max_position_embeddings": length,
            "max_position_embeddings": length,
        }
    elif (factor := _linear(metadata)) != 1:
        scaling = {
            "rotary_scaling_type": attention_spec.RotaryScalingType.Linear,
            "rotary_scaling_factor": factor,
        }
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        sizes.layers, sizes.heads,
        activation=common_spec.Activation.GELUTanh if kind.gemma else common_spec.Activation.SWISH,
        pre_norm=True, ffn_glu=True, rms_norm=True, rotary_dim=0, rotary_interleave=kind.rope_interleaved,
        rotary_base=metadata.positive("rope.freq_base", 10_000.0), num_heads_kv=sizes.kv_heads, head_dim=sizes.head,
        qk_norm=kind.qk_norm, **scaling,
    )  # fmt: skip
    decoder = spec.decoder
    decoder.scale_embeddings = kind.gemma
    if kind.gemma:
        decoder.embeddings.multiply_by_sqrt_depth = np.dtype("float32").type(sizes.width**0.5)
    decoder.embeddings.weight = file.weights("token_embd.weight", sizes.vocabulary, sizes.width)
    decoder.layer_norm.gamma = file.weights("output_norm.weight", sizes.width)
    tied = "output.weight" not in file.tensors
    decoder.projection.weight = (
        decoder.embeddings.weight if tied else file.weights("output.weight", sizes.vocabulary, sizes.width)
    )
    for number, layer in enumerate(decoder.layer):
        _fill(layer, f"blk.{number}.", file, sizes, kind)
    spec.config.layer_norm_epsilon = metadata.positive("attention.layer_norm_rms_epsilon")
    return spec


def _sizes(file: GgufFile, metadata: Metadata) -> Sizes:
    heads = metadata.integer("attention.head_count", 1, 2**12)
    width = metadata.integer("embedding_length", 1, MAX_WIDTH)
    head = metadata.integer("attention.key_length", 2, MAX_WIDTH, width // heads)
    sizes = Sizes(
        vocabulary=len(metadata.tokens), width=width,
        inner=metadata.integer("feed_forward_length", 1, MAX_WIDTH * 8), heads=heads,
        kv_heads=metadata.integer("attention.head_count_kv", 1, heads, heads), head=head,
        layers=metadata.integer("block_count", 1, max(1, len(file.tensors))),
    )  # fmt: skip
    if metadata.integer("attention.value_length", 1, MAX_WIDTH, head) != head:
        raise BadInput("Values of another size than the keys are not supported.")
    if metadata.integer("rope.dimension_count", 1, MAX_WIDTH, head) != head or head % 2:
        raise BadInput("Rotary embeddings of a part of each head are not supported.")
    if heads % sizes.kv_heads:
        raise BadInput("The gguf file's numbers of heads contradict each other.")
    if metadata.integer("expert_count", 0, 2**16, 0):
        raise BadInput("Models of several experts are not supported.")
    return sizes


def _linear(metadata: Metadata) -> float:
    """Return the factor by which positions are divided. Raises BadInput for other kinds of scaling."""
    kind = metadata.of_model("rope.scaling.type", "none")
    if kind == "none":
        return 1.0
    if kind != "linear":
        raise BadInput(f"Rotary embeddings scaled by {str(kind)[:40]!r} are not supported.")
    return metadata.positive("rope.scaling.factor")


def _fill(layer: Any, prefix: str, file: GgufFile, sizes: Sizes, kind: Architecture) -> None:
    """Fill one layer. The queries, keys and values are one matrix."""
    attention, ffn = layer.self_attention, layer.ffn
    rows = {"q": sizes.heads * sizes.head, "k": sizes.kv_heads * sizes.head, "v": sizes.kv_heads * sizes.head}
    attention.layer_norm.gamma = file.weights(prefix + "attn_norm.weight", sizes.width)
    attention.linear[0].weight = np.concatenate(
        [file.weights(f"{prefix}attn_{name}.weight", count, sizes.width) for name, count in rows.items()]
    )
    if f"{prefix}attn_q.bias" in file.tensors:
        attention.linear[0].bias = np.concatenate(
            [file.weights(f"{prefix}attn_{name}.bias", count) for name, count in rows.items()]
        )
    if kind.qk_norm:
        attention.q_norm.gamma = file.weights(prefix + "attn_q_norm.weight", sizes.head)
        attention.k_norm.gamma = file.weights(prefix + "attn_k_norm.weight", sizes.head)
    attention.linear[1].weight = file.weights(prefix + "attn_output.weight", sizes.width, rows["q"])
    if "rope_freqs.weight" in file.tensors:
        divisors = file.weights("rope_freqs.weight", sizes.head // 2)
        attention.rotary_scaling_long_factor = attention.rotary_scaling_short_factor = divisors
    ffn.layer_norm.gamma = file.weights(prefix + "ffn_norm.weight", sizes.width)
    ffn.linear_0.weight = file.weights(prefix + "ffn_gate.weight", sizes.inner, sizes.width)
    ffn.linear_0_noact.weight = file.weights(prefix + "ffn_up.weight", sizes.inner, sizes.width)
    ffn.linear_1.weight = file.weights(prefix + "ffn_down.weight", sizes.width, sizes.inner)
