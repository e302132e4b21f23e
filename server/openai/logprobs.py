"""Log probabilities of a transcript, in the form of OpenAI's API."""

import math
from collections.abc import Iterable

from pipeline.stt import Word
from pipeline.support.json_types import JsonObject


def logprobs(words: Iterable[Word]) -> list[JsonObject]:
    """Return one token for each word, the smallest unit for which the engines report a probability."""
    return [
        {
            "token": word.text,
            "bytes": list(word.text.encode()),
            "logprob": round(math.log(max(word.probability, 1e-10)), 4),
        }
        for word in words
    ]
