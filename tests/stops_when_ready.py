"""A service that gets a signal as soon as it has said that it is ready: `python -m tests.stops_when_ready SIGTERM`."""

import os
import signal
import sys
from typing import Any

import main
from commands import serve

announce, number = serve._announce, signal.Signals[sys.argv[1]]


def announce_and_stop(*arguments: Any) -> None:
    announce(*arguments)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    vars(serve)["_announce"] = announce_and_stop
    sys.argv[1:] = ["serve"]
    main.run()
