"""Work that ends while one of its threads never does, as a program; with the argument "closing" it hangs while it ends.

It prints "closed" if it gets to its end.
"""

import asyncio
import sys
import threading

from commands.start import leave, leave_within, run_to_end


async def work() -> None:
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    await asyncio.sleep(0.1)
    if sys.argv[1:] == ["closing"]:
        leave_within(1.0, 3)
        await asyncio.Event().wait()


if __name__ == "__main__":
    run_to_end(work(), None)
    print("closed", flush=True)
    leave()
