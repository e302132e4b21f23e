"""Types of JSON values."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"
"""Any JSON value. Read-only, so that an object of a narrower type, such as `dict[str, str]`, is one."""
JsonObject: TypeAlias = dict[str, Json]
"""A JSON object that is built or changed in place."""
