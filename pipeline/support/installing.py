"""Commands in error messages, as they are run from the source, or where the package is installed."""

from pipeline.folders import HOME

_FROM_SOURCE = (HOME / "Makefile").is_file()
COMMAND = "python main.py" if _FROM_SOURCE else "parley"
"""How a command of this package begins."""


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"make install EXTRAS={extra}" if _FROM_SOURCE else f'pip install "parley[{extra}]"'
