"""How a client asks for the options of a conversation, and for one to continue from an earlier one."""

from starlette.requests import HTTPConnection

from pipeline.assistant import Assistant
from pipeline.errors import BadInput
from pipeline.llm import Message
from pipeline.personas import ConversationOptions
from pipeline.support.json_types import JsonObject

FIELDS = ("persona", "system", "voice", "language", "llm_model", "temperature")
"""The wishes of `Assistant.conversation_options`, as query parameters and as fields of `configure`."""
MAX_HISTORY = 200
"""Maximum number of messages of an earlier conversation."""
MAX_MESSAGE_CHARS = 8_000
"""Maximum length of each."""


async def requested_options(connection: HTTPConnection, assistant: Assistant) -> ConversationOptions:
    """Return the conversation options of the query. Raises BadInput."""
    query = connection.query_params
    return await assistant.conversation_options({name: query[name] for name in FIELDS if name in query})


def history_of(command: JsonObject) -> list[Message]:
    """Return the earlier conversation in a `restore` message: only what the user and the assistant said, so that it
    cannot replace the system prompt. Raises BadInput (bad_parameter)."""
    history = command.get("history")
    if not isinstance(history, list) or not 0 < len(history) <= MAX_HISTORY:
        raise BadInput(f'"history" must be a list of 1 to {MAX_HISTORY} messages.', code="bad_parameter")
    return [_message(number, one) for number, one in enumerate(history)]


def _message(number: int, told: object) -> Message:
    where = f"history[{number}]"
    if not isinstance(told, dict) or not {"role", "content"} <= told.keys() <= {"role", "content"}:
        raise BadInput(f"{where} must have role and content, and nothing else.", code="bad_parameter")
    role, content = told["role"], told["content"]
    if role not in ("user", "assistant"):
        raise BadInput(f"{where}.role must be user or assistant.", code="bad_parameter")
    if not isinstance(content, str) or not content.strip():
        raise BadInput(f"{where}.content must be a text that is not empty.", code="bad_parameter")
    if len(content) > MAX_MESSAGE_CHARS:
        raise BadInput(f"{where}.content is longer than {MAX_MESSAGE_CHARS} characters.", code="bad_parameter")
    return Message("user" if role == "user" else "assistant", content.strip())
