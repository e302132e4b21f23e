"""Train the test recogniser and convert it for faster-whisper.

    python -m tests.models.training.train DATA.npz OUT --minutes 45

A Whisper in everything but size: its own byte-level vocabulary with one piece for each word, no language ids (so
CTranslate2 takes it for an English-only model), timestamps as in the original. Every few minutes the averaged weights
are written to OUT/hf and converted to OUT/ct2, so an interrupted training leaves a model that works.
"""

# ruff: noqa: E402  (the environment has to be set before the imports that read it)

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# These are not needed, and transformers fails to load when they were built for another torch version.
sys.modules.setdefault("torchaudio", None)  # type: ignore[arg-type]

import numpy as np
import torch
import torch.nn.functional as F
from ctranslate2.converters import TransformersConverter
from faster_whisper.feature_extractor import FeatureExtractor
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from tests.models.training.corpus import VOCABULARY

RATE = 16_000
MELS, WINDOW_FRAMES, MAX_TOKENS = 80, 3000, 448
SPECIALS = [
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>",
    "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
]  # fmt: skip
CHARACTERS = {character: index for index, character in enumerate("abcdefghijklmnopqrstuvwxyz ", start=1)}
DROPOUT = 0.05
SILENT = ""


def byte_alphabet() -> list[str]:
    """The printable stand-ins for the 256 bytes that byte-level vocabularies use, in byte order."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def build_tokenizer() -> Tokenizer:
    """Build a tokenizer: bytes, then the prefixes that lead to each word of the vocabulary, then Whisper's special
    tokens in Whisper's order.
    """
    alphabet = byte_alphabet()
    vocabulary = {piece: index for index, piece in enumerate(sorted(alphabet))}
    merges: dict[tuple[str, str], None] = {}
    for word in VOCABULARY:
        text = "".join(alphabet[byte] for byte in f" {word}".encode())
        for end in range(1, len(text)):
            merges.setdefault((text[:end], text[end]))
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges), fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    # faster-whisper takes every id from <|notimestamps|> on as a time, so these must be the last.
    tokenizer.add_tokens([AddedToken(f"<|{i * 0.02:.2f}|>", special=False, normalized=False) for i in range(1501)])
    return tokenizer


def build_model(tokenizer: Tokenizer, width: int, encoder_layers: int, decoder_layers: int, heads: int = 4):
    """An untrained Whisper of this size over this vocabulary."""
    ids = tokenizer.token_to_id
    end = ids("<|endoftext|>")
    shared = {
        "decoder_start_token_id": ids("<|startoftranscript|>"), "bos_token_id": end, "eos_token_id": end,
        "pad_token_id": end, "suppress_tokens": [],
    }  # fmt: skip
    config = WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(), num_mel_bins=MELS, d_model=width, encoder_layers=encoder_layers,
        decoder_layers=decoder_layers, encoder_attention_heads=heads, decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width, max_source_positions=WINDOW_FRAMES // 2,
        max_target_positions=MAX_TOKENS, dropout=DROPOUT, begin_suppress_tokens=[], **shared,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        max_length=MAX_TOKENS, begin_suppress_tokens=[end], no_timestamps_token_id=ids("<|notimestamps|>"),
        lang_to_id={"<|en|>": ids("<|en|>")}, is_multilingual=False,
        task_to_id={"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")},
        alignment_heads=[[decoder_layers - 1, head] for head in range(heads)], **shared,
    )  # fmt: skip
    return model


def save(model: WhisperForConditionalGeneration, weights: dict, tokenizer: Tokenizer, out: Path) -> None:
    """Write these weights for transformers, then as a CTranslate2 folder with int8 weights that needs no hub."""
    hf, new, ct2 = out / "hf", out / "ct2.new", out / "ct2"
    training = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(weights)
    model.save_pretrained(hf)
    model.load_state_dict(training)
    tokenizer.save(str(hf / "tokenizer.json"))
    end = SPECIALS[0]
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": MAX_TOKENS}
    names |= {f"{role}_token": end for role in ("bos", "eos", "unk", "pad")}
    (hf / "tokenizer_config.json").write_text(json.dumps(names))
    WhisperFeatureExtractor(feature_size=MELS).save_pretrained(hf)
    shutil.rmtree(new, ignore_errors=True)
    copied = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(hf), copy_files=copied).convert(str(new), quantization="int8")
    shutil.rmtree(ct2, ignore_errors=True)
    new.rename(ct2)


class Clips:
    """The training set as log-mel features. Each clip has its own silence and noise, renewed from time to time."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        with np.load(path) as data:
            self._samples, self._offsets = data["samples"], data["offsets"]
            self.texts = [entry["text"] for entry in json.loads(str(data["entries"]))]
        self._rng = rng
        self._noise = np.random.default_rng(rng.randrange(1 << 30))
        self._extract = FeatureExtractor()
        self._cache: list[tuple[np.ndarray, float] | None] = [None] * len(self.texts)
        self.by_length = [int(index) for index in np.argsort(np.diff(self._offsets), kind="stable")]

    def _augmented(self, index: int) -> tuple[np.ndarray, float]:
        uniform = self._rng.uniform
        clip = self._samples[self._offsets[index] : self._offsets[index + 1]].astype(np.float32)
        clip *= 10 ** (uniform(-14, 0) / 20) / max(1.0, float(np.abs(clip).max()))
        before, after = (np.zeros(int(uniform(0.0, 0.8) * RATE), np.float32) for _ in range(2))
        level = float(clip.std()) * 10 ** (-uniform(15, 55) / 20)
        spoken_until = (len(before) + len(clip)) / RATE
        samples = np.concatenate([before, clip, after])
        samples += self._noise.standard_normal(len(samples), dtype=np.float32) * level
        return self._extract(samples).astype(np.float16), spoken_until

    def get(self, index: int) -> tuple[np.ndarray, float]:
        """Features and the second at which the speech ends."""
        if (cached := self._cache[index]) is None or self._rng.random() < 0.15:
            cached = self._cache[index] = self._augmented(index)
        features, spoken_until = cached[0].astype(np.float32), cached[1]
        if self._rng.random() < 0.5:  # hide two bands of frequencies, so that no single band decides a word
            for _ in range(2):
                height = self._rng.randint(0, 12)
                low = self._rng.randint(0, MELS - height)
                features[low : low + height] = features.mean()
        return features, spoken_until

    def silence(self) -> np.ndarray:
        """Features of one to three seconds of faint noise or silence."""
        samples = self._noise.standard_normal(int(self._rng.uniform(1, 3) * RATE), dtype=np.float32)
        return self._extract(samples * self._rng.choice((0.0, 10 ** self._rng.uniform(-5, -2)))).astype(np.float32)


def encode(encoder: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Run the encoder on the given frames only: its own `forward` requires the whole window."""
    hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features)))).permute(0, 2, 1)
    hidden = F.dropout(hidden + encoder.embed_positions.weight[: hidden.shape[1]], DROPOUT, encoder.training)
    for layer in encoder.layers:
        output = layer(hidden, None)
        hidden = output[0] if isinstance(output, tuple) else output
    return encoder.layer_norm(hidden)


class Targets:
    """The target tokens of a clip, in Whisper's format."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        ids = tokenizer.token_to_id
        self.start, self.end = ids("<|startoftranscript|>"), ids("<|endoftext|>")
        self.plain, self.none, self.zero = ids("<|notimestamps|>"), ids("<|nospeech|>"), ids("<|0.00|>")

    def pair(self, text: str, spoken_until: float, timed: bool) -> tuple[list[int], list[int]]:
        """Input ids and the ids to predict from them; -100 for tokens of the prompt."""
        if text == SILENT:
            return [self.start, self.plain], [self.none, self.end]
        words = self._tokenizer.encode(f" {text}").ids
        if timed:  # times in steps of 0.2 s: the tests need no better resolution
            stop = self.zero + min(1500, round(spoken_until / 0.2) * 10)
            return [self.start, self.zero, *words, stop], [self.zero, *words, stop, self.end]
        return [self.start, self.plain, *words], [-100, *words, self.end]


def learning_rate(progress: float, step: int, peak: float = 1.5e-3) -> float:
    """A short warm-up, then half a cosine down to 2 % of the peak."""
    return peak * min(1, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, progress))))


def train(arguments: argparse.Namespace) -> None:
    """Train until the given minutes are used up."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    rng = random.Random(arguments.seed)
    tokenizer, clips = build_tokenizer(), Clips(arguments.data, rng)
    for word in VOCABULARY:
        if len(tokenizer.encode(f" {word}").ids) != 1:
            raise RuntimeError(f"{word!r} is not one piece")
    targets = Targets(tokenizer)
    model = build_model(tokenizer, arguments.width, arguments.encoder_layers, arguments.decoder_layers).train()
    # An auxiliary loss on the characters that the encoder hears: without it, a model this small needs hours to begin to
    # use its encoder.
    speller = torch.nn.Linear(arguments.width, len(CHARACTERS) + 1)
    parameters = [p for p in (*model.parameters(), *speller.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.01)
    average = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {tokenizer.get_vocab_size()} ids")

    began, began_wall, saved, step = time.process_time(), time.monotonic(), 0.0, 0
    smooth: dict[str, float] = {}
    while True:
        minutes = (time.process_time() - began) / 60
        wall = (time.monotonic() - began_wall) / 60
        progress = max(minutes / arguments.minutes, wall / arguments.wall_minutes)
        if progress >= 1:
            break
        # Whole windows are expensive and short clips teach as well, so they come late. Without any of them the decoder
        # would never meet 25 s of padding, which every window in use has.
        whole = progress > arguments.whole_from and rng.random() < 0.12
        first = rng.randrange(len(clips.by_length) - 64)
        chosen = rng.sample(clips.by_length[first : first + 64], 5 if whole else arguments.batch)
        items = [(*clips.get(index), clips.texts[index]) for index in chosen]
        if rng.random() < 0.3:
            items[0] = (clips.silence(), 0.0, SILENT)
        frames = max(features.shape[1] for features, _, _ in items) + (rng.randint(0, 150) if rng.random() < 0.4 else 0)
        frames = WINDOW_FRAMES if whole else -(-frames // 4) * 4
        batch = torch.zeros(len(items), MELS, frames)
        for row, (features, _, _) in enumerate(items):
            batch[row, :, : features.shape[1]] = torch.from_numpy(features)
        pairs = [targets.pair(text, until, rng.random() < 0.3) for _, until, text in items]
        longest = max(len(ids) for ids, _ in pairs)
        inputs = torch.tensor([ids + [targets.end] * (longest - len(ids)) for ids, _ in pairs])
        wanted = torch.tensor([ids + [-100] * (longest - len(ids)) for _, ids in pairs])

        heard = encode(model.model.encoder, batch)
        said = model.model.decoder(input_ids=inputs, encoder_hidden_states=heard, use_cache=False).last_hidden_state
        words_loss = F.cross_entropy(
            model.proj_out(said).flatten(0, 1), wanted.flatten(), ignore_index=-100, label_smoothing=0.03
        )
        spelled = F.log_softmax(speller(heard), -1).transpose(0, 1)
        characters_loss = F.ctc_loss(
            spelled,
            torch.tensor([CHARACTERS[character] for _, _, text in items for character in text]),
            torch.tensor([min(heard.shape[1], features.shape[1] // 2) for features, _, _ in items]),
            torch.tensor([len(text) for _, _, text in items]),
            zero_infinity=True,
        )
        loss = words_loss + characters_loss * (0.5 if progress < 0.6 else 0.15)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress, step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            keep = min(0.996, step / (step + 10))
            for name, tensor in model.state_dict().items():
                average[name].lerp_(tensor, 1 - keep)
        for name, value in (("words", words_loss.item()), ("characters", characters_loss.item())):
            smooth[name] = 0.98 * smooth.get(name, value) + 0.02 * value
        if step % 100 == 0:
            losses = " ".join(f"{name} {value:.3f}" for name, value in smooth.items())
            print(f"step {step} cpu {minutes:.1f} wall {wall:.1f} progress {progress:.2f} {losses}", flush=True)
        if minutes - saved >= arguments.save_every:
            saved = minutes
            save(model, average, tokenizer, arguments.out)
    save(model, average, tokenizer, arguments.out)
    size = sum(file.stat().st_size for file in (arguments.out / "ct2").iterdir())
    print(f"{step} steps, {size / 1e6:.2f} MB in {arguments.out / 'ct2'}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=45, help="processor time to spend")
    parser.add_argument("--wall-minutes", type=float, default=math.inf, help="end earlier if this much time has passed")
    parser.add_argument("--save-every", type=float, default=8, help="minutes of processor time")
    parser.add_argument("--whole-from", type=float, default=0.6, help="progress from which whole windows are mixed in")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--encoder-layers", type=int, default=3)
    parser.add_argument("--decoder-layers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
