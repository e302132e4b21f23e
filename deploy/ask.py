"""A test client: asks a running Parley a spoken question through /ws, and checks that a spoken reply comes.

`python deploy/ask.py ws://127.0.0.1:8000/ws audios/samples/what_is_two_plus_three.wav --heard two --says five`
"""

import argparse
import io
import json
import re
import sys
import time
import wave
from pathlib import Path

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect


def reach(url: str, wait_s: float) -> ClientConnection:
    """Connect as soon as the service accepts. Raises TimeoutError if it does not in time."""
    deadline = time.monotonic() + wait_s
    told = False
    while True:
        try:
            return connect(url, open_timeout=5, max_size=None)
        except (OSError, WebSocketException) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} cannot be reached: {error}") from error
            if not told:
                print(f"waiting for {url} …", file=sys.stderr)
                told = True
            time.sleep(0.1)  # polling is the only way: a starting service cannot notify clients


def turn(connection: ClientConnection, question: bytes) -> tuple[str, str, float]:
    """Run one turn; return the transcript, the reply, and the length of the spoken reply in seconds."""
    connection.send(question)
    text = connection.recv(timeout=120)
    reply = json.loads(text)
    if set(reply) != {"transcription", "llama"}:
        raise ValueError(f"not the documented reply: {text!r}")
    speech = connection.recv(timeout=120)
    if not isinstance(speech, bytes):
        raise ValueError(f"expected a WAV, not {speech!r}")
    with wave.open(io.BytesIO(speech)) as spoken:
        return reply["transcription"], reply["llama"], spoken.getnframes() / spoken.getframerate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("question", type=Path, help="a WAV file")
    parser.add_argument("--heard", default="", help="a pattern that the transcript matches")
    parser.add_argument("--says", default="", help="a pattern that the reply matches")
    parser.add_argument(
        "--wait", type=float, default=120, metavar="S", help="maximum wait for the service to start, in seconds"
    )
    asked = parser.parse_args()

    began = time.monotonic()
    try:
        with reach(asked.url, asked.wait) as connection:
            reached = time.monotonic()
            heard, said, seconds = turn(connection, asked.question.read_bytes())
            replied = time.monotonic()
    except (OSError, WebSocketException, ValueError, wave.Error) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"reached after {reached - began:.1f} s, replied after {replied - reached:.2f} s")
    print(f"heard: {heard}\nsaid:  {said} ({seconds:.1f} s)")
    fits = re.search(asked.heard, heard, re.IGNORECASE) and re.search(asked.says, said, re.IGNORECASE) and seconds > 0.3
    if not fits:
        print("the reply is not the expected one", file=sys.stderr)
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
