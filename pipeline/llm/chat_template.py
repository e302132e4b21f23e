"""Renders a conversation with a model's own chat template (Jinja), as Hugging Face's tokenisers do.

The template comes with the model, so it runs in a sandbox: it can neither import nor change anything. The limits of
time and memory are in `template_process`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.errors import EngineError
from pipeline.llm.chat_message import ChatMessage
from pipeline.support.json_types import Json

TOOLS = re.compile(r"\btools\b")
"""Matches in templates that can offer functions."""


class ChatTemplate:
    """One model's template."""

    def __init__(self, source: str, special: Mapping[str, str], tokens: Sequence[str]) -> None:
        """special: the tokens with a name, such as `bos_token`. tokens: all special tokens. Raises EngineError when the
        template is malformed."""
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
        try:
            self._template = environment.from_string(source)
        except Exception as error:  # among others RecursionError for a template that is nested too deeply
            raise EngineError(f"The model's chat template is malformed: {str(error)[:200]}.") from None
        self._special = dict(special)
        self._tokens = re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True)))) if tokens else None
        self.offers_tools = TOOLS.search(source) is not None
        """Whether the model can call functions."""

    def render(
        self, messages: Sequence[ChatMessage], tools: Sequence[Mapping[str, Json]], *, reply: bool = True
    ) -> str:
        """Return the prompt. messages, tools: in OpenAI's form, with parsed arguments. reply: the prompt ends where the
        reply begins. Raises EngineError."""
        told = [self._harmless(message) for message in messages]
        try:
            return self._rendered(told, tools, reply=reply)
        except Exception as error:  # the template is a foreign program
            if not told or told[0]["role"] != "system":
                raise EngineError(f"The model's chat template fails: {str(error)[:200]}.") from error
        try:
            return self._rendered(_without_system(told), tools, reply=reply)  # Gemma's template refuses the role
        except Exception as error:
            raise EngineError(f"The model's chat template fails: {str(error)[:200]}.") from error

    def _rendered(self, messages: Sequence[ChatMessage], tools: Sequence[Mapping[str, Json]], *, reply: bool) -> str:
        offered = list(tools) if tools and self.offers_tools else None
        return self._template.render(
            messages=messages, tools=offered, add_generation_prompt=reply, enable_thinking=False, **self._special
        )

    def _harmless(self, message: ChatMessage) -> ChatMessage:
        """Split special tokens in the text: a document that a tool returns must not be able to end its message."""
        split = message.copy()
        if self._tokens is not None:
            split["content"] = self._tokens.sub(lambda found: found[0][0] + " " + found[0][1:], message["content"])
        return split


def _without_system(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Move the system message into the user's first one."""
    system, *rest = messages
    if not rest:
        return [{"role": "user", "content": system["content"]}]
    return [{**rest[0], "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


def _json(value: object, indent: int | None = None) -> str:
    """Return plain JSON: Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)
