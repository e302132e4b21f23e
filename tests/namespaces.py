"""Small networks for tests: namespaces with addresses of their own, joined by cables (veth), without root."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

UNSHARE = ("unshare", "--user", "--map-root-user", "--net")
TRY = "ip link add name one type veth peer name two && nft list ruleset"
_tried = subprocess.run([*UNSHARE, "sh", "-c", TRY], capture_output=True, check=False)
needs_networks = pytest.mark.skipif(
    _tried.returncode != 0, reason="network namespaces are not permitted here (unshare --user --net, ip, nft)"
)


@dataclass
class Host:
    """A namespace: a machine of the test's network."""

    process: "subprocess.Popen[bytes]"
    cables: int = 0

    @property
    def within(self) -> list[str]:
        """Command that executes the command appended to it on this host."""
        return ["nsenter", "--preserve-credentials", "-U", "-n", "-t", str(self.process.pid)]

    def run(self, command: str, *, text: str = "") -> None:
        """Run a command on this host."""
        subprocess.run([*self.within, *command.split()], input=text, check=True, text=True)


@dataclass
class Network:
    """Hosts that end with the network."""

    root: Host
    hosts: list[Host] = field(default_factory=list)

    def host(self) -> Host:
        """Add a host without cables."""
        made = Host(idle([*self.root.within, "unshare", "--net"]))
        self.hosts.append(made)
        made.run("ip link set lo up")
        return made

    def cable(self, one: Host, address: str, other: Host, other_address: str) -> None:
        """Join two hosts. The addresses have prefix lengths: 10.0.0.1/24."""
        ends = f"one netns {one.process.pid} type veth peer name other netns {other.process.pid}"
        self.root.run(f"ip link add name {ends}")
        for host, end, own in ((one, "one", address), (other, "other", other_address)):
            host.cables += 1
            name = f"eth{host.cables}"
            host.run(f"ip link set {end} name {name}")
            host.run(f"ip addr add {own} dev {name}")
            host.run(f"ip link set {name} up")


@contextmanager
def network() -> Iterator[Network]:
    """A network without hosts. All its processes end with the block."""
    made = Network(Host(idle(list(UNSHARE))))
    try:
        yield made
    finally:
        for host in (*made.hosts, made.root):
            host.process.kill()
            host.process.wait()


def idle(within: list[str]) -> "subprocess.Popen[bytes]":
    """Start a process in new namespaces, and return when it is there."""
    process = subprocess.Popen([*within, "sh", "-c", "echo; exec sleep 3600"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"\n"
    return process
