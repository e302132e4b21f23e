"""A tiny wav2vec2 with random weights. It loads and runs like a real one, but its output is meaningless."""

import contextlib
import json
from pathlib import Path

from pipeline.tts.xtts_compat import import_torchaudio

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"


def build(folder: Path) -> Path:
    """Write a model in transformers' format, with an English vocabulary."""
    import torch

    with contextlib.suppress(ImportError):
        import_torchaudio()
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    names = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
    config = Wav2Vec2Config(
        vocab_size=len(names), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    return folder
