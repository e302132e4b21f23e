"""The language in which a text is spoken when the caller does not say: how often it is right, and what it costs.

python -m bench.text_language [--speaks en es fr] [--usual en] [--wrong]
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import psutil

from pipeline.speech import detector
from pipeline.speech.language import text_language

TEXTS = Path(__file__).with_suffix("").with_name("text_language_set.txt")
LENGTHS = ((3, 5), (6, 10), (11, 30))
"""Groups of sentences by their number of words."""


def texts() -> dict[str, list[str]]:
    """Return the sections of the file: name → lines."""
    found: dict[str, list[str]] = {}
    for line in TEXTS.read_text("utf-8").splitlines():
        if line.startswith("["):
            found[line.strip("[]")] = []
        elif not line.startswith("#"):
            found[list(found)[-1]].append(line)
    return found


def measure(speaks: Callable[[str], bool], usual: str, *, show_wrong: bool) -> None:
    """Print the results. usual: the language of the conversation for all sentences."""
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    detector.load()
    load_ms = 1000 * (time.perf_counter() - began)
    resident = process.memory_info().rss - before
    right: dict[str, list[bool]] = defaultdict(list)
    took_ms: list[float] = []
    for name, lines in texts().items():
        kept, language = name.startswith("kept "), name.rpartition(" ")[2]
        if not speaks(language):
            continue
        for line in lines:
            began = time.perf_counter()
            found = text_language(line, usual=language if kept else usual, speaks=speaks)
            took_ms.append(1000 * (time.perf_counter() - began))
            words = len(line.split())
            groups = [f"{low} to {high} words" for low, high in LENGTHS if low <= words <= high]
            for group in [name] if kept else [name, "all", *groups]:
                right[group].append(found == language)
            if found != language and show_wrong:
                print(f"{name}: {found}: {line}")
    for group, results in sorted(right.items()):
        print(f"{group:16} {100 * sum(results) / len(results):6.1f} % of {len(results)}")
    took_ms.sort()
    slowest = took_ms[round(0.99 * (len(took_ms) - 1))]
    print(f"a text: {statistics.median(took_ms):.2f} ms, 99 %: {slowest:.2f} ms")
    print(f"loading, once: {load_ms:.0f} ms and {resident / 2**20:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speaks", nargs="+", default=["all"], help="languages of the voice (default: all)")
    parser.add_argument("--usual", default="en", help="language of the conversation")
    parser.add_argument("--wrong", action="store_true", help="show the texts with a wrong language")
    asked = parser.parse_args()
    spoken = set(asked.speaks)
    measure(lambda code: "all" in spoken or code in spoken, asked.usual, show_wrong=asked.wrong)


if __name__ == "__main__":
    main()
