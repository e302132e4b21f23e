"""Files from outside are opened in one place: no other module imports the libraries that read them."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
READERS = {"av", "soundfile", "wave", "audioread", "librosa", "pydub", "sndhdr", "aifc", "sunau"}
"""Libraries that decode sound."""
ALLOWED = {
    "pipeline/audio/decode/decoding.py": {"av"},
    # These modules encode our own sound, and open nothing.
    "pipeline/audio/encode.py": {"av"},
    "pipeline/audio/speed.py": {"av"},
    # Opus, in packets: docs/security.md, "Sound over WebRTC". The other two handle frames of sound.
    "server/webrtc/decoder.py": {"av"},
    "server/webrtc/encoder.py": {"av"},
    "server/webrtc/tracks.py": {"av"},
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_only_the_decoder_imports_libraries_that_read_files() -> None:
    found = {}
    for room in ("pipeline", "server", "jobs", "commands"):
        for path in (ROOT / room).rglob("*.py"):
            if names := READERS.intersection(imported(path)):
                found[str(path.relative_to(ROOT))] = names
    assert found == ALLOWED


def test_encoders_open_nothing_to_read() -> None:
    for name in ("pipeline/audio/encode.py", "pipeline/audio/speed.py"):
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "open":
                assert isinstance(node.args[1], ast.Constant)
                assert node.args[1].value == "w"


def test_only_decoding_processes_import_the_decoder() -> None:
    importing = set()
    for path in ROOT.glob("pipeline/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "pipeline.audio.decode.decoding":
                importing.add(path.name)
    assert importing == {"sandbox.py", "zygote.py"}
