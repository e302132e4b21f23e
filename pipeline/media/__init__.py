"""Recordings into samples: the one place that opens files from outside.

Plain WAV is read here in Python (`wav`). Every other format goes to FFmpeg, in a process of its own for each file
(`processes`, `zygote`, `sandbox`, `decoding`), which is ended when its caller goes away, when it is silent or when it
passes its limits. `Recording` is for files of hours, `decode` for one utterance in memory.
"""

from pipeline.media.processes import warm_up
from pipeline.media.recording import RATE_HZ, Recording
from pipeline.media.utterance import check_sound, decode, decode_blocking

__all__ = ["RATE_HZ", "Recording", "check_sound", "decode", "decode_blocking", "warm_up"]
