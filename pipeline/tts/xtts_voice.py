"""A voice's latents for XTTS, from reference recordings or from the model's own speakers, with a cache on disk.

Computing them takes seconds, so they are cached, keyed by the contents of the recordings and the model: a changed
recording or model has another key, so entries are never stale.
"""

import hashlib
import io
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode_blocking
from pipeline.errors import BadInput, EngineError

if TYPE_CHECKING:
    from TTS.tts.models.xtts import Xtts as CoquiXtts

log = logging.getLogger(__name__)

MAX_CLIP_S = 600.0
"""Longest recording that is accepted; XTTS uses only its beginning (config: max_ref_len)."""
IN_MEMORY = 64
"""Voices kept in memory, about 130 kB each."""


@dataclass(frozen=True, slots=True)
class Latents:
    """A voice's latents for one model."""

    conditioning: torch.Tensor
    """The GPT's conditioning: shape (1, n, width)."""
    speaker: torch.Tensor
    """The vocoder's speaker embedding: shape (1, 512, 1)."""


def model_key(folder: Path) -> str:
    """Return a hash that identifies a model: of its config, vocabulary, and the size and both ends of its weights."""
    digest = hashlib.sha256()
    for name in ("config.json", "vocab.json"):
        digest.update((folder / name).read_bytes())
    weights = folder / "model.pth"
    size = weights.stat().st_size
    digest.update(str(size).encode())
    with weights.open("rb") as file:
        digest.update(file.read(2**20))
        file.seek(max(0, size - 2**20))
        digest.update(file.read(2**20))
    return digest.hexdigest()


class VoiceLatents:
    """The latents of all voices used with one loaded model."""

    def __init__(self, model: "CoquiXtts", key: str, folder: Path) -> None:
        """key: `model_key`; folder: for the cache (created when needed)."""
        self._model = model
        self._key = key
        self._folder = folder
        self._known: dict[str, Latents] = {}
        self.computed = 0
        """Number of times that recordings had to be analysed."""

    def of_speaker(self, name: str) -> Latents:
        """Return the latents of one of the model's speakers. Raises EngineError, which lists some that exist."""
        manager = self._model.speaker_manager
        speakers = manager.speakers if manager is not None else {}
        if name not in speakers:
            some = ", ".join(list(speakers)[:5]) or "none: give it a recording"
            raise EngineError(f"This XTTS model has no speaker {name!r}; it has {some}.")
        entry = speakers[name]
        return self._on_device(entry["gpt_cond_latent"], entry["speaker_embedding"])

    def of_clips(self, paths: tuple[str, ...]) -> Latents:
        """Return the latents of the recordings' common voice. Raises EngineError when they cannot be used."""
        try:
            contents = [Path(path).read_bytes() for path in paths]
        except OSError:
            raise EngineError("A reference recording of this voice could not be read.") from None
        digest = hashlib.sha256(self._key.encode())
        for content in contents:
            digest.update(hashlib.sha256(content).digest())
        key = digest.hexdigest()
        if key not in self._known:
            while len(self._known) >= IN_MEMORY:
                self._known.pop(next(iter(self._known)))
            self._known[key] = self._stored(key) or self._compute(key, contents)
        return self._known[key]

    def _stored(self, key: str) -> Latents | None:
        """Load latents from disk; None when they are missing or broken."""
        try:
            # Parse from memory: numpy would leave a file open when its content is broken.
            with np.load(io.BytesIO((self._folder / f"{key}.npz").read_bytes()), allow_pickle=False) as arrays:
                conditioning, speaker = arrays["conditioning"], arrays["speaker"]
        except FileNotFoundError:
            return None
        except Exception as error:  # a broken zip or array can raise anything
            log.warning("a cached voice is broken and will be computed again: %s", error)
            return None
        width = self._model.args.gpt_n_model_channels
        sound = conditioning.ndim == 3 and conditioning.shape[2] == width and speaker.shape == (1, 512, 1)
        if not sound or not (np.isfinite(conditioning).all() and np.isfinite(speaker).all()):
            log.warning("a cached voice is broken and will be computed again")
            return None
        return self._on_device(torch.from_numpy(conditioning), torch.from_numpy(speaker))

    def _compute(self, key: str, contents: list[bytes]) -> Latents:
        self.computed += 1
        config = self._model.config
        embeddings, sounds = [], []
        for content in contents:
            clip = _decoded(content).at(22_050)
            samples = torch.from_numpy(clip.samples[: 22_050 * config.max_ref_len].copy())[None]
            with torch.inference_mode():
                embeddings.append(self._model.get_speaker_embedding(samples, 22_050))
            sounds.append(samples)
        try:
            with torch.inference_mode():
                conditioning = self._model.get_gpt_cond_latents(
                    torch.cat(sounds, dim=-1), 22_050, config.gpt_cond_len, config.gpt_cond_chunk_len
                )
                speaker = torch.stack(embeddings).mean(dim=0)
        except RuntimeError as error:
            raise EngineError(f"XTTS cannot clone a voice from these recordings: {error}") from None
        if not (torch.isfinite(conditioning).all() and torch.isfinite(speaker).all()):
            raise EngineError("XTTS does not find a voice in these recordings.")
        self._store(key, conditioning, speaker)
        return self._on_device(conditioning, speaker)

    def _store(self, key: str, conditioning: torch.Tensor, speaker: torch.Tensor) -> None:
        """Write atomically, by renaming a temporary file. A full or read-only disk only means computing again later."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                try:
                    np.savez(
                        file, conditioning=conditioning.float().cpu().numpy(), speaker=speaker.float().cpu().numpy()
                    )
                    file.close()
                    os.replace(file.name, self._folder / f"{key}.npz")
                except BaseException:
                    os.unlink(file.name)
                    raise
        except OSError as error:
            log.warning("the latents of a voice could not be stored: %s", error)

    def _on_device(self, conditioning: torch.Tensor, speaker: torch.Tensor) -> Latents:
        device = self._model.device
        # Clone, because tensors made in inference mode cannot be used outside it.
        return Latents(conditioning.float().to(device).clone(), speaker.float().to(device).clone())


def _decoded(content: bytes) -> Clip:
    try:
        return decode_blocking(content, max_seconds=MAX_CLIP_S)
    except BadInput as error:
        raise EngineError(f"A reference recording of this voice cannot be used: {error.message}") from None
