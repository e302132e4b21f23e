"""Random mutations of strangers' webhook URLs and response headers: only refusals may be raised.

`python -m bench.strangers_fuzz --count 20000 --seed 12`

Each URL goes through the check of a submission and, if it passes, through all steps of sending a request except the
connection. Each response is served on a real socket, and read as a file and as a webhook's response.
"""

import argparse
import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path

import httpcore
import httpx

from jobs.addresses import Reachable, counted_host, host_of, port_of
from jobs.client import open_client
from jobs.errors import FetchFailed, Refused
from jobs.fetch import fetch
from jobs.files import FileStore
from jobs.names import name_in_url
from jobs.webhooks import retry_after_s
from tests.servers.hostile import hostile

HOSTS = [
    "example.org", "xn--a.example", "xn--bcher-kva.example", "bücher.example", "127.0.0.1", "[::1]", "[2606:4700::1]",
    "a..b", "-a.example", "a_b.example", "EXAMPLE.org.", "1.2.3.4.5", "0x7f.1", "２.example", "xn--", "a" * 64 + ".org",
    "ex%41mple.org", "[v1.x]", "[fe80::1%25lo]", "localhost", "例え.テスト", "xn--0", "٣.example", "ß.example",
    "a\u0301.org",
]  # fmt: skip
PATHS = ["", "/", "/hook?a=b#c", "/%zz", "/\u00e9", "//x", "/..;/", "?", "#", "/a b", "/%F0%9F", "/\ud800"]
PORTS = ["", ":80", ":0", ":65536", ":x", ":" + "9" * 30, ":-1", ":٣", ":08080", ": 80"]
SCHEMES = ["http", "https", "HTTP", "ftp", "javascript", "http+unix", "", "ht tp"]
NOISE = "./:@[]%#?\\ -_~\x00\x7f\u00e9\u200d\u3002\uff0e\u2488\u212a\ud800xn09aZ"
VALUES = [
    b"", b"0", b"-1", b"9" * 5000, b"9" * 400, b"1e999", b"nan", b"inf", b"bytes 0-1/2",
    b"bytes 0-" + b"9" * 4400 + b"/*",
    b"attachment; filename=\"a.wav\"", b"attachment; filename*=UTF-8''%ff%00", b";" * 900, b'"' * 900, b"\\\";" * 300,
    b"Wed, 21 Oct 99999999999999999999 07:28:00 GMT", b"Wed, 31 Feb 2015 07:28:00 GMT", b"Wed, 21 Oct 2015 99:99:99",
    b"W/\"x\"", b"\xff\xfe", b"\xc3\xa9", b"http://xn--a.example/", b"http://[::1", b"//", b"/", b"gzip", b"identity",
    b"chunked", b"gzip, chunked", b"http://127.0.0.1:1/", b"Thu, 01 Jan 1970 00:00:00 +9999999", b"a" * 20_000,
]  # fmt: skip
NAMES = [
    b"Content-Length", b"Content-Range", b"Content-Disposition", b"Content-Encoding", b"Transfer-Encoding", b"ETag",
    b"Last-Modified", b"Location", b"Retry-After", b"Set-Cookie", b"Connection", b"Content-Type", b"X" * 300,
]  # fmt: skip
STATUSES = [
    b"200 OK",
    b"206 Partial",
    b"302 Found",
    b"503 Busy",
    b"410 Gone",
    b"204 None",
    b"429 Slow",
    b"101 X",
    b"999 X",
]


def some_url(chance: random.Random) -> str:
    url = f"{chance.choice(SCHEMES[:3] * 9 + SCHEMES)}://{chance.choice(HOSTS)}{chance.choice(PORTS[:1] * 9 + PORTS)}"
    url += chance.choice(PATHS)
    for _ in range(chance.choice((0, 0, 0, 1, 1, 4))):
        at = chance.randrange(len(url) + 1)
        url = url[:at] + chance.choice(NOISE) * chance.choice((1, 1, 1, 70)) + url[at + chance.randrange(2) :]
    return url


def some_answer(chance: random.Random) -> bytes:
    lines = [b"HTTP/1.1 " + chance.choice(STATUSES)]
    for _ in range(chance.randrange(6)):
        lines.append(chance.choice(NAMES) + b": " + chance.choice(VALUES))
    head = b"\r\n".join(lines)
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        at = chance.randrange(len(head) + 1)
        head = head[:at] + bytes([chance.randrange(256)]) + head[at + chance.randrange(2) :]
    before = b"HTTP/1.1 100 Continue\r\n\r\n" * chance.choice((0, 0, 0, 1, 3))
    return before + head + b"\r\n\r\n" + b"RIFF" * chance.randrange(4)


def try_url(rule: Reachable, url: str) -> str:
    """Return "refused" or "sendable"."""
    counted_host(url)
    name_in_url(url)
    try:
        built = rule.check(url)
    except Refused as refused:
        return refused.code
    again = rule.check(str(built))
    assert (host_of(again), port_of(again), again.raw_path) == (host_of(built), port_of(built), built.raw_path)
    target = httpcore.URL(
        scheme=built.raw_scheme, host=host_of(built).encode("ascii"), port=port_of(built), target=built.raw_path
    )
    httpcore.Request("POST", target)
    httpx.Request("POST", built, headers={"Host": built.netloc.decode("ascii")})
    host_of(built).encode("idna")
    return "sendable"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=12)
    asked = parser.parse_args()
    chance, told, uncaught = random.Random(asked.seed), Counter[str](), Counter[str]()
    for _ in range(asked.count):
        url = some_url(chance)
        try:
            told[try_url(Reachable(""), url)] += 1
        except Exception as error:
            uncaught[f"{type(error).__name__} {url[:80]!a}"] += 1
    print(f"{asked.count} URLs, seed {asked.seed}: {dict(told)}; {sum(uncaught.values())} uncaught")
    print(*uncaught.most_common(5), sep="\n")
    told, uncaught = Counter[str](), Counter[str]()
    rule, answers = Reachable("127.0.0.1"), [b""]

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(answers[0])
        await writer.drain()

    with tempfile.TemporaryDirectory() as folder:
        files = FileStore(Path(folder) / "uploads", 1_000_000)
        async with hostile(serve) as server, open_client(rule, timeout_s=5.0) as client:
            there = rule.check(f"{server.address}/a")
            for number in range(asked.count):
                answers[0] = some_answer(chance)
                try:
                    if number % 2:
                        async with files.receive() as incoming:
                            await fetch(str(there), incoming, rule, timeout_s=10.0)
                            told["a file"] += 1
                    else:
                        async with client.stream("POST", there, {"webhook-id": "m"}, b"{}") as answer:
                            retry_after_s(answer.header("retry-after"))
                            told["a response"] += 1
                except (Refused, FetchFailed) as refused:
                    told[refused.code] += 1
                except Exception as error:
                    uncaught[f"{type(error).__name__} {answers[0][:120]!a}"] += 1
        files.close()
    print(f"{asked.count} responses: {dict(told)}; {sum(uncaught.values())} uncaught")
    print(*uncaught.most_common(5), sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
