"""A front without an application, which the main process starts and replaces as any other: a process that says that it
is ready, asks for the door of AUDIOSOCKET_ADDRESS, and drains on SIGTERM.

In the folder of its setting UPLOAD_DIR, a file `start-NAME` holds up its start, and `drain-NAME` its end. It notes
there that it drains, as `draining-NAME`. NAME is its name among the fronts.
"""

import asyncio
import signal
import socket
import sys

from pipeline.support.background import background
from pipeline.workers.sharing.link import Link
from server.fronts.messages import Ping, Ready, Welcome
from server.http.hatch import Listen
from tests.waiting import eventually


async def main() -> None:
    link = await Link.over(socket.socket(fileno=int(sys.argv[1])))
    stop, welcome = asyncio.Event(), asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    link.on(Welcome, welcome.set_result)

    async def respond(_: Ping) -> None: ...

    link.answer(Ping, respond)
    async with background(link.run()):
        told: Welcome = await welcome
        folder = told.settings.upload_dir
        await eventually(lambda: not (folder / f"start-{told.name}").exists())
        if told.settings.audiosocket_address:
            host, _, port = told.settings.audiosocket_address.rpartition(":")
            await link.ask(Listen(host, int(port), False))
        link.post(Ready())
        await stop.wait()
        (folder / f"draining-{told.name}").touch()
        await eventually(lambda: not (folder / f"drain-{told.name}").exists())


if __name__ == "__main__":
    asyncio.run(main())
