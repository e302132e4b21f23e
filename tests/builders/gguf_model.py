"""A tiny language model with random weights in a gguf file, and its forward pass in numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter, RopeScalingType, TokenType
from gguf.quants import dequantize
from numpy.typing import NDArray

SPECIAL = ("<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PIECES = ("\u2581", "t", "h", "e", "a", "n", "d", "he", "the", "\u2581the", "an", "and", "\u2581and", "\u2581a", "en")
LAYERS, WIDTH, HEADS, KV_HEADS, INNER = 2, 64, 4, 2, 96


def byte_tokens() -> list[str]:
    """Return GPT-2's printable character for each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shifted = iter(range(256, 512))
    return [chr(byte if byte in kept else next(shifted)) for byte in range(256)]


def build(
    file: Path,
    architecture: str = "llama",
    *,
    pre: str = "smollm",
    rope: NDArray[np.float32] | None = None,
    linear: float = 1.0,
    head: int = WIDTH // HEADS,
    pieces: bool = False,
) -> Path:
    """Write the model. Its tokens are bytes, a few pieces and two special ones.

    rope: divisors of its rotary frequencies. linear: divisor of its positions. head: width of a head. pieces: the
    tokeniser is SentencePiece's.
    """
    chance = np.random.default_rng(0)
    tokens = [*([f"<0x{byte:02X}>" for byte in range(256)] if pieces else byte_tokens()), "ab", *SPECIAL]
    types = [TokenType.BYTE if pieces else TokenType.NORMAL] * 256 + [TokenType.NORMAL]
    types += [TokenType.CONTROL] * len(SPECIAL)
    if pieces:
        tokens += [*PIECES, "<unk>"]
        types += [TokenType.NORMAL] * len(PIECES) + [TokenType.UNKNOWN]
    writer = GGUFWriter(file, architecture)
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_key_length(head)
    writer.add_value_length(head)
    if linear != 1:
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(linear)
    writer.add_tokenizer_model("llama" if pieces else "gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if pieces:
        writer.add_token_scores([-float(number) for number in range(len(tokens))])
        writer.add_unk_token_id(len(tokens) - 1)
        writer.add_add_space_prefix(False)
    else:
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges(["a b"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)
    writer.add_chat_template(TEMPLATE)

    def add(name: str, *shape: int, scale: float = 0.2) -> None:
        writer.add_tensor(name, chance.normal(0, scale, shape).astype(np.float32))

    add("token_embd.weight", len(tokens), WIDTH, scale=1)
    if architecture != "gemma":  # its output is its embeddings
        add("output.weight", len(tokens), WIDTH)
    add("output_norm.weight", WIDTH, scale=1)
    if rope is not None:
        writer.add_tensor("rope_freqs.weight", rope)
    queries, kv = head * HEADS, head * KV_HEADS
    for number in range(LAYERS):
        at = f"blk.{number}."
        for name in ("attn_norm", "ffn_norm"):
            add(f"{at}{name}.weight", WIDTH, scale=1)
        for name, rows in (("q", queries), ("k", kv), ("v", kv)):
            add(f"{at}attn_{name}.weight", rows, WIDTH)
            if architecture == "qwen2":
                add(f"{at}attn_{name}.bias", rows)
        if architecture == "qwen3":
            add(f"{at}attn_q_norm.weight", head, scale=1)
            add(f"{at}attn_k_norm.weight", head, scale=1)
        add(f"{at}attn_output.weight", WIDTH, queries)
        add(f"{at}ffn_gate.weight", INNER, WIDTH)
        add(f"{at}ffn_up.weight", INNER, WIDTH)
        add(f"{at}ffn_down.weight", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def logits(file: Path, tokens: list[int]) -> NDArray[np.float64]:
    """Return the logits after each token, (n, vocabulary): the forward pass of the papers, in float64."""
    with pytest.MonkeyPatch.context() as patch:  # each of a vocabulary's words would be a new view of the memory map
        patch.setattr(np, "memmap", lambda path, mode: np.fromfile(path, np.uint8))
        reader = GGUFReader(file)
    architecture = reader.fields["general.architecture"].contents()
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def about(key: str) -> Any:
        return reader.fields[f"{architecture}.{key}"].contents()

    def weights(name: str) -> NDArray[np.float64]:
        tensor = tensors[name]
        plain = dequantize(tensor.data, tensor.tensor_type)
        return plain.reshape([int(size) for size in reversed(tensor.shape)]).astype(np.float64)

    heads, kv_heads, epsilon = (
        about("attention.head_count"), about("attention.head_count_kv"), about("attention.layer_norm_rms_epsilon"),
    )  # fmt: skip

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * weights(name)

    states = weights("token_embd.weight")[tokens]
    if architecture == "gemma":
        states = states * np.sqrt(states.shape[1])
    size = about("attention.key_length") if f"{architecture}.attention.key_length" in reader.fields else 0
    size = size or states.shape[1] // heads
    frequencies = about("rope.freq_base") ** (-np.arange(0, size, 2) / size)
    if "rope_freqs.weight" in tensors:
        frequencies = frequencies / weights("rope_freqs.weight")
    if f"{architecture}.rope.scaling.factor" in reader.fields:
        frequencies = frequencies / about("rope.scaling.factor")
    angles = np.arange(len(tokens))[:, None, None] * frequencies

    def turned(x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rotate pairs: neighbours where gguf's converter has permuted the rows, else the two halves."""
        one, other = (x[..., ::2], x[..., 1::2]) if architecture == "llama" else np.split(x, 2, -1)
        pair = one * np.cos(angles) - other * np.sin(angles), one * np.sin(angles) + other * np.cos(angles)
        return np.stack(pair, -1).reshape(x.shape) if architecture == "llama" else np.concatenate(pair, -1)

    later = np.triu(np.full((len(tokens), len(tokens)), -np.inf), 1)
    for number in range(about("block_count")):
        at = f"blk.{number}."

        def projected(x: NDArray[np.float64], name: str, count: int, at: str = at) -> NDArray[np.float64]:
            y = x @ weights(f"{at}attn_{name}.weight").T
            if f"{at}attn_{name}.bias" in tensors:
                y = y + weights(f"{at}attn_{name}.bias")
            y = y.reshape(len(tokens), count, size)
            return norm(y, f"{at}attn_{name}_norm.weight") if f"{at}attn_{name}_norm.weight" in tensors else y

        x = norm(states, f"{at}attn_norm.weight")
        q, k = turned(projected(x, "q", heads)), turned(projected(x, "k", kv_heads))
        k, v = (np.repeat(y, heads // kv_heads, 1) for y in (k, projected(x, "v", kv_heads)))
        scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(size) + later
        odds = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hij,jhd->ihd", odds / odds.sum(-1, keepdims=True), v).reshape(len(tokens), -1)
        states = states + mixed @ weights(f"{at}attn_output.weight").T
        x = norm(states, f"{at}ffn_norm.weight")
        gate = x @ weights(f"{at}ffn_gate.weight").T
        if architecture == "gemma":
            gate = gate / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        else:
            gate = gate / (1 + np.exp(-gate))
        inner = gate * (x @ weights(f"{at}ffn_up.weight").T)
        states = states + inner @ weights(f"{at}ffn_down.weight").T
    out = "output.weight" if "output.weight" in tensors else "token_embd.weight"
    return norm(states, "output_norm.weight") @ weights(out).T
