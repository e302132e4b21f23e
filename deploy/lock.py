"""Makes requirements.lock: every package that an install may need, with the hashes of all its files.

`python -m deploy.lock` after a change of pyproject.toml or constraints.txt; needs uv (`pip install uv`). uv asks the
default index, or the one in UV_DEFAULT_INDEX; a mirror has the same files and therefore the same hashes. The versions
are those of constraints.txt.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from deploy.locked import BASE, BUILD, CUDA, LOCK, Entry, parse

HOME = LOCK.parent
CUBLAS = "nvidia-cublas-cu12==12.9.1.4"
"""CTranslate2 opens libcublas.so.12 when it is told to use a GPU; cuDNN it has not needed since 4.8."""
HEADER = """\
# Made by `python -m deploy.lock` from pyproject.toml and constraints.txt. Above each package: what needs it, which is
# the service itself (base), the build of its own package (build), an extra of pyproject.toml, or the image's variant
# cuda. PyTorch is not here: which build of it is wanted differs by machine (docs/dependencies.md).
"""
TORCH = re.compile(r"(torch|triton|cuda|nvidia)[-\w]*$")
"""PyTorch and what only its CUDA build needs; torchaudio is a package as others."""


def compiled(*arguments: str, source: str = "") -> list[Entry]:
    """What uv finds to be needed, on Python 3.11 and later and on all systems."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
    command += ["--no-annotate", "--no-header", "--constraint", "constraints.txt", *arguments]
    done = subprocess.run(command, cwd=HOME, input=source, text=True, check=True, stdout=subprocess.PIPE)
    return parse(done.stdout)


def render() -> str:
    """The whole file."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text("utf-8"))
    wanted: dict[str, list[Entry]] = {
        BASE: compiled("pyproject.toml"),
        BUILD: compiled("-", source="setuptools\n"),
        CUDA: compiled("--no-deps", "-", source=f"{CUBLAS}\n"),
    }
    for extra in project["project"]["optional-dependencies"]:
        found = compiled("pyproject.toml", "--extra", extra)
        wanted[extra] = [entry for entry in found if entry.name == "torchaudio" or not TORCH.match(entry.name)]
    # For the weights in its wheel only, without what it declares (deploy/install.sh).
    wanted["speakers"] += compiled("--no-deps", "-", source="resemblyzer\n")
    # A group lists what it adds to the service itself.
    shared = {entry.text for entry in wanted[BASE]}
    entries: dict[str, set[str]] = {}
    for group, found in wanted.items():
        for entry in found:
            if group == BASE or entry.text not in shared:
                entries.setdefault(entry.text, set()).add(group)
    for entry in wanted[BUILD]:
        entries[entry.text].add(BUILD)
    blocks = [f"# {' '.join(sorted(groups))}\n{text}" for text, groups in sorted(entries.items(), key=_by_name)]
    return HEADER + "\n".join(blocks) + "\n"


def _by_name(item: tuple[str, set[str]]) -> str:
    return item[0].lower()


if __name__ == "__main__":
    LOCK.write_text(render(), encoding="utf-8")
