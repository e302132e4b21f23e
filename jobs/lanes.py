"""How many deliveries may be under way at a time: in all, to one host, for one owner.

A receiver that never answers holds a place for as long as an attempt may take. With these limits it holds up nobody but
itself, and the jobs of one owner hold up no other owner's, however many dead receivers they name.
"""

from collections import Counter

MOST = 32
MOST_OF_ONE = 2
"""To one host; and for one owner, where deliveries have one."""


class Lanes:
    """Places of one process, counted while they are taken."""

    def __init__(self) -> None:
        self._taken = 0
        self._owners: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()

    @property
    def free(self) -> int:
        return MOST - self._taken

    @property
    def full_owners(self) -> list[str]:
        """Owners with as many deliveries under way as one may have. "" (no keys are asked for, or the deployment's own
        webhook) is not one."""
        return [owner for owner, count in self._owners.items() if owner and count >= MOST_OF_ONE]

    @property
    def full_hosts(self) -> list[str]:
        return [host for host, count in self._hosts.items() if count >= MOST_OF_ONE]

    def enter(self, owner: str, host: str) -> bool:
        """Take a place; False where there is none for these."""
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
