"""Headers by which a client says what it accepts (RFC 9110, 12.5)."""


def wants_html(accept: str) -> bool:
    """Whether this Accept header prefers HTML to JSON. `*/*` alone comes from a program."""
    weights = _weights(accept)
    html = weights.get("text/html", 0.0)
    return html > 0 and html >= weights.get("application/json", 0.0)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client with this Accept-Encoding header accepts gzip."""
    weights = _weights(accept_encoding)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weights(header: str) -> dict[str, float]:
    """Return the weight of each choice; 0 for one that cannot be read."""
    weights = {}
    for choice in header.lower().split(","):
        name, *parameters = (part.strip() for part in choice.split(";"))
        weights[name] = _weight(parameters)
    return weights


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
