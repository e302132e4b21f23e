"""The size of Whisper without WHISPER_MODEL: as large as this machine carries, measured once."""

from pathlib import Path

import pytest

from pipeline.settings import Settings
from pipeline.stt import weights, whisper, whisper_size
from pipeline.support import measurements
from pipeline.workers.hardware import Hardware
from tests.servers.hub import Hub
from tests.stt.recordings import MODEL

MACHINE = Hardware("CPU", 4, 16_000, ("avx2",), ("float32", "int8"), ())


def settings(folder: Path, **given: object) -> Settings:
    return Settings(_env_file=None, models_dir=folder, model_host="thread", **given)  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize(
    ("model", "seconds", "size"),
    [
        ("base", 0.01, "large-v3-turbo"),
        ("base", 0.1, "small"),
        ("base", 0.2, "base"),
        ("base", 0.7, "tiny"),
        ("base", 9.0, "tiny"),
        ("tiny", 0.05, "small"),
    ],
)
def test_a_size_is_as_large_as_a_quick_turn_allows(model: str, seconds: float, size: str) -> None:
    assert whisper_size.largest(seconds, model, lambda size: True) == size


def test_a_size_must_fit_into_the_memory() -> None:
    assert whisper_size.largest(0.001, "base", lambda size: size in ("tiny", "base")) == "base"


def test_a_size_is_kept_for_one_machine(tmp_path: Path) -> None:
    assert whisper_size.kept(settings(tmp_path), MACHINE) is None
    whisper_size.keep(settings(tmp_path / "new"), MACHINE, "small")
    assert whisper_size.kept(settings(tmp_path / "new"), MACHINE) == "small"
    other = Hardware("CPU", 2, 16_000, ("avx2",), ("float32", "int8"), ())
    assert whisper_size.kept(settings(tmp_path / "new"), other) is None
    assert whisper_size.kept(settings(tmp_path / "new", whisper_device="cpu"), MACHINE) is None
    (tmp_path / "new" / measurements.FOLDER / f"{whisper_size.NAME}.json").write_text("{damaged")
    assert whisper_size.kept(settings(tmp_path / "new"), MACHINE) is None


@pytest.mark.parametrize(("limit_s", "size"), [(1e6, "small"), (0.0, "tiny")])
async def test_the_first_start_measures_and_later_ones_remember(
    model_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_s: float, size: str
) -> None:
    monkeypatch.setattr(whisper_size, "COSTS", {"tiny": 0.5, "base": 1.0, "small": 3.0})
    monkeypatch.setattr(whisper_size, "MAX_TURN_S", limit_s)
    monkeypatch.setattr(whisper_size, "MEASURE_S", 0.0)
    model_hub.repos |= {weights.sizes()[size]: MODEL for size in ("tiny", "base", "small")}
    chosen = settings(tmp_path, hf_endpoint=model_hub.address)
    for _ in range(2):
        async with whisper.open_engine(chosen, lambda progress: None) as opened:
            assert (opened.name, list(opened.notes)) == (size, [])
        asked, model_hub.seen = model_hub.seen, []
    assert asked == []  # the second start needs neither the hub nor a measurement


async def test_a_better_size_that_cannot_be_had_changes_nothing(
    model_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper_size, "MAX_TURN_S", 0.0)  # tiny, which the hub does not have
    model_hub.repos[weights.sizes()["base"]] = MODEL
    chosen = settings(tmp_path, hf_endpoint=model_hub.address)
    for _ in range(2):
        async with whisper.open_engine(chosen, lambda progress: None) as opened:
            assert opened.name == "base"


async def test_another_language_gets_a_multilingual_model_that_was_installed(tmp_path: Path) -> None:
    (tmp_path / weights.MULTILINGUAL).symlink_to(MODEL)
    for language in ("pt", "de-AT"):
        chosen = await weights.choose(settings(tmp_path, model_sources="none", speech_language=language))
        assert chosen.folder == tmp_path / weights.MULTILINGUAL
        assert "whisper-base is used instead" in chosen.note
