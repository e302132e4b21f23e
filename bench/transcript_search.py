"""Search over many transcripts, and the exports of a long one.

    python -m bench.transcript_search [--transcripts 10000] [--words 800] [--searches 400] [--hours 3] [--database URL]

The transcripts have the words of English text, by their frequencies (Zipf), in passages as the service makes them; each
tenth job belongs to one caller, the others to nine more. Searches are one to three words, rare and common ones, half
of them with an unfinished last word, by one caller and by an administrator. Times are those of the service's own
functions in this process, and CPU times its own, which other programs on the machine do not change; the first search of
a kind is counted like the others. The database is SQLite in a temporary folder, or any that `--database` names (empty).
"""

import argparse
import asyncio
import random
import tempfile
import time
from itertools import accumulate
from pathlib import Path

from bench.rows import Rows
from jobs.database import open_database
from jobs.job import Options, Submission
from jobs.result import FORMATS, download, store_form
from jobs.store import JobStore
from jobs.transcript_library.passages import add_passages, passages_of
from jobs.transcript_library.search import search
from pipeline.stt import Segment, Word
from pipeline.transcripts.subtitles import Layout

VOCABULARY = 30_000
OWNERS = 10
BATCH = 200


def vocabulary(chance: random.Random) -> list[str]:
    syllables = [consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiou"]
    return ["".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(VOCABULARY)]


def transcript(
    chance: random.Random, words: list[str], weights: list[float], count: int, *, timed: bool
) -> list[Segment]:
    """Return segments of about twelve words, spoken at 2.5 words a second."""
    said = chance.choices(words, cum_weights=weights, k=count)
    found = []
    for at in range(0, count, 12):
        some = said[at : at + 12]
        times = [Word(word, (at + n) / 2.5, (at + n + 0.9) / 2.5, 0.9) for n, word in enumerate(some)] if timed else []
        text = " ".join(some).capitalize() + "."
        found.append(Segment(at / 2.5, (at + len(some)) / 2.5, text, words=times, speaker="AB"[at // 240 % 2]))
    return found


def quantile(times_ms: list[float], share: float) -> float:
    return sorted(times_ms)[min(len(times_ms) - 1, int(share * len(times_ms)))]


async def searches(url: str, chosen: argparse.Namespace) -> None:
    chance = random.Random(7)
    words = vocabulary(chance)
    weights = list(accumulate(1 / (rank + 2) for rank in range(len(words))))
    async with open_database(url) as database:
        store, began = JobStore(database, max_waiting=chosen.transcripts + 1), time.monotonic()
        for first in range(0, chosen.transcripts, BATCH):
            made, _ = await store.submit(
                [Submission(f"{n}.wav", Options(), owner=f"key:{n % OWNERS}") for n in range(first, first + BATCH)],
                cached=[None] * BATCH,
            )
            async with database.writing() as connection:
                for job in made:
                    said = transcript(chance, words, weights, chosen.words, timed=False)
                    body = store_form(said, language="en", duration_s=said[-1].end_s, engine="bench")
                    await add_passages(connection, job.id, job.owner, passages_of(body))
        print(f"{chosen.transcripts} transcripts of {chosen.words} words in {time.monotonic() - began:.0f} s")
        rows = Rows(f"{'searches':30}", "hits", "p50 ms", "p95 ms", "p50 CPU", "p95 CPU", "slowest CPU")
        for name, low, high in (("rare words", 2_000, VOCABULARY), ("usual words", 50, 2_000), ("commonest", 0, 50)):
            for owner in ("key:3", None):
                times, worked, hits = list[float](), list[float](), 0
                for number in range(chosen.searches):
                    query = " ".join(words[chance.randrange(low, high)] for _ in range(1 + number % 3))
                    query = query[:-1] if number % 2 and len(query) > 4 else query
                    began, busy = time.monotonic(), time.process_time()
                    hits += len((await search(database, query, owner=owner)).items)
                    times.append(1000 * (time.monotonic() - began))
                    worked.append(1000 * (time.process_time() - busy))
                shown = f"{name}, {'one caller' if owner else 'administrator'}"
                figures = [quantile(times, 0.5), quantile(times, 0.95), quantile(worked, 0.5), quantile(worked, 0.95)]
                rows.add(shown, f"{hits / len(times):.1f}", *(f"{one:.1f}" for one in figures), f"{max(worked):.1f}")


def exports(hours: float) -> None:
    chance = random.Random(7)
    words = vocabulary(chance)
    weights = list(accumulate(1 / (rank + 2) for rank in range(len(words))))
    said = transcript(chance, words, weights, int(hours * 3600 * 2.5), timed=True)
    body = store_form(said, language="en", duration_s=said[-1].end_s, engine="bench")
    print(f"exports of a transcript of {hours:g} hours, {len(said)} segments")
    rows = Rows(f"{'export':30}", "s", "CPU s", "MB")
    began, busy = time.monotonic(), time.process_time()
    count = len(passages_of(body))
    took, worked = time.monotonic() - began, time.process_time() - busy
    rows.add(f"search index: {count} passages", f"{took:.2f}", f"{worked:.2f}")
    for kind in FORMATS:
        began, busy = time.monotonic(), time.process_time()
        file = download(body, kind, {"A": "Ana", "B": "Ben"}, Layout(42, 2, 17, 7), title="Talk")
        took, worked = time.monotonic() - began, time.process_time() - busy
        size = len(file.encode() if isinstance(file, str) else file) / 2**20
        rows.add(kind, f"{took:.2f}", f"{worked:.2f}", f"{size:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--transcripts", type=int, default=10_000)
    parser.add_argument("--words", type=int, default=800)
    parser.add_argument("--searches", type=int, default=400)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--database", default="")
    chosen = parser.parse_args()
    exports(chosen.hours)
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        asyncio.run(searches(chosen.database or f"sqlite:///{Path(folder, 'library.db')}", chosen))


if __name__ == "__main__":
    main()
