"""The states of a live conversation."""

from enum import Enum, auto


class State(Enum):
    """A conversation's state, see `docs/turn-taking.md`."""

    LISTENING = auto()
    """The floor is free."""
    HEARING = auto()
    """The user is speaking."""
    PAUSED = auto()
    """The user is silent and may have finished; a speculative reply is prepared."""
    ANSWERING = auto()
    """The assistant is thinking or speaking."""
