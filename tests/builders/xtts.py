"""A micro XTTS v2 checkpoint with random weights. Its speech is noise, but its shapes, files and code are the real
ones. The GPT is tiny; the vocoder and the speaker encoder, whose sizes the library fixes, are of full size (45 MB).
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.tts.xtts_compat import import_coqui

SPEAKERS = ("Damien Black", "Ana Florence")
LANGUAGES = ["en", "es", "fr", "de", "it", "pt", "pl", "tr", "ru", "nl", "cs", "ar", "zh-cn", "hu", "ko", "ja", "hi"]
WIDTH = 64


@dataclass(frozen=True, slots=True)
class Size:
    """Size of the GPT: its layers, width and heads, ids of audio, and the longest audio in tokens of 46 ms."""

    layers: int
    width: int
    heads: int
    audio_tokens: int
    max_audio_tokens: int


MICRO = Size(2, WIDTH, 2, 64, 28)
LONG = Size(2, WIDTH, 2, 64, 605)
"""The same small model, but it speaks for up to 28 s."""
FULL = Size(30, 1024, 16, 1024, 605)
"""XTTS v2's real size, with the cost of the real model."""

_SENTENCES = [
    "the quick brown fox jumps over the lazy dog, again and again!",
    "olá, como você está hoje? não há nada de novo: vamos começar.",
    "hola, ¿cómo estás? mañana será otro día; ¡seguro!",
    "abcdefghijklmnopqrstuvwxyz 0123456789 àáâãçéêíóôõúüñ '-",
]


def build_xtts(folder: Path, *, seed: int = 0, size: Size = MICRO) -> Path:
    """Write config.json, model.pth, vocab.json and speakers_xtts.pth into `folder`; return the folder."""
    import_coqui()
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from TTS.tts.configs.xtts_config import XttsArgs, XttsConfig
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
    from TTS.tts.models.xtts import Xtts

    folder.mkdir(parents=True, exist_ok=True)
    words = Tokenizer(models.BPE(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = ["[STOP]", "[UNK]", "[SPACE]", "[START]", *(f"[{language}]" for language in LANGUAGES)]
    words.train_from_iterator(
        _SENTENCES, trainers.BpeTrainer(vocab_size=256, special_tokens=marks, show_progress=False)
    )
    words.save(str(folder / "vocab.json"))

    torch.manual_seed(seed)
    args = XttsArgs(
        gpt_layers=size.layers, gpt_n_model_channels=size.width, gpt_n_heads=size.heads, decoder_input_dim=size.width,
        gpt_num_audio_tokens=size.audio_tokens + 2, gpt_start_audio_token=size.audio_tokens,
        gpt_stop_audio_token=size.audio_tokens + 1, gpt_max_audio_tokens=size.max_audio_tokens,
        gpt_max_text_tokens=200, gpt_max_prompt_tokens=70,
        gpt_use_perceiver_resampler=True, tokenizer_file="",
    )  # fmt: skip
    config = XttsConfig(model_args=args, languages=LANGUAGES)
    model = Xtts(config)
    model.tokenizer = VoiceBpeTokenizer(vocab_file=str(folder / "vocab.json"))
    model.init_models()
    model.eval()
    with torch.no_grad():
        model.gpt.mel_head.bias[
            args.gpt_stop_audio_token
        ] = -1e4  # speaks to its limit, 1.3 s, and never stops by chance
    # The inference wrapper only names other weights a second time; a real checkpoint does not contain it.
    state = {
        name: value.half().clone() if value.is_floating_point() else value.clone()
        for name, value in model.state_dict().items()
        if not name.startswith("gpt.gpt_inference.") and name != "gpt.gpt.wte.weight"
    }
    torch.save({"model": state}, folder / "model.pth")
    config.save_json(str(folder / "config.json"))
    torch.save(
        {
            name: {"gpt_cond_latent": torch.randn(1, 32, size.width), "speaker_embedding": torch.randn(1, 512, 1)}
            for name in SPEAKERS
        },
        folder / "speakers_xtts.pth",
    )
    return folder
