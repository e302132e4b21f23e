"""How sure the recogniser is, as OpenAI's API tells it."""

import math
from collections.abc import Iterable
from typing import Any

from pipeline.stt import Word


def logprobs(words: Iterable[Word]) -> list[dict[str, Any]]:
    """Of words, the smallest unit that engines here tell the probability of."""
    return [
        {
            "token": word.text,
            "bytes": list(word.text.encode()),
            "logprob": round(math.log(max(word.probability, 1e-10)), 4),
        }
        for word in words
    ]
