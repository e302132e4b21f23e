"""Reads the tokeniser of a model's folder, which can be damaged or hostile."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from pipeline.errors import EngineError

MAX_GROWTH = 64
"""Most times that a tokeniser's replacements can multiply the length of a text; usual ones keep it."""


def read_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokeniser. Raises EngineError when it could make texts endless, and what the library raises for a
    malformed file."""
    text = (folder / "tokenizer.json").read_text("utf-8")
    told = json.loads(text)
    growth = 1
    for step in (*_steps(told.get("normalizer")), *_steps(told.get("decoder"))):
        growth *= max(1, len(str(step.get("content", ""))), len(str(step.get("prepend", ""))))
        if growth > MAX_GROWTH:
            raise EngineError("The tokenizer.json in LOCAL_LLM makes texts many times longer, which is not supported.")
    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_padding()  # a file can ask for any number of tokens
    tokenizer.no_truncation()
    return tokenizer


def _steps(value: Any) -> Iterator[dict[str, Any]]:
    """Yield a step and the steps within it. The file's depth is limited by its parser."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _steps(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _steps(inner)
