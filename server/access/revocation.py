"""End of open connections whose key was revoked or whose JWT has expired."""

import asyncio
import math
import time

from starlette.requests import HTTPConnection

from pipeline.errors import ParleyError
from server.access.access import Access
from server.access.callers import Caller, Permission, caller_of
from server.access.keys import LOOK_EVERY_S
from server.access.rules import Rule

SCOPE = "parley.stay"
"""Key in an ASGI scope under which `AccessMiddleware` stores the `Stay`."""
CLOSE_CODE = 1008
""""Policy Violation": reconnecting with the same key has no effect."""
LOOKS = 2
"""Number of checks in a row that must miss a key: a file that is just being written must not end conversations."""


class Revoked(ParleyError):
    """The key was valid when the connection was opened, but no longer is."""

    code = "unauthorized"
    openai_code = "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("This key is no longer valid.")


def stay_of(connection: HTTPConnection) -> "Stay":
    """Return the `Stay` of an admitted connection. Raises ParleyError (unauthorized) if the connection did not pass
    through `AccessMiddleware`."""
    caller_of(connection)
    stay = connection.scope[SCOPE]
    assert isinstance(stay, Stay)  # noqa: S101  # beside the caller
    return stay


class Stay:
    """The continuing permission of one connection. Checks the key on demand, at most every LOOK_EVERY_S."""

    def __init__(self, access: Access, caller: Caller, rule: Rule) -> None:
        """rule: the rule of the connection's path."""
        self._access, self._caller = access, caller
        self._right = rule.needed if isinstance(rule.needed, Permission) else None
        self._looked_at = -math.inf
        self._missed = 0

    @property
    def ends(self) -> bool:
        """Whether the permission can end before the connection does. It cannot for callers without a key."""
        return self._caller.known

    @property
    def over(self) -> bool:
        """Whether the key no longer permits this connection."""
        if time.time() >= self._caller.until:
            return True
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            self._missed = 0 if self._access.holds(self._caller, self._right) else self._missed + 1
        return self._missed >= LOOKS

    async def end(self) -> None:
        """Wait until the permission has ended: until some seconds after the key was revoked, or forever."""
        if not self.ends:
            await asyncio.Event().wait()
        while not self.over:  # noqa: ASYNC110  # a file does not notify of its changes
            await asyncio.sleep(max(0.0, min(LOOK_EVERY_S, self._caller.until - time.time())))
