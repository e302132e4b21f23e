"""Resemblyzer's voice encoder (Apache-2.0), with the weights from its wheel: importing the package needs dependencies
that can no longer be installed. A three-layer LSTM after Wan et al., "Generalized end-to-end loss for speaker
verification" (2018): 1.6 s of mel frames become a unit vector of size 256."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.audio.clip import Samples
from pipeline.transcripts.speakers.clustering import Matrix, centres
from pipeline.transcripts.speakers.features import BANDS, log_free_mel

FRAMES, STEP = 160, 80
"""Mel frames in one window of the encoder, and the step between windows."""


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    weights: str
    """Path of Resemblyzer's pretrained.pt."""
    threads: int


class EncoderEngine:
    """The synchronous engine."""

    def __init__(self, config: EncoderConfig) -> None:
        import torch

        torch.set_num_threads(config.threads)
        self._torch = torch
        state = torch.load(config.weights, map_location="cpu", weights_only=True)["model_state"]
        self._lstm = torch.nn.LSTM(BANDS, 256, 3, batch_first=True)
        self._linear = torch.nn.Linear(256, 256)
        for name, module in (("lstm.", self._lstm), ("linear.", self._linear)):
            module.load_state_dict({key[len(name) :]: value for key, value in state.items() if key.startswith(name)})
            module.eval()
        self.embed([np.zeros(16_000, np.float32)])

    def embed(self, clips: Sequence[Samples]) -> Matrix:
        """Return unit vectors, shape (clips, 256). clips: mono at 16 kHz, each of shape (n,)."""
        windows: list[Matrix] = []
        owners: list[int] = []
        for number, samples in enumerate(clips):
            mel = log_free_mel(samples)
            for at in range(0, max(1, len(mel) - STEP), STEP):
                part = mel[at : at + FRAMES]
                # Repeat short speech to fill the window: padding with silence would change the voice.
                windows.append(np.pad(part, ((0, FRAMES - len(part)), (0, 0)), mode="wrap"))
                owners.append(number)
        with self._torch.no_grad():
            _, (hidden, _) = self._lstm(self._torch.from_numpy(np.stack(windows)))
            raw = self._torch.relu(self._linear(hidden[-1])).numpy()
        raw = raw / (np.linalg.norm(raw, axis=1, keepdims=True) + 1e-9)
        owner = np.asarray(owners)
        means = np.stack([raw[owner == number].mean(axis=0) for number in range(len(clips))])
        return np.asarray(means / (np.linalg.norm(means, axis=1, keepdims=True) + 1e-9), np.float32)

    def centres(self, vectors: Matrix, seconds: Sequence[float], least: int | None, most: int | None) -> Matrix:
        """Run `clustering.centres` in the worker, because it takes a while."""
        return centres(vectors, seconds, least, most)
