"""Parley's entry point. `python main.py` serves; further commands talk, transcribe, say, list voices and examine the
machine. `uvicorn main:app` serves, too."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Create `main.app` when an ASGI server asks for it, so that the commands do not import the web framework."""
    if name == "app":
        from commands.serve import application

        return application()
    raise AttributeError(name)


def _end_at_once(number: int, frame: object) -> None:
    """End the process on a signal while it has nothing to close. An exception would not do: Python ignores those that
    a signal raises in a callback of its imports, and the process would go on."""
    import os
    import signal

    os._exit(0 if number == signal.SIGTERM else 128 + number)


def run() -> None:
    """Run a command: `python main.py …`, or `parley …` of the installed package."""
    import signal
    import sys

    # Before the imports, which take a second: a container's first process ignores signals without a handler.
    signal.signal(signal.SIGTERM, _end_at_once)
    signal.signal(signal.SIGINT, _end_at_once)
    try:
        from commands import cli

        # From here on there can be something to close.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cli()
    except ImportError as error:
        if (error.name or "").partition(".")[0] in ("", "commands", "jobs", "pipeline", "server"):
            raise
        # A missing or older package: the environment does not match this version, or no longer does.
        print(
            f"parley: {error.msg}. The packages of {sys.prefix} are not those that this version needs: "
            "`make run` installs the missing ones and starts (or: pip install -c constraints.txt -e .).",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    run()
