"""Which web pages may call: a browser sends its visitor's requests for any page that asks it to."""

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from pipeline.errors import ParleyError
from pipeline.settings import Settings

RESERVED = (".localhost", ".local", ".internal", ".home.arpa")
"""Names under these never come from a public DNS."""


class Origins:
    """Pages from the service's own address, and those of ALLOWED_ORIGINS."""

    def __init__(self, settings: Settings, *, keys: bool) -> None:
        """keys: whether callers must have one; foreign pages have none."""
        self.allowed = {origin.strip().rstrip("/") for origin in settings.allowed_origins.split(",") if origin.strip()}
        self._hosts = {urlsplit(origin).hostname for origin in self.allowed}
        self._keys = keys

    def check(self, connection: HTTPConnection) -> None:
        """Raises ParleyError: forbidden_origin, forbidden_host."""
        if not self.good_host(connection):
            raise ParleyError(
                "Without keys the service does not answer to this name. Use its address, or name it in ALLOWED_ORIGINS "
                "(http://NAME:PORT), or set API_KEYS.",
                code="forbidden_host",
            )
        if not self.good_origin(connection):
            raise ParleyError("Pages of this origin may not connect; see ALLOWED_ORIGINS.", code="forbidden_origin")

    def good_origin(self, connection: HTTPConnection) -> bool:
        """Whether a browser's page may connect. Programs send no Origin."""
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
        """Whether the caller means us. A name may be made to point here after a page was loaded from it (DNS
        rebinding), and then this page reads what it likes without an Origin; an address cannot be made so. Names that
        no public DNS has can be: by the network that a browser is in, or another machine in it. They are for programs.
        Keys protect from that, too: a foreign page does not have one."""
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
        """Whether a browser sends this for a page that is not allowed. Where it says whose request it is (`none`: its
        user's), that counts; it does not over plain HTTP, nor does an older one."""
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
    """Of a page; "" for what is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""


def _could_be_anybodys(host: str) -> bool:
    """Whether this name may be in a stranger's DNS: it has a dot, is no address, and not reserved."""
    return "." in host and not host.endswith(RESERVED) and not _is_address(host)


def _is_address(host: str) -> bool:
    """Whether this is this machine or an IP address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
