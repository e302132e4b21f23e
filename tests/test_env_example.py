"""`.env.example` and the Compose files agree with the settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from deploy.env_example import (
    COMPOSE,
    COMPOSE_DEFAULTS,
    COMPOSE_FIXED,
    OTHERS,
    TIME_ZONE,
    compose_with_settings,
    render,
)
from pipeline.settings import HOME, Settings, names

EXAMPLE = HOME / ".env.example"
COMPOSE_FILES = [HOME / name for name in ("docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.cluster.yml")]

# Settings documented by the services that Parley replaces: name, value, field, meaning.
DOCUMENTED = [
    ("PORT", "8000", "port", 8000),
    ("LLAMA_MODEL", "nome_do_modelo_llama", "llama_model", "nome_do_modelo_llama"),
    ("LLAMA_ENDPOINT", "http://localhost:11434", "llama_endpoint", "http://localhost:11434"),
    ("WHISPER_MODEL", "base", "whisper_model", "base"),
    ("WHISPER_DEVICE", "cuda", "whisper_device", "cuda"),
    ("DEBUG_MODE", "true", "debug_mode", True),
    ("VOICE_NAME", "man", "voice_name", "man"),
    ("MODEL_SIZE", "large-v3", "whisper_model", "large-v3"),
    ("DEVICE", "cpu", "whisper_device", "cpu"),
    ("MODELS_DIR", "/app/models", "models_dir", Path("/app/models")),
    ("DATABASE_URL", "sqlite:///./transcriptions.db", "database_url", "sqlite:///./transcriptions.db"),
    ("REDIS_URL", "redis://redis:6379", "redis_url", "redis://redis:6379"),
    ("UPLOAD_DIR", "./uploads", "upload_dir", Path("uploads")),
    ("MAX_FILE_SIZE", "500MB", "max_file_size", 500 * 2**20),
    ("JWT_SECRET", "0123456789abcdef0123456789abcdef", "jwt_secret", "0123456789abcdef0123456789abcdef"),
    ("APP_URL", "https://example.org", "app_url", "https://example.org"),
    ("HF_TOKEN", "hf_xxxx", "hf_token", "hf_xxxx"),
]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove this machine's settings and leave the folder with its .env."""
    monkeypatch.chdir(tmp_path)
    for field in Settings.model_fields:
        for name in names(field):
            monkeypatch.delenv(name, raising=False)


def test_example_is_generated_from_the_settings() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == render(), "run `python -m deploy.env_example`"


def test_every_setting_is_documented_in_the_example() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for field, info in Settings.model_fields.items():
        assert info.description, f"{field} has no docstring"
        assert any(line.startswith(f"#{names(field)[0]}=") for line in lines), field


def test_uncommented_example_has_the_defaults(tmp_path: Path) -> None:
    text = re.sub(r"^#(?=[A-Z_]+=)", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (tmp_path / "env").write_text(text, encoding="utf-8")
    read, default = Settings(_env_file=tmp_path / "env"), Settings()  # type: ignore[call-arg]
    for field in Settings.model_fields:
        value, expected = getattr(read, field), getattr(default, field)
        if isinstance(expected, Path):
            value, expected = HOME / value, HOME / expected
        assert value == expected, field


def test_example_sets_nothing_by_default() -> None:
    assert dotenv_values(EXAMPLE) == {}


@pytest.mark.parametrize(("name", "value", "field", "meaning"), DOCUMENTED)
def test_documented_names_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, field: str, meaning: Any
) -> None:
    (tmp_path / "env").write_text(f"{name}={value}\n", encoding="utf-8")
    assert getattr(Settings(_env_file=tmp_path / "env"), field) == meaning  # type: ignore[call-arg]
    monkeypatch.setenv(name, value)
    assert getattr(Settings(), field) == meaning


def test_compose_passes_every_setting_to_the_container() -> None:
    text = COMPOSE_FILES[0].read_text(encoding="utf-8")
    assert text == compose_with_settings(text), "run `python -m deploy.env_example`"
    environment = yaml.safe_load(text)["services"]["api"]["environment"]
    assert set(environment) == {name for field in Settings.model_fields for name in names(field)} | {
        TIME_ZONE,
        *(name for name, _ in OTHERS),
    }
    assert {name for name, value in environment.items() if value is not None} == {
        "PORT", *COMPOSE_DEFAULTS, *COMPOSE_FIXED
    }  # fmt: skip
    for name, default in COMPOSE_DEFAULTS.items():
        assert environment[name] == f"${{{name}:-{default}}}"
    for name, value in COMPOSE_FIXED.items():
        assert str(environment[name]).endswith((value, f":-{value}}}"))


def test_variables_of_the_compose_files_are_documented() -> None:
    read = {m for path in COMPOSE_FILES for m in re.findall(r"\$\{(\w+)", path.read_text(encoding="utf-8"))}
    read |= set(yaml.safe_load(COMPOSE_FILES[0].read_text(encoding="utf-8"))["services"]["ollama-ai"]["environment"])
    settings_it_needs = {"API_KEYS", "RAY_AUTH_TOKEN"}
    assert read - {"PORT", *COMPOSE_DEFAULTS} - settings_it_needs == {name for name, _, _ in COMPOSE} - {"COMPOSE_FILE"}


def test_documented_defaults_match_the_compose_file() -> None:
    text = COMPOSE_FILES[0].read_text(encoding="utf-8")
    for name, default, _ in COMPOSE:
        for found in re.findall(rf"\$\{{{name}:-([^}}]*)\}}", text):
            assert found == default, name


def test_team_env_matches_the_compose_file() -> None:
    added = dotenv_values(HOME / "deploy" / "team.env")
    known = {name for field in Settings.model_fields for name in names(field)} | {name for name, _, _ in COMPOSE}
    assert set(added) - known == {"COMPOSE_PROFILES"}
    services = yaml.safe_load(COMPOSE_FILES[0].read_text(encoding="utf-8"))["services"]
    team = {name for name, one in services.items() if one.get("profiles") == [added["COMPOSE_PROFILES"]]}
    assert team == {"worker", "postgres", "redis"}
    postgres = services["postgres"]["environment"]
    default = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", postgres["POSTGRES_PASSWORD"])
    name, database = postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]
    assert added["DATABASE_URL"] == f"postgresql://{name}:{default}@postgres/{database}"
    assert added["REDIS_URL"] == "redis://redis:6379"
    worker, api = services["worker"], services["api"]
    assert (worker["image"], worker["build"]) == (api["image"], api["build"])
    assert {**worker["environment"], "JOB_WORKERS": None} == api["environment"]
    assert set(worker["volumes"]) <= set(api["volumes"])
    assert not {"ports"} & (set(worker) | set(services["postgres"]) | set(services["redis"]))
