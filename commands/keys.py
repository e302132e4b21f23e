"""`python main.py keys add | list | remove`: the keys of API_KEYS_FILE."""

from pathlib import Path
from typing import Annotated

import typer

from commands.start import JsonOption, load_settings, print_rows, refuse
from pipeline.errors import ConfigError
from server.access.keys import KeyFile, parse_rights

keys = typer.Typer(help="Make, list and remove the keys of API_KEYS_FILE.", no_args_is_help=True)

FileOption = Annotated[Path | None, typer.Option("--file", help="The file with the keys. Default: API_KEYS_FILE.")]


def _file(given: Path | None) -> KeyFile:
    path = given or load_settings().api_keys_file
    if not path:
        raise refuse("Name the file with the keys: set API_KEYS_FILE, or --file FILE.")
    return KeyFile(Path(path))


@keys.command()
def add(
    name: Annotated[str, typer.Argument(help="What the key is called in lists and logs.")],
    scopes: Annotated[str, typer.Option(help="talk, transcribe, admin; several joined by +.")] = "talk+transcribe",
    file: FileOption = None,
) -> None:
    """Make a key and print it, this once: only its hash is kept. A running service takes it at once."""
    try:
        print(_file(file).add(name, parse_rights(scopes)))
    except ConfigError as error:
        raise refuse(error.message) from None


@keys.command(name="list")
def listed(file: FileOption = None, as_json: JsonOption = False) -> None:
    """The names of the keys, and what each may do."""
    try:
        found, bad = _file(file).read()
    except ConfigError as error:
        raise refuse(error.message) from None
    print_rows([{"name": key.name, "rights": "+".join(sorted(key.rights))} for key in found], as_json=as_json)
    if bad:
        raise refuse(f"Lines that are no keys: {', '.join(map(str, bad))}.")


@keys.command()
def remove(name: str, file: FileOption = None) -> None:
    """Take a key back. A running service refuses it from then on; conversations that are open go on to their end."""
    try:
        _file(file).remove(name)
    except ConfigError as error:
        raise refuse(error.message) from None
