"""The command line: one command in each file."""

from typing import Annotated

import typer

from commands import convert, doctor, keys, models, recordings, say, serve, talk, transcribe, voices, worker
from server import VERSION

cli = typer.Typer(help="Parley: you speak, it answers.", add_completion=False, pretty_exceptions_enable=False)


def show_version(wanted: bool) -> None:
    """Print the version and end, for `--version`."""
    if wanted:
        print(f"parley {VERSION}")
        raise typer.Exit


@cli.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Serve, if no command is given."""
    if context.invoked_subcommand is None:
        serve.serve()


for command in (
    serve.serve, talk.talk, transcribe.transcribe, say.say, voices.voices, models.models, doctor.doctor, worker.worker,
    convert.convert,
):  # fmt: skip
    cli.command()(command)
cli.add_typer(keys.keys, name="keys")
cli.add_typer(recordings.recordings, name="recordings")
