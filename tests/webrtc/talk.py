"""One call from another network: python -m tests.webrtc.talk URL [--with-addresses] [--seconds 20]

Asks a question and prints what came of it as JSON; exits with 1 if the call does not connect.
"""

import argparse
import asyncio
import json

from tests.questions import SUM, spoken
from tests.webrtc.caller import calling


async def talk(url: str, *, with_addresses: bool, seconds: float) -> dict[str, object]:
    async with calling(url, trickle=not with_addresses, seconds=seconds) as caller:
        caller.mouth.say(spoken(SUM))
        done = await caller.until("response.done")
        [heard] = [one["transcript"] for one in caller.events if one["type"].endswith("transcription.completed")]
        said = done["response"]["output"][0]["content"][0]["transcript"]
        return {"heard": heard, "said": said, "loudest": float(abs(caller.sound().samples).max())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--with-addresses", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    try:
        print(json.dumps(asyncio.run(talk(**vars(options)))))
    except TimeoutError:
        raise SystemExit(1) from None
