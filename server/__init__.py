"""How the service is reached."""

VERSION = "0.1.0"
"""Of the service, as its doors tell it."""
