"""Every route and socket of a running service with all invalid credentials: python -m bench.refusals

The routes come from the application's own table, so that a new one cannot be forgotten; the credentials are in
`tests/access/refused.py`. Each request must get 401 (403 for a known key without the permission), with
WWW-Authenticate, and no socket may be accepted. Printed: the number of each kind, and every request that was not
refused.
"""

import sys
import tempfile
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path

from bench.rows import Rows
from tests.access.calls import SECRET, Route, every_route
from tests.access.refused import API_KEYS, OPEN, attempts
from tests.server_process import serving

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def ask(port: int, route: Route, headers: dict[str, str]) -> tuple[int, bool]:
    """Status, and whether the response has the required challenge. http.client can send headers that httpx refuses."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        socket = route.method == "WEBSOCKET"
        sent = {**(HANDSHAKE if socket else {}), **headers}
        connection.request("GET" if socket else route.method, route.example, headers=sent)
        answer = connection.getresponse()
        return answer.status, answer.getheader("www-authenticate") is not None
    finally:
        connection.close()


def main() -> None:
    guarded = [route for route in every_route() if route.path not in OPEN]
    seen: Counter[tuple[str, int]] = Counter()
    wrong: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), API_KEYS=API_KEYS, JWT_SECRET=SECRET, RATE_LIMIT="none") as server,
    ):
        for route in guarded:
            for attempt in attempts(route):
                status, challenged = ask(server.port, route, attempt.headers)
                seen[attempt.kind, status] += 1
                if status != attempt.status or not challenged:
                    wrong.append(f"{route.method} {route.path}, {attempt.kind}: {status}")
    sockets = sum(route.method == "WEBSOCKET" for route in guarded)
    others = len(every_route()) - len(guarded)
    print(f"{len(guarded) - sockets} routes and {sockets} sockets need a key; {others} are open")
    rows = Rows("credentials", "status", "times")
    for (kind, status), times in sorted(seen.items()):
        rows.add(kind, str(status), str(times))
    print(f"{sum(seen.values())} requests, not refused: {len(wrong)}")
    for line in wrong:
        print(line)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
