"""Transcripts of recordings: long files, windows, words, speakers and subtitles."""
