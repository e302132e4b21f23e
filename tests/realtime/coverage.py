"""The table of supported Realtime events in `docs/realtime.md`, made from the types of the `openai` package.

python -m tests.realtime.coverage    write the table into the document
"""

from pipeline.settings import HOME
from server.realtime.parsing import EVENTS
from tests.realtime.client import SERVER_EVENTS
from tests.realtime.document_part import write

DOCUMENT = HOME / "docs" / "realtime.md"
BEGIN, END = "<!-- events: made by python -m tests.realtime.coverage -->", "<!-- end of events -->"

REFUSED = {
    "output_audio_buffer.clear": "`unknown_or_invalid_event`: [WebRTC](#webrtc) only",
}
"""Client events that are refused → their error."""

NOT_SENT = {
    "conversation.created": "never: beta API only",
    "conversation.item.created": "never: beta API only; now `conversation.item.added`",
    "conversation.item.input_audio_transcription.segment": "never: only with diarizing models",
    "input_audio_buffer.dtmf_event_received": "never: SIP only",
    "mcp_list_tools.failed": "never: unreachable servers are left out at startup",
    "output_audio_buffer.cleared": "over [WebRTC](#webrtc) only",
    "output_audio_buffer.started": "over [WebRTC](#webrtc) only",
    "output_audio_buffer.stopped": "over [WebRTC](#webrtc) only",
}
"""Server events that a WebSocket never gets → the reason. A test has seen all others."""


def render() -> str:
    """Render the two tables."""
    lines = ["", "| client event | |", "|---|---|"]
    lines += [
        f"| `{name}` | {'refused with ' + REFUSED[name] if name in REFUSED else 'yes'} |" for name in sorted(EVENTS)
    ]
    lines += ["", "| server event | |", "|---|---|"]
    lines += [f"| `{name}` | {NOT_SENT.get(name, 'yes')} |" for name in sorted(SERVER_EVENTS)]
    return "\n".join([*lines, ""])


def main() -> None:
    write(DOCUMENT, BEGIN, END, render())


if __name__ == "__main__":
    main()
