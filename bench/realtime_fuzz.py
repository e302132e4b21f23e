"""Random client events sent to Realtime sessions on virtual time: python -m bench.realtime_fuzz [MESSAGES] [SEED]

Each session of 200 messages is checked by `tests/realtime/fuzz.py`: every event matches its type, no event of a
response is outside its beginning and end, one response of the conversation runs at a time, each ends once, no error is
`internal`, the session is alive at the end, and nothing of it runs after its client has left.
"""

import logging
import sys
import time
from collections import Counter

from tests.realtime.fuzz import session

PER_SESSION = 200


def main() -> None:
    logging.disable(logging.CRITICAL)
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    told: Counter[str] = Counter()
    start = time.monotonic()
    for seed in range(first, first + -(-messages // PER_SESSION)):
        try:
            told += session(seed, PER_SESSION)
        except BaseException:
            print(f"seed {seed}", file=sys.stderr)
            raise
    sessions = -(-messages // PER_SESSION)
    print(f"{sessions * PER_SESSION} messages in {sessions} sessions, {time.monotonic() - start:.0f} s: all survive")
    for name, count in sorted(told.items()):
        print(f"{count:8d}  {name}")


if __name__ == "__main__":
    main()
