"""Warnings about names in `.env` and the environment that look like settings but are not."""

import logging
import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from commands.start import OTHERS, env_file
from pipeline.settings import Settings, names

log = logging.getLogger(__name__)

PER_SESSION = (
    "TURN_DETECTION", "VAD_THRESHOLD", "PREROLL_MS", "ADAPTIVE_ENDPOINTING", "MIN_SILENCE_MS", "MAX_SILENCE_MS",
    "SPECULATE_MS", "SPECULATION_MAX_SPEECH_S", "MAX_UTTERANCE_S", "INTERRUPTIBLE", "HOLD_MS", "INTERRUPT_MS",
    "INTERRUPT_WORDS", "BACKCHANNEL_MS", "LEAD_MS", "PARTIAL_MS", "IDLE_PROMPT_S", "HALF_DUPLEX", "SPECULATIONS",
)  # fmt: skip
FIXED = (
    "PAGE_TOKEN_S", "RATE_LIMIT_OPEN", "HEADER_TIMEOUT_S",
    "BODY_TIMEOUT_S", "STALL_TIMEOUT_S", "REALTIME_SESSION_S",
    "MAX_EVENT_STREAMS", "MAX_EVENT_STREAMS_PER_CALLER", "TURN_TIMEOUT_S", "WHISPER_BEAM",
    "WHISPER_PACK", "LLM_CONNECT_TIMEOUT_S", "LLM_TOKEN_TIMEOUT_S", "LLM_RECHECK_S", "TOOL_TIMEOUT_S",
    "TOOL_SILENCE_S", "TTS_THREADS", "RESUME_SECONDS", "WORKER_NICE",
    "WORKER_START_TIMEOUT_S", "MAX_WAITING", "STT_BATCH_MS", "MAX_JOBS",
    "MAX_ARCHIVE_RATIO", "URL_TIMEOUT_S", "WEBHOOK_RETRY_S", "WS_PING_S", "JOB_RETRY_S", "MAX_ARCHIVE_FILES",
    "JOB_ATTEMPTS", "JOB_SILENCE_S", "WATCH_SETTLE_SECONDS",
    "STT_TIMEOUT_S", "TTS_TIMEOUT_S", "LLM_FIRST_TOKEN_TIMEOUT_S", "MAX_WAIT_S", "MAX_LAG_S",
)  # fmt: skip
REMOVED = {
    **dict.fromkeys(PER_SESSION, "clients choose it per session, docs/turn-taking.md"),
    **dict.fromkeys(FIXED, "its value is fixed"),
    "MAX_UPLOADS": "four for each of MAX_FILES",
    **dict.fromkeys(
        (
            "MAX_SESSIONS_PER_CALLER",
            "MAX_SESSIONS_PER_KEY",
            "MAX_SESSIONS_PER_ADDRESS",
            "MAX_FILES_PER_CALLER",
            "MAX_UPLOADS_PER_CALLER",
        ),
        "set CALLER_SHARE",
    ),
    "WYOMING_ZEROCONF": "WYOMING_URI is announced unless its address is of loopback",
    "WATCH_LANGUAGE": "set SPEECH_LANGUAGE",
    "INSIGHT_PROMPTS": "insights.toml beside VOICES_DIR",
    "PERSONAS_DIR": "personas beside VOICES_DIR",
    "MAX_WAITING_BYTES": "256 MiB, or an eighth of the machine's memory",
    "MAX_FILE_SECONDS": "6 hours, or what MAX_FILE_SIZE holds at 192 kbit/s",
    "MAX_CONNECTIONS": "1,024, or two for each of MAX_SESSIONS",
    "MAX_ARCHIVE_SIZE": "four times MAX_FILE_SIZE",
    "JOB_EXPIRE_HOURS": "set JOB_KEEP_HOURS",
    "JOB_ENGINE": "MODAL_WEBHOOK_URL is enough",
    "STT_FILE_BATCH": "set STT_BATCH",
    "DIARIZATION_ENGINE": "pyannote with HF_TOKEN, else resemblyzer",
    "TIME_ZONE": "set TZ in the environment",
    "RATE_LIMIT_ADDRESS": "a quarter of RATE_LIMIT",
    "METRICS_ADDRESS": "python main.py worker --metrics HOST:PORT",
    "METRICS_PORT": "python main.py worker --metrics HOST:PORT",
    "METRICS_HOST": "python main.py worker --metrics HOST:PORT",
    **dict.fromkeys(("XTTS_MODEL", "POCKET_MODEL", "KOKORO_MODEL", "PIPER_MODEL", "TTS_OPENAI_MODEL"), "set TTS_MODEL"),
    **dict.fromkeys(("PARAKEET_MODEL", "STT_OPENAI_MODEL"), "set STT_MODEL"),
    "AUDIOS_DIR": "set VOICES_DIR",
    "XTTS_COMPILE": "the vocoder is not compiled",
    "XTTS_INT8": "set TTS_PRECISION=int8",
    "XTTS_PRECISION": "set TTS_PRECISION",
    "POCKET_INT8": "set TTS_PRECISION=int8",
    "LLAMA_CONTEXT": "set HISTORY_TOKENS",
    "ISOLATE_MODELS": "false: set MODEL_HOST=thread",
    "MODELS_ON_DEMAND": "false: set MODEL_MEMORY_MB=1",
    "TTS_OPENAI_VOICE": "set VOICE_NAME",
    "TRIGGER_URL": "set TRIGGER_API_URL, Trigger.dev's own variable",
    "LLAMA_KEEP_ALIVE": "set MODEL_IDLE_SECONDS",
    "LLM_TEMPERATURE": "0.7; clients and personas choose another one",
    "MCP_SERVERS": "set TOOLS to that file",
}
"""Former settings, and what to do instead."""

COMPOSE = {
    "IMAGE", "COMPOSE_FILE", "EXTRAS", "BASE", "PUBLISH", "STOP_GRACE", "OLLAMA_IMAGE", "DOCKER_LLAMA_ENDPOINT",
    "OLLAMA_NUM_PARALLEL", "WORKER_JOBS", "POSTGRES_PASSWORD", "POSTGRES_IMAGE", "REDIS_IMAGE", "METRICS_KEY",
    "GRAFANA_PASSWORD", "GRAFANA_PORT", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE", "COMPOSE_PROFILES",
    "COMPOSE_PROJECT_NAME", "TRIGGER_PROJECT_ID", "TZ", "REDIS_PASSWORD", "RAY_NODE_CPUS", "HAPROXY_IMAGE",
}  # fmt: skip
"""Names in `.env` that only Docker Compose reads."""
MIN_CHARS = 6
"""A shorter name in the environment is not compared: PATH is one edit from PORT, or nearly."""
MIN_WORD_CHARS = 5
"""A shorter first word in the environment must match exactly, because many programs share short prefixes."""


def warn_of_unknown() -> None:
    """Log one warning about all names without effect in `.env` and the environment. Values are not logged."""
    if found := list(without_effect(env_file(), os.environ)):
        log.warning("settings without effect: %s", "; ".join(found))


def without_effect(file: Mapping[str, str | None], environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence part for each name that has a value and no effect.

    In the file, that is every unknown name. In the environment, which belongs to other programs, too, it is a former
    setting, or a name that is one edit from a setting.
    """
    known = [name for field in Settings.model_fields for name in names(field)]
    seen = set(known)
    for name in (name.upper() for name, value in file.items() if value):
        if name in seen or name in COMPOSE or name.startswith(OTHERS):
            continue
        seen.add(name)
        if name in REMOVED:
            yield f"{name} is no longer a setting ({REMOVED[name]})"
        else:
            near = get_close_matches(name, known, 1, 0.7)
            yield f"{name} in .env is unknown" + (f" (do you mean {near[0]}?)" if near else "")
    for name in (name.upper() for name, value in environment.items() if value):
        if name in seen:
            continue
        if name in REMOVED:
            yield f"{name} is no longer a setting ({REMOVED[name]})"
        elif near := [one for one in known if _mistyped(name, one)]:
            yield f"{name} in the environment is unknown (do you mean {near[0]}?)"


def _mistyped(name: str, setting: str) -> bool:
    """Whether a name is one edit from a setting, and of the same family (the first word)."""
    if min(len(name), len(setting)) < MIN_CHARS or not _one_edit(name, setting):
        return False
    first = setting.partition("_")[0]
    return name.partition("_")[0] == first or len(first) >= MIN_WORD_CHARS


def _one_edit(one: str, other: str) -> bool:
    """Whether one letter is wrong, missing or too much, or two neighbours are swapped."""
    short, long = sorted((one, other), key=len)
    at = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) == len(long):
        return (
            short[at + 1 :] == long[at + 1 :]
            or short[at:] == long[at + 1 : at + 2] + long[at : at + 1] + long[at + 2 :]
        )
    return short[at:] == long[at + 1 :]
