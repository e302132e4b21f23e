"""Every method of the resources of the installed `openai` package is served as its types say, or refused with a reason.

A new version of the package with a new resource or method fails these tests.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from pydantic import BaseModel

from tests.sdk.calls import CALLS, CONNECTING, NOT_SERVED, OTHER_RESOURCES, Call, Things
from tests.sdk.methods import RESOURCES, Client, forms, methods, outcome, resources
from tests.server_process import Service
from tests.strict_client import strict_async_client, strict_client

OTHER_FIELDS = {"task", "usage"}
"""Fields of verbose_json that the types do not have."""


@asynccontextmanager
async def clients(service: Service) -> AsyncIterator[tuple[Client, ...]]:
    """Connect both clients, which check each response."""
    with strict_client(service) as blocking:
        async with strict_async_client(service) as client:
            yield blocking, client


async def test_every_method_is_called_or_refused(service: Service) -> None:
    known = {call.method for call in CALLS} | CONNECTING | set(NOT_SERVED)
    async with clients(service) as both:
        assert [methods(client) for client in both] == [known, known]
    assert [resources(kind) for kind in (openai.OpenAI, openai.AsyncOpenAI)] == [{*RESOURCES} | OTHER_RESOURCES] * 2


@pytest.mark.parametrize("call", CALLS, ids=str)
async def test_response_has_the_types_of_the_package(service: Service, things: Things, call: Call) -> None:
    """Check both clients, with parsed and raw responses and streams of bytes."""
    async with clients(service) as both:
        for client in both:
            for form in forms(client, call.method):
                found = await outcome(client, form, call.sent(things))
                assert call.right(found), (form, found)
                for one in found if isinstance(found, list) else [found]:
                    extra = set(one.model_extra or ()) if isinstance(one, BaseModel) else set()
                    assert extra <= OTHER_FIELDS, (form, extra)


@pytest.mark.parametrize("method", NOT_SERVED)
async def test_a_method_that_is_not_served_is_refused_with_the_reason(service: Service, method: str) -> None:
    sent, reason = NOT_SERVED[method]
    async with clients(service) as both:
        for client in both:
            for form in forms(client, method):
                with pytest.raises(openai.NotFoundError) as refused:
                    await outcome(client, form, sent)
                assert (refused.value.type, refused.value.code) == ("invalid_request_error", "not_found")
                assert reason in refused.value.message


@pytest.mark.parametrize("name", sorted(OTHER_RESOURCES))
def test_a_resource_that_is_not_served_is_refused_by_name(things: Things, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        things.client.post(f"/{name}", body={}, cast_to=object)
    assert refused.value.code == "not_found"
    assert f"POST /v1/{name};" in refused.value.message


def test_a_method_that_a_path_does_not_take_is_named(things: Things) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        things.client.put("/audio/speech", body={}, cast_to=object)
    assert (refused.value.status_code, refused.value.code) == (405, "method_not_allowed")
    assert "PUT /v1/audio/speech; this path takes POST." in refused.value.message
