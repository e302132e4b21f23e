"""A Whisper with random weights, written directly in CTranslate2's format: the real layout, without torch or a hub."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from pipeline.languages import NAMES
from tests.builders.specs import import_specs

if TYPE_CHECKING:
    from ctranslate2.specs import WhisperSpec

SOUND_POSITIONS, TEXT_POSITIONS = 1500, 448
PLAIN_TOKENS = 50_257
"""Ids below the special tokens in the multilingual vocabulary."""
LANGUAGES = [code for code in NAMES if code != "yue"]
"""The 99 languages of all models before large-v3."""


@dataclass(frozen=True, slots=True)
class Size:
    """A model's size: width of its layers, numbers of encoder and decoder layers, attention heads, mel bins."""

    width: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    mel_bins: int = 80


SIZES = {
    "toy": Size(16, 1, 1, 2),
    "tiny": Size(384, 4, 4, 6),
    "base": Size(512, 6, 6, 8),
    "small": Size(768, 12, 12, 12),
    "large-v3": Size(1280, 32, 32, 20, 128),
}
"""The real sizes have the cost of the real models; their transcripts are nonsense, too."""


def build(
    folder: Path,
    *,
    multilingual: bool,
    sure: bool = False,
    quantization: str = "int8",
    seed: int = 0,
    size: Size = SIZES["toy"],
) -> Path:
    """Write a model (the smallest has about 2 MB) into `folder` and return it. The multilingual model has the real
    vocabulary's size.

    The transcripts are nonsense, with low confidence: all tokens are about equally likely. With `sure`, confidence is
    high.
    """
    folder.mkdir(parents=True)
    tokenizer = _tokenizer(PLAIN_TOKENS if multilingual else 256, LANGUAGES if multilingual else ["en"])
    words = tokenizer.get_vocab_size()
    assert (words == 51_865) == multilingual
    spec = import_specs().WhisperSpec(size.encoder_layers, size.heads, size.decoder_layers, size.heads)
    _fill(spec, words, size, np.random.default_rng(seed))
    if sure:
        spec.decoder.projection.weight *= 50
        end = np.zeros(words, np.float32)
        # Otherwise decoding would never stop, and looping text does not count as speech; logits grow with the root of
        # the width.
        end[tokenizer.token_to_id("<|endoftext|>")] = 50 * size.width**0.5
        spec.decoder.projection.bias = end
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    if multilingual:
        tokens[PLAIN_TOKENS - 1] = ""  # as in the real vocabulary, by which CTranslate2 recognises a multilingual model
    spec.register_vocabulary(tokens)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [tokenizer.token_to_id("<|endoftext|>")]
    spec.config.lang_ids = [tokenizer.token_to_id(f"<|{code}|>") for code in (LANGUAGES if multilingual else ["en"])]
    spec.config.alignment_heads = [[0, 0], [0, 1]]
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": size.mel_bins}))
    return folder


def _tokenizer(plain: int, languages: list[str]) -> Tokenizer:
    """Byte tokens, then filler up to `plain` ids, then Whisper's special tokens in Whisper's order."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Names without a common part: text that compresses well would be rejected as repetition.
    fillers = [hashlib.sha256(bytes([i % 256, i // 256])).hexdigest()[:12] for i in range(plain - 256)]
    vocabulary = {token: i for i, token in enumerate([*alphabet, *fillers])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["endoftext", "startoftranscript", *languages, "translate", "transcribe", "startoflm", "startofprev"]
    special += ["nospeech", "notimestamps"]
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True, normalized=False) for name in special])
    times = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
    tokenizer.add_tokens([AddedToken(time, special=False, normalized=False) for time in times])
    return tokenizer


def _fill(spec: "WhisperSpec", vocabulary: int, size: Size, rng: np.random.Generator) -> None:
    """Give every weight of the specification an array of its shape."""
    from ctranslate2.specs.model_spec import OPTIONAL, visit_spec

    width = size.width

    def shape(name: str) -> tuple[int, ...]:
        part = name.split("/")
        if "position_encodings" in part:
            return (SOUND_POSITIONS if part[0] == "encoder" else TEXT_POSITIONS, width)
        if "layer_norm" in name:
            return (width,)
        bias = part[-1] == "bias"
        if part[1] in ("conv1", "conv2"):
            return (width,) if bias else (width, size.mel_bins if part[1] == "conv1" else width, 3)
        if part[1] in ("embeddings", "projection"):
            return (vocabulary,) if bias else (vocabulary, width)
        rows, columns = width, width
        if "ffn" in part:
            rows, columns = (4 * width, width) if part[-2] == "linear_0" else (width, 4 * width)
        elif part[-2] == "linear_0":
            rows = 3 * width if "self_attention" in part else width  # queries, keys and values in one
        elif part[-2] == "linear_1" and "attention" in part:
            rows = 2 * width  # keys and values of the encoder's output
        return (rows,) if bias else (rows, columns)

    def fill(layer: object, name: str, value: object) -> None:
        last = name.rpartition("/")[2]
        # CTranslate2 writes None for required weights and OPTIONAL for the rest, of which Whisper has two kinds.
        if value is None or (value == OPTIONAL and last in ("bias", "encodings")):
            scale = 0.0 if last in ("bias", "beta") else 0.3
            array = rng.standard_normal(shape(name)).astype(np.float32) * np.float32(scale)
            setattr(layer, last, array + np.float32(last == "gamma"))

    visit_spec(spec, fill)
