"""Questions for the Realtime peers, without any package."""

import wave
from array import array
from pathlib import Path

RATE_HZ = 24_000
FRAME_MS = 20


def sound(path: Path) -> bytes:
    """A mono 16-bit WAV resampled to 24 kHz by linear interpolation, which is good enough to be understood."""
    with wave.open(str(path)) as file:
        rate, samples = file.getframerate(), array("h", file.readframes(file.getnframes()))
    count = len(samples) * RATE_HZ // rate
    out = array("h")
    for n in range(count):
        at = n * rate / RATE_HZ
        i = int(at)
        after = samples[min(i + 1, len(samples) - 1)]
        out.append(int(samples[i] + (after - samples[i]) * (at - i)))
    return out.tobytes()
