"""Rebuilds a model's tokeniser from the lists in its gguf file."""

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from pipeline.errors import BadInput

CONTROL, USER_DEFINED = 3, 4
"""Types of tokens in gguf. Both kinds are found in a text before it is split."""

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_WORDS = {"llama-bpe": _LLAMA3, "qwen2": _QWEN2, "deepseek-r1-qwen": _QWEN2}
"""Name of the first split in gguf → its pattern, from the models' own tokenizer.json."""
_GPT2 = ("gpt-2", "default")
_DIGITS_APART = ("smollm",)
"""GPT-2's split after each digit stands alone."""


def build_tokenizer(
    *, model: str, pre: str, tokens: Sequence[str], types: Sequence[int], merges: Sequence[str]
) -> Tokenizer:
    """Return the tokeniser. model, pre: gguf's names of its kind and of its first split. Raises BadInput for others
    than byte-level BPE."""
    if model != "gpt2":
        raise BadInput(f"The tokeniser {model[:40]!r} is not supported; only byte-level BPE (gpt2) is.")
    pairs = [(first, second) for first, _, second in (merge.partition(" ") for merge in merges)]
    numbers = {token: number for number, token in enumerate(tokens)}
    try:
        tokenizer = Tokenizer(models.BPE(numbers, pairs, ignore_merges=pre == "llama-bpe"))
    except Exception as error:  # the library raises nothing more specific
        raise BadInput(f"The gguf file's tokeniser is malformed: {str(error)[:200]}.") from error
    if pre in _WORDS:
        first = pre_tokenizers.Split(Regex(_WORDS[pre]), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, _bytes(split=False)])
    elif pre in _DIGITS_APART:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), _bytes(split=True)]
        )
    elif pre in _GPT2:
        tokenizer.pre_tokenizer = _bytes(split=True)
    else:
        raise BadInput(f"The tokeniser's split {pre[:40]!r} is not supported.")
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    added = [
        AddedToken(token, special=kind == CONTROL, normalized=False)
        for token, kind in zip(tokens, types, strict=True)
        if kind in (CONTROL, USER_DEFINED)
    ]
    tokenizer.add_tokens(added)
    return tokenizer


def _bytes(*, split: bool) -> pre_tokenizers.ByteLevel:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split)
