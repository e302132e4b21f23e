"""`main.py convert`: the converted model computes what the gguf file's weights say."""

from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer
from typer.testing import CliRunner

from commands import cli
from pipeline.errors import BadInput
from pipeline.llm.conversion import convert
from pipeline.llm.local_config import check, parameters
from tests.builders import gguf_model
from tests.real_models import real_model

TEXT = "<|im_start|>user\nWhat is 2 + 34? Não sei, 日本語.<|im_end|>\n<|im_start|>assistant\n"


def ours(folder: Path, text: str, compute_type: str) -> tuple[list[int], NDArray[np.float64]]:
    """Return a text's tokens and the converted model's logits."""
    generator = ctranslate2.Generator(str(folder), device="cpu", compute_type=compute_type, intra_threads=1)
    encoded = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False)
    return encoded.ids, np.asarray(generator.forward_batch([encoded.tokens]))[0].astype(np.float64)


HALF = gguf_model.WIDTH // gguf_model.HEADS // 2


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("llama", {}),  # also Mistral and SmolLM2
        ("llama", {"pieces": True}),  # Llama 2, Mistral 7B
        ("llama", {"pre": "tekken", "head": 24}),  # Mistral Nemo
        ("llama", {"pre": "llama-bpe", "rope": np.linspace(1, 8, HALF).astype(np.float32)}),  # Llama 3.1 and later
        ("llama", {"pre": "llama-bpe", "linear": 4.0}),
        ("qwen2", {"pre": "qwen2"}),
        ("qwen3", {"pre": "qwen2", "head": 32}),
        ("gemma", {"pieces": True, "head": 32}),
    ],
)
def test_converted_model_has_the_logits_of_its_weights(
    tmp_path: Path, architecture: str, options: dict[str, Any]
) -> None:
    file = gguf_model.build(tmp_path / "tiny.gguf", architecture, **options)
    convert(file, tmp_path / "exact", "float32")
    tokens, found = ours(tmp_path / "exact", TEXT, "float32")
    assert np.allclose(found, gguf_model.logits(file, tokens), atol=2e-4)


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [("gemma2", "soft-capping"), ("gemma3", "two kinds of attention"), ("qwen3moe", "several experts")],
)
def test_model_that_cannot_be_computed_exactly_is_refused(tmp_path: Path, architecture: str, reason: str) -> None:
    file = gguf_model.build(tmp_path / "tiny.gguf", architecture)
    with pytest.raises(BadInput, match=reason):
        convert(file, tmp_path / "folder")


def test_sentencepiece_merges_the_best_scores_first(tmp_path: Path) -> None:
    file = gguf_model.build(tmp_path / "tiny.gguf", "gemma", pieces=True)
    convert(file, tmp_path / "folder")
    tokenizer = Tokenizer.from_file(str(tmp_path / "folder" / "tokenizer.json"))
    text = "then the hand and a tea, ça \u2615<|im_end|>and"
    encoded = tokenizer.encode(text, add_special_tokens=False)
    before, after = text.replace(" ", "\u2581").split("<|im_end|>")
    assert encoded.tokens == [*merged(before), "<|im_end|>", *merged(after)]
    assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == text


def merged(text: str) -> list[str]:
    """Return a text's tokens as SentencePiece finds them: the best union of neighbours, again and again."""
    parts = list(text)
    while True:
        unions = [
            (gguf_model.PIECES.index(parts[at] + parts[at + 1]), at)
            for at in range(len(parts) - 1)
            if parts[at] + parts[at + 1] in gguf_model.PIECES
        ]
        if not unions:
            return [token for part in parts for token in written(part)]
        _, at = min(unions)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def written(part: str) -> list[str]:
    return [part] if part in gguf_model.PIECES else [f"<0x{byte:02X}>" for byte in part.encode()]


def test_real_smollm2_has_the_logits_of_its_weights(tmp_path: Path) -> None:
    file = next(real_model("smollm2-135m").glob("*.gguf"))
    convert(file, tmp_path / "exact", "float32")
    tokens, found = ours(tmp_path / "exact", TEXT, "float32")
    wanted = gguf_model.logits(file, tokens)
    assert np.abs(found - wanted).max() < 1e-2 * np.abs(wanted).max()
    assert (found.argmax(-1) == wanted.argmax(-1)).all()
    assert 130e6 < parameters(tmp_path / "exact") < 170e6


def test_command_makes_a_complete_folder(tmp_path: Path) -> None:
    file = gguf_model.build(tmp_path / "tiny.gguf")
    done = CliRunner().invoke(cli, ["convert", str(file), str(tmp_path / "folder")])
    assert done.exit_code == 0, done.output
    assert f"LOCAL_LLM={tmp_path / 'folder'}" in done.output.replace("\n", "")
    check(tmp_path / "folder")
    again = CliRunner().invoke(cli, ["convert", str(file), str(tmp_path / "folder")])
    assert again.exit_code == 2
    assert "exists already" in again.output


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"RIFF" + data[4:], "cannot be read as a gguf file"),
        (lambda data: data[:3000], "cannot be read as a gguf file"),
        (lambda data: data[:-40_000], "cannot be read as a gguf file"),
        (lambda data: b"", "cannot be read as a gguf file"),
        (lambda data: data.replace(b"llama", b"mamba"), "'mamba' is not supported; these are: llama, qwen2"),
        (lambda data: data.replace(b"gpt2", b"bert"), "'bert' is not supported"),
        (lambda data: data.replace(b"smollm", b"smelly"), "'smelly' is not supported"),
        (lambda data: data.replace(b"attn_output", b"attn_outpux"), "lacks the weights blk.0.attn_output.weight"),
    ],
)
def test_bad_file_is_refused_and_leaves_nothing(tmp_path: Path, damage: object, reason: str) -> None:
    assert callable(damage)
    file = gguf_model.build(tmp_path / "tiny.gguf")
    file.write_bytes(damage(file.read_bytes()))
    done = CliRunner().invoke(cli, ["convert", str(file), str(tmp_path / "folder")])
    assert done.exit_code == 2
    assert reason in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf"]
