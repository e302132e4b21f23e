"""The slots that callers hold in the other processes of the service."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Held = Mapping[tuple[str, str], int]
"""Number of slots of each caller."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Slots of one kind that a process has given."""

    total: int = 0
    of: Held = field(default_factory=dict)


Table = Mapping[str, Taken]
"""The slots of one process, by kind."""


class Elsewhere:
    """Slots of one kind that the other processes have given."""

    def __init__(self) -> None:
        self.total = 0
        """Those of this machine: limits in total are for one machine."""
        self.of: Counter[tuple[str, str]] = Counter()
        """Those of all machines by caller."""
        self.changed: Callable[[], None] = lambda: None
        """Called when this process has given a slot or has got one back."""


class Places:
    """The slots of all processes. Each process tells its own after each change, so a limit can be exceeded by the slots
    that several processes give in the time that this takes."""

    def __init__(self, kinds: Mapping[str, Elsewhere]) -> None:
        self._kinds = kinds
        self._tables: dict[str, tuple[Table, bool]] = {}

    def told(self, process: str, table: Table, *, here: bool = True) -> None:
        """Note the slots of another process; an empty table: it is gone. here: whether it runs on this machine."""
        self._tables.pop(process, None)
        if table:
            self._tables[process] = table, here
        for kind, elsewhere in self._kinds.items():
            tables = [(one[kind], local) for one, local in self._tables.values() if kind in one]
            elsewhere.total = sum(taken.total for taken, local in tables if local)
            elsewhere.of = Counter()
            for taken, _ in tables:
                elsewhere.of.update(taken.of)
