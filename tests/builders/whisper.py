"""A Whisper with random weights, written straight in CTranslate2's format: the real layout, without torch or a hub."""

import hashlib
import json
from pathlib import Path

import numpy as np
from ctranslate2.specs import WhisperSpec
from ctranslate2.specs.model_spec import OPTIONAL, visit_spec
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from pipeline.stt.languages import NAMES

MEL_BINS, WIDTH, LAYERS, HEADS = 80, 16, 1, 2
SOUND_POSITIONS, TEXT_POSITIONS = 1500, 448
PLAIN_TOKENS = 50_257
"""Ids below the special ones in the multilingual vocabulary."""
LANGUAGES = [code for code in NAMES if code != "yue"]
"""The 99 of all models before large-v3."""


def build(folder: Path, *, multilingual: bool, sure: bool = False, quantization: str = "int8", seed: int = 0) -> Path:
    """Write a model of some 2 MB into `folder` and return it. The multilingual one has the real vocabulary's size.

    What it writes is nonsense, which it knows: every token is about as likely as any other; when `sure`, it does not.
    """
    folder.mkdir(parents=True)
    tokenizer = _tokenizer(PLAIN_TOKENS if multilingual else 256, LANGUAGES if multilingual else ["en"])
    size = tokenizer.get_vocab_size()
    assert (size == 51_865) == multilingual
    spec = WhisperSpec(LAYERS, HEADS, LAYERS, HEADS)
    _fill(spec, size, np.random.default_rng(seed))
    if sure:
        spec.decoder.projection.weight *= 50
        end = np.zeros(size, np.float32)
        end[tokenizer.token_to_id("<|endoftext|>")] = 200  # or it would never stop, and text in circles is no speech
        spec.decoder.projection.bias = end
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    if multilingual:
        tokens[PLAIN_TOKENS - 1] = ""  # as in the real vocabulary, where CTranslate2 knows a multilingual model by it
    spec.register_vocabulary(tokens)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [tokenizer.token_to_id("<|endoftext|>")]
    spec.config.lang_ids = [tokenizer.token_to_id(f"<|{code}|>") for code in (LANGUAGES if multilingual else ["en"])]
    spec.config.alignment_heads = [[0, 0], [0, 1]]
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": MEL_BINS}))
    return folder


def _tokenizer(plain: int, languages: list[str]) -> Tokenizer:
    """Bytes, then filler up to `plain` ids, then Whisper's special tokens in Whisper's order."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Names without a common part: text that compresses well would not pass for speech.
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


def _fill(spec: WhisperSpec, vocabulary: int, rng: np.random.Generator) -> None:
    """Give every weight of the specification an array of its shape."""

    def shape(name: str) -> tuple[int, ...]:
        part = name.split("/")
        if "position_encodings" in part:
            return (SOUND_POSITIONS if part[0] == "encoder" else TEXT_POSITIONS, WIDTH)
        if "layer_norm" in name:
            return (WIDTH,)
        bias = part[-1] == "bias"
        if part[1] in ("conv1", "conv2"):
            return (WIDTH,) if bias else (WIDTH, MEL_BINS if part[1] == "conv1" else WIDTH, 3)
        if part[1] in ("embeddings", "projection"):
            return (vocabulary,) if bias else (vocabulary, WIDTH)
        rows, columns = WIDTH, WIDTH
        if "ffn" in part:
            rows, columns = (4 * WIDTH, WIDTH) if part[-2] == "linear_0" else (WIDTH, 4 * WIDTH)
        elif part[-2] == "linear_0":
            rows = 3 * WIDTH if "self_attention" in part else WIDTH  # queries, keys and values in one
        elif part[-2] == "linear_1" and "attention" in part:
            rows = 2 * WIDTH  # keys and values of what was heard
        return (rows,) if bias else (rows, columns)

    def fill(layer: object, name: str, value: object) -> None:
        last = name.rpartition("/")[2]
        # CTranslate2 writes None for what must be there, OPTIONAL for the rest, of which Whisper has two kinds.
        if value is None or (value == OPTIONAL and last in ("bias", "encodings")):
            scale = 0.0 if last in ("bias", "beta") else 0.3
            array = rng.standard_normal(shape(name)).astype(np.float32) * np.float32(scale)
            setattr(layer, last, array + np.float32(last == "gamma"))

    visit_spec(spec, fill)
