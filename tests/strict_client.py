"""OpenAI's own client, which checks each response against its types."""

from collections.abc import Iterator
from contextlib import contextmanager

import openai

from tests.server_process import Service


@contextmanager
def strict_client(service: Service) -> Iterator[openai.OpenAI]:
    """Connect OpenAI's client to a service. It raises APIResponseValidationError for a response that it cannot read."""
    with openai.OpenAI(
        base_url=f"{service.url}/v1", api_key="none", max_retries=0, timeout=120, _strict_response_validation=True
    ) as client:
        yield client
