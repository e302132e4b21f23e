"""`python main.py voices`: the available voices."""

from commands.start import JsonOption, load_settings, print_rows
from pipeline.voices.catalogue import Voices


def voices(as_json: JsonOption = False) -> None:
    """List the voices, and their equivalents on each engine."""
    rows = [
        {
            "voice": voice.name,
            "languages": " ".join(voice.languages) or "any",
            "clips": len(voice.clips),
            "engines": " ".join(sorted(voice.engines)),
            "description": voice.description,
        }
        for voice in Voices.load(load_settings())
    ]
    print_rows(rows, as_json=as_json)
