"""Every knob, read from the environment and `.env`.

The names of all services that Parley stands in for work: synonyms are declared here and nowhere else. The docstring
under a field is its documentation; `.env.example` is made from it.
"""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import BadInput

SECRET = re.compile(r"(keys?|secret|token|token_id|database_url|redis_url|webhook_url)$", re.IGNORECASE)
"""Names of settings whose values nobody is shown."""

HOME = Path(__file__).resolve().parent.parent
"""The project's folder: where voices/, audios/ and web/ are."""


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

    # --- the door ---
    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs API_KEYS, or ALLOW_ANONYMOUS=true."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on (0: any free one)."""
    wyoming_uri: str = ""
    """When set (tcp://127.0.0.1:10300), listen there for the Wyoming protocol, as Home Assistant speaks it. It has no
    keys: whoever reaches that address is let in."""
    allowed_origins: str = ""
    """Comma-separated web origins (https://example.org) whose pages may connect and call (CORS), beside the service's
    own."""
    forwarded_allow_ips: str = "127.0.0.1,::1"
    """Comma-separated addresses and networks of reverse proxies, whose X-Forwarded-For and X-Forwarded-Proto are
    believed; *: of everybody, which lets everybody choose his address."""

    # --- logs ---
    debug_mode: bool = False
    """Detailed logs, with transcripts and replies in them."""
    log_format: Literal["console", "json"] = "console"
    """Logs as lines for people, or as a JSON object a line with session, turn and trace_id."""

    # --- who may come in ---
    api_keys: str = ""
    """Comma-separated keys; when set, every client must send one (Authorization: Bearer KEY). Each is KEY, which may do
    everything, or NAME:RIGHTS:KEY, with the rights talk, transcribe or admin, joined by +."""
    api_keys_file: str = ""
    """A file with hashed keys, made by `python main.py keys add NAME`; read again when it changes."""
    jwt_secret: str = ""
    """When set, a JWT that was signed with it (HS256, HS384, HS512) and has not expired is a key, too; 32 characters or
    more. Its rights are in the claim `scope`."""
    jwt_jwks_url: str = ""
    """When set, so is a JWT that was signed (RS, PS, ES, EdDSA) with a key of this JSON Web Key Set."""
    jwt_issuer: str = ""
    """When set, JWTs must be from this issuer (`iss`)."""
    jwt_audience: str = ""
    """When set, JWTs must be for this audience (`aud`). Set it where the issuer has tokens for other services, too."""
    page_token_s: float = Field(default=60.0, ge=1, le=3600)
    """A token that a page gets for its WebSockets (POST /page-token) is good for so long, in seconds."""
    allow_anonymous: bool = False
    """Serve without keys beyond this machine. Only behind something that checks who comes in."""

    # --- limits ---
    max_message_bytes: int = Field(default=26_214_400, ge=1024)
    """Largest WebSocket message, in bytes; a larger one is closed with 1009."""
    max_waiting_bytes: int = Field(default=268_435_456, ge=1024)
    """What messages and requests hold in memory while they come, wait, and are parsed or decoded, and sound that waits
    for its transcript, in bytes, of all connections together; of one caller half as many. What is beyond is refused
    with `overloaded`."""
    max_audio_seconds: float = Field(default=120.0, gt=0)
    """Longest utterance, in seconds."""
    max_sessions: int = Field(default=64, ge=1)
    """Conversations at a time; one more is refused at once, with 503."""
    max_lag_s: float = Field(default=5.0, ge=0)
    """While calls of conversations wait longer than this for a model, in seconds, new conversations are refused with
    503: those that are open shall keep their pace. 0: never."""
    max_sessions_per_key: int = Field(default=0, ge=0)
    """Conversations at a time with one key; one more is refused with 429. 0: half of MAX_SESSIONS."""
    max_sessions_per_address: int = Field(default=0, ge=0)
    """Conversations at a time from one address (of IPv6 a /64; this machine's own are not counted), likewise. 0: as
    many as there are."""
    rate_limit: str = "1200/minute"
    """Requests with one key, or from one address where none is needed; one more is refused with 429 and Retry-After.
    Several limits are separated by ; and "none" is no limit. Counted in Redis where REDIS_URL is set."""
    rate_limit_address: str = "300/minute"
    """The same for requests from one address that lack a good key: 429 instead of 401."""
    rate_limit_open: str = "6000/minute"
    """Requests from one address for what needs no key (the page and its files, the API's documentation), with or
    without one; and as many for /health…, counted by themselves. Counted in this process."""
    max_connections: int = Field(default=1024, ge=8)
    """Connections at a time, of any kind; one more is closed at once."""
    header_timeout_s: float = Field(default=10.0, gt=0)
    """A connection that has not sent its request's headers after so long is closed, in seconds."""
    body_timeout_s: float = Field(default=30.0, gt=0)
    """A request's body may keep us waiting for so long, plus a second for each 16 KB, in seconds."""
    ws_ping_s: float = Field(default=20.0, ge=0)
    """A WebSocket is pinged so often, and closed when its pong takes as long, in seconds; 0: never."""
    stall_timeout_s: float = Field(default=60.0, gt=0)
    """Who does not read what is sent for so long is disconnected, in seconds."""
    realtime_session_s: float = Field(default=3600.0, gt=0)
    """A session of /v1/realtime may last this long, in seconds."""
    max_file_size: int = Field(default=524_288_000, ge=1024)
    """Largest uploaded or fetched file, in bytes or with a unit (500MB; a KB is 1024 bytes)."""
    max_file_seconds: float = Field(default=21_600.0, gt=0)
    """Longest recording that is transcribed, in seconds."""
    max_files: int = Field(default=8, ge=1)
    """Recordings that are transcribed at a time; one more is refused with 503 and Retry-After."""
    max_files_per_caller: int = Field(default=0, ge=0)
    """As many of them with one key, or from one address where none is needed (this machine's own are not counted); one
    more is refused with 429. 0: half of MAX_FILES."""
    max_uploads: int = Field(default=32, ge=1)
    """Requests with files, and recordings of /api/v1/streaming, at a time, from their beginning to their answer; one
    more is refused with 503 before its body."""
    max_uploads_per_caller: int = Field(default=0, ge=0)
    """As many of them of one caller, likewise. 0: half of MAX_UPLOADS."""
    max_event_streams: int = Field(default=256, ge=1)
    """Streams of events of jobs (/jobs/{id}/events) at a time; one more is refused with 503 and Retry-After."""
    max_event_streams_per_caller: int = Field(default=0, ge=0)
    """As many of them of one caller, likewise, with 429. 0: half of MAX_EVENT_STREAMS."""
    turn_timeout_s: float = Field(default=300.0, gt=0)
    """A whole turn may take this long, in seconds: from the end of the user's words to the end of the reply; in a live
    conversation, to the end of its sound."""

    # --- stopping ---
    drain_seconds: float = Field(default=25.0, ge=0)
    """Asked to stop (SIGTERM), the service takes nobody new, and what runs may take this long to finish, in seconds. A
    second SIGTERM ends it at once."""

    # --- speech to text ---
    stt_engine: Literal["auto", "whisper", "sphinx", "openai"] = "auto"
    """auto: whisper when its weights are here or can be fetched, else sphinx (English only)."""
    whisper_model: str = Field(default="base", validation_alias=AliasChoices("whisper_model", "model_size"))
    """A size (tiny, base, small, medium, large-v3, turbo, …), a hub name (owner/name) or a folder."""
    whisper_device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", validation_alias=AliasChoices("whisper_device", "device")
    )
    """Where Whisper runs; auto takes CUDA when there is one."""
    whisper_compute_type: str = "auto"
    """CTranslate2's: int8, int8_float16, float16, float32, …; auto: float16 or int8_float16 on CUDA, int8 on a CPU."""
    whisper_threads: int = Field(default=0, ge=0)
    """CPU threads of Whisper; 0: as many as pay on this machine."""
    whisper_beam: int = Field(default=1, ge=1, le=10)
    """Hypotheses Whisper follows at once; more are a little more exact and slower. 1 is right for a spoken turn."""
    whisper_context_s: float = Field(default=30.0, ge=10.0, le=30.0)
    """Whisper encodes at least this much, in seconds; it was trained on 30. Less answers sooner (10: four times, on a
    CPU) and may cost accuracy."""
    whisper_pack: bool = True
    """Utterances of a recording with long pauses between them share a window of 30 s, which is what Whisper encodes
    whatever is in it; times are put back where they belong."""
    models_dir: Path = Path("models")
    """Where downloaded models and cached voice latents are kept."""
    hf_token: str = ""
    """Token for the model hub (gated models)."""
    hf_endpoint: str = "https://huggingface.co"
    """The model hub, or a mirror of it."""
    hf_hub_offline: bool = False
    """Never ask the model hub: only what is in MODELS_DIR."""
    stt_timeout_s: float = Field(default=60.0, gt=0)
    """The transcript of one utterance may take this long, in seconds."""
    stt_openai_url: str = "http://localhost:8001/v1"
    """Base address of an OpenAI-compatible transcription server, for STT_ENGINE=openai."""
    stt_openai_key: str = ""
    """Its key."""
    stt_openai_model: str = "whisper-1"
    """Its model."""

    # --- recordings: times of words, speakers ---
    align_model: str = ""
    """A wav2vec2 model (hub name or folder) that aligns words with their sound; empty: one by language. Needs the extra
    `align`."""
    diarization_engine: Literal["auto", "pyannote", "resemblyzer"] = "auto"
    """What tells speakers apart; auto: pyannote where it is installed and HF_TOKEN is set, else resemblyzer (the extra
    `speakers`)."""

    # --- language model ---
    llm_engine: Literal["auto", "ollama", "openai", "builtin"] = "auto"
    """auto: ollama as soon as it answers and has the model, else the built-in responder."""
    llama_model: str = "llama3.2"
    """The model in Ollama."""
    llama_endpoint: str = "http://localhost:11434"
    """Ollama's address."""
    llama_pull: bool = False
    """Pull LLAMA_MODEL at start when Ollama does not have it."""
    llama_keep_alive: str = "30m"
    """How long Ollama keeps the model loaded after a turn ("30m", "-1" for ever)."""
    llama_context: int = Field(default=4096, ge=512)
    """Context window asked of Ollama, in tokens."""
    llm_openai_url: str = "http://localhost:8080/v1"
    """Base address of an OpenAI-compatible chat server (vLLM, llama.cpp), for LLM_ENGINE=openai."""
    llm_openai_key: str = ""
    """Its key."""
    llm_openai_model: str = ""
    """Its model; empty: the first one it lists."""
    llm_openai_extra: str = ""
    """A JSON object added to each request, for what the server calls its own: {"chat_template_kwargs":
    {"enable_thinking": false}} keeps vLLM's and llama.cpp's thinking models from thinking."""
    llm_temperature: float = Field(default=0.7, ge=0.0, le=2.0)
    """Sampling temperature of the reply."""
    llm_max_tokens: int = Field(default=512, ge=1)
    """Longest reply, in tokens."""
    llm_connect_timeout_s: float = Field(default=3.0, gt=0)
    """Connecting to the language model may take this long, in seconds."""
    llm_first_token_timeout_s: float = Field(default=60.0, gt=0)
    """From the request to the first token (a cold model loads meanwhile), in seconds."""
    llm_token_timeout_s: float = Field(default=15.0, gt=0)
    """Between two tokens, in seconds."""
    llm_recheck_s: float = Field(default=5.0, gt=0)
    """With LLM_ENGINE=auto: how often at most a turn looks whether Ollama has come or gone, in seconds."""
    system_prompt: str = (
        "You are Parley, a friendly voice assistant. Your reply is spoken aloud: answer in one to three short "
        "sentences of plain text, without Markdown, lists, emoji or code."
    )
    """What the language model is told before the conversation; `?system=` replaces it for one connection."""
    tools: bool = True
    """Offer functions (docs/tools.md) to the language model; a small model may do better without."""
    tool_timeout_s: float = Field(default=10.0, gt=0)
    """A function that the language model calls may take this long, in seconds."""
    tool_silence_s: float = Field(default=0.7, ge=0)
    """After so long the assistant says that it takes a moment, in seconds."""
    mcp_servers: str = ""
    """A JSON file with MCP servers whose functions the language model may call ("mcpServers", as other programs have
    it); needs the extra `mcp`."""
    time_zone: str = ""
    """IANA time zone (Europe/Lisbon) in which the built-in responder tells the time; empty: the machine's own."""
    history_tokens: int = Field(default=3000, ge=256)
    """How much of a conversation is sent to the language model, in tokens (estimated); older turns are left out."""

    # --- speech ---
    tts_engine: Literal["auto", "xtts", "pocket", "espeak", "openai"] = "auto"
    """auto: xtts or pocket when installed and their weights are here, else espeak."""
    voice_name: str = "man"
    """The voice that answers: a folder or a file name in voices/ or audios/, without its ending."""
    speech_language: str = ""
    """Language spoken by the users, when it is always the same: a code of ISO 639 (pt, por), a tag (pt-BR) or an
    English name; empty: detected each turn. Texts in its alphabet are pronounced in it, too. (Desktops set LANGUAGE to
    something else.)"""
    voices_dir: Path = HOME / "voices"
    """Reference voices, one folder (voice.toml and clips) or one bare WAV each."""
    audios_dir: Path = HOME / "audios"
    """A bare WAV in here is a voice, too."""
    tts_timeout_s: float = Field(default=30.0, gt=0)
    """From a clause to its first sound, and between two chunks, in seconds."""
    tts_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where XTTS and pocket run."""
    tts_threads: int = Field(default=1, ge=1)
    """CPU threads of XTTS and pocket; more than one pays only on an otherwise idle machine."""
    xtts_model: str = ""
    """Folder with XTTS v2 (config.json, model.pth, vocab.json, speakers_xtts.pth); empty: downloaded once."""
    xtts_int8: bool = False
    """Quantise XTTS to int8 on a CPU: about four times faster, quality unverified."""
    xtts_precision: Literal["float32", "float16", "bfloat16"] = "float32"
    """Of XTTS's language model, the larger part of its work; half precision is for a GPU, and unverified."""
    xtts_compile: bool = False
    """Compile XTTS's vocoder with torch.compile: the start takes a minute longer; for a GPU, and unverified."""
    coqui_tos_agreed: bool = False
    """You accept the Coqui Public Model License (non-commercial) of XTTS's weights; needed to download them."""
    pocket_model: str = ""
    """A pocket-tts YAML config with local paths; empty: the language's own model from the hub."""
    pocket_int8: bool = False
    """Quantise pocket-tts to int8."""
    tts_openai_url: str = "http://localhost:8880/v1"
    """Base address of an OpenAI-compatible speech server, for TTS_ENGINE=openai."""
    tts_openai_key: str = ""
    """Its key."""
    tts_openai_model: str = "tts-1"
    """Its model."""
    tts_openai_voice: str = ""
    """Its voice, whatever VOICE_NAME is; empty: the one that the voice's description names."""

    # --- live conversation ---
    turn_detection: bool = True
    """The service decides when a turn is over; false: push-to-talk, the client says so."""
    vad_threshold: float = Field(default=0.5, ge=0.05, le=0.95)
    """Speech probability (Silero VAD) above which a frame is speech."""
    preroll_ms: int = Field(default=300, ge=0)
    """Sound kept from before the first frame of speech, in ms."""
    silence_ms: int = Field(default=500, ge=100)
    """Silence after which a turn is over, in ms."""
    adaptive_endpointing: bool = True
    """Wait shorter after a complete sentence, longer after a hesitation."""
    min_silence_ms: int = Field(default=250, ge=100)
    """The shortest wait that adaptive endpointing may choose, in ms."""
    max_silence_ms: int = Field(default=1500, ge=100)
    """The longest wait that adaptive endpointing may choose, in ms."""
    speculate_ms: int = Field(default=100, ge=60)
    """Silence after which transcript, reply and first speech are prepared in advance, in ms."""
    speculations: int = Field(default=3, ge=0)
    """How often an utterance may be answered in advance; 0 switches speculation off."""
    speculation_max_speech_s: float = Field(default=15.0, ge=0)
    """No speculation for utterances longer than this, in seconds, unless the recogniser is idle."""
    max_utterance_s: float = Field(default=60.0, ge=1)
    """An utterance longer than this is transcribed in parts, cut at its longest pause, in seconds."""
    interruptible: bool = True
    """Whether speaking stops the assistant."""
    half_duplex: bool = False
    """Ignore the microphone while the assistant speaks: for loudspeakers without echo cancelling."""
    hold_ms: int = Field(default=60, ge=32)
    """Speech after which the assistant pauses, not yet decided whether it is interrupted, in ms."""
    interrupt_ms: int = Field(default=250, ge=60)
    """Speech shorter than this never interrupts, in ms."""
    interrupt_words: int = Field(default=1, ge=1)
    """Words (back-channels like "mhm" not counted) that an interruption needs."""
    backchannel_ms: int = Field(default=800, ge=100)
    """Speech longer than this interrupts whatever its words are, in ms."""
    lead_ms: int = Field(default=200, ge=40)
    """How far ahead of real time the reply's sound is sent, in ms."""
    partial_ms: int = Field(default=500, ge=0)
    """How often a partial transcript is made while the user speaks, in ms; 0: never."""
    idle_prompt_s: float = Field(default=0.0, ge=0)
    """Silence after which the assistant asks whether the user is still there, in seconds; 0: never."""
    idle_timeout_s: float = Field(default=600.0, ge=0)
    """Silence after which a conversation is closed, in seconds; 0: never."""
    resume_seconds: float = Field(default=120.0, ge=0)
    """How long a dropped connection may come back to its conversation, in seconds."""

    # --- recording of conversations ---
    record: bool = False
    """Keep what is said in conversations, as sound and text. Ask those who talk first: what the page and the protocols
    tell them is in docs/operations.md."""
    record_days: float = Field(default=30.0, ge=0)
    """Recorded turns are removed after so many days; 0: never."""
    recordings_dir: Path = HOME / "audios" / "recordings"
    """Where they are kept: a folder a session."""

    # --- workers ---
    isolate_models: bool = True
    """Run each local model in a process of its own that is started again after a crash; false: in a thread."""
    worker_nice: int = Field(default=5, ge=0, le=19)
    """How much the processes of local models give way to the service itself, which has little to do and must do it at
    once: the sound of all speakers goes through it. 0: not at all."""
    worker_start_timeout_s: float = Field(default=120.0, gt=0)
    """Loading a local model may take this long, in seconds (downloads not counted)."""
    max_waiting: int = Field(default=32, ge=1)
    """Calls that may wait for one model; one more is refused at once."""
    max_wait_s: float = Field(default=20.0, gt=0)
    """A conversation's call may wait so long for its turn at a model, in seconds; one that would wait longer is refused
    at once, one that does is refused then: whoever has waited so long for an answer has gone. Files are not refused."""
    stt_replicas: int = Field(default=0, ge=0, le=64)
    """Copies of the recogniser that work side by side, each with memory of its own. 0: of Whisper on a CPU one for each
    8 cores, 4 at most, as far as a quarter of the memory goes; else one."""
    tts_replicas: int = Field(default=1, ge=1, le=64)
    """Copies of the voice engine, likewise."""
    stt_batch: int = Field(default=0, ge=0, le=64)
    """Short utterances of several speakers that Whisper decodes together at most; 1: each alone; 0: as many as pay (16
    on CUDA; on a CPU 8 with a shorter WHISPER_CONTEXT_S, else 1)."""
    stt_batch_ms: int = Field(default=10, ge=0, le=1000)
    """While many speak at the same time, how long a batch waits for as many utterances as the one before it had, in
    ms. An utterance that comes alone never waits."""
    models_on_demand: bool = True
    """Load other Whisper models than WHISPER_MODEL when a request names one (docs/files.md); they are downloaded when
    they are not here. false: only the one that is loaded."""
    model_memory_mb: int = Field(default=0, ge=0)
    """Memory that all Whisper models may take together, in MB (estimated); those that nobody uses make room. 0: four
    fifths of the GPU's memory, or half of the machine's."""
    stt_file_batch: int = Field(default=0, ge=0, le=64)
    """Windows of recordings that Whisper decodes together at most; a conversation waits for a whole batch. 0: 16 on
    CUDA; on a CPU 8 by a model that was loaded for recordings, 1 by that of conversations."""
    model_idle_seconds: float = Field(default=0.0, ge=0)
    """A local model that was not used for so long is unloaded, in seconds: its process ends and gives its memory back;
    the next call loads it again, and waits for that. 0: never."""

    # --- transcription jobs ---
    database_url: str = "sqlite:///data/parley.db"
    """Where jobs are kept: sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/NAME (needs the extra `postgres`)."""
    redis_url: str = ""
    """A Redis (redis://HOST:6379) that is asked for results before the database; needs the extra `redis`."""
    upload_dir: Path = Path("uploads")
    """Where the files of jobs are kept."""
    job_queue: Literal["auto", "local", "procrastinate"] = "auto"
    """local: jobs are done by this process. procrastinate: by this one and any number of `python main.py worker`, on
    several machines too; needs PostgreSQL and the extra `postgres`. auto: local."""
    job_workers: int = Field(default=1, ge=0, le=64)
    """Jobs that this process does at a time; 0: none, others do them."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Where `python main.py worker` tells Prometheus how it does; the service tells on PORT, under /metrics. 0:
    nowhere."""
    metrics_host: str = "127.0.0.1"
    """Address to listen on for that. There is no key: whoever reaches it is told."""
    max_jobs: int = Field(default=100_000, ge=1)
    """Jobs that may wait; one more is refused at once."""
    job_attempts: int = Field(default=3, ge=1)
    """How often a job is tried when something fails that may go better the next time."""
    job_retry_s: float = Field(default=5.0, gt=0)
    """From the first failure to the second attempt, in seconds; doubles each time."""
    job_silence_s: float = Field(default=900.0, gt=0)
    """A job that makes no progress for so long is tried again, in seconds."""
    job_expire_hours: float = Field(default=72.0, ge=0)
    """A job that nobody began within so many hours expires; 0: never."""
    job_keep_hours: float = Field(default=168.0, ge=0)
    """Ended jobs are removed after so many hours, with files and results that no other job uses; 0: never."""

    # --- what jobs are sent ---
    max_archive_files: int = Field(default=500, ge=1)
    """Files in one request, and in one zip."""
    max_archive_size: int = Field(default=2_147_483_648, ge=1024)
    """What a zip may unpack to, in bytes or with a unit."""
    max_archive_ratio: float = Field(default=200.0, ge=1)
    """What a zip may unpack to, in times its own size; the first 16 MB are free. Recordings hardly shrink."""
    url_allow: str = ""
    """Comma-separated addresses and networks (10.0.0.0/8) that URLs and webhooks may lead to beside public ones."""
    url_timeout_s: float = Field(default=1800.0, gt=0)
    """Fetching a file from a URL may take this long, in seconds."""

    # --- jobs that are done elsewhere ---
    job_engine: Literal["local", "modal"] = "local"
    """Who transcribes the recordings of jobs. local: this service's recogniser. modal: a worker elsewhere
    (deploy/modal_worker.py, or anything that speaks the same; docs/jobs.md)."""
    app_url: str = ""
    """This service's public address, as workers elsewhere reach it."""
    modal_webhook_url: str = ""
    """Where JOB_ENGINE=modal posts its jobs."""
    modal_token_id: str = ""
    """Modal's proxy token for it (Modal-Key)."""
    modal_token_secret: str = ""
    """Its secret (Modal-Secret)."""
    trigger_secret_key: str = ""
    """When set, JOB_ENGINE=modal gives its jobs to the Trigger.dev task of deploy/trigger/, which gives them to
    MODAL_WEBHOOK_URL and tries again by its own rules."""
    trigger_project_id: str = ""
    """The project of that task; read by deploy/trigger/ alone."""
    trigger_url: str = "https://api.trigger.dev"
    """Trigger.dev's address, or your own."""

    # --- webhooks ---
    webhook_url: str = ""
    """Told of every job that ends, beside the job's own `webhook_url`."""
    webhook_secret: str = ""
    """Signs webhooks (Standard Webhooks): whsec_ and base64. Empty: made once, and kept in UPLOAD_DIR."""
    webhook_retry_s: float = Field(default=5.0, gt=0)
    """From a failed delivery of a webhook to the next, in seconds; grows threefold, up to four hours, for a day."""

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, value: str) -> str:
        if 0 < len(value) < 32:
            raise ValueError("must have 32 characters or more (openssl rand -hex 32)")
        return value

    @field_validator("speech_language")
    @classmethod
    def _language(cls, value: str) -> str:
        if not value:
            return ""
        from pipeline.stt.languages import language_code  # settings are read before anything that hears is imported

        try:
            return language_code(value) or ""
        except BadInput as error:
            raise ValueError(error.message) from None

    @field_validator("max_file_size", "max_archive_size", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
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
