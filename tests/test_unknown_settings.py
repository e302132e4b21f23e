"""Warnings about names that look like settings but have no effect."""

import logging
import os
from pathlib import Path

import pytest
import typer

from commands.start import load_settings
from commands.unknown_settings import COMPOSE, REMOVED, warn_of_unknown, without_effect
from deploy import env_example
from pipeline.settings import Settings, names

KNOWN = {name for field in Settings.model_fields for name in names(field)}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("WISPER_MODEL", "WISPER_MODEL in .env is unknown (do you mean WHISPER_MODEL?)"),
        ("WHISPERMODEL", "WHISPERMODEL in .env is unknown (do you mean WHISPER_MODEL?)"),
        ("llama_modle", "LLAMA_MODLE in .env is unknown (do you mean LLAMA_MODEL?)"),
        ("SOMETHING_ELSE", "SOMETHING_ELSE in .env is unknown"),
        ("LEAD_MS", "LEAD_MS is no longer a setting (clients choose it per session, docs/turn-taking.md)"),
        ("XTTS_PRECISION", "XTTS_PRECISION is no longer a setting (set TTS_PRECISION)"),
        ("KOKORO_MODEL", "KOKORO_MODEL is no longer a setting (set TTS_MODEL)"),
        ("JOB_ENGINE", "JOB_ENGINE is no longer a setting (MODAL_WEBHOOK_URL is enough)"),
        ("MAX_LAG_S", "MAX_LAG_S is no longer a setting (its value is fixed)"),
    ],
)
def test_unknown_names_in_env_are_reported_with_the_nearest(name: str, told: str) -> None:
    assert list(without_effect({name: "1"}, {})) == [told]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("API_KEY", "API_KEYS"), ("WISPER_MODEL", "WHISPER_MODEL"), ("WHISPER_MODLE", "WHISPER_MODEL"),
        ("DATABASE_URLS", "DATABASE_URL"), ("MAX_SESSION", "MAX_SESSIONS"), ("LLAMA_MODEK", "LLAMA_MODEL"),
    ],
)  # fmt: skip
def test_typos_in_the_environment_are_reported(name: str, meant: str) -> None:
    assert list(without_effect({}, {name: "1"})) == [f"{name} in the environment is unknown (do you mean {meant}?)"]


@pytest.mark.parametrize("name", ["PATH", "POST", "HOSTS", "TOOL", "MIX_FILES", "HF_HOME", "HOSTNAME", "WHISPER_X"])
def test_other_names_in_the_environment_are_not_reported(name: str) -> None:
    assert not list(without_effect({}, {name: "1"}))


def test_former_settings_in_the_environment_are_reported() -> None:
    assert list(without_effect({}, {"WORKER_NICE": "0"})) == ["WORKER_NICE is no longer a setting (its value is fixed)"]


def test_known_and_empty_names_are_not_reported() -> None:
    compose = [name for name, _, _ in env_example.COMPOSE]
    others = [name for name, _ in env_example.OTHERS]
    known = dict.fromkeys([*KNOWN, *compose, *others, "COMPOSE_PROFILES"], "1")
    assert not list(without_effect(known, dict.fromkeys(KNOWN, "1")))
    assert not list(without_effect({"LEAD_MS": "", "NOTHING": None}, {"LEAD_MS": ""}))


def test_variables_of_other_programs_can_be_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("TRIGGER_API_URL=https://trigger.example\nCOQUI_TOS_AGREED=1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIGGER_API_URL", "")
    monkeypatch.delenv("TRIGGER_API_URL")  # it is restored, too
    monkeypatch.setenv("COQUI_TOS_AGREED", "0")
    load_settings()
    told = {name: os.environ[name] for name in ("TRIGGER_API_URL", "COQUI_TOS_AGREED")}
    assert told == {"TRIGGER_API_URL": "https://trigger.example", "COQUI_TOS_AGREED": "0"}


def test_a_name_is_reported_once() -> None:
    assert len(list(without_effect({"LEAD_MS": "1"}, {"LEAD_MS": "1"}))) == 1


def test_no_former_setting_is_a_setting() -> None:
    assert not set(REMOVED) & KNOWN
    assert {name for name, _, _ in env_example.COMPOSE} <= COMPOSE


def test_all_are_in_one_warning_without_their_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".env").write_text("API_KEY=very-secret\nLEAD_MS=100\nPORT=1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHISPER_MODE", "tiny")
    with caplog.at_level(logging.WARNING):
        warn_of_unknown()
    (record,) = caplog.records
    assert "API_KEY in .env is unknown (do you mean API_KEYS?); LEAD_MS is no longer" in record.getMessage()
    assert "WHISPER_MODE in the environment" in record.getMessage()
    assert "very-secret" not in record.getMessage()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"VOICE_NAME=caf\xe9\n", "parley: .env cannot be read: it is not UTF-8 text. Save it in that encoding.\n"),
        (b"OTEL_SERVICE_NAME=a\0b\n", "parley: OTEL_SERVICE_NAME in .env: embedded null byte.\n"),
    ],
)
def test_a_file_that_cannot_be_read_ends_the_command_with_one_sentence(
    content: bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    with pytest.raises(typer.Exit) as ended:
        load_settings()
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err == told
