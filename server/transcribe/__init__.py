"""Transcription for a request: files and streams."""
