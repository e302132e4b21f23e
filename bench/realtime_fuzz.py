"""Random client events into Realtime sessions on virtual time: python -m bench.realtime_fuzz [MESSAGES] [SEED]

Each session of 200 messages is checked by `tests/realtime/fuzz.py`: every event is of its type, nothing of a response
comes before its beginning or after its end, one response of the conversation at a time, each ends once, no error is
`internal`, the session lives at the end, and nothing of it runs when its client has gone.
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
    print(f"{sessions * PER_SESSION} messages in {sessions} sessions, {time.monotonic() - start:.0f} s: all stand")
    for name, count in sorted(told.items()):
        print(f"{count:8d}  {name}")


if __name__ == "__main__":
    main()
