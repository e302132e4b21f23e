"""The route `POST /v1/chat/completions`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from pipeline.assistant import Assistant
from server.access import caller_of, held_of
from server.http.client_disconnect import Stream, begun, while_connected
from server.openai.chat.fields import ChatRequest, Received, received
from server.openai.chat.messages import Reader
from server.openai.chat.output import Completion
from server.openai.chat.replying import Chat
from server.openai.chat.schemas import ChatCompletion
from server.openai.models import check_model, is_path, names
from server.openai.speech import IGNORED
from server.openapi import errors, event_stream, json_body
from server.state import state_of

router = APIRouter(tags=["chat"])


@router.post(
    "/chat/completions",
    summary="Reply to a conversation",
    response_class=Response,
    responses={
        200: {
            "model": ChatCompletion,
            "description": "The reply; with `stream` as events, while the model writes and the voice speaks.",
            "headers": {
                IGNORED: {"schema": {"type": "string"}, "description": "Fields of the request that had no effect."}
            },
            "content": {
                "text/event-stream": event_stream(
                    'data: {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "It is"}, '
                    '"finish_reason": null}]}\n\ndata: [DONE]\n\n'
                ),
            },
        },
        **errors(400, 401, 403, 404, 413, 429, 502, 503, 504),
    },
    openapi_extra=json_body(ChatRequest),
)
async def complete(request: Request, body: Annotated[Received, Depends(received)]) -> Response:
    """Reply to the messages: in text, or with the modality `audio` in speech. A user's message can contain sound
    (`input_audio`). The client runs the functions that it offers."""
    state, caller = state_of(request), caller_of(request)
    assistant, wanted = state.assistant, body.wanted
    check_model(assistant, "llm", wanted.model)
    await assistant.has_model()  # looks for a better engine first
    engine = next((info.engine for info in assistant.engines if info.stage == "llm"), "")
    chat = Chat.of(wanted, assistant, engine)
    owner = caller.counted_as or ("", "")
    happenings = chat.events(Reader(assistant, state.recent, owner), state.access.slots, caller, held_of(request))
    completion = Completion(wanted, _model(assistant, engine), state.recent, owner)
    headers = {IGNORED: ", ".join(ignored)} if (ignored := body.ignored(engine)) else {}
    if wanted.stream:
        headers["Cache-Control"] = "no-cache"
        stream = await while_connected(request, begun(completion.chunks(happenings)))
        return Stream(stream, "text/event-stream", headers)
    whole = await while_connected(request, completion.whole(happenings, held_of(request)))
    return Response(whole, media_type="application/json", headers=headers)


def _model(assistant: Assistant, engine: str) -> str:
    """Return the name of the language model for clients."""
    return next((name for name in names(assistant, "llm") if not is_path(name)), engine)
