"""Wyoming events of broken, hostile and careless clients, for the tests and `bench/wyoming_fuzz.py`."""

import json
from typing import Any

from hypothesis import strategies as st

KINDS = (
    "describe", "ping", "transcribe", "audio-start", "audio-chunk", "audio-stop", "synthesize", "synthesize-start",
    "synthesize-chunk", "synthesize-stop", "transcript", "recognize", "detect", "select-program", "run-pipeline",
    "no-such-event",
)  # fmt: skip
NAMES = (
    "rate", "width", "channels", "timestamp", "text", "language", "voice", "name", "speaker", "context", "text_format",
    "transcript_names", "transcript_terms", "vad_sensitivity", "names", "conversation_id", "x",
)  # fmt: skip

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2, 4, 16000, 22050, 10**12, 10**400, 1.5, 1e308, "16000", "en", "??", "a" * 3000]),
    st.text(max_size=8),
)


def _extend(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4))


VALUES = st.recursive(SCALARS, _extend, max_leaves=8)
DATA = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6)


@st.composite
def in_sync(draw: st.DrawFn) -> bytes:
    """An event with correct lengths and any data: the next event can be read after it."""
    kind = draw(st.sampled_from(KINDS) | SCALARS)
    head: dict[str, Any] = {"type": kind}
    more = payload = b""
    where = draw(st.sampled_from(["head", "more", "both", "neither"]))
    if where in ("head", "both"):
        head["data"] = draw(DATA | VALUES)
    if where in ("more", "both"):
        more = draw(st.one_of(DATA.map(_json), VALUES.map(_json), st.binary(min_size=1, max_size=20), _deep()))
        head["data_length"] = len(more)
    if draw(st.booleans()):
        payload = draw(st.binary(max_size=64))
        head["payload_length"] = len(payload)
    return _json(head) + b"\n" + more + payload


@st.composite
def out_of_sync(draw: st.DrawFn) -> bytes:
    """Bytes after which the next event cannot be found."""
    lengths = st.sampled_from([-1, 1.5, True, "9", [], {}, 10**7, 10**400])
    return draw(
        st.one_of(
            st.binary(min_size=1, max_size=60).map(lambda junk: b"\xff" + junk.replace(b"\n", b"") + b"\n"),
            st.sampled_from([b"[]\n", b"null\n", b"7\n", b"\n", b"[" * 60_000 + b"\n", b"x" * 70_000, b'{"a": NaN}\n']),
            st.tuples(st.sampled_from(["data_length", "payload_length"]), lengths).map(
                lambda pair: _json({"type": "describe", pair[0]: pair[1]}) + b"\n"
            ),
        )
    )


def _deep() -> st.SearchStrategy[bytes]:
    return st.sampled_from(
        [
            b'{"context": ' * 40 + b"{}" + b"}" * 40,
            b"[" * 100_000,
            b'{"text": "\\ud83d"}',
            b'{"context": {"a": "\\udc00"}}',
        ]
    )


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
