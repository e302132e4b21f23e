"""The bounded channel between tasks."""

import asyncio

import pytest

from pipeline.support.channel import Channel
from tests import virtual_time


def test_full_channel_blocks_the_sender() -> None:
    async def run() -> None:
        channel: Channel[int] = Channel(2)
        sent: list[int] = []

        async def send() -> None:
            for i in range(5):
                await channel.send(i)
                sent.append(i)
            channel.close()

        sending = asyncio.create_task(send())
        await asyncio.sleep(1)
        assert sent == [0, 1]
        assert not channel.offer(99)
        assert [item async for item in channel] == [0, 1, 2, 3, 4]
        await sending

    virtual_time.run(run())


def test_sent_items_are_received_before_the_closing_error() -> None:
    async def run() -> None:
        channel: Channel[int] = Channel(4)
        await channel.send(1)
        channel.close(ValueError("broke off"))
        channel.close()
        got = []
        with pytest.raises(ValueError, match="broke off"):
            async for item in channel:
                got.append(item)
        assert got == [1]

    virtual_time.run(run())


def test_closing_releases_a_waiting_sender() -> None:
    async def run() -> None:
        channel: Channel[int] = Channel(1)
        await channel.send(1)
        sending = asyncio.create_task(channel.send(2))
        await asyncio.sleep(1)
        channel.close()
        await sending
        assert [item async for item in channel] == [1]

    virtual_time.run(run())


def test_cancelled_receiver_loses_no_items() -> None:
    async def run() -> None:
        channel: Channel[int] = Channel(4)
        waiting = asyncio.create_task(anext(channel))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait([waiting])
        await channel.send(7)
        assert await anext(channel) == 7

    virtual_time.run(run())
