"""The page and the API reference."""
