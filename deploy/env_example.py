"""Generator of `.env.example`, and of the list of settings in docker-compose.yml, from the settings.

`python -m deploy.env_example` writes them; tests/test_env_example.py fails if they differ.
"""

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from pipeline.settings import HOME, PARTS, Settings, names

WIDTH = 120

HEADER = """\
Parley's settings. Copy this file to .env and uncomment what you change. Each line shows the default.
Generated from the docstrings in pipeline/settings/ by `python -m deploy.env_example`.
"""


def image(variable: str) -> str:
    """Return the default of a variable in docker-compose.yml, where the images are pinned by digest. Raises ValueError
    if the file lacks the variable."""
    found = re.search(rf"\$\{{{variable}:-([^}}]+)\}}", (HOME / "docker-compose.yml").read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"docker-compose.yml has no default for {variable}")
    return found[1]


FIRST = (
    "host", "port", "api_keys", "speech_language", "whisper_model", "whisper_device", "llama_model", "llama_endpoint",
    "voice_name", "database_url",
)  # fmt: skip
"""The settings that most deployments change: they come first."""

COMPOSE: list[tuple[str, str, str]] = [
    ("IMAGE", "parley", "The image to run: built here under this name, or pulled from Docker Hub."),
    ("COMPOSE_FILE", "docker-compose.yml", "With an NVIDIA GPU: docker-compose.yml:docker-compose.gpu.yml."),
    ("EXTRAS", "", "Extras to build into the image, separated by commas: docs/docker.md."),
    ("BASE", image("BASE"), "The base image: Debian with Python 3.11."),
    (
        "PUBLISH",
        "127.0.0.1",
        "Address of the host to publish PORT on. Set API_KEYS before you publish to an address other than loopback: "
        "without keys, every client that reaches the port can use the service.",
    ),
    ("STOP_GRACE", "40s", "Time for a stopped container to end; must be more than DRAIN_SECONDS."),
    ("OLLAMA_IMAGE", image("OLLAMA_IMAGE"), "The image of the ollama-ai container."),
    (
        "DOCKER_LLAMA_ENDPOINT",
        "http://ollama-ai:11434",
        "Ollama's address as seen by the api container. Compose uses it instead of LLAMA_ENDPOINT, which is often "
        "localhost: inside a container that is the container itself.",
    ),
    ("OLLAMA_NUM_PARALLEL", "1", "Number of requests that the ollama-ai container serves at a time."),
    (
        "WORKER_JOBS",
        "1",
        "Number of jobs that each worker container runs at a time (the profile team; deploy/team.env).",
    ),
    (
        "POSTGRES_PASSWORD",
        "parley",
        "Password of the postgres container (profile team); DATABASE_URL has it, too. In docker-compose.cluster.yml "
        "without a default.",
    ),
    ("POSTGRES_IMAGE", image("POSTGRES_IMAGE"), "The image of PostgreSQL."),
    ("REDIS_IMAGE", image("REDIS_IMAGE"), "The image of Redis."),
    ("REDIS_PASSWORD", "", "Password of the redis container of docker-compose.cluster.yml, which needs it."),
    ("RAY_NODE_CPUS", "8", "Replicas of models on each node of docker-compose.cluster.yml."),
    ("HAPROXY_IMAGE", "haproxy:3.2", "The image of the balancer of docker-compose.cluster.yml."),
    ("METRICS_KEY", "", "A key with the permission 'admin' for Prometheus (profile observe), if API_KEYS is set."),
    ("GRAFANA_PASSWORD", "", "Password of Grafana's user admin; empty: admin, to be changed at the first login."),
    ("GRAFANA_PORT", "3000", "Port of this machine on which Grafana is published."),
    ("PROMETHEUS_IMAGE", image("PROMETHEUS_IMAGE"), "The image of Prometheus."),
    ("GRAFANA_IMAGE", image("GRAFANA_IMAGE"), "The image of Grafana."),
]
"""Variables that only Docker Compose reads: name, default, description. More in docs/docker.md."""

OTHERS: list[tuple[str, str]] = [
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "URL to send traces to, by OTLP over HTTP (http://localhost:4318); empty: none.",
    ),
    ("OTEL_EXPORTER_OTLP_HEADERS", "Headers for collectors that require a key: name=value,name=value."),
    ("OTEL_SERVICE_NAME", "Name of the service in traces; empty: parley."),
    ("OTEL_RESOURCE_ATTRIBUTES", "Further attributes of the service: name=value,name=value."),
    ("OTEL_TRACES_SAMPLER", "Sampler of traces; parentbased_traceidratio keeps a share of them."),
    ("OTEL_TRACES_SAMPLER_ARG", "Share of traces to keep: 0.1."),
    (
        "COQUI_TOS_AGREED",
        "1: accept the Coqui Public Model License (non-commercial) of XTTS's weights; required to download them.",
    ),
    ("TRIGGER_API_URL", "URL of your own Trigger.dev; empty: https://api.trigger.dev."),
]
"""Some of OpenTelemetry's own variables, which are read with the extra `otel`, one of coqui-tts and one of
Trigger.dev."""

TIME_ZONE = "TZ"
"""The system's own variable; Docker Compose passes it to the containers."""

COMPOSE_DEFAULTS = {
    "ALLOW_ANONYMOUS": "true",
    "LLAMA_PULL": "true",
    "DATABASE_URL": "sqlite:////app/data/parley.db",
    "WEBRTC_UDP_PORTS": "20000-20031",
    "WEBRTC_ADDRESS": "127.0.0.1",
}
"""Settings with another default under Docker Compose, which publishes to this machine only, and brings Ollama and a
volume."""

COMPOSE_FIXED = {
    "HOST": "0.0.0.0",  # noqa: S104  # inside its container
    "LLAMA_ENDPOINT": "http://ollama-ai:11434",
    "MODELS_DIR": "/app/models",
    "VOICES_DIR": "/app/data/voices",
    "UPLOAD_DIR": "/app/data/uploads",
    "RECORDINGS_DIR": "/app/data/recordings",
}
"""Settings that Docker Compose sets itself, and does not take from .env."""

HANDED_THROUGH = "# From here on: passed through from .env or the shell, if set there."


def sections() -> Iterator[tuple[str, list[str]]]:
    """Yield the settings in their order, under the `# --- … ---` comments of their classes."""
    title, fields = "", list[str]()
    for line in "".join(inspect.getsource(part) for part in PARTS).splitlines():
        if heading := re.fullmatch(r"    # --- (.+) ---", line):
            if fields:
                yield title, fields
            title, fields = heading[1], []
        elif (field := re.match(r"    (\w+):", line)) and field[1] in Settings.model_fields:
            fields.append(field[1])
    if fields:
        yield title, fields


def written(value: Any) -> str:
    """Format a default so that all readers of environment files understand it the same way."""
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
        raise ValueError(f"not all readers of environment files understand it the same way: {text!r}")
    return f"'{text}'" if re.search(r"[\s#\"]", text) else text


def choices(info: FieldInfo) -> str:
    """List the values of a setting that takes only a few."""
    literal = next((a for a in (info.annotation, *get_args(info.annotation)) if get_origin(a) is Literal), None)
    return f"One of: {', '.join(str(c) for c in get_args(literal) if c is not NoneType)}." if literal else ""


def comment(*sentences: str) -> list[str]:
    text = " ".join(part for sentence in sentences for part in sentence.split())
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def describe(field: str) -> list[str]:
    """Return the lines of one setting."""
    info = Settings.model_fields[field]
    name, *synonyms = names(field)
    default = info.get_default(call_default_factory=True)
    also = f"Also: {', '.join(synonyms)}." if synonyms else ""
    compose = f"Under Docker Compose: {COMPOSE_DEFAULTS[name]}." if name in COMPOSE_DEFAULTS else ""
    fixed = f"Docker Compose sets {COMPOSE_FIXED[name]}." if name in COMPOSE_FIXED else ""
    return [*comment(info.description or "", choices(info), also, compose, fixed), f"#{name}={written(default)}"]


def render() -> str:
    """Return the whole file."""
    lines = [*(f"# {line}" for line in HEADER.splitlines()), ""]
    for title, fields in (("most deployments need only these", FIRST), *sections()):
        lines += [f"# --- {title} ---"]
        for field in fields:
            if fields is FIRST or field not in FIRST:
                lines += describe(field)
        lines.append("")
    lines.append("# --- Docker Compose only ---")
    for name, default, text in COMPOSE:
        lines += [*comment(text), f"#{name}={written(default)}"]
    zone = "Time zone (Europe/Lisbon). Without Docker Compose, set it in the environment of the service."
    lines += [*comment(zone), f"#{TIME_ZONE}="]
    lines += [
        "",
        "# --- variables of other programs: OpenTelemetry (extra otel, docs/operations.md), coqui-tts, Trigger.dev ---",
    ]
    for name, text in OTHERS:
        lines += [*comment(text), f"#{name}="]
    return "\n".join(lines) + "\n"


def compose_with_settings(text: str) -> str:
    """Rewrite docker-compose.yml to pass through every setting that it does not set: the lines after HANDED_THROUGH."""
    head, mark, rest = text.partition(HANDED_THROUGH)
    if not mark:
        raise ValueError(f"docker-compose.yml lacks the line {HANDED_THROUGH!r}")
    own = {"PORT", *COMPOSE_DEFAULTS, *COMPOSE_FIXED}
    listed = [name for _, fields in sections() for field in fields for name in names(field) if name not in own]
    listed += [TIME_ZONE, *(name for name, _ in OTHERS)]
    tail = re.sub(r"\A(\n +\w+:)*", "", rest)
    return head + mark + "".join(f"\n      {name}:" for name in listed) + tail


if __name__ == "__main__":
    (HOME / ".env.example").write_text(render(), encoding="utf-8")
    compose = HOME / "docker-compose.yml"
    compose.write_text(compose_with_settings(compose.read_text(encoding="utf-8")), encoding="utf-8")
