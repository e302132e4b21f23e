"""OpenAI's documented way from a browser: an ephemeral key, `RTCPeerConnection` and the channel `oai-events`."""

from collections.abc import Iterator

import httpx
import pytest

from tests.browser.conftest import Visit, said
from tests.questions import SUM, SUM_ANSWER, spoken
from tests.server_process import ServerProcess, serving

pytestmark = pytest.mark.real_time
KEY = "a-key-of-thirty-two-characters-01"

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
    const channel = peer.createDataChannel('oai-events');
    channel.onmessage = ({ data }) => call.events.push(JSON.parse(data));
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
    with serving(tmp_path_factory.mktemp("webrtc"), API_KEYS=KEY) as server:
        yield server


def test_a_browser_talks_over_webrtc_with_an_ephemeral_key(server: ServerProcess, visit: Visit) -> None:
    made = httpx.post(f"{server.url}/v1/realtime/client_secrets", headers={"Authorization": f"Bearer {KEY}"}, json={})
    visitor = visit(server.url, microphone=said(3.0, spoken(SUM), 60.0))
    visitor.page.evaluate(CALL, made.json()["value"])
    visitor.until("() => call.events.some(event => event.type === 'output_audio_buffer.stopped')")
    events = visitor.page.evaluate("call.events")
    [heard] = [event["transcript"] for event in events if event["type"].endswith("transcription.completed")]
    assert heard == SUM
    [done] = [event["response"] for event in events if event["type"] == "response.done"]
    assert SUM_ANSWER in done["output"][0]["content"][0]["transcript"]
    assert visitor.page.evaluate("call.loudest") > 0.02
    visitor.page.evaluate("call.peer.close()")
    assert "Traceback" not in server.text
