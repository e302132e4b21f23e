"""Streaming XTTS: tokens from its GPT one by one, audio from its vocoder a window at a time.

The library's own stream decodes everything again for each chunk, so its cost grows with the square of the length.
The vocoder (HiFi-GAN) is made of convolutions: a frame of its output depends only on a bounded stretch of its input.
Decoding a window with that much context on both sides gives the same result as a full decode, at a constant cost for
each chunk.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from pipeline.audio.clip import Samples

if TYPE_CHECKING:
    from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
    from TTS.tts.models.xtts import Xtts as CoquiXtts

CONTEXT_FRAMES = 16
"""The vocoder's context on either side, in frames of 256 samples at 24 kHz. Most of it is the widest residual block at
the first upsampling (8 steps a frame): kernel 11, dilations 1, 3, 5, each followed by an undilated one, reach 60 steps
or 7.5 frames. The input convolution adds 3, the blocks at the higher rates less than 2 together."""
EDGE_FRAMES = 3
"""Newest frames that still change with the next latent, because frames are interpolated between two latents."""


class WindowedVocoder:
    """Turns the latents of one text, in order, into samples as soon as they are final."""

    def __init__(self, decoder: "HifiDecoder", speaker: torch.Tensor) -> None:
        """speaker: embedding, shape (1, 512, 1)."""
        self._decoder = decoder
        self._speaker = speaker
        self._latents: list[torch.Tensor] = []
        self._done = 0  # frames already returned
        self._hop: int = decoder.output_hop_length

    def push(self, latents: list[torch.Tensor]) -> Samples:
        """Take latents, each of shape (1, width); return the final samples, shape (n,), possibly empty."""
        self._latents += latents
        return self._decode(CONTEXT_FRAMES + EDGE_FRAMES)

    def finish(self) -> Samples:
        """Return the rest."""
        return self._decode(0)

    def _decode(self, hold: int) -> Samples:
        if not self._latents:
            return np.zeros(0, np.float32)
        with torch.inference_mode():
            frames = self._frames()
            end = frames.shape[-1] - hold
            if end <= self._done:
                return np.zeros(0, np.float32)
            start = max(0, self._done - CONTEXT_FRAMES)
            wave = self._decoder.waveform_decoder(frames[:, :, start:], g=self._speaker).flatten()
            wave = wave[(self._done - start) * self._hop : (end - start) * self._hop]
            self._done = end
            samples: Samples = wave.float().cpu().numpy()
            return samples

    def _frames(self) -> torch.Tensor:
        """Turn all latents so far into vocoder frames, with the two interpolations of HifiDecoder.forward."""
        decoder = self._decoder
        latents = torch.cat(self._latents, 0)[None].float().transpose(1, 2)
        frames = functional.interpolate(
            latents, scale_factor=[decoder.ar_mel_length_compression / decoder.output_hop_length], mode="linear"
        )
        if decoder.output_sample_rate != decoder.input_sample_rate:
            frames = functional.interpolate(
                frames, scale_factor=[decoder.output_sample_rate / decoder.input_sample_rate], mode="linear"
            )
        return frames


def latents(model: "CoquiXtts", tokens: list[int], conditioning: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the latent of each audio token that the model's GPT samples for a text, shape (1, width), until it stops.

    tokens: the text's; conditioning: the voice's, shape (1, n, width). Sampling follows the model's config.
    """
    config = model.config
    with torch.inference_mode():
        text = torch.tensor([tokens], dtype=torch.int32, device=model.device)
        steps = model.gpt.get_generator(
            fake_inputs=model.gpt.compute_embeddings(conditioning, text),
            do_sample=True,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            repetition_penalty=float(config.repetition_penalty),
            length_penalty=float(config.length_penalty),
            num_beams=1,
            num_return_sequences=1,
            output_attentions=False,
            output_hidden_states=True,
            return_dict_in_generate=True,
        )
    while True:
        # Entered for each step, because the caller's code runs between two steps.
        with torch.inference_mode():
            step = next(steps, None)
        if step is None:
            return
        yield step[1]
