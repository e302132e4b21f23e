"""The detector that tells languages of one alphabet apart: py3langid, with naive Bayes on byte n-grams.

It is loaded when the first text needs it, and shared by all sessions.
"""

import asyncio
import logging
import threading
from collections.abc import Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

log = logging.getLogger(__name__)

MAX_CHARS = 1_000
"""Limit of characters to look at."""

_loading = threading.Lock()


async def loaded() -> None:
    """Load the detector in a thread, unless it is loaded."""
    if not _identifier.cache_info().currsize:
        await asyncio.to_thread(load)


def load() -> None:
    """Load the detector, unless it is loaded. Blocking, about a second."""
    with _loading:
        _identifier()


def chances(text: str, among: Collection[str]) -> Mapping[str, float]:
    """Return the probability of each of these languages that the detector knows; they add up to 1. among: ISO 639-1.

    Empty if the detector could not be loaded: speech does not depend on it.
    """
    identifier = _identifier()
    ranked = identifier.rank(text[:MAX_CHARS]) if identifier is not None else []
    found = {code: chance for code, chance in ranked if code in among}
    total = sum(found.values())
    return {code: chance / total for code, chance in found.items()} if total else {}


@cache
def _identifier() -> "LanguageIdentifier | None":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    try:
        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)  # unpacked in the temporary folder
    except OSError as error:
        log.warning("languages of texts are not detected until the next start: %s", error)
        return None
