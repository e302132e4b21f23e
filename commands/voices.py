"""`python main.py voices`: the available voices."""

from commands.start import JsonOption, load_settings, print_rows
from pipeline.voices.catalogue import Voices


def voices(as_json: JsonOption = False) -> None:
    """List the voices in folders, and their equivalents on each engine. Engines such as Kokoro have further ones, which
    the running service lists at /v1/audio/voices."""
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
