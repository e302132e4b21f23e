"""The states of a live conversation."""

from enum import Enum, auto


class State(Enum):
    """See `docs/turn-taking.md`."""

    LISTENING = auto()
    """Nobody speaks."""
    HEARING = auto()
    """The user speaks."""
    PAUSED = auto()
    """The user is silent, perhaps done; an answer is prepared."""
    ANSWERING = auto()
    """The assistant thinks or speaks."""
