"""Limits on simultaneous deliveries: in total, per host and per owner.

A receiver that never responds holds a slot until the attempt times out. With these limits it delays only its own
deliveries, and one owner's jobs never delay another owner's, however many dead receivers they name.
"""

from collections import Counter

MOST = 32
MOST_OF_ONE = 2
"""Limit per host, and per owner of deliveries that have one."""


class Lanes:
    """The delivery slots of one process."""

    def __init__(self) -> None:
        self._taken = 0
        self._owners: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()

    @property
    def free(self) -> int:
        return MOST - self._taken

    @property
    def full_owners(self) -> list[str]:
        """Owners that have reached their limit. "" (no keys required, or the deployment's own webhook) is not an
        owner."""
        return [owner for owner, count in self._owners.items() if owner and count >= MOST_OF_ONE]

    @property
    def full_hosts(self) -> list[str]:
        return [host for host, count in self._hosts.items() if count >= MOST_OF_ONE]

    def enter(self, owner: str, host: str) -> bool:
        """Take a slot; return False if there is none for this owner and host."""
        if not self.free or self._hosts[host] >= MOST_OF_ONE or (owner and self._owners[owner] >= MOST_OF_ONE):
            return False
        self._taken += 1
        self._owners[owner] += 1
        self._hosts[host] += 1
        return True

    def leave(self, owner: str, host: str) -> None:
        self._taken -= 1
        for counter, name in ((self._owners, owner), (self._hosts, host)):
            counter[name] -= 1
            if counter[name] <= 0:
                del counter[name]
