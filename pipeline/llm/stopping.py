"""The end of a reply at one of the caller's stop sequences."""

from collections.abc import Sequence


class Stop:
    """Ends a text that arrives in chunks before the first stop sequence."""

    def __init__(self, sequences: Sequence[str]) -> None:
        """sequences: none of them empty."""
        self._sequences = sequences
        self._longest = max(map(len, sequences), default=0)
        self._held = ""
        """The end of the text, while it can be the beginning of a sequence."""
        self.reached = False

    def feed(self, text: str) -> str:
        """Take the next chunk; return the text that is certain to be before a sequence."""
        if self.reached or not self._sequences:
            return "" if self.reached else text
        text = self._held + text
        found = [at for at in map(text.find, self._sequences) if at >= 0]
        if found:
            self.reached, self._held = True, ""
            return text[: min(found)]
        held = min(self._longest - 1, len(text))
        while held and not any(sequence.startswith(text[-held:]) for sequence in self._sequences):
            held -= 1
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        """Return the text that was held back, at the end of the reply."""
        held, self._held = self._held, ""
        return held
