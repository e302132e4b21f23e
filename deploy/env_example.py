"""Makes `.env.example`, and the list of settings in docker-compose.yml, from the settings themselves.

`python -m deploy.env_example` writes them; tests/test_env_example.py fails when they differ.
"""

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from pipeline.settings import HOME, Settings

WIDTH = 120

HEADER = """\
Parley's settings. Copy this file to .env and uncomment what you change: what is not set has the value shown.
Made from the docstrings in pipeline/settings.py by `python -m deploy.env_example`.
"""


def image(variable: str) -> str:
    """What docker-compose.yml takes where this variable is not set: its images are pinned there, by digest. Raises
    ValueError when it does not have the variable."""
    found = re.search(rf"\$\{{{variable}:-([^}}]+)\}}", (HOME / "docker-compose.yml").read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"docker-compose.yml has no default for {variable}")
    return found[1]


COMPOSE: list[tuple[str, str, str]] = [
    ("IMAGE", "parley", "The image to run: one built here under this name, or one pulled from Docker Hub."),
    ("COMPOSE_FILE", "docker-compose.yml", "With an NVIDIA GPU: docker-compose.yml:docker-compose.gpu.yml."),
    ("EXTRAS", "", "Engines to build into the image beside the default ones: xtts, pocket or xtts,pocket."),
    ("BASE", image("BASE"), "The image to build upon: Debian with Python 3.11."),
    (
        "PUBLISH",
        "127.0.0.1",
        "Address of the host to publish PORT on. Before it is any but loopback, set API_KEYS: whoever reaches the port "
        "may use the service else.",
    ),
    ("STOP_GRACE", "40s", "How long a container that is stopped may take: more than DRAIN_SECONDS."),
    ("OLLAMA_IMAGE", image("OLLAMA_IMAGE"), "The image of the ollama-ai container."),
    (
        "DOCKER_LLAMA_ENDPOINT",
        "http://ollama-ai:11434",
        "Ollama's address as the api container sees it. Compose uses this one in place of LLAMA_ENDPOINT, which is "
        "often localhost: inside a container that is the container itself.",
    ),
    ("OLLAMA_NUM_PARALLEL", "1", "How many conversations the ollama-ai container answers at a time."),
    ("WORKER_JOBS", "1", "Jobs that each worker container does at a time (the profile team; deploy/team.env)."),
    ("POSTGRES_PASSWORD", "parley", "Of the postgres container (the profile team); the same stands in DATABASE_URL."),
    ("POSTGRES_IMAGE", image("POSTGRES_IMAGE"), "The image of PostgreSQL."),
    ("REDIS_IMAGE", image("REDIS_IMAGE"), "The image of Redis."),
    ("METRICS_KEY", "", "A key with the right admin, for Prometheus (the profile observe), where API_KEYS is set."),
    ("GRAFANA_PASSWORD", "", "Of Grafana's user admin; empty: admin, to be changed at the first login."),
    ("GRAFANA_PORT", "3000", "Where Grafana is published on this machine."),
    ("PROMETHEUS_IMAGE", image("PROMETHEUS_IMAGE"), "The image of Prometheus."),
    ("GRAFANA_IMAGE", image("GRAFANA_IMAGE"), "The image of Grafana."),
]
"""Read by Docker Compose alone: name, default, what it is. docs/docker.md tells more."""

TRACES: list[tuple[str, str]] = [
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "Where traces are sent, by OTLP over HTTP (http://localhost:4318); empty: nowhere.",
    ),
    ("OTEL_EXPORTER_OTLP_HEADERS", "What is sent along, for collectors that want a key: name=value,name=value."),
    ("OTEL_SERVICE_NAME", "What the service is called there; empty: parley."),
    ("OTEL_RESOURCE_ATTRIBUTES", "What else is said of it: name=value,name=value."),
    ("OTEL_TRACES_SAMPLER", "Which traces are kept; parentbased_traceidratio: a share of them."),
    ("OTEL_TRACES_SAMPLER_ARG", "That share: 0.1."),
]
"""OpenTelemetry's own variables, of which there are more; read with the extra `otel`."""

COMPOSE_DEFAULTS = {
    "ALLOW_ANONYMOUS": "true",
    "LLAMA_PULL": "true",
    "DATABASE_URL": "sqlite:////app/data/parley.db",
}
"""Settings whose default under Docker Compose is another: it publishes to this machine only, and brings Ollama and a
volume."""

COMPOSE_FIXED = {
    "HOST": "0.0.0.0",  # noqa: S104  # inside its container
    "LLAMA_ENDPOINT": "http://ollama-ai:11434",
    "MODELS_DIR": "/app/models",
    "VOICES_DIR": "/app/voices",
    "AUDIOS_DIR": "/app/audios",
    "UPLOAD_DIR": "/app/data/uploads",
    "RECORDINGS_DIR": "/app/data/recordings",
}
"""Settings that Docker Compose decides itself, and does not take from .env."""

HANDED_THROUGH = "# From here on: handed through from .env or the shell, where they are set there."


def names(field: str) -> list[str]:
    """The environment names of a setting: its own, then its synonyms."""
    alias = Settings.model_fields[field].validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or field]
    return [choice.upper() for choice in choices if isinstance(choice, str)]


def sections() -> Iterator[tuple[str, list[str]]]:
    """The settings in their order, under the `# --- … ---` comments of their class."""
    title, fields = "", list[str]()
    for line in inspect.getsource(Settings).splitlines():
        if heading := re.fullmatch(r"    # --- (.+) ---", line):
            if fields:
                yield title, fields
            title, fields = heading[1], []
        elif (field := re.match(r"    (\w+):", line)) and field[1] in Settings.model_fields:
            fields.append(field[1])
    if fields:
        yield title, fields


def written(value: Any) -> str:
    """A default as it stands in an environment file, which all of its readers understand the same way."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path) and value.is_relative_to(HOME):
        return str(value.relative_to(HOME))
    if isinstance(value, list | tuple | dict):
        return json.dumps(value)
    text = str(value)
    if "$" in text or "'" in text or "\n" in text:
        raise ValueError(f"cannot be written so that every reader of environment files agrees: {text!r}")
    return f"'{text}'" if re.search(r"[\s#\"]", text) else text


def choices(info: FieldInfo) -> str:
    """The values a setting takes, where they are few."""
    literal = next((a for a in (info.annotation, *get_args(info.annotation)) if get_origin(a) is Literal), None)
    return f"One of: {', '.join(str(c) for c in get_args(literal) if c is not NoneType)}." if literal else ""


def comment(*sentences: str) -> list[str]:
    text = " ".join(part for sentence in sentences for part in sentence.split())
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def describe(field: str) -> list[str]:
    """The lines of one setting."""
    info = Settings.model_fields[field]
    name, *synonyms = names(field)
    default = info.get_default(call_default_factory=True)
    also = f"Also: {', '.join(synonyms)}." if synonyms else ""
    compose = f"Under Docker Compose: {COMPOSE_DEFAULTS[name]}." if name in COMPOSE_DEFAULTS else ""
    fixed = f"Docker Compose sets {COMPOSE_FIXED[name]}." if name in COMPOSE_FIXED else ""
    return [*comment(info.description or "", choices(info), also, compose, fixed), f"#{name}={written(default)}"]


def render() -> str:
    """The whole file."""
    lines = [*(f"# {line}" for line in HEADER.splitlines()), "", "# --- Docker Compose only ---"]
    for name, default, text in COMPOSE:
        lines += [*comment(text), f"#{name}={written(default)}"]
    for title, fields in sections():
        lines += ["", f"# --- {title} ---"]
        for field in fields:
            lines += describe(field)
    lines += ["", "# --- traces: OpenTelemetry's own variables, with the extra otel (docs/operations.md) ---"]
    for name, text in TRACES:
        lines += [*comment(text), f"#{name}="]
    return "\n".join(lines) + "\n"


def compose_with_settings(text: str) -> str:
    """A docker-compose.yml that hands through every setting it does not set itself: the lines after HANDED_THROUGH."""
    head, mark, rest = text.partition(HANDED_THROUGH)
    if not mark:
        raise ValueError(f"docker-compose.yml lacks the line {HANDED_THROUGH!r}")
    own = {"PORT", *COMPOSE_DEFAULTS, *COMPOSE_FIXED}
    listed = [name for _, fields in sections() for field in fields for name in names(field) if name not in own]
    listed += [name for name, _ in TRACES]
    tail = re.sub(r"\A(\n +\w+:)*", "", rest)
    return head + mark + "".join(f"\n      {name}:" for name in listed) + tail


if __name__ == "__main__":
    (HOME / ".env.example").write_text(render(), encoding="utf-8")
    compose = HOME / "docker-compose.yml"
    compose.write_text(compose_with_settings(compose.read_text(encoding="utf-8")), encoding="utf-8")
