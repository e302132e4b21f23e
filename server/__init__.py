"""The network interfaces of the service."""

VERSION = "0.1.0"
"""Version of the service, as its APIs report it."""
