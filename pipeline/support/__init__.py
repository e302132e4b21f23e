"""Helpers without knowledge of speech."""
