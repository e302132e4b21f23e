"""The real `openai` client against the running service."""

from pipeline.audio import Clip
from tests.questions import SUM, SUM_ANSWER, spoken
from tests.realtime.client import talking
from tests.server_process import ServerProcess


async def test_a_spoken_turn_is_told_in_the_documented_order(server: ServerProcess) -> None:
    async with talking(server.url) as talk:
        await talk.connection.session.update(session={"type": "realtime"})
        await talk.speak(spoken(SUM))
        done = await talk.until("response.done")
        await talk.until("rate_limits.updated")
    assert talk.kinds == [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert talk.of("conversation.item.input_audio_transcription.completed")[0]["transcript"] == SUM
    assert done["response"]["status"] == "completed"
    assert SUM_ANSWER in done["response"]["output"][0]["content"][0]["transcript"]
    assert done["response"]["usage"]["output_tokens"] > 0
    speech = Clip.from_pcm16(talk.heard(), 24_000)
    assert 0.8 < speech.seconds < 6
    assert float(abs(speech.samples).max()) > 0.1
