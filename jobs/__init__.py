"""Durable transcription jobs with their files, results and webhooks, which survive a restart (docs/jobs.md)."""
