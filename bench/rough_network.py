"""A network with loss, delay and jitter between two namespaces, for kernels without netem: packets pass two TUN devices
and a process between them, which drops and delays them. IP stacks and sockets on both sides are the kernel's own."""

import fcntl
import heapq
import multiprocessing
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

HERE, THERE = "10.77.0.1", "10.77.0.2"
"""Addresses of this namespace and of the other one."""
INSIDE = "PARLEY_BENCH_NAMESPACE"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MAX_PACKET = 65_536


@dataclass(frozen=True)
class Conditions:
    """Loss and delay of packets, in each direction."""

    loss: float
    """Share that is lost."""
    jitter_ms: float
    """Each packet is delayed by a random time up to this one; they can overtake each other, as with netem."""
    delay_ms: float = 10.0
    """Delay of every packet."""


def enter_namespace() -> None:
    """Run this program again in a network namespace of its own, unless it already does."""
    if os.environ.get(INSIDE) != "1":
        os.environ[INSIDE] = "1"
        command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, *sys.orig_argv[1:]]
        os.execvp(command[0], command)  # noqa: S606


@dataclass
class RoughNetwork:
    """The two namespaces: the one of this process, and `within` the other one."""

    within: list[str]
    _devices: tuple[int, int]

    @contextmanager
    def under(self, conditions: Conditions) -> Iterator[None]:
        """Carry packets under these conditions while the block runs."""
        carrier = multiprocessing.get_context("fork").Process(target=_carry, args=(self._devices, conditions))
        carrier.start()
        try:
            yield
        finally:
            carrier.kill()
            carrier.join()


@contextmanager
def rough_network() -> Iterator[RoughNetwork]:
    """Call `enter_namespace` first."""
    other = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 3600"], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    within = ["nsenter", "-n", "-t", str(other.pid)]
    try:
        devices = (_tun("here"), _tun("there"))
        for command in (
            "ip link set lo up",
            f"ip addr add {HERE}/24 dev here",
            "ip link set here up",
            f"ip link set there netns {other.pid}",
            f"{' '.join(within)} ip link set lo up",
            f"{' '.join(within)} ip addr add {THERE}/24 dev there",
            f"{' '.join(within)} ip link set there up",
        ):
            subprocess.run(command.split(), check=True)
        yield RoughNetwork(within, devices)
    finally:
        other.kill()
        other.wait()


def _tun(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def _carry(devices: tuple[int, int], conditions: Conditions) -> None:
    chance = random.Random(1)
    waiting: list[tuple[float, int, int, bytes]] = []
    number = 0
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, device, packet = heapq.heappop(waiting)
            os.write(device, packet)
        ready, _, _ = select.select(devices, (), (), waiting[0][0] - now if waiting else None)
        for device in ready:
            packet = os.read(device, MAX_PACKET)
            if chance.random() < conditions.loss:
                continue
            number += 1
            due = time.monotonic() + (conditions.delay_ms + chance.uniform(0, conditions.jitter_ms)) / 1000
            heapq.heappush(waiting, (due, number, devices[1 - devices.index(device)], packet))
