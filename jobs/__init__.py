"""What must survive a restart: transcription jobs, their files, results and webhooks (docs/jobs.md)."""
