"""The hints before a Whisper transcript: the keywords that fit into its context, and the end of the preceding text."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.stt.whisper_types import WhisperModel
from pipeline.stt.whisper_windows import repetitive


@dataclass(frozen=True, slots=True)
class Hint:
    """Text before the transcript, for the decoder."""

    keywords: str = ""
    """The keywords as one text, which each window gets."""
    keyword_tokens: tuple[int, ...] = ()
    """Its tokens."""
    prompt_tokens: tuple[int, ...] = ()
    """Tokens of the end of the preceding text."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """All tokens, in the order in which the decoder gets them."""
        return self.keyword_tokens + self.prompt_tokens


def hint_of(model: WhisperModel, prompt: str | None, keywords: Sequence[str]) -> Hint:
    """Return the hint for a transcript. Whisper accepts half of its context before it, 223 tokens. A prompt keeps half
    of them; the keywords get the rest, in their order, and those that do not fit are left out."""
    most = model.max_length // 2 - 1
    preceding = _tokens(model, prompt or "")
    room = most - min(len(preceding), most // 2)
    fitting: list[str] = []
    for keyword in dict.fromkeys(keywords):
        size = len(_tokens(model, f"{keyword},"))
        if size <= room:
            fitting.append(_plain(keyword))
            room -= size
    listed = _listed(fitting)
    tokens = _tokens(model, listed)
    left = most - len(tokens)
    return Hint(listed, tokens, preceding[-left:] if left > 0 else ())


def misled(texts: Sequence[str]) -> bool:
    """Whether a prompt has misled the model: tiny.en and base then write nothing, or a sentence twice. texts: of the
    segments, in order."""
    return not "".join(texts).strip() or repetitive(texts)


def _listed(keywords: Sequence[str]) -> str:
    return f"{', '.join(keywords)}." if keywords else ""


def _tokens(model: WhisperModel, text: str) -> tuple[int, ...]:
    text = _plain(text).strip()
    return tuple(model.hf_tokenizer.encode(f" {text}", add_special_tokens=False).ids) if text else ()


def _plain(text: str) -> str:
    """Return a text without the tokenizer's control tokens, such as <|endoftext|>, which would end the transcript."""
    return text.replace("<|", " ").replace("|>", " ")
