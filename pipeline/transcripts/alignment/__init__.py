"""Alignment, which finds when each word was said: the Protocol, and the model for each language."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pipeline.audio.clip import Clip
from pipeline.stt import Word


class Aligner(Protocol):
    """Finds the times of a text's words in its audio."""

    async def align(self, clip: Clip, text: str) -> Sequence[Word]:
        """Return all words of the text in order, with times from the clip's start and probabilities (0 to 1).

        A word that the model cannot spell ("2014", "£13.60") is placed between its neighbours; no word is missing.
        Raises EngineError, Overloaded.
        """
        ...


_XLSR = "jonatasgrosman/wav2vec2-large-xlsr-53"
MODELS: Mapping[str, str] = {
    "en": "facebook/wav2vec2-base-960h", "fr": f"{_XLSR}-french", "de": f"{_XLSR}-german", "es": f"{_XLSR}-spanish",
    "it": f"{_XLSR}-italian", "ja": f"{_XLSR}-japanese", "zh": f"{_XLSR}-chinese-zh-cn", "nl": f"{_XLSR}-dutch",
    "pt": f"{_XLSR}-portuguese", "ar": f"{_XLSR}-arabic", "ru": f"{_XLSR}-russian", "pl": f"{_XLSR}-polish",
    "hu": f"{_XLSR}-hungarian", "fi": f"{_XLSR}-finnish", "fa": f"{_XLSR}-persian", "el": f"{_XLSR}-greek",
    "uk": "Yehor/wav2vec2-xls-r-300m-uk-with-small-lm", "cs": "comodoro/wav2vec2-xls-r-300m-cs-250",
    "tr": "mpoyraz/wav2vec2-xls-r-300m-cv7-turkish", "da": "saattrupdan/wav2vec2-xls-r-300m-ftspeech",
    "he": "imvladikon/wav2vec2-xls-r-300m-hebrew", "vi": "nguyenvulebinh/wav2vec2-base-vi-vlsp2020",
    "ko": "kresnik/wav2vec2-large-xlsr-korean", "ca": "softcatala/wav2vec2-large-xlsr-catala",
    "hi": "theainerd/Wav2Vec2-large-xlsr-hindi",
}  # fmt: skip
"""ISO 639-1 → model on the hub: WhisperX's choice, all of them Wav2Vec2ForCTC."""
