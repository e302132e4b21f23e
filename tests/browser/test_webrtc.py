"""OpenAI's documented way from a browser: an ephemeral key, `RTCPeerConnection` and the channel `oai-events`."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.browser.conftest import DEADLINE_MS, Visit, said
from tests.browser.firefox import firefox, firefox_path
from tests.questions import SUM, SUM_ANSWER, spoken
from tests.server_process import ServerProcess, serving
from tests.stt.recordings import TRAINED

pytestmark = pytest.mark.real_time
KEY = "a-key-of-thirty-two-characters-01"
HEADERS = {"Authorization": f"Bearer {KEY}"}

CALL = """
async secret => {
    const call = window.call = { events: [], loudest: 0 };
    const peer = call.peer = new RTCPeerConnection();
    peer.ontrack = ({ streams }) => {
        const context = new AudioContext(), analyser = context.createAnalyser();
        new Audio().srcObject = streams[0];  // Chromium passes a stream on only while an element plays it
        context.createMediaStreamSource(streams[0]).connect(analyser);
        const samples = new Float32Array(analyser.fftSize);
        setInterval(() => {
            analyser.getFloatTimeDomainData(samples);
            call.loudest = Math.max(call.loudest, ...samples.map(Math.abs));
        }, 20);
    };
    // Without the processing that changes a synthetic voice.
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const microphone = await navigator.mediaDevices.getUserMedia({ audio });
    peer.addTrack(microphone.getTracks()[0], microphone);
    await connect(secret, call);
}
"""
TYPED_CALL = """
async secret => {
    const call = window.call = { events: [], peer: new RTCPeerConnection() };
    call.peer.addTransceiver('audio');
    await connect(secret, call);
}
"""
"""Without a microphone and without playing the reply, for a browser without a sound card."""
CONNECT = """
async (secret, { peer, events }) => {
    const channel = call.channel = peer.createDataChannel('oai-events');
    channel.onmessage = ({ data }) => events.push(JSON.parse(data));
    await peer.setLocalDescription(await peer.createOffer());
    const answer = await fetch('/v1/realtime/calls?model=gpt-realtime', {
        method: 'POST', body: peer.localDescription.sdp,
        headers: { Authorization: `Bearer ${secret}`, 'Content-Type': 'application/sdp' },
    });
    if (!answer.ok) throw new Error(await answer.text());
    await peer.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("webrtc"), **TRAINED, API_KEYS=KEY) as server:
        yield server


def test_a_browser_talks_over_webrtc_with_an_ephemeral_key(server: ServerProcess, visit: Visit) -> None:
    made = httpx.post(f"{server.url}/v1/realtime/client_secrets", headers=HEADERS, json={}, timeout=DEADLINE_MS / 1000)
    visitor = visit(server.url, microphone=said(3.0, spoken(SUM), 60.0))
    visitor.page.evaluate(f"secret => {{ const connect = {CONNECT}; return ({CALL})(secret); }}", made.json()["value"])
    visitor.until("() => call.events.some(event => event.type === 'output_audio_buffer.stopped')")
    events = visitor.page.evaluate("call.events")
    [heard] = [event["transcript"] for event in events if event["type"].endswith("transcription.completed")]
    assert heard == SUM
    [done] = [event["response"] for event in events if event["type"] == "response.done"]
    assert SUM_ANSWER in done["output"][0]["content"][0]["transcript"]
    assert visitor.page.evaluate("call.loudest") > 0.02
    visitor.page.evaluate("call.peer.close()")
    assert "Traceback" not in server.text


RECEIVED = "async () => [...(await call.peer.getStats()).values()].find(one => one.type === 'inbound-rtp')"


@pytest.mark.skipif(firefox_path() is None, reason="Firefox is not installed (Debian: firefox-esr)")
def test_firefox_talks_over_webrtc(server: ServerProcess, tmp_path: Path) -> None:
    made = httpx.post(f"{server.url}/v1/realtime/client_secrets", headers=HEADERS, json={}, timeout=DEADLINE_MS / 1000)
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": SUM}]}
    sent = [{"type": "conversation.item.create", "item": item}, {"type": "response.create"}]
    with firefox(tmp_path) as tab:
        tab.open(server.url)
        tab.evaluate(f"secret => {{ const connect = {CONNECT}; return ({TYPED_CALL})(secret); }}", made.json()["value"])
        tab.until("() => call.events.some(event => event.type === 'session.created')")
        tab.evaluate("(...all) => all.forEach(one => call.channel.send(one))", *map(json.dumps, sent))
        tab.until("() => call.events.some(event => event.type === 'output_audio_buffer.stopped')")
        [done] = [one["response"] for one in tab.evaluate("() => call.events") if one["type"] == "response.done"]
        assert SUM_ANSWER in done["output"][0]["content"][0]["transcript"]
        received = tab.evaluate(RECEIVED)
        assert received["bytesReceived"] / received["packetsReceived"] > 10  # a packet of silence has one byte
        tab.evaluate("() => call.peer.close()")
    assert "Traceback" not in server.text
