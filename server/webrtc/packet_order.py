"""RTP packets of a caller in the order in which they were sent."""

from aiortc.rtp import RtpPacket

LATE = 48_000 * 80 // 1000
"""How much later than the first waiting packet the newest may be, in samples, before one that is missing counts as
lost: 80 ms, four packets of 20 ms."""
LEAP = 100
"""Distance of sequence numbers from which the source has begun again: two seconds of packets."""


class PacketOrder:
    """Orders the packets of one source. A packet waits only for those before it that are missing, and after them all
    are passed on at once, so that no delay remains. `JitterBuffer` of aiortc keeps the delay, because it returns one
    frame a packet; and if a packet is lost, it also drops the one before."""

    def __init__(self) -> None:
        self._next: int | None = None
        """Sequence number of the next packet to pass on; None before the first."""
        self._waiting: dict[int, RtpPacket] = {}
        """Later packets by their sequence numbers."""

    def take(self, packet: RtpPacket) -> list[RtpPacket]:
        """Return the packets that can be decoded now that this one has arrived: none if it is late or a duplicate, or
        has to wait."""
        ready: list[RtpPacket] = []
        if self._next is None or abs(self._ahead(packet)) >= LEAP:
            ready = self._in_order()
            self._waiting.clear()
            self._next = packet.sequence_number
        if self._ahead(packet) < 0:
            return ready
        self._waiting[packet.sequence_number] = packet
        while (following := self._following()) is not None:
            ready.append(following)
            self._next = (following.sequence_number + 1) % 2**16
        return ready

    def _following(self) -> RtpPacket | None:
        """Remove and return the next packet, or the first that waits if the missing ones before it are lost."""
        assert self._next is not None  # noqa: S101  # since the first packet
        if self._next in self._waiting:
            return self._waiting.pop(self._next)
        waiting = self._in_order()
        if waiting and (waiting[-1].timestamp - waiting[0].timestamp) % 2**32 >= LATE:
            return self._waiting.pop(waiting[0].sequence_number)
        return None

    def _in_order(self) -> list[RtpPacket]:
        return sorted(self._waiting.values(), key=self._ahead)

    def _ahead(self, packet: RtpPacket) -> int:
        """Return how many packets this one is after the next one; negative: before it."""
        assert self._next is not None  # noqa: S101  # since the first packet
        return (packet.sequence_number - self._next + 2**15) % 2**16 - 2**15
