"""Restriction of callers by web origin: a browser sends requests in its user's network for any page that asks it to."""

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from pipeline.errors import ParleyError
from pipeline.settings import Settings

RESERVED = (".localhost", ".local", ".internal", ".home.arpa")
"""Suffixes of names that never come from the public DNS."""


class Origins:
    """The allowed origins: the service's own address, and ALLOWED_ORIGINS."""

    def __init__(self, settings: Settings, *, keys: bool) -> None:
        """keys: whether callers must have a key; foreign pages do not have one."""
        self.allowed = {origin.strip().rstrip("/") for origin in settings.allowed_origins.split(",") if origin.strip()}
        self._hosts = {urlsplit(origin).hostname for origin in self.allowed}
        self._keys = keys

    def check(self, connection: HTTPConnection) -> None:
        """Raises ParleyError: forbidden_origin, forbidden_host."""
        if not self.good_host(connection):
            raise ParleyError(
                "Without keys the service rejects requests to this host name. Use its address, or add the name to "
                "ALLOWED_ORIGINS (http://NAME:PORT), or set API_KEYS.",
                code="forbidden_host",
            )
        if not self.good_origin(connection):
            raise ParleyError("Pages of this origin may not connect; see ALLOWED_ORIGINS.", code="forbidden_origin")

    def good_origin(self, connection: HTTPConnection) -> bool:
        """Whether the page that a browser connects for is allowed. Other programs do not send an Origin."""
        origin = connection.headers.get("origin")
        if origin is None or origin in self.allowed or "*" in self.allowed:
            return True
        try:
            page = urlsplit(origin)
        except ValueError:
            return False
        if page.netloc != connection.headers.get("host"):
            return False
        return self._keys or _is_address(page.hostname or "")

    def good_host(self, connection: HTTPConnection) -> bool:
        """Whether the request's host name is trusted. An attacker can point a name at this service after a browser has
        loaded a page from it (DNS rebinding); that page then reads everything without sending an Origin. This is not
        possible with an IP address. Names outside the public DNS can be redirected by the browser's network or another
        machine in it, so only programs may use them. Keys protect against this, too: a foreign page does not have
        one."""
        if self._keys or "*" in self.allowed:
            return True
        hosts = connection.headers.getlist("host")
        host = _hostname(hosts[0] if hosts else "")
        if host is None or len(hosts) > 1:
            return False
        if host in self._hosts or _is_address(host):
            return True
        return not _could_be_anybodys(host) and not self._from_a_page(connection)

    def _from_a_page(self, connection: HTTPConnection) -> bool:
        """Whether a browser sends this request for a page that is not allowed. Sec-Fetch-Site decides if it is present
        (`none`: the browser's user made the request); browsers omit it over plain HTTP, and older ones always do."""
        headers = connection.headers
        if self.allowed & {headers.get("origin", ""), _origin(headers.get("referer", ""))}:
            return False
        if (site := headers.get("sec-fetch-site")) is not None:
            return site.strip().lower() != "none"
        browser = headers.get("user-agent", "").strip().lower().startswith("mozilla/")
        return browser or "origin" in headers or "referer" in headers


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return None


def _origin(url: str) -> str:
    """Return the origin of a page's URL, or "" if it is not one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""


def _could_be_anybodys(host: str) -> bool:
    """Whether an attacker's DNS could serve this name: it has a dot, is not an address and is not reserved."""
    return "." in host and not host.endswith(RESERVED) and not _is_address(host)


def _is_address(host: str) -> bool:
    """Whether the host is this machine's name or an IP address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
