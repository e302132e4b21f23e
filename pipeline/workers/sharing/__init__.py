"""One set of models for several processes of one machine (PROCESSES).

The main process owns the models, each with its scheduler. The fronts, which serve the connections, call them over a
link each, an anonymous socket pair:

    link.py       the link: messages, requests and their responses
    messages.py   the messages about models
    models.py     the main process's side
    worker.py     a front's side: `open_shared`
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.workers.sharing.link import Link


@dataclass(frozen=True, slots=True)
class Relay:
    """A message that the main process passes on to all other fronts."""

    message: object


@dataclass(frozen=True, slots=True)
class AskOthers:
    """A request that the main process passes on to all other fronts; the result is a list of their results."""

    request: object


_link: "Link | None" = None
# Module state, because a process has one main process.


def join(link: "Link") -> None:
    """Make this process a front of the main process at the other end of the link."""
    global _link
    _link = link


def joined() -> "Link | None":
    """Return the link to the main process; None if this process is not a front."""
    return _link
