"""The HTTP APIs of transcription jobs."""
