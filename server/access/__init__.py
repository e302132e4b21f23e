"""The locked door: who comes in, with which rights, how many and how often.

`door.py` stands before every route and socket and asks the others, in this order:

    rights.py    what a path asks for: nothing, or a right; what is not listed asks for the highest
    origins.py   whether a web page of this origin may call
    keys.py jwts.py page_tokens.py   whose key it is
    rates.py     whether the caller comes too often
    places.py    whether there is a place for one more conversation
    counted.py   and for one more upload, or recording that is transcribed
    bodies.py    how large a body may be, and how slowly it may come
    staying.py   whether who is inside may stay

Connections that never become a request are `server.patience`'s.
"""

from server.access.access import Access, check_exposure
from server.access.callers import Caller, Right, caller_of, require_key
from server.access.door import Door
from server.access.staying import Revoked, stay_of

__all__ = ["Access", "Caller", "Door", "Revoked", "Right", "caller_of", "check_exposure", "require_key", "stay_of"]
