"""Realtime sessions over WebRTC, on a real service: questions on the track, replies on the track, events beside."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pipeline.audio.clip import Clip
from tests.live_client import Live
from tests.questions import SUM, SUM_ANSWER, spoken
from tests.server_process import ServerProcess, constants, serving
from tests.stt.recordings import TRAINED
from tests.webrtc.caller import Caller, calling, offered

pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]
LONG = "Say one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    changed = constants({"server.webrtc.call:CONNECT_S": 3.0, "aioice.ice:CONSENT_INTERVAL": 0.5})
    with serving(tmp_path_factory.mktemp("calls"), **TRAINED, MAX_SESSIONS="2", **changed) as server:
        yield server
    assert "Traceback" not in server.text
    assert "Candidate" not in server.text, "addresses of callers"


def loud_s(clip: Clip) -> float:
    """Seconds of a clip in which there is sound."""
    frames = clip.samples[: len(clip.samples) // 160 * 160].reshape(-1, 160)
    return float((np.abs(frames).max(axis=1) > 0.02).sum() / 100)


async def free(server: ServerProcess) -> None:
    """Wait until no conversation is open."""
    async with httpx.AsyncClient() as client, asyncio.timeout(20):
        while (await client.get(f"{server.url}/status")).json()["sessions"]["open"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def speaking(caller: Caller) -> dict[str, Any]:
    """Ask for a long reply; return the event with which its sound begins."""
    caller.send(
        type="conversation.item.create",
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": LONG}]},
    )
    caller.send(type="response.create")
    return await caller.until("output_audio_buffer.started")


@pytest.mark.parametrize("trickle", [False, True], ids=["with addresses", "without addresses"])
async def test_a_spoken_question_is_answered_on_the_track(server: ServerProcess, trickle: bool) -> None:
    async with calling(server.url, trickle=trickle) as caller:
        caller.mouth.say(spoken(SUM))
        done = await caller.until("response.done")
        stopped = await caller.until("output_audio_buffer.stopped")
        kinds = [event["type"] for event in caller.events]
        assert "response.output_audio.delta" not in kinds
        assert kinds.index("response.created") < kinds.index("output_audio_buffer.started")
        assert stopped["response_id"] == done["response"]["id"]
        [heard] = [one["transcript"] for one in caller.events if one["type"].endswith("transcription.completed")]
        assert heard == SUM
        assert SUM_ANSWER in done["response"]["output"][0]["content"][0]["transcript"]
        assert 0.3 < loud_s(caller.sound()) < 5


async def test_speech_interrupts_the_reply_which_keeps_what_was_heard(server: ServerProcess) -> None:
    async with calling(server.url) as caller:
        started = await speaking(caller)
        await asyncio.sleep(1.5)
        caller.mouth.say(spoken("what time is it in london today please"))
        cleared = await caller.until("output_audio_buffer.cleared")
        assert cleared["response_id"] == started["response_id"]
        done = await caller.until("response.done")
        assert done["response"]["status"] == "cancelled"
        await asyncio.sleep(0.3)
        before = loud_s(caller.sound())
        item = done["response"]["output"][0]["id"]
        caller.send(type="conversation.item.retrieve", item_id=item)
        told = (await caller.until("conversation.item.retrieved"))["item"]["content"][0]["transcript"]
        written = "".join(one["delta"] for one in caller.events if one["type"].endswith("audio_transcript.delta"))
        assert 0 < len(told) < len(written)
        assert written.startswith(told)
        assert before < 4


async def test_the_client_can_clear_the_sound(server: ServerProcess) -> None:
    async with calling(server.url) as caller:
        await speaking(caller)
        await asyncio.sleep(0.5)
        caller.send(type="output_audio_buffer.clear")
        await caller.until("output_audio_buffer.cleared")
        done = await caller.until("response.done")
        assert done["response"]["status_details"]["reason"] == "client_cancelled"
        await asyncio.sleep(0.4)
        silent = len(caller.heard)
        await asyncio.sleep(0.5)
        assert np.abs(np.concatenate([[0.0], *caller.heard[silent:]])).max() < 0.01


async def test_the_form_configures_the_session(server: ServerProcess) -> None:
    session = {"type": "realtime", "instructions": "Be brief.", "output_modalities": ["text"]}
    async with calling(server.url, session=session) as caller:
        created = caller.events[0]["session"]
        assert created["instructions"] == "Be brief."
        caller.mouth.say(spoken(SUM))
        done = await caller.until("response.done")
        assert done["response"]["output"][0]["content"][0]["type"] == "output_text"
        assert loud_s(caller.sound()) == 0


async def test_sound_of_other_responses_comes_as_events(server: ServerProcess) -> None:
    async with calling(server.url) as caller:
        content = [{"type": "input_text", "text": SUM}]
        item = {"type": "message", "role": "user", "content": content}
        caller.send(type="response.create", response={"conversation": "none", "input": [item]})
        await caller.until("response.done")
        kinds = {event["type"] for event in caller.events}
        assert "response.output_audio.delta" in kinds
        assert "output_audio_buffer.started" not in kinds


async def test_a_call_ends_when_the_caller_or_the_client_hangs_up(server: ServerProcess) -> None:
    async with calling(server.url) as caller:
        assert caller.headers["x-session-id"]
        async with httpx.AsyncClient() as client:
            ended = await client.post(f"{server.url}{caller.location}/hangup")
            assert ended.status_code == 200
            async with asyncio.timeout(5):
                await caller.ended.wait()
            again = await client.post(f"{server.url}{caller.location}/hangup")
            assert again.status_code == 404
            assert again.json()["error"]["message"] == "There is no call with this ID."
    await free(server)
    async with calling(server.url):
        pass
    await free(server)


async def test_a_caller_who_vanishes_frees_its_slot(server: ServerProcess) -> None:
    """Without a word, as when a phone loses its network: six requests for consent (RFC 7675) stay unanswered."""
    await free(server)
    async with calling(server.url) as caller:
        [transceiver] = caller.peer.getTransceivers()
        for protocol in transceiver.sender.transport.transport._connection._protocols:
            protocol.transport.abort()
        await free(server)


async def test_calls_take_the_slots_of_conversations(server: ServerProcess) -> None:
    await free(server)
    async with calling(server.url), calling(server.url):
        refused = await offered(server.url, session=None)
        assert refused.status_code == 503
        assert "Retry-After" in refused.headers
    await free(server)


async def test_a_caller_who_never_connects_leaves_no_call(server: ServerProcess) -> None:
    await free(server)
    answer = await offered(server.url, session=None)
    assert answer.status_code == 201
    assert "127.0.0.1" in {line.split()[4] for line in answer.text.splitlines() if line.startswith("a=candidate")}
    await free(server)


async def test_a_caller_who_never_connects_does_not_delay_the_shutdown(tmp_path: Path) -> None:
    long = constants({"server.webrtc.call:CONNECT_S": 120.0})
    with serving(tmp_path, DRAIN_SECONDS="120", **long) as server:
        assert (await offered(server.url, session=None)).status_code == 201
        server.process.terminate()
        assert await asyncio.to_thread(server.process.wait, 60) == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda sdp: "", "does not begin with v=0"),
        (lambda sdp: "hello", "does not begin with v=0"),
        (lambda sdp: sdp.partition("m=application")[0], "must have one section for audio, one for a data channel"),
        (lambda sdp: "v=0\r\nm=application 9 x\r\n", "must have one section for audio"),
        (lambda sdp: sdp + sdp[sdp.index("m=audio") :].replace("m=audio", "m=video"), "and no others"),
        (lambda sdp: sdp + "\x0bm=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "and no others"),
        (lambda sdp: sdp + "a=candidate:1 1 udp 1 127.0.0.1 1 typ host\r\n" * 65, "more than 64 candidates"),
        (lambda sdp: sdp + "a=x\r\n" * 10_000, "longer than 32768 characters"),
        (lambda sdp: sdp.replace("opus", "PCMX"), "has no Opus"),
        (lambda sdp: sdp.replace("a=fingerprint", "a=nothing"), "has no DTLS fingerprint"),
        (lambda sdp: sdp.replace("a=ice-ufrag", "a=nothing"), "has no ICE user name"),
        (lambda sdp: sdp.replace("m=audio", "m=audio x"), "cannot be answered"),
        (lambda sdp: sdp.replace("a=mid:0", "a=mid:7"), "bundles one that it does not have"),
        (lambda sdp: sdp.replace("a=mid:1", "a=mid:0"), "names a section twice"),
        (lambda sdp: sdp.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0 0"), "names a section twice"),
        (lambda sdp: sdp[: len(sdp) // 2], "SDP offer"),
    ],
)  # fmt: skip
async def test_bad_offers_are_refused_with_a_sentence(server: ServerProcess, change: Any, told: str) -> None:
    answer = await offered(server.url, session=None, change=change)
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("session", "told"),
    [
        ("{", "session"),
        ("[]", "session"),
        ('{"type": "transcription"}', "?intent=transcription"),
        ('{"type": "realtime", "audio": {"output": {"voice": "missing"}}}', "voice"),
        ('{"type": "realtime", "unknown": 1}', "unknown"),
    ],
)
async def test_bad_sessions_are_refused_before_the_call(server: ServerProcess, session: str, told: str) -> None:
    answer = await offered(server.url, session=session)
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["error"]["message"]
    await free(server)


async def test_a_refused_call_keeps_the_conversation_that_it_was_to_resume(server: ServerProcess) -> None:
    def asked() -> str:
        with Live(server) as client:
            client.ask()
            return str(client.started["resume"])

    def resumed(token: str) -> bool:
        with Live(server, f"rate=16000&resume={token}") as client:
            return bool(client.started["resumed"])

    token = await asyncio.to_thread(asked)
    await free(server)
    path = f"/ws/call?stream=1&rate=16000&resume={token}"
    answer = await offered(server.url, None, change=lambda sdp: sdp.replace("m=audio", "m=audio x"), at=path)
    assert answer.status_code == 400, answer.text
    await free(server)
    assert await asyncio.to_thread(resumed, token)


async def test_other_bodies_are_refused(server: ServerProcess) -> None:
    async with httpx.AsyncClient() as client:
        for sent in ({"json": {"sdp": "v=0"}}, {"content": b"v=0"}, {"files": {"session": (None, "{}")}}):
            answer = await client.post(f"{server.url}/v1/realtime/calls", **sent)
            assert answer.status_code == 400
            assert "sdp" in answer.json()["error"]["message"]
