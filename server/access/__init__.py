"""The locked door: who comes in, with which rights, how many and how often.

`door.py` stands before every route and socket and asks the others, in this order:

    rights.py    what a path asks for: nothing, or a right; what is not listed asks for the highest
    origins.py   whether a web page of this origin may call
    keys.py jwts.py page_tokens.py   whose key it is
    rates.py     whether the caller comes too often
    budgets.py   whether there is room for what is held: bytes and places, counted by counted.py and places.py
    bodies.py    how large a body may be, and how slowly it may come
    staying.py   whether who is inside may stay

Connections that never become a request are `server.patience`'s.
"""

from server.access.access import Access, check_exposure
from server.access.budgets import Budgets, budgets_of
from server.access.callers import Caller, Right, caller_of, require_key
from server.access.counted import held_of
from server.access.door import Door
from server.access.staying import Revoked, stay_of

__all__ = [
    "Access", "Budgets", "Caller", "Door", "Revoked", "Right", "budgets_of", "caller_of", "check_exposure", "held_of",
    "require_key", "stay_of",
]  # fmt: skip
