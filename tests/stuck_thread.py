"""The application under plain uvicorn, which a thread that never ends asks to stop: run with `python -m`."""

import os
import signal
import threading
import time

import uvicorn

server = uvicorn.Server(uvicorn.Config("main:app", port=0))


def stuck() -> None:
    while not server.started:
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()


if __name__ == "__main__":
    threading.Thread(target=stuck).start()
    server.run()
