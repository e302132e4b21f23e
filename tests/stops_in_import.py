"""A service, or a command, that gets a signal while it imports a module, in a callback whose exceptions Python ignores:
`python -m tests.stops_in_import typer SIGTERM`, with the arguments of another command, if there are more."""

import os
import signal
import sys
import weakref
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import main

moment, number = sys.argv[1], signal.Signals[sys.argv[2]]


class Referent:
    """A thing whose end calls back."""


class Finder:
    """Finds nothing, and sends the signal when the import of this moment's module begins."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == moment:
            sys.meta_path.remove(self)
            referent = Referent()
            ended = weakref.ref(referent, lambda _: os.kill(os.getpid(), number))
            del referent, ended
        return None


if __name__ == "__main__":
    sys.meta_path.insert(0, Finder())
    del sys.argv[1:3]
    main.run()
