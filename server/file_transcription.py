"""The form of an upload to be transcribed, for all endpoints for files. `Assistant.transcriber` transcribes it."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from server.access import budgets_of, caller_of
from server.http.uploads import Form, received


async def form_with_recording(request: Request) -> AsyncIterator[Form]:
    """Receive the form of a request, and hold a slot for its recording until the response is sent."""
    async with received(request) as form:
        with budgets_of(request).recordings.one(caller_of(request)):
            yield form


ReceivedForm = Annotated[Form, Depends(form_with_recording)]
