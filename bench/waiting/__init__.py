"""Engines that only wait, so that a measurement of the service does not depend on the cores: in the workers, processes
or clusters of the service, like real ones. `settings` puts them in place of the embedded engines."""

import json

STAGES_VARIABLE = "PARLEY_WAITING"
STAGES = {"stt_s": 0.08, "first_token_s": 0.12, "tokens_per_s": 60.0, "first_audio_s": 0.04}
"""Those of `bench.scripted.FAST`."""


def settings(**stages: float) -> dict[str, str]:
    """Return the settings of a service with these engines. stages: changes of STAGES."""
    from tests.server_process import constants  # not in the processes of the engines

    tables = {
        "pipeline.stt:ENGINES": {"sphinx": "bench.waiting.stt"},
        "pipeline.llm:ENGINES": {"builtin": "bench.waiting.llm"},
        "pipeline.tts:ENGINES": {"espeak": "bench.waiting.tts"},
    }
    return {**constants(tables), STAGES_VARIABLE: json.dumps({**STAGES, **stages}), "MAX_SESSIONS": "1000"}
