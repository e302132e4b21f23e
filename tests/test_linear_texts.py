"""Functions of untrusted text take linear time: four times the text takes about four times as long.

List each new public function whose first argument is a text in `tests/linear_texts.py`, or below if it never gets
untrusted text.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adversarial import FEW, slow_patterns
from tests.linear_texts import CASES, SLOW

ROOT = Path(__file__).parent.parent
OWN_TEXTS = {
    "jobs.cache:open_cache", "jobs.database:address", "jobs.database:open_database", "jobs.webhooks:signer",
    "pipeline.support.storage_errors:storage_full", "pipeline.support.storage_errors:storing",
    "pipeline.engines:open_named", "pipeline.engines:open_best", "pipeline.engines:note",
    "pipeline.settings.__init__:names",
    "pipeline.stt.weights:hub_name", "pipeline.stt.weights:size_of",
    "pipeline.support.model_catalogue:of_repo",
    "pipeline.stt.whisper_model:load", "server.access.keys:parse_permissions", "server.access.keys:entries_of_setting",
    "server.access.keys:weak", "server.access.keys:keys_of_setting",
    "server.openapi:event_stream", "server.webrtc.listening:is_here", "pipeline.support.onnx_graph:node",
    "pipeline.support.onnx_graph:tensor", "server.http.multipart:bad_form",
    "pipeline.support.installing:how_to_install",
    "server.telephone.audiosocket.server:networks", "jobs.insights.prompts:kinds_after",
    "server.wyoming.discovery:announced", "server.sharing.redis:open_redis", "pipeline.telemetry.prometheus:exposed",
    "pipeline.support.redis_client:open_client", "pipeline.stt.spelling:likeness",
    "pipeline.stt.recognisers:languages_named", "server.pages.assembled:assembled",
}  # fmt: skip
"""Functions that read only settings, text of the program itself, or a few words of a transcript."""
NAMES_ONLY = {
    "jobs.fetch:fetch", "jobs.insights.prompts:prompt", "jobs.transcript_library.passages:owner_token",
    "jobs.transcript_library.passages:passage_row", "jobs.metrics:ended", "jobs.remote_worker:file_signature",
    "jobs.remote_worker:updates_signature",
    "jobs.result:download", "jobs.result:key_of", "pipeline.telemetry.prometheus:gauge",
    "pipeline.llm.builtin.patterns:jsgf",
    "pipeline.llm.builtin.patterns:regex", "pipeline.telemetry.metrics:bounded", "pipeline.telemetry.metrics:stage",
    "pipeline.support.private_files:opener", "pipeline.transcripts.subtitles:separator",
    "pipeline.telemetry.tracing:span", "pipeline.telemetry.tracing:start",
    "pipeline.telemetry.tracing:happened", "pipeline.workers.caller:for_session",
    "pipeline.workers.caller:for_file",
    "pipeline.transcripts.line_breaks:spaceless", "server.jobs.owners:own_job", "server.realtime.errors:error_event",
    "server.realtime.items:mcp_call", "server.jobs.updates:file", "pipeline.tools.basic:calculate",
    "pipeline.tts.kokoro_voices:espeak_voice", "pipeline.speech.language:spoken_language",
    "pipeline.transcripts.exports.__init__:as_document", "server.jobs.views:check_format",
    "pipeline.tts.phonemes:as_ipa", "server.openai.voice_consents:retrieve", "server.openai.voice_consents:update",
    "server.realtime.initial:session_of",
    "pipeline.listening.wake_word:check_wake_word",
    "server.telephone.twilio.signature:websocket_url", "server.http.tcp_server:listening",
    "server.realtime.route:imported", "server.realtime.parsing:read", "server.realtime.audio:decoded_aside",
}  # fmt: skip
"""Functions that only pass on or compare a text, or are measured by another name (`evaluated`, `render`, `check`)."""
PARTS = ("pipeline.speech.normalise.",)
"""Packages whose functions are measured together through their caller (`for_voice`)."""


@pytest.mark.parametrize("name", CASES)
def test_time_grows_linearly_with_the_length(name: str) -> None:
    found = slow_patterns(CASES[name], FEW, parts=2) if name in SLOW else slow_patterns(CASES[name])
    assert list(found) == []


def functions_of_texts() -> Iterator[str]:
    """Yield public functions whose first argument is a text."""
    for folder in ("jobs", "pipeline", "server"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                    first = [*node.args.posonlyargs, *node.args.args][:1]
                    if first and first[0].annotation and ast.unparse(first[0].annotation) in ("str", "str | None"):
                        yield f"{module}:{node.name}"


def test_every_function_of_a_text_is_listed() -> None:
    found = {name for name in functions_of_texts() if not name.startswith(PARTS)}
    listed = OWN_TEXTS | NAMES_ONLY
    assert found - listed - set(CASES) == set()
    assert listed - found == set(), "these functions do not exist"
    assert listed & set(CASES) == set()


def test_measurement_finds_quadratic_time() -> None:
    """Check the measurement itself with a search that restarts at every letter."""

    def quadratic(text: str) -> int:
        return sum(text.count("!", at) for at in range(0, len(text), 4))

    assert list(slow_patterns(quadratic, ["one letter"]))
    assert list(slow_patterns(str.split, ["words"])) == []
