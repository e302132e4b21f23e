"""Home Assistant with its `wyoming` integration and an Assist pipeline on a running Parley service."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest
from homeassistant.components import assist_pipeline
from homeassistant.const import __version__
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry

from .exchange import TIMES, Home
from .service import Parley, parley


@pytest.fixture(scope="session")
def service() -> Iterator[Parley]:
    """A service for all tests."""
    with parley() as running:
        yield running


@pytest.fixture
async def home(
    hass: Any, service: Parley, socket_enabled: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Home]:
    """Home Assistant with Parley for hearing, speaking and replies in its preferred pipeline."""
    monkeypatch.setattr("homeassistant.components.tts._init_tts_cache_dir", lambda hass, folder: str(tmp_path))
    assert await async_setup_component(hass, "homeassistant", {})
    converter = imageio_ffmpeg.get_ffmpeg_exe()
    assert await async_setup_component(hass, "ffmpeg", {"ffmpeg": {"ffmpeg_bin": converter}})
    entry = MockConfigEntry(domain="wyoming", data={"host": "127.0.0.1", "port": service.port}, title="Parley")
    entry.add_to_hass(hass)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    pipeline = assist_pipeline.async_get_pipelines(hass)[0]
    await assist_pipeline.async_update_pipeline(
        hass, pipeline, language="en", conversation_engine="conversation.parley", conversation_language="en",
        stt_engine="stt.parley", stt_language="en", tts_engine="tts.parley", tts_language="en", tts_voice="man",
        wake_word_entity="wake_word.parley", wake_word_id="okay_nabu",
    )  # fmt: skip
    yield Home(hass, entry)
    await hass.async_block_till_done()
    for one in hass.config_entries.async_entries("wyoming"):
        await hass.config_entries.async_unload(one.entry_id)
    await hass.async_block_till_done()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the measured times."""
    terminalreporter.write_line(f"Home Assistant {__version__}")
    for name, seconds in TIMES.items():
        middle = sorted(seconds)[len(seconds) // 2]
        terminalreporter.write_line(f"{name}: {middle:.2f} s (median of {len(seconds)})")
