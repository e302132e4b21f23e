"""`python main.py keys add | list | rotate | remove`: the keys of API_KEYS_FILE."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from commands.start import JsonOption, load_settings, print_rows, refuse
from pipeline.errors import ConfigError
from server.access.keys import KeyFile, parse_permissions

keys = typer.Typer(help="Make, list, rotate and remove the keys of API_KEYS_FILE.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Name of the key in lists and logs.")]
FileOption = Annotated[Path | None, typer.Option("--file", help="The file with the keys. Default: API_KEYS_FILE.")]


def _file(given: Path | None) -> KeyFile:
    path = given or load_settings().api_keys_file
    if not path:
        raise refuse("No file with keys is given: set API_KEYS_FILE, or use --file FILE.")
    return KeyFile(Path(path))


@keys.command()
def add(
    name: NameArgument,
    scopes: Annotated[str, typer.Option(help="talk, transcribe, admin; several joined by +.")] = "talk+transcribe",
    file: FileOption = None,
) -> None:
    """Create a key and print it once; only its hash is stored. A running service accepts it at once."""
    try:
        print(_file(file).add(name, parse_permissions(scopes)))
    except ConfigError as error:
        raise refuse(error.message) from None


@keys.command(name="list")
def listed(file: FileOption = None, as_json: JsonOption = False) -> None:
    """List the keys with their permissions. A key that is being rotated has two lines: old and new."""
    try:
        found, bad = _file(file).read()
    except ConfigError as error:
        raise refuse(error.message) from None
    having = Counter(key.name for key in found)
    newest = {key.name: key for key in found}
    rows = [
        {
            "name": key.name,
            "permissions": "+".join(sorted(key.permissions)),
            "rotated": "" if having[key.name] == 1 else "new" if key is newest[key.name] else "old",
        }
        for key in found
    ]
    print_rows(rows, as_json=as_json)
    if bad:
        raise refuse(f"Invalid lines, by number: {', '.join(map(str, bad))}.")


@keys.command()
def rotate(name: NameArgument, file: FileOption = None) -> None:
    """Create a new secret for a key and print it once. The old one stays valid until `keys remove NAME --old`;
    permissions, jobs and the name in logs are kept."""
    try:
        print(_file(file).rotate(name))
    except ConfigError as error:
        raise refuse(error.message) from None


@keys.command()
def remove(
    name: NameArgument,
    old: Annotated[bool, typer.Option("--old", help="Remove only the secret from before the rotation.")] = False,
    file: FileOption = None,
) -> None:
    """Revoke a key. A running service refuses it within a second, and closes its open conversations, dictations and
    event streams within about three. Running requests and jobs are finished."""
    try:
        if old:
            _file(file).remove_old(name)
        else:
            _file(file).remove(name)
    except ConfigError as error:
        raise refuse(error.message) from None
