"""The requested response that cannot begin yet."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace

from pipeline.conversation.session import Session
from server.realtime.errors import RealtimeError
from server.realtime.responses import Response, Wanted
from server.realtime.server_events import Translation

Start = Callable[[Coroutine[object, object, None]], None]


@dataclass(frozen=True, slots=True)
class Deferred:
    """A requested response that cannot begin yet."""

    after: Response | None
    """The response after whose end this one begins. None: it begins after the user's utterance, as the response to
    it."""
    wanted: Wanted
    request: Callable[[], Coroutine[object, object, None]]
    """Requests the response again."""


class Deferral:
    """Holds the deferred response of one session, at most one, and begins it."""

    def __init__(self, live: Session, translation: Translation, start: Start) -> None:
        """start: runs the request as a task of the session."""
        self._live, self._translation, self._start = live, translation, start
        self._deferred: Deferred | None = None

    def defer(self, wanted: Wanted, request: Callable[[], Coroutine[object, object, None]]) -> bool:
        """Defer this response if it cannot begin now; return whether it was deferred.

        It is deferred while the current response still speaks after handing a function to the client: it then comes
        next. It is also deferred while the user speaks, so as not to interrupt them: it then becomes the response to
        their utterance, with the requested options. If it has its own input, it comes after that response.
        """
        running = self._translation.response
        if self._live.answering:
            if running is None or not running.handed_over:
                return False
        elif not self._live.hearing:
            return False
        known = self._deferred
        if known is not None and known.after is running:
            if running is not None:
                return False
            if wanted.plain:
                return True
            if not known.wanted.plain:
                raise RealtimeError(
                    "A response to the user's current utterance was already requested.",
                    code="conversation_already_has_active_response",
                )
        self._deferred = Deferred(running, wanted, request)
        self._answer_in_its_way()
        return True

    def ended(self, response: Response | None) -> None:
        """Handle the end of a response of the conversation (None: the utterance has no response). Called from within
        the conversation, which has not finished the turn yet.
        """
        self._translation.answers_with = None
        deferred = self._deferred
        if deferred is None:
            return
        if response is not None and response is not deferred.after and deferred.wanted.messages is None:
            self._deferred = None  # the reply to the user also covers the function's result
        else:
            asyncio.get_running_loop().call_soon(self._begin)

    def clear(self) -> None:
        """Drop the deferred response: the client is gone."""
        self._deferred = None

    def _answer_in_its_way(self) -> None:
        """Use the deferred response's options for the reply to the user's current utterance."""
        deferred = self._deferred
        if deferred is None or deferred.after is not None:
            return
        wanted = deferred.wanted
        if wanted.messages is None and not wanted.plain:
            self._live.answer_in(wanted.reply_options)
            self._translation.answers_with = wanted.asked

    def _begin(self) -> None:
        if self._deferred is None:
            return
        if self._live.hearing:
            self._deferred = replace(self._deferred, after=None)
            self._answer_in_its_way()
            return
        deferred, self._deferred = self._deferred, None
        self._start(deferred.request())
