"""The namespaces of another process, which has a network or disks of its own."""

import ctypes
import os

OPTIONS = {"user": "-U", "net": "-n", "mnt": "-m"}
"""Kinds of namespaces in the order in which they are entered, with the options of nsenter."""


def _others(pid: str) -> list[str]:
    """Return the kinds that this process does not share with that one."""
    return [kind for kind in OPTIONS if os.readlink(f"/proc/self/ns/{kind}") != os.readlink(f"/proc/{pid}/ns/{kind}")]


def command(pid: str) -> list[str]:
    """Return the command that executes the command appended to it in the namespaces of a process."""
    return ["nsenter", "--preserve-credentials", *(OPTIONS[kind] for kind in _others(pid)), "-t", pid]


def enter(pid: str) -> None:
    """Move this process, which must have one thread, to the namespaces of that one."""
    libc = ctypes.CDLL(None, use_errno=True)
    fds = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in _others(pid)]
    for fd in fds:
        if libc.setns(fd, 0):
            raise OSError(ctypes.get_errno(), f"cannot enter the namespaces of process {pid}")
        os.close(fd)
