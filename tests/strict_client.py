"""OpenAI's own client, which checks each response against its types."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import openai

from tests.server_process import Service

STRICT: Any = {"api_key": "none", "max_retries": 0, "timeout": 120, "_strict_response_validation": True}
"""Options of a client that raises APIResponseValidationError for a response that it cannot read."""


@contextmanager
def strict_client(service: Service) -> Iterator[openai.OpenAI]:
    """Connect OpenAI's client to a service."""
    with openai.OpenAI(base_url=f"{service.url}/v1", **STRICT) as client:
        yield client


@asynccontextmanager
async def strict_async_client(service: Service) -> AsyncIterator[openai.AsyncOpenAI]:
    """Connect OpenAI's asynchronous client to a service."""
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", **STRICT) as client:
        yield client
