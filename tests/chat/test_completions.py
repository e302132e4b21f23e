"""`/v1/chat/completions` through OpenAI's own client: text, speech, sound of the user, functions, errors, limits."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import decode_blocking
from pipeline.audio.encode import Encoder
from server.openai.chat.recent import MOST_OF_ONE, Kept
from tests.chat.conftest import ANNA, REPLY, SPOKEN, Chats, chatting
from tests.in_process import in_process
from tests.waiting import until

LIGHT: dict[str, Any] = {
    "type": "function",
    "function": {"name": "light", "description": "Switch a light.", "parameters": {"type": "object"}},
}
STREAMED: dict[str, Any] = {**SPOKEN, "audio": {"voice": "alloy", "format": "pcm16"}, "stream": True}


def tone(hz: float = 300.0) -> Clip:
    return Clip(np.sin(2 * np.pi * hz * np.arange(24_000) / 24_000).astype(np.float32) * 0.3, 24_000)


def mp3(clip: Clip) -> bytes:
    encoder = Encoder("mp3")
    return encoder.feed(clip) + encoder.finish()


def sound(data: bytes, format: str = "wav") -> dict[str, Any]:
    part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": format}}
    return {"role": "user", "content": [{"type": "text", "text": "Listen:"}, part]}


def test_text_reply_has_usage_and_the_model_that_wrote_it(chats: Chats) -> None:
    answer = chats.ask({"role": "developer", "content": "Be brief."}, "Hello.")
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason, choice.message.audio) == (REPLY, "stop", None)
    assert answer.model == "tiny"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert [one["role"] for one in chats.llm.requests[-1]["messages"]] == ["system", "user"]


def test_text_streams_and_ends_with_usage_if_asked(chats: Chats) -> None:
    chunks = list(chats.ask(stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == REPLY
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert (chunks[-1].choices, chunks[-1].usage.prompt_tokens) == ([], 7)
    assert all(chunk.usage is None for chunk in chats.ask(stream=True))


@pytest.mark.parametrize("format", ["wav", "mp3", "flac", "opus", "aac", "pcm16"])
def test_spoken_reply_is_a_file_in_every_format(chats: Chats, format: str) -> None:
    message = chats.ask(**{**SPOKEN, "audio": {"voice": "woman", "format": format}}).choices[0].message
    assert (message.content, message.audio.transcript) == (None, REPLY)
    data = base64.b64decode(message.audio.data)
    clip = Clip.from_pcm16(data, 24_000) if format == "pcm16" else decode_blocking(data, max_seconds=60)
    assert clip.seconds == pytest.approx(len(REPLY) * 0.06, rel=0.2)  # as the scripted voice speaks


def test_speech_streams_while_the_model_writes(chats: Chats) -> None:
    chats.llm.tokens_per_second = 20.0
    chunks = list(chats.ask(**STREAMED))
    sounds = [chunk.choices[0].delta.audio for chunk in chunks if chunk.choices[0].delta.audio]
    assert "".join(one.transcript or "" for one in sounds) == REPLY
    kinds = ["data" if one.data else "transcript" if one.transcript else "end" for one in sounds]
    assert kinds.index("data") < len(kinds) - 1 - kinds[::-1].index("transcript")
    assert (kinds[-1], sounds[-1].id, sounds[-1].expires_at > chunks[0].created) == ("end", None, True)
    assert sum(one.id is not None for one in sounds) == 1
    # Clients join the chunks' base64.
    whole = base64.b64decode("".join(one.data or "" for one in sounds), validate=True)
    assert len(whole) / 48_000 == pytest.approx(len(REPLY) * 0.06, rel=0.2)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_earlier_spoken_reply_is_named_by_its_id(chats: Chats) -> None:
    audio = chats.ask(**SPOKEN).choices[0].message.audio
    history: list[Any] = [{"role": "user", "content": "Hi."}, {"role": "assistant", "audio": {"id": audio.id}}]
    chats.ask(*history, "Go on.")
    assert chats.llm.requests[-1]["messages"][1] == {"role": "assistant", "content": REPLY}
    sounds = [chunk.choices[0].delta.audio for chunk in chats.ask(**STREAMED)]
    streamed = next(one.id for one in sounds if one is not None)
    assert chats.ask("Hi.", {"role": "assistant", "audio": {"id": streamed}}, "Go on.").choices
    asked: Any = [*history, {"role": "user", "content": "Go on."}]
    with pytest.raises(openai.NotFoundError) as hidden:
        chats.other.chat.completions.create(model="gpt-audio", messages=asked)
    assert (hidden.value.code, hidden.value.param) == ("audio_not_found", "messages.1.audio.id")


@pytest.mark.parametrize("format", ["wav", "mp3"])
def test_sound_of_the_user_is_transcribed_once(chats: Chats, format: str) -> None:
    said = sound(encode_wav(tone()) if format == "wav" else mp3(tone()), format)
    for _ in range(2):
        before = len(chats.stt.requests)
        assert chats.ask(said, **SPOKEN).choices[0].message.audio.transcript == REPLY
        told = chats.llm.requests[-1]["messages"]
        assert told[-1]["content"] == "Listen:\nwhat do you like"
        assert "spoken aloud" in told[0]["content"]  # the deployment's own instructions
        heard = len(chats.stt.requests) - before
    assert heard == 0


def test_sound_without_words_is_answered(chats: Chats) -> None:
    chats.stt.text = ""
    try:
        silent = sound(encode_wav(tone(200.0)))
        silent["content"] = silent["content"][1:]
        assert chats.ask(silent, **SPOKEN).choices[0].message.audio.transcript == "I did not hear anything."
    finally:
        chats.stt.text = "what do you like"


def test_functions_of_the_client_are_called_and_their_results_used(chats: Chats) -> None:
    chats.llm.calls = [("light", {"on": True})]
    message = chats.ask("Light, please.", tools=[LIGHT], **SPOKEN).choices[0]
    (call,) = message.message.tool_calls
    assert (message.finish_reason, message.message.audio) == ("tool_calls", None)
    assert (call.function.name, json.loads(call.function.arguments)) == ("light", {"on": True})
    chunks = list(chats.ask("Light, please.", tools=[LIGHT], stream=True))
    assert [c.choices[0].delta.tool_calls[0].function.name for c in chunks if c.choices[0].delta.tool_calls] == [
        "light"
    ]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    result = {"role": "tool", "tool_call_id": call.id, "content": "It is on."}
    assert chats.ask("Light, please.", message.message, result, tools=[LIGHT]).choices[0].message.content == REPLY
    assert chats.llm.requests[-1]["messages"][-1]["content"] == "It is on."


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "nothing"}, 404, "model"),
        ({"messages": []}, 400, "messages"),
        ({"modalities": ["text", "audio"]}, 400, "audio"),
        ({**STREAMED, "audio": {"voice": "alloy", "format": "mp3"}}, 400, "audio.format"),
        ({**SPOKEN, "audio": {"voice": "absent", "format": "wav"}}, 400, "voice"),
        ({"messages": [{"role": "function", "name": "x", "content": ""}]}, 400, "messages.0.role"),
        ({"messages": [sound(b"no sound")]}, 400, "messages.0.content.1.input_audio.data"),
        ({"tool_choice": {"type": "function", "function": {"name": "light"}}}, 400, "tool_choice"),
    ],
)
def test_bad_request_is_refused_in_openais_form(chats: Chats, fields: Any, status: int, param: str | None) -> None:
    error = chats.refused(**fields)
    assert error.status_code == status
    assert param is None or error.param == param


@pytest.mark.parametrize(
    ("part", "param", "code", "told"),
    [
        (
            {"type": "image_url", "image_url": {"url": "x"}}, "messages.0.content.1.type", "unsupported_content_type",
            "Images are not supported. Send text or input_audio.",
        ),
        (
            {"type": "file", "file": {"file_id": "x"}}, "messages.0.content.1.type", "unsupported_content_type",
            "Files are not supported. Send text or input_audio.",
        ),
        (
            {"type": "input_audio"}, "messages.0.content", "bad_parameter",
            "messages.0.content.1: A part of the type input_audio needs input_audio.",
        ),
        (
            {"type": "input_audio", "input_audio": {}}, "messages.0.content", "bad_parameter",
            "messages.0.content.1.input_audio.data: Field required",
        ),
        (
            {"type": "video"}, "messages.0.content", "bad_parameter",
            "messages.0.content.1.type: Input should be 'text', 'refusal' or 'input_audio'",
        ),
        ("text", "messages.0.content", "bad_parameter",
         "messages.0.content.1: Input should be a valid dictionary or instance of Part"),
    ],
)  # fmt: skip
def test_error_in_a_part_of_a_message_names_the_part(chats: Chats, part: Any, param: str, code: str, told: str) -> None:
    error = chats.refused({"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]})
    assert (error.status_code, error.param, error.code) == (400, param, code)
    assert isinstance(error.body, dict)
    assert error.body["message"] == told


def test_failed_model_is_an_error_before_and_in_the_stream(chats: Chats) -> None:
    chats.llm.traps.status = 500
    for stream in (False, True):
        assert chats.refused(stream=stream).status_code == 502
    chats.llm.traps.status, chats.llm.traps.error_after = None, 3
    with pytest.raises(openai.APIError) as error:
        list(chats.ask(stream=True))
    assert error.value.code == "llm_unavailable"


def test_model_stops_when_the_client_is_gone(chats: Chats) -> None:
    chats.llm.traps.endless, chats.llm.tokens_per_second = True, 20.0
    for options in ({}, STREAMED):
        chats.llm.disconnected.clear()
        chunks = chats.ask(**{**options, "stream": True})
        next(iter(chunks))
        chunks.close()
        until(chats.llm.disconnected.is_set)
    chats.llm.disconnected.clear()
    chats.llm.traps.stall_after = 0
    with pytest.raises(openai.APITimeoutError):
        chats.client.with_options(timeout=0.5).chat.completions.create(
            model="", messages=[{"role": "user", "content": "x"}]
        )
    until(chats.llm.disconnected.is_set)


def test_chats_hold_the_slots_of_conversations(tmp_path: Path) -> None:
    with chatting(tmp_path, max_sessions="2") as chats:
        chats.llm.traps.stall_after = 2
        open_chat = chats.ask(stream=True)
        next(iter(open_chat))
        assert chats.refused().status_code == 429
        open_chat.close()
        chats.llm.traps.stall_after = None
        until(lambda: httpx_status(chats) == 200)


def httpx_status(chats: Chats) -> int:
    body = {"messages": [{"role": "user", "content": "Hello."}]}
    headers = {"Authorization": f"Bearer {ANNA}"}
    return httpx.post(f"{chats.service.url}/v1/chat/completions", json=body, headers=headers).status_code


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"messages": [' + b"[]," * 200_000 + b"[]]}", "application/json", 400),
        (b'{"messages": "' + b"x" * (1 << 25) + b'"}', "application/json", 413),
        (b"{", "application/json", 400),
        (b'{"messages": [{"role": "user", "content": "Hello."}]}', "text/plain", 400),
    ],
    ids=["many values", "too large", "not JSON", "another type"],
)
def test_body_that_cannot_be_read_is_refused(chats: Chats, content: bytes, kind: str, status: int) -> None:
    told = httpx.post(
        f"{chats.service.url}/v1/chat/completions",
        content=content,
        headers={"Content-Type": kind, "Authorization": f"Bearer {ANNA}"},
        timeout=60,
    )
    assert (told.status_code, set(told.json()["error"])) == (status, {"message", "type", "param", "code"})


def test_rules_reply_without_a_model_and_say_what_they_ignore(tmp_path: Path) -> None:
    with in_process(tmp_path) as service:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": "What is two plus three?"}], "seed": 1}
        told = httpx.post(f"{service.url}/v1/chat/completions", json=body)
        assert told.json()["choices"][0]["message"]["content"] == "2 plus 3 is 5."
        assert told.headers["parley-ignored"] == "seed"
        body["response_format"] = {"type": "json_object"}
        refused = httpx.post(f"{service.url}/v1/chat/completions", json=body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "response_format")


def test_kept_words_expire_and_are_bounded_for_each_owner() -> None:
    now = [1000.0]
    kept: Kept[str] = Kept(lambda: now[0])
    anna, ben = ("key", "anna"), ("key", "ben")
    until_s = kept.put(ben, "first", "hello")
    for number in range(MOST_OF_ONE + 1):
        kept.put(anna, str(number), "x")
    assert (kept.get(anna, "0"), kept.get(anna, "1"), kept.get(ben, "first")) == (None, "x", "hello")
    assert kept.get(anna, "first") is None
    now[0] = until_s
    assert kept.get(ben, "first") is None
