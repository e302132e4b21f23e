"""Whether who is inside may stay: a key that is taken back, or a JWT that runs out, ends what it has opened."""

import asyncio
import math
import time

from starlette.requests import HTTPConnection

from pipeline.errors import ParleyError
from server.access.access import Access
from server.access.callers import Caller, Right, caller_of
from server.access.keys import LOOK_EVERY_S
from server.access.rights import Rule

SCOPE = "parley.stay"
"""Where in an ASGI scope the door leaves it."""
CLOSE_CODE = 1008
""""Policy Violation": connecting again with the same key is of no use."""
LOOKS = 2
"""So often in a row a key must be missing: a file that is just being written is no reason to end conversations."""


class Revoked(ParleyError):
    """The key was good when the connection was opened, and is not any more."""

    code = "unauthorized"
    openai_code = "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("This key is not good any more.")


def stay_of(connection: HTTPConnection) -> "Stay":
    """Of whom the door let in. Raises ParleyError (unauthorized) where there is no door."""
    caller_of(connection)
    stay = connection.scope[SCOPE]
    assert isinstance(stay, Stay)  # noqa: S101  # beside the caller
    return stay


class Stay:
    """The stay of one connection. Looks when it is asked, and at the key no more often than every LOOK_EVERY_S."""

    def __init__(self, access: Access, caller: Caller, rule: Rule) -> None:
        """rule: of the path that the caller was let in to."""
        self._access, self._caller = access, caller
        self._right = rule.needed if isinstance(rule.needed, Right) else None
        self._looked_at = -math.inf
        self._missed = 0

    @property
    def ends(self) -> bool:
        """Whether it can be over before the connection is; not for who came in without a key."""
        return self._caller.known

    @property
    def over(self) -> bool:
        """Whether the key would not open this connection any more."""
        if time.time() >= self._caller.until:
            return True
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            self._missed = 0 if self._access.holds(self._caller, self._right) else self._missed + 1
        return self._missed >= LOOKS

    async def end(self) -> None:
        """Wait until it is over: for some seconds after the key was taken back, or for ever."""
        if not self.ends:
            await asyncio.Event().wait()
        while not self.over:  # noqa: ASYNC110  # a file tells nobody that it has changed
            await asyncio.sleep(max(0.0, min(LOOK_EVERY_S, self._caller.until - time.time())))
