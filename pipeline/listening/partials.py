"""Partial transcripts that do not flicker: a word is shown once two hypotheses in a row agree on it.

LocalAgreement-2 (Macháček, Dabre, Bojar: "Turning Whisper into Real-Time Transcription System", 2023).
"""

import re

_BARE = re.compile(r"[\W_]+", re.UNICODE)


class LocalAgreement:
    """The agreed beginning of a growing utterance. One for each utterance."""

    def __init__(self) -> None:
        self._previous: list[str] = []
        self._agreed: list[str] = []

    @property
    def text(self) -> str:
        """What is agreed so far."""
        return " ".join(self._agreed)

    def add(self, hypothesis: str) -> bool:
        """The next transcript of the utterance so far. Whether more is agreed than before; it never becomes less."""
        words = hypothesis.split()
        common = 0
        for old, new in zip(self._previous, words, strict=False):
            if _bare(old) != _bare(new):
                break
            common += 1
        self._previous = words
        if common <= len(self._agreed):
            return False
        # Words that were shown stay as they were shown; case and punctuation of the new ones are the newest.
        self._agreed += words[len(self._agreed) : common]
        return True


def _bare(word: str) -> str:
    return _BARE.sub("", word.lower())
