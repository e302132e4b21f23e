"""OpenAI's Python package, unmodified: every method of the resources that the service has."""
