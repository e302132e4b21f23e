"""The time where the service is."""

import os
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def time_zone() -> tzinfo | None:
    """Return the time zone of the variable TZ, also where the system has no time zones, as in a slim container; None:
    the machine's own."""
    try:
        return ZoneInfo(os.environ.get("TZ", ""))
    except (ZoneInfoNotFoundError, ValueError, OSError):  # not set, or in POSIX's own notation
        return None


def local_time() -> datetime:
    """Return the time now, in the time zone of the variable TZ or of the machine."""
    return datetime.now(UTC).astimezone(time_zone())
