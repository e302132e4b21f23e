"""Settings of durable transcription jobs."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.settings.group import Group


class JobSettings(Group):
    """Jobs, their inputs, remote workers and webhooks."""

    # --- jobs ---
    database_url: str = "sqlite:///data/parley.db"
    """Database for jobs: sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/NAME (needs the extra `postgres`)."""
    redis_url: str = ""
    """A Redis (redis://HOST:6379) that the services of several machines share: conversations to resume, limits per
    caller, and cached results (docs/scaling.md). It contains what users say. Needs the extra `redis`."""
    upload_dir: Path = Path("uploads")
    """Folder for the files of jobs."""
    job_queue: Literal["auto", "local", "procrastinate"] = "auto"
    """local: this process runs the jobs. procrastinate: this process and any number of `python main.py worker` run
    them, also on several machines; needs PostgreSQL and the extra `postgres`. auto: local."""
    job_workers: int = Field(default=1, ge=0, le=64)
    """Number of jobs that this process runs at the same time; 0: none, job workers run them."""
    job_keep_hours: float = Field(default=0.0, ge=0)
    """A job that has not started within this many hours expires, and ended jobs are removed after as many, with files
    and results that no other job uses, unless a user has pinned them; 0: never."""
    delete_audio_after: float = Field(default=0.0, ge=0)
    """Hours after the end of a job after which its recording is removed and only the text stays, unless a user has
    pinned the job; 0: never."""
    after_transcription: str = ""
    """Comma-separated insights that the language model writes about each completed job: title, summary, actions,
    chapters (docs/jobs.md#what-the-language-model-adds: instructions of your own)."""

    # --- watched folders ---
    watch_dir: str = ""
    """Comma-separated folders whose recordings, also in sub-folders, are transcribed when they are complete, behind the
    jobs of users (docs/files.md)."""
    output_dir: Path | None = None
    """Folder for the results; empty: beside each recording."""
    watch_formats: str = "txt,srt"
    """Comma-separated formats of the results: txt, json, srt, vtt, ttml, md, docx, pdf."""
    watch_diarize: bool = False
    """Identify the speakers (needs the extra `speakers`)."""

    # --- job inputs ---
    url_allow: str = ""
    """Comma-separated addresses and networks (10.0.0.0/8) that URLs and webhooks can lead to, besides public ones."""

    # --- remote jobs ---
    app_url: str = ""
    """This service's public URL, which remote workers and Twilio use."""
    modal_webhook_url: str = ""
    """URL of a remote worker that transcribes the recordings of jobs instead of this service's recogniser
    (deploy/modal_worker.py, or a program with the same protocol; docs/jobs.md). Needs APP_URL."""
    modal_token_id: str = ""
    """Modal's proxy token for MODAL_WEBHOOK_URL (Modal-Key)."""
    modal_token_secret: str = ""
    """Secret of that token (Modal-Secret)."""
    trigger_secret_key: str = ""
    """Trigger.dev's key. When set, jobs for MODAL_WEBHOOK_URL go to the task of deploy/trigger/, which passes them on
    and retries by its own rules."""

    # --- webhooks ---
    webhook_url: str = ""
    """URL that is notified of every job that ends, in addition to the job's own `webhook_url`."""
    webhook_secret: str = ""
    """Secret for signing webhooks (Standard Webhooks): whsec_ and base64. Empty: generated once, and kept in
    UPLOAD_DIR."""
