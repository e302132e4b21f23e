"""Voices: the catalogue, and new ones from recordings."""
