"""`python main.py recordings list | erase`: the turns that RECORD keeps."""

from dataclasses import asdict
from datetime import UTC, datetime

import typer

from commands.start import JsonOption, load_settings, print_rows, refuse
from pipeline.conversation.kept_turns import Recordings
from pipeline.errors import BadInput

recordings = typer.Typer(help="List and erase the turns that are kept with RECORD=true.", no_args_is_help=True)


@recordings.command(name="list")
def listed(as_json: JsonOption = False) -> None:
    """List the kept turns by session."""
    rows = [
        {**asdict(kept), "last_at": datetime.fromtimestamp(kept.last_at, UTC).isoformat(timespec="seconds")}
        for kept in Recordings(load_settings().recordings_dir).list()
    ]
    print_rows(rows, as_json=as_json)


@recordings.command()
def erase(session: str) -> None:
    """Erase all kept turns of a session. A running service then keeps no more of them."""
    try:
        if not Recordings(load_settings().recordings_dir).erase(session):
            raise refuse("No turns of this session are kept.")
    except BadInput as error:
        raise refuse(error.message) from None
    except OSError as error:
        raise refuse(f"The session cannot be erased: {error.strerror or error}.") from None
