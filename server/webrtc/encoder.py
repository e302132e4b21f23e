"""The Opus encoder of calls: mono speech with forward error correction, and silence without encoding it."""

from aiortc import RTCRtpSender
from aiortc.codecs.opus import SAMPLE_RATE, SAMPLES_PER_FRAME, TIME_BASE, OpusEncoder
from av import AudioFrame, AudioResampler, CodecContext
from av.audio.codeccontext import AudioCodecContext
from av.frame import Frame

BITS_PER_S = 32_000
"""Speech without audible loss (RFC 6716, 2.1.1), with a copy of each packet in the next one."""
OPTIONS = {"application": "voip", "fec": "1", "packet_loss": "5", "compression_level": "2"}
"""fec: a receiver restores a lost packet from the next one. compression_level: Opus's complexity, 10 at most."""
SILENCE = b"\xf8\xff\xfe"
"""A packet of 20 ms of silence."""
SILENT_FRAMES = 5
"""Silent frames that are encoded before SILENCE takes their place: the encoder comes to rest."""


class SpeechEncoder(OpusEncoder):
    """Encodes frames of 20 ms."""

    def __init__(self) -> None:
        super().__init__()
        codec = CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)  # noqa: S101  # by its name
        codec.bit_rate = BITS_PER_S
        codec.format = "s16"
        codec.layout = "mono"
        codec.options = dict(OPTIONS)
        codec.sample_rate = SAMPLE_RATE
        codec.time_base = TIME_BASE
        self.codec = codec
        self.resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE, frame_size=SAMPLES_PER_FRAME)
        self._frames = 0
        self._silent = 0
        """Number of silent frames since the last sound."""

    def encode(self, frame: Frame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """Return the packets for a frame, and the timestamp of the first: one packet a frame, except for the first
        frame, which the resampler keeps."""
        assert isinstance(frame, AudioFrame)  # noqa: S101  # from `Speaker`
        timestamp = self._frames * SAMPLES_PER_FRAME
        self._frames += 1
        self._silent = 0 if frame.to_ndarray().any() else self._silent + 1
        if self._silent > SILENT_FRAMES:
            return [SILENCE], timestamp
        return super().encode(frame, force_keyframe)[0], timestamp


def encode_speech(sender: RTCRtpSender) -> None:
    """Let a sender use `SpeechEncoder`: aiortc has no hook for its encoder."""
    sender._RTCRtpSender__encoder = SpeechEncoder()  # type: ignore[attr-defined]
