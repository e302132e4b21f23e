"""The Opus decoder of calls, in place of aiortc's: a packet takes some 40 µs, so it needs no thread."""

from aiortc import RTCRtpReceiver
from aiortc.rtcrtpreceiver import RemoteStreamTrack, TimestampMapper
from aiortc.rtp import RtpPacket
from av import CodecContext, FFmpegError
from av.audio.codeccontext import AudioCodecContext
from av.packet import Packet

from server.webrtc.encoder import RATE_HZ, TIME_BASE


class SpeechDecoder:
    """Takes the place of the `JitterBuffer` of a receiver, for packets that come in order: each is a frame (RFC 7587).
    Their sound is put on the receiver's track.

    aiortc has a thread for each receiver, and changing to it and back costs more than decoding.
    """

    def __init__(self, receiver: RTCRtpReceiver) -> None:
        codec = CodecContext.create("libopus", "r")
        assert isinstance(codec, AudioCodecContext)  # noqa: S101  # by its name
        codec.format, codec.layout, codec.sample_rate = "s16", "mono", RATE_HZ
        self._codec, self._receiver, self._times = codec, receiver, TimestampMapper()

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Decode a packet. Return whether a picture is missing, which sound does not have, and no frame: none is left
        for aiortc's thread."""
        track = self._receiver.track
        assert isinstance(track, RemoteStreamTrack)  # noqa: S101  # since the offer was read
        if data := packet._data:  # type: ignore[attr-defined]
            encoded = Packet(data)
            encoded.pts, encoded.time_base = self._times.map(packet.timestamp), TIME_BASE
            try:
                frames = self._codec.decode(encoded)
            except FFmpegError:  # as if it was lost
                frames = []
            for frame in frames:
                track._queue.put_nowait(frame)
        return False, None
