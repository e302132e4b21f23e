"""Audio files to samples: the only package that opens files from outside.

`wav` reads plain WAV in Python. Every other format goes to FFmpeg, in a separate process for each file (`processes`,
`zygote`, `sandbox`, `decoding`). That process is ended when its caller leaves, when it falls silent, or when it
passes its limits. `Recording` is for files of hours, `decode` for one utterance in memory.
"""

from pipeline.audio.decode.processes import warm_up
from pipeline.audio.decode.recording import RATE_HZ, Recording
from pipeline.audio.decode.utterance import check_sound, decode, decode_blocking

__all__ = ["RATE_HZ", "Recording", "check_sound", "decode", "decode_blocking", "warm_up"]
