"""Rebuilds a model's tokeniser from the lists in its gguf file."""

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from pipeline.errors import BadInput
from pipeline.llm.conversion.metadata import Metadata

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""Types of tokens in gguf. The last two are found in a text before it is split."""
LONGEST_PIECE = 256
"""Most characters of a token of SentencePiece; its trainer's default is 16."""

_SPACE = "\u2581"
"""SentencePiece's sign for a space."""

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_WORDS = {"llama-bpe": _LLAMA3, "qwen2": _QWEN2, "deepseek-r1-qwen": _QWEN2, "tekken": _TEKKEN}
"""Name of the first split in gguf → its pattern, from the models' own tokenizer.json."""
_WHOLE_WORDS = ("llama-bpe", "tekken")
"""Splits whose parts are looked up in the vocabulary before they are built by merges."""
_GPT2 = ("gpt-2", "default")
_DIGITS_APART = ("smollm",)
"""GPT-2's split after each digit stands alone."""


def build_tokenizer(metadata: Metadata) -> Tokenizer:
    """Return the tokeniser. Raises BadInput when its kind is not supported, or its lists contradict each other."""
    types = metadata.integers("tokenizer.ggml.token_type")
    if len(set(metadata.tokens)) < len(metadata.tokens):
        raise BadInput("The gguf file's vocabulary has a token twice.")
    if len(types) != len(metadata.tokens):
        raise BadInput("The gguf file's vocabulary and its tokens' types differ in length.")
    model = metadata.text("tokenizer.ggml.model")
    if model not in _MODELS:
        raise BadInput(f"The tokeniser {model[:40]!r} is not supported; these are: {', '.join(_MODELS)}.")
    try:
        tokenizer = _MODELS[model](metadata, types)
        tokenizer.add_tokens(
            [
                AddedToken(token, special=kind == CONTROL, normalized=False)
                for token, kind in zip(metadata.tokens, types, strict=True)
                if kind in (CONTROL, USER_DEFINED)
            ]
        )
    except BadInput:
        raise
    except Exception as error:  # the library raises nothing more specific
        raise BadInput(f"The gguf file's tokeniser is malformed: {str(error)[:200]}.") from error
    return tokenizer


def _byte_level(metadata: Metadata, types: Sequence[int]) -> Tokenizer:
    """Return a tokeniser like GPT-2's: pairs of bytes are merged, written as printable characters."""
    pre = metadata.text("tokenizer.ggml.pre", "default")
    pairs = [
        (one, other) for one, _, other in (m.partition(" ") for m in metadata.strings("tokenizer.ggml.merges", ()))
    ]
    tokenizer = Tokenizer(models.BPE(_numbers(metadata.tokens), pairs, ignore_merges=pre in _WHOLE_WORDS))
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
    return tokenizer


def _sentence_piece(metadata: Metadata, types: Sequence[int]) -> Tokenizer:
    """Return a tokeniser like SentencePiece's: of the neighbours whose union is in the vocabulary, those with the best
    score are merged first; a character outside the vocabulary is written as its bytes."""
    scores = metadata.numbers("tokenizer.ggml.scores")
    if len(scores) != len(metadata.tokens):
        raise BadInput("The gguf file's vocabulary and its scores differ in length.")
    if max(map(len, metadata.tokens), default=0) > LONGEST_PIECE:
        raise BadInput(f"The gguf file's vocabulary has a token of more than {LONGEST_PIECE} characters.")
    numbers = _numbers(metadata.tokens)
    merges = [
        (-scores[number], numbers[token[:cut]], numbers[token[cut:]], token[:cut], token[cut:])
        for token, number in numbers.items()
        if types[number] in (NORMAL, USER_DEFINED)
        for cut in range(1, len(token))
        if token[:cut] in numbers and token[cut:] in numbers
    ]
    unknown = metadata.token("unknown_token_id")
    tokenizer = Tokenizer(
        models.BPE(
            numbers, [(one, other) for *_, one, other in sorted(merges)], unk_token=unknown, fuse_unk=True,
            byte_fallback=all(f"<0x{byte:02X}>" in numbers for byte in range(256)),
        )
    )  # fmt: skip
    spaced = metadata.get("tokenizer.ggml.add_space_prefix", True)
    replaced = normalizers.Replace(" ", _SPACE)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), replaced]) if spaced else replaced
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if spaced else steps)
    return tokenizer


_MODELS = {"gpt2": _byte_level, "llama": _sentence_piece}
"""gguf's name for the kind of tokeniser → its builder."""


def _numbers(tokens: Sequence[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(tokens)}


def _bytes(*, split: bool) -> pre_tokenizers.ByteLevel:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split)
