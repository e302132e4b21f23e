"""Server-Sent Events in OpenAI's form, with `data:` lines only."""

import json

from pipeline.support.encodable import encodable

DONE = b"data: [DONE]\n\n"


def sse(event: object) -> bytes:
    """Encode one event."""
    return b"data: " + encodable(json.dumps(event, ensure_ascii=False)).encode() + b"\n\n"
