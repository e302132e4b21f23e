"""Long recordings with known words at known positions, and files of them in any container."""

import functools
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.audio.clip import Clip, Samples
from tests.speech import Espeak

RATE_HZ = 16_000
MODEL = Path(__file__).parents[1] / "models" / "whisper-tiny-words"
TRAINED = {"STT_ENGINE": "whisper", "WHISPER_MODEL": str(MODEL), "WHISPER_CONTEXT_S": "30", "STT_REPLICAS": "1"}
"""Settings of a service with this model. It needs the whole context, which would otherwise be found at each start. One
copy, because each takes seconds to start."""


@functools.cache
def spoken() -> tuple[tuple[str, Samples], ...]:
    """(text, sound at RATE_HZ without outer silence) of utterances that the trained test model transcribes exactly."""
    listed = json.loads((MODEL / "utterances.json").read_text("utf-8"))
    espeak = Espeak()
    return tuple(
        (one["text"], espeak.say(**{key: one[key] for key in ("text", "voice", "speed", "pitch") if key in one}))
        for one in listed["utterances"]
    )


def spliced(parts: Sequence[tuple[float, int]], tail_s: float = 1.0) -> tuple[Clip, list[tuple[str, float, float]]]:
    """Utterances, each after this many seconds of silence, with the start, end and text of each."""
    pieces: list[Samples] = []
    truth: list[tuple[str, float, float]] = []
    at = 0
    for silence_s, number in parts:
        text, sound = spoken()[number % len(spoken())]
        gap = int(silence_s * RATE_HZ)
        pieces += [np.zeros(gap, np.float32), sound]
        at += gap
        truth.append((text, at / RATE_HZ, (at + len(sound)) / RATE_HZ))
        at += len(sound)
    pieces.append(np.zeros(int(tail_s * RATE_HZ), np.float32))
    return Clip(np.concatenate(pieces), RATE_HZ), truth


def encoded(
    tracks: Sequence[Clip],
    container: str,
    codec: str,
    *,
    rate_hz: int = 48_000,
    video: bool = False,
    offset_s: float = 0,
) -> bytes:
    """A file with these audio tracks; video: with a video track before them; offset_s: the sound begins later."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as target:
        picture: Any = None
        if video:
            picture = target.add_stream("mpeg4", rate=10)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        streams: list[Any] = [target.add_stream(codec, rate=rate_hz, layout="mono") for _ in tracks]
        if picture is not None:
            for number in range(int(10 * (offset_s + tracks[0].seconds))):
                frame = av.VideoFrame(64, 64, "yuv420p")
                frame.pts = number
                target.mux(picture.encode(frame))
            target.mux(picture.encode(None))
        for stream, clip in zip(streams, tracks, strict=True):
            sound = np.frombuffer(clip.at(rate_hz).pcm16(), "<i2")
            resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate_hz)
            size = stream.codec_context.frame_size or 1024
            for at in range(0, len(sound), size):
                part = av.AudioFrame.from_ndarray(sound[None, at : at + size], format="s16", layout="mono")
                part.sample_rate, part.pts = rate_hz, at + int(offset_s * rate_hz)
                for ready in resampler.resample(part):
                    target.mux(stream.encode(ready))
            target.mux(stream.encode(None))
    return out.getvalue()
