"""The announcement on the local network, found by zeroconf as Home Assistant does."""

from pathlib import Path

import pytest
from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

from server.http.draining import Draining
from server.wyoming.discovery import TYPE, announced
from tests.waiting import eventually

HERE = "127.0.0.1"


async def test_the_service_is_announced_until_it_drains(tmp_path: Path) -> None:
    states: list[tuple[str, ServiceStateChange]] = []

    def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        states.append((name, state_change))

    draining, network = Draining(), AsyncZeroconf(interfaces=[HERE])
    browser = AsyncServiceBrowser(network.zeroconf, TYPE, handlers=[changed])
    try:
        lock = tmp_path / "lock"
        # A second process of the same service does not announce it again.
        async with announced(HERE, 10_300, draining, lock), announced(HERE, 10_300, draining, lock):
            [(name, state)] = await eventually(lambda: list(states))
            assert (name[:10], state) == ("Parley on ", ServiceStateChange.Added)
            service = await network.async_get_service_info(TYPE, name)
            assert service is not None
            assert {name for name, _ in states} == {name}
            assert (service.port, service.parsed_addresses()) == (10_300, [HERE])
            draining.begun.set()
            await eventually(lambda: states[-1] == (name, ServiceStateChange.Removed))
    finally:
        await browser.async_cancel()
        await network.async_close()


async def test_an_address_that_cannot_be_announced_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with announced("192.0.2.7", 10_300, Draining(), tmp_path / "lock"):
        await eventually(lambda: "cannot be announced" in caplog.text)
