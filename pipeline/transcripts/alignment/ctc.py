"""Forced alignment by CTC: the most likely path on which a wav2vec2 model produces a given text.

Viterbi over the blank-extended text, as in Graves et al., "Connectionist Temporal Classification" (2006), and as
WhisperX does.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.audio.clip import Clip, Samples
from pipeline.errors import EngineError
from pipeline.stt import Word
from pipeline.stt.word_times import Timed, filled
from pipeline.transcripts.line_breaks import spaceless
from pipeline.tts.xtts_compat import import_torchaudio

RATE_HZ = 16_000
MIN_SAMPLES = 400
"""A shorter clip does not make a single frame."""

LogProbs = npt.NDArray[np.float32]


def best_path(log_probs: LogProbs, tokens: Sequence[int], blank: int = 0) -> list[tuple[int, int, float]] | None:
    """Return for each token its first frame, the frame after its last, and its mean probability; None when the text is
    too long for the audio. log_probs: shape (frames, vocabulary); tokens: not empty.
    """
    frames, count = len(log_probs), len(tokens)
    states = 2 * count + 1
    labels = np.full(states, blank)
    labels[1::2] = tokens
    may_skip = np.zeros(states, bool)
    may_skip[3::2] = labels[3::2] != labels[1:-2:2]
    score = np.full(states, -np.inf)
    score[:2] = log_probs[0, labels[:2]]
    back = np.zeros((frames, states), np.int8)
    for frame in range(1, frames):
        one = np.concatenate([[-np.inf], score[:-1]])
        two = np.where(may_skip, np.concatenate([[-np.inf, -np.inf], score[:-2]]), -np.inf)
        choices = np.stack([score, one, two])
        back[frame] = choices.argmax(axis=0)
        score = choices.max(axis=0) + log_probs[frame, labels]
    state = states - 1 if score[-1] >= score[-2] else states - 2
    if not np.isfinite(score[state]):
        return None
    path = np.empty(frames, int)
    for frame in range(frames - 1, -1, -1):
        path[frame] = state
        state -= int(back[frame, state])
    found = []
    for number, token in enumerate(tokens):
        where = np.flatnonzero(path == 2 * number + 1)
        sure = float(np.exp(np.mean(log_probs[where, token])))
        found.append((int(where[0]), int(where[-1]) + 1, sure))
    return found


@dataclass(frozen=True, slots=True)
class CtcConfig:
    folder: str
    """Folder of a Wav2Vec2ForCTC in transformers' format, with vocab.json."""
    device: str
    threads: int


class CtcEngine:
    """The synchronous engine."""

    def __init__(self, config: CtcConfig) -> None:
        import torch

        # transformers imports torchaudio if it is installed, and torchaudio may need a CUDA that is missing here.
        with contextlib.suppress(ImportError):
            import_torchaudio()
        from transformers import Wav2Vec2ForCTC

        torch.set_num_threads(config.threads)
        folder = Path(config.folder)
        vocabulary: dict[str, int] = json.loads((folder / "vocab.json").read_text("utf-8"))
        # Some models have one vocabulary for each of their languages.
        if vocabulary and all(isinstance(value, dict) for value in vocabulary.values()):
            raise EngineError("Alignment models with several vocabularies are not supported.")
        self._vocabulary = vocabulary
        upper = sum(name.isupper() and len(name) == 1 for name in vocabulary)
        lower = sum(name.islower() and len(name) == 1 for name in vocabulary)
        self._case = str.upper if upper > lower else str.lower
        self._blank = vocabulary.get("<pad>", vocabulary.get("[PAD]", 0))
        self._torch, self._device = torch, config.device
        self._model = Wav2Vec2ForCTC.from_pretrained(config.folder, local_files_only=True).eval().to(config.device)
        self._frames(np.zeros(RATE_HZ, np.float32))

    def align(self, clip: Clip, text: str) -> list[Word]:
        """See `Aligner`."""
        words = list(split_words(text))
        samples = clip.at(RATE_HZ).samples
        tokens: list[int] = []
        owners: list[int] = []
        bar = self._vocabulary.get("|")
        for number, word in enumerate(words):
            letters = [self._vocabulary[char] for char in self._case(word) if char in self._vocabulary and char != "|"]
            if letters and tokens and bar is not None:
                tokens.append(bar)
                owners.append(-1)
            tokens += letters
            owners += [number] * len(letters)
        path = None
        if tokens and len(samples) >= MIN_SAMPLES:
            log_probs = self._frames(samples)
            path = best_path(log_probs, tokens, self._blank)
        timed = [Timed(word, None) for word in words]
        if path is not None:
            frame_s = len(samples) / RATE_HZ / len(log_probs)
            for number, word in enumerate(words):
                own = [part for part, owner in zip(path, owners, strict=True) if owner == number]
                if own:
                    span_s = (own[0][0] * frame_s, own[-1][1] * frame_s)
                    timed[number] = Timed(word, span_s, float(np.mean([part[2] for part in own])))
        return filled(timed, 0.0, clip.seconds)

    def _frames(self, samples: Samples) -> LogProbs:
        """Return log-probabilities, shape (frames, vocabulary)."""
        normal = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        with self._torch.inference_mode():
            logits = self._model(self._torch.from_numpy(normal[None]).to(self._device)).logits
            return np.asarray(logits.float().log_softmax(-1)[0].cpu().numpy())


def split_words(text: str) -> Iterator[str]:
    """Yield the words of a text; in scripts without spaces, its characters with the marks that follow them."""
    for run in text.split():
        word = ""
        for char in run:
            if word and spaceless(char) and char.isalnum():
                yield word
                word = ""
            word += char
        yield word
