"""Access control: authentication, permissions, rate limits and budgets.

`middleware.py` runs before every route and socket. It uses the other modules in this order:

    rules.py     the permission that each path needs; an unlisted path needs the highest
    origins.py   which origins of web pages may call
    keys.py jwts.py page_tokens.py   authentication
    rates.py     rate limits
    work_pace.py   CPU time
    budgets.py   memory and slots, counted by limits.py and slots.py
    bodies.py    the maximum size and minimum speed of a body
    revocation.py   the end of open connections whose key was revoked or has expired

`server.http.uvicorn_protocols` handles connections that never become a request.
"""

from server.access.access import Access, check_exposure
from server.access.budgets import Budgets, budgets_of
from server.access.callers import Caller, Permission, caller_of, require_key
from server.access.client_secrets import bound_session
from server.access.limits import held_of
from server.access.middleware import AccessMiddleware
from server.access.revocation import Revoked, stay_of
from server.access.work_pace import paced

__all__ = [
    "Access",
    "AccessMiddleware",
    "Budgets",
    "Caller",
    "Permission",
    "Revoked",
    "bound_session",
    "budgets_of",
    "caller_of",
    "check_exposure",
    "held_of",
    "paced",
    "require_key",
    "stay_of",
]  # fmt: skip
