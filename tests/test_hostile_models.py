"""Damaged and hostile language models are refused with one sentence, in bounded time and memory."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import BadInput, EngineError, EngineUnavailable
from pipeline.llm import template_process
from pipeline.llm.chat_message import ChatMessage
from pipeline.llm.conversion import convert
from pipeline.llm.local_config import LocalConfig, check, parameters
from pipeline.llm.local_engine import LocalModel
from pipeline.llm.template_process import TemplateProcess
from tests.builders import gguf_model

HELLO: list[ChatMessage] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return gguf_model.build(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


# --- main.py convert ---


def value(kind: int, data: bytes) -> bytes:
    """Return a file with one pair: its name is "a"."""
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<I", kind) + data


def tensor(dimensions: tuple[int, ...], start: int = 0, kind: int = 0) -> bytes:
    """Return a file with one tensor and 64 bytes of data."""
    shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    about = struct.pack("<Q", 1) + b"a" + shape + struct.pack("<IQ", kind, start)
    return b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + about + bytes(64)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GGUF", "ends too early"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version is 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "no room"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "no room"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62) + bytes(99), "ends too early"),  # the length of a name
        (value(8, struct.pack("<Q", 2**64 - 1)), "ends too early"),
        (value(9, struct.pack("<IQ", 0, 2**40)), "no room"),
        (value(9, struct.pack("<IQ", 8, 2**40)), "no room"),
        (value(9, struct.pack("<IQ", 9, 1) * 1000), "contains lists"),
        (value(77, b""), "unknown type"),
        (tensor((2**62, 2**62)), "ends before its weights"),
        (tensor((0,)), "impossible shape"),
        (tensor(()), "0 dimensions"),
        (tensor((1,) * 200), "200 dimensions"),
        (tensor((8,), start=2**63), "ends before its weights"),
        (tensor((8,), kind=999), "unknown number format"),
    ],
)
def test_impossible_gguf_header_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "bad.gguf").write_bytes(data)
    with pytest.raises(BadInput, match=reason):
        convert(tmp_path / "bad.gguf", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.gguf"]


def number(name: str, wrong: bytes) -> Callable[[bytes], bytes]:
    """Replace the value of a number of four bytes."""

    def damage(data: bytes) -> bytes:
        at = data.index(name.encode()) + len(name) + 4
        return data[:at] + wrong + data[at + 4 :]

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (number("llama.block_count", struct.pack("<I", 2**32 - 1)), "block_count cannot be"),
        (number("llama.attention.head_count", bytes(4)), "head_count cannot be"),
        (number("llama.attention.head_count_kv", struct.pack("<I", 3)), "contradict each other"),
        (number("llama.embedding_length", struct.pack("<I", 2**31)), "embedding_length cannot be"),
        (number("llama.embedding_length", struct.pack("<I", 65)), "have the shape"),
        (number("llama.feed_forward_length", struct.pack("<I", 97)), "have the shape"),
        (number("llama.context_length", bytes(4)), "context_length cannot be"),
        (number("llama.rope.freq_base", struct.pack("<f", float("nan"))), "freq_base cannot be"),
        (number("tokenizer.ggml.eos_token_id", struct.pack("<I", 5_000_000)), "eos_token_id cannot be"),
        (lambda data: data.replace(struct.pack("<Qc", 1, b"A"), struct.pack("<Qc", 1, b"B")), "has a token twice"),
        (lambda data: data.replace(b"chat_template", b"chat_tempests"), r"lacks tokenizer\.chat_template"),
        (lambda data: data.replace(b"ffn_down", b"ffn_gate"), "same name"),
    ],
)
def test_contradiction_in_a_gguf_file_is_refused(
    tiny: bytes, tmp_path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    (tmp_path / "bad.gguf").write_bytes(damage(tiny))
    with pytest.raises(BadInput, match=reason):
        convert(tmp_path / "bad.gguf", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.gguf"]


def test_file_cut_anywhere_is_refused_and_leaves_nothing(tiny: bytes, tmp_path: Path) -> None:
    for length in range(0, len(tiny), len(tiny) // 60):
        (tmp_path / "bad.gguf").write_bytes(tiny[:length])
        with pytest.raises(BadInput):
            convert(tmp_path / "bad.gguf", tmp_path / "folder")
        assert [path.name for path in tmp_path.iterdir()] == ["bad.gguf"]


# --- LOCAL_LLM ---


@pytest.fixture
def folder(tiny: bytes, tmp_path: Path) -> Path:
    (tmp_path / "tiny.gguf").write_bytes(tiny)
    convert(tmp_path / "tiny.gguf", tmp_path / "model")
    return tmp_path / "model"


def loaded(folder: Path) -> LocalModel:
    return LocalModel(LocalConfig(str(folder), "cpu", "int8", 1, 256, 4, 0.0, 1.0))


def change(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.fixture
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give templates less CPU time, because some of these use all of it."""
    monkeypatch.setattr(template_process, "CPU_S", 1)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'a' * 10000000000 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ 'a'.ljust(7000000000) }}",
        "{{ 'a' | center(7000000000) }}",
        "{{ '%09999999999d' % 1 }}",
        "{% set a = ['x'] %}{% for b in range(99999) %}{% set _ = a.append(a) %}{% endfor %}{{ a }}",
        "{{ messages.__class__.__mro__ }}{{ raise_exception(cycler.__init__.__globals__.os.name) }}",
        "{" * 3000 + "{% if %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "",
    ],
)
@pytest.mark.usefixtures("little_time")
def test_hostile_chat_template_is_refused_with_a_sentence(folder: Path, template: str) -> None:
    change(folder / "tokenizer_config.json", chat_template=template)
    with pytest.raises(EngineError, match="chat template") as refused:
        loaded(folder)
    assert len(refused.value.message) < 400


@pytest.mark.usefixtures("little_time")
def test_template_that_exceeds_a_limit_once_works_again() -> None:
    source = "{% if messages[0].content == 'loop' %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
    template = TemplateProcess(source + "{% endfor %}{% endif %}{{ messages[0].content }}", {}, [])
    with pytest.raises(EngineError, match="too much time or memory"):
        template.render([{"role": "user", "content": "loop"}], [])
    assert template.render(HELLO, []) == "Hello"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tokenizer.json", {"padding": None, "model": {"type": "BPE", "vocab": [], "merges": 1}}),
        ("tokenizer.json", {"normalizer": {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 9999}}),
        ("tokenizer_config.json", {"model_max_length": float("nan")}),
        ("tokenizer_config.json", {"model_max_length": -5}),
        ("tokenizer_config.json", {"chat_template": [7]}),
        ("generation_config.json", {"eos_token_id": [10**30]}),
        ("config.json", {"layer_norm_epsilon": "much"}),
    ],
)
def test_hostile_file_beside_the_weights_is_refused(folder: Path, name: str, changes: dict[str, Any]) -> None:
    change(folder / name, **changes)
    with pytest.raises(EngineError) as refused:
        loaded(folder)
    assert len(refused.value.message) < 400


def test_endless_padding_in_a_tokenizer_has_no_effect(folder: Path) -> None:
    padding = {
        "strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "a",
    }  # fmt: skip
    change(folder / "tokenizer.json", padding=padding)
    *_, last = loaded(folder).reply(HELLO, ())
    assert last.usage is not None
    assert last.usage.input_tokens < 60


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", "null", ""])
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_malformed_json_of_a_model_is_refused(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(EngineError, match="could not be loaded"):
        loaded(folder)


def test_enormous_file_beside_the_weights_is_refused_unread(folder: Path) -> None:
    with (folder / "tokenizer.json").open("r+b") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(EngineUnavailable, match=r"tokenizer\.json in LOCAL_LLM is larger"):
        check(folder)


def test_weights_that_claim_other_sizes_than_they_have_are_refused(folder: Path) -> None:
    file = folder / "model.bin"
    whole = file.read_bytes()
    assert parameters(folder) > 10_000
    at = whole.index(b"decoder/embeddings/weight\0") + 26  # after the name: dimensions, shape, type, bytes
    for damaged in (
        whole[:at] + b"\xff" + whole[at + 1 :],
        whole[: at + 1] + b"\xff\xff\xff\x7f" + whole[at + 5 :],
        whole[: at + 9] + b"\x63" + whole[at + 10 :],
        whole[: at + 10] + b"\xff\xff\xff\xff" + whole[at + 14 :],
        whole[:-20_000],
        whole[:10] + b"\xff" * 5000,
        b"",
    ):
        file.write_bytes(damaged)
        with pytest.raises(EngineUnavailable, match="damaged"):
            parameters(folder)
