"""The engine `local`: time to the first token and tokens a second, by the length of the prompt, with and without the
kept prompt.

    python -m bench.local_llm GGUF_OR_FOLDER [--prompts 50 500 2000] [--tokens 64] [--threads 1] [--runs 3]

A prompt is a system prompt of the given number of tokens and a short question. "new": a system prompt that was never
used before. "kept": the one of the conversation's earlier turns. CPU seconds are this process's; other load affects
them less than the wall-clock time. Medians of the runs.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.rows import Rows
from pipeline.llm.chat_message import ChatMessage
from pipeline.llm.local_config import LocalConfig
from pipeline.llm.local_engine import LocalModel

WORDS = (
    "sea",
    "lamp",
    "house",
    "stone",
    "wind",
    "bird",
    "old",
    "light",
    "night",
    "boat",
    "rain",
    "green",
    "river",
    "fish",
)
QUESTION = "Tell me a long story about a lighthouse."
TAKES_TO_KEEP = 2
"""Uses of a system prompt after which its state is kept."""


@dataclass(frozen=True, slots=True)
class Run:
    """One reply: seconds, on the wall's clock and of CPU time, until the first token and from it to the last."""

    prompt: int
    first_s: float
    first_cpu_s: float
    rest: int
    """Tokens after the first one."""
    rest_s: float
    rest_cpu_s: float


def measured(model: LocalModel, system: str, tokens: int) -> Run:
    marks: list[tuple[float, float]] = [(time.perf_counter(), time.process_time())]
    usage = None
    for chunk in model.reply(asked(system), (), tokens):
        marks.append((time.perf_counter(), time.process_time()))
        usage = chunk.usage
    assert usage is not None
    (start, start_cpu), (first, first_cpu), *_, (end, end_cpu) = marks
    return Run(
        usage.input_tokens, first - start, first_cpu - start_cpu, usage.output_tokens - 1, end - first,
        end_cpu - first_cpu,
    )  # fmt: skip


def asked(system: str) -> list[ChatMessage]:
    return [{"role": "system", "content": system}, {"role": "user", "content": QUESTION}]


def system_prompt(chance: random.Random, tokens: int) -> str:
    """Return about that many tokens; almost all of these words are one token."""
    return " ".join(chance.choice(WORDS) for _ in range(tokens))


@contextmanager
def folder_of(model: Path) -> Iterator[Path]:
    """Convert a gguf file for as long as the block runs; a folder is used as it is."""
    if model.is_dir():
        yield model
        return
    from pipeline.llm.conversion import convert

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "model"
        convert(model, folder)
        yield folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=int, nargs="+", default=[50, 500, 2000])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    chance = random.Random(0)
    with folder_of(options.model) as folder:
        context = max(options.prompts) + options.tokens + 200
        config = LocalConfig(str(folder), "cpu", "int8", options.threads, context, options.tokens, 0.0, 1.1)
        model = LocalModel(config)
        print(f"{options.model.name}, int8, {options.threads} thread(s)")
        rows = Rows("prompt", "state", "first token", "CPU", "tokens/s", "CPU a token")
        for tokens in options.prompts:
            new = [measured(model, system_prompt(chance, tokens), options.tokens) for _ in range(options.runs)]
            again = system_prompt(chance, tokens)
            for _ in range(TAKES_TO_KEEP):
                measured(model, again, 1)
            kept = [measured(model, again, options.tokens) for _ in range(options.runs)]
            for name, runs in (("new", new), ("kept", kept)):
                add(rows, name, runs)


def add(rows: Rows, name: str, runs: list[Run]) -> None:
    first_s, first_cpu_s = median(run.first_s for run in runs), median(run.first_cpu_s for run in runs)
    rate = median(run.rest / run.rest_s for run in runs)
    each_s = median(run.rest_cpu_s / run.rest for run in runs)
    rows.add(
        f"{runs[0].prompt}", name, f"{first_s * 1000:.0f} ms", f"{first_cpu_s * 1000:.0f} ms", f"{rate:.1f}",
        f"{each_s * 1000:.0f} ms",
    )  # fmt: skip


if __name__ == "__main__":
    main()
