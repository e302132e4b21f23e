"""Conversations kept in the browser, retries, personas and models, in a real browser against one service."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from tests.browser.conftest import Visit, Visitor
from tests.browser.test_transcribe import NAMELESS
from tests.in_process import in_process
from tests.server_process import Service
from tests.servers.ollama import FakeOllama
from tests.servers.running import running
from tests.undated import undated

pytestmark = pytest.mark.real_time
REPLY = "The heron waits."
STORY = "A long story of a heron that waits for a fish, and another one, and so on until the evening."


@pytest.fixture(scope="module")
def ollama() -> FakeOllama:
    return FakeOllama(models=["llama3.2:latest", "qwen3:8b"], reply=REPLY)


@pytest.fixture(scope="module")
def service(ollama: FakeOllama, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("talks")
    personas = folder / "personas"
    personas.mkdir()
    (personas / "teacher.toml").write_text('name = "Ms. Teacher"\nsystem_prompt = "You teach."\nvoice = "woman"')
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running(ollama.app())) as url:
        settings = {
            "LLM_ENGINE": "ollama",
            "LLAMA_ENDPOINT": url,
            "VOICES_DIR": str(folder / "voices"),
            "SYSTEM_PROMPT": "Usual.",
        }
        recorded = {"RECORD": "true", "RECORDINGS_DIR": str(folder / "recordings")}
        with in_process(folder, **settings, **recorded) as started:
            yield started


def ask(visitor: Visitor, words: str) -> None:
    """Type a question, and wait for the end of its turn."""
    visitor.page.fill("#words", words)
    visitor.page.press("#words", "Enter")
    ended(visitor, words)


def ended(visitor: Visitor, words: str) -> None:
    visitor.until(
        "words => [...document.querySelectorAll('#turns > .you p')].at(-1)?.textContent === words"
        " && document.querySelector('#turns > :last-child .turn-tools') !== null",
        words,
    )


def shown(visitor: Visitor) -> list[str]:
    return visitor.page.locator("#turns > li > p:first-of-type").all_inner_texts()


def told(ollama: FakeOllama) -> list[str]:
    """The messages of the last request, without date and time."""
    return [undated(message["content"]) for message in ollama.requests[-1]["messages"]]


def kept(visitor: Visitor) -> list[dict[str, Any]]:
    """The conversations in the browser's storage."""
    found = visitor.page.evaluate(
        "Object.keys(localStorage).filter((key) => key.startsWith('parley.talk.')).map((key) => localStorage[key])"
    )
    return [json.loads(one) for one in found]


def test_a_reply_is_retried_and_a_question_edited(service: Service, visit: Visit, ollama: FakeOllama) -> None:
    visitor = visit(service.url)
    ask(visitor, "one")
    ask(visitor, "two")
    before = len(ollama.requests)
    visitor.page.click("#turns >> text=Retry")
    visitor.wait(lambda: len(ollama.requests) > before)  # until then the turn before looks as the new one will
    ended(visitor, "two")
    assert shown(visitor) == ["one", REPLY, "two", REPLY]
    assert told(ollama) == ["Usual.", "one", REPLY, "two"]
    visitor.page.click("#turns >> text=Edit")
    visitor.page.fill(".turn-edit input", "three")
    visitor.page.press(".turn-edit input", "Enter")
    ended(visitor, "three")
    assert shown(visitor) == ["one", REPLY, "three", REPLY]
    assert told(ollama) == ["Usual.", "one", REPLY, "three"]
    [talk] = kept(visitor)
    assert [said["content"] for said in talk["messages"]] == ["one", REPLY, "three", REPLY]
    # After a reload the tools are there again, and the same conversation goes on.
    visitor.page.reload()
    ended(visitor, "three")
    visitor.page.click("#turns >> text=Edit")
    visitor.page.keyboard.press("Escape")
    assert shown(visitor) == ["one", REPLY, "three", REPLY]
    ask(visitor, "four")
    assert [len(one["messages"]) for one in kept(visitor)] == [6]
    assert visitor.complaints == []


def test_a_turn_ends_the_editing_and_keeps_its_words(service: Service, visit: Visit, ollama: FakeOllama) -> None:
    visitor = visit(service.url)
    ask(visitor, "one")
    visitor.page.click("#turns >> text=Edit")
    visitor.page.fill(".turn-edit input", "half a que")
    ask(visitor, "two")
    assert visitor.page.locator(".turn-edit").count() == 0
    assert shown(visitor) == ["one", REPLY, "two", REPLY]
    assert visitor.page.input_value("#words") == "half a que"
    # Submitted in the moment in which a turn begins.
    visitor.page.fill("#words", "")
    visitor.talk("void (talk.turns.phase = 'thinking')")
    visitor.page.click("#turns >> text=Edit")
    visitor.page.fill(".turn-edit input", "three")
    visitor.page.press(".turn-edit input", "Enter")
    visitor.until("document.getElementById('words').value === 'three'")
    assert shown(visitor) == ["one", REPLY, "two", REPLY]
    assert told(ollama)[-1] == "two"
    assert visitor.complaints == []


RECORDED = """async (happenings) => {
  const { TalkRecord } = await import("/web/talks/record.js");
  const { TalkStore } = await import("/web/talks/store.js");
  const store = new TalkStore();
  let record = new TalkRecord(store);
  for (const happening of happenings) {
    if (happening === "reloaded") record = new TalkRecord(store);
    else if (happening === "retry sent") record.retries = true;
    else if (happening.type === "session_started") record.started(happening, false);
    else record.happened(happening, happening.heard ?? "");
  }
  return record.kept.messages;
}"""


def turn(question: str, reply: str) -> list[dict[str, str]]:
    return [
        {"type": "turn_started"},
        {"type": "transcript_final", "text": question},
        {"type": "reply_delta", "text": reply},
    ]


def test_what_a_lost_connection_a_reload_and_a_failure_leave_is_kept(service: Service, visit: Visit) -> None:
    visitor = visit(service.url)
    told = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}]
    resumed = {"type": "session_started", "session": "s", "recorded": False, "resumed": True}
    cut = [*told, {"role": "user", "content": "two"}, {"role": "assistant", "content": "2 and …"}]
    happenings = [
        *turn("one", "1"),
        {"type": "turn_completed", "reply": "1"},
        "retry sent",
        {"type": "connection_lost"},
        resumed | {"history": told},
        *turn("two", "2 and more"),
        "reloaded",
        resumed | {"history": cut},
        *turn("three", "3 and more"),
        {"type": "turn_failed", "heard": "3 and"},
    ]
    assert visitor.page.evaluate(RECORDED, happenings) == [
        *told,
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "2 and"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "3 and", "rest": " more"},
    ]


def test_only_the_heard_part_of_a_reply_is_kept(service: Service, visit: Visit, ollama: FakeOllama) -> None:
    visitor = visit(service.url)
    ollama.reply = STORY
    try:
        visitor.ask("tell me a story")
        visitor.until("document.querySelector('.heard')?.textContent.length > 12")
        visitor.page.keyboard.press("Escape")
        visitor.see("#turns .reply.interrupted .turn-tools")
    finally:
        ollama.reply = REPLY
    visitor.wait(lambda: len(kept(visitor)[0]["messages"]) == 2)
    said = kept(visitor)[0]["messages"][1]
    assert said["content"] + said["rest"] == STORY
    assert 0 < len(said["content"]) < len(STORY)
    startover(visitor)
    visitor.page.click("#talks-open")
    visitor.page.click(".talk-item")
    assert visitor.words("#talk-turns .unheard") == said["rest"].strip()
    visitor.page.click("#talk-continue")
    ask(visitor, "and then")
    assert told(ollama) == ["Usual.", "tell me a story", f"{said['content']} …", "and then"]
    assert len(kept(visitor)) == 1


def startover(visitor: Visitor) -> None:
    visitor.page.click("#settings summary")
    visitor.page.click("#new")


def test_conversations_are_searched_exported_heard_continued_and_deleted(
    service: Service, visit: Visit, ollama: FakeOllama, tmp_path: Path
) -> None:
    visitor = visit(service.url)
    page = visitor.page
    page.click("#may-record-yes")
    for question in ("Where is the café?", "What is a heron?"):
        ask(visitor, question)
        startover(visitor)
    page.click("#talks-open")
    assert page.locator(".talk-item b").all_inner_texts() == ["What is a heron?", "Where is the café?"]
    page.fill("#talks-search", "CAFE")
    assert page.locator(".talk-item").count() == 1
    assert visitor.words(".talk-hit") == "Where is the café?"
    page.fill("#talks-search", "penguin")
    assert visitor.words("#talks-none") == "No conversation has these words."
    page.fill("#talks-search", "café")
    page.click(".talk-item")
    assert page.locator("#talk-turns p").all_inner_texts() == ["Where is the café?", REPLY]
    visitor.fits(tmp_path / "read")
    assert page.evaluate(NAMELESS) == []
    # Exports.
    files = {}
    for name in ("Markdown", "Text", "JSON"):
        with page.expect_download() as download:
            page.click(f"#talk-formats >> text={name}")
        files[download.value.suggested_filename] = download.value.path().read_text("utf-8")
    assert list(files) == ["Where-is-the-café.md", "Where-is-the-café.txt", "Where-is-the-café.json"]
    assert f"**You:** Where is the café?\n\n**Parley:** {REPLY}\n" in files["Where-is-the-café.md"]
    assert f"You: Where is the café?\nParley: {REPLY}\n" in files["Where-is-the-café.txt"]
    exported = json.loads(files["Where-is-the-café.json"])["messages"]
    assert [(said["role"], said["content"]) for said in exported] == [
        ("user", "Where is the café?"),
        ("assistant", REPLY),
    ]
    # Hear again: the button stops, and ends with the sound.
    page.click("#talk-turns .hear-again")
    visitor.see("#talk-turns .hear-again >> text=Stop")
    visitor.until("import('/web/app.js').then(({ talk }) => talk.talks.replay.player.currentTime > 0)")
    visitor.see("#talk-turns .hear-again >> text=Hear again")
    # What the service has recorded, by its own switch, can be erased from here.
    assert visitor.words("#talk-recorded-words") == "The service has recorded this conversation, too."
    page.click("#talk-erase")
    visitor.until("document.getElementById('talk-erase').hidden")
    assert "erased" in visitor.words("#talk-recorded-words")
    # Continue.
    page.click("#talk-continue")
    assert shown(visitor) == ["Where is the café?", REPLY]
    ask(visitor, "Is it open?")
    assert told(ollama) == ["Usual.", "Where is the café?", REPLY, "Is it open?"]
    assert page.locator("#turns .note").count() == 0, "the service remembers"
    # Delete one, then all; then keep none.
    page.click("#talks-open")
    assert page.locator(".talk-item b").all_inner_texts() == ["Where is the café?", "What is a heron?"]
    page.click(".talk-item >> nth=1")
    page.click("#talk-delete")
    page.click("#talk-delete >> text=Really delete?")
    assert page.locator(".talk-item b").all_inner_texts() == ["Where is the café?"]
    page.click("#talks-clear")
    page.click("#talks-clear >> text=Really delete?")
    assert visitor.words("#talks-none") == "No conversation has been kept yet."
    page.uncheck("#talks-keep")
    page.uncheck("#talks-record")
    page.keyboard.press("Escape")
    assert page.is_visible("#recorded")
    startover(visitor)
    ask(visitor, "Are you there?")
    assert kept(visitor) == []
    assert page.is_hidden("#recorded"), "the user does not allow it"
    visitor.reload()
    page.click("#talks-open")
    assert visitor.words("#talks-none") == "Conversations are not kept."
    assert not page.is_checked("#talks-keep")
    assert visitor.complaints == []


def test_a_long_conversation_continues_with_its_newest_part(service: Service, visit: Visit, ollama: FakeOllama) -> None:
    visitor = visit(service.url)
    long = [{"role": ("user", "assistant")[n % 2], "content": f"{n} " + "é" * 500} for n in range(300)]
    talk = {"id": "long", "began": 0, "changed": 0, "recorded": [], "persona": "", "messages": long}
    visitor.page.evaluate(
        "talk => localStorage.setItem('parley.talk.long', talk)", json.dumps(talk, ensure_ascii=False)
    )
    visitor.page.click("#talks-open")
    visitor.page.click(".talk-item")
    visitor.page.click("#talk-continue")
    ask(visitor, "and now")
    assert told(ollama)[0] == "Usual."
    assert told(ollama)[-2].startswith("299 é")
    assert visitor.complaints == []


def test_personas_and_models_are_chosen(service: Service, visit: Visit, ollama: FakeOllama, tmp_path: Path) -> None:
    visitor = visit(service.url)
    page = visitor.page
    visitor.until("document.querySelectorAll('#persona option').length === 2")
    assert page.locator("#llm-model option").all_inner_texts() == ["llama3.2 (usual)", "qwen3:8b"]
    page.select_option("#persona", label="Ms. Teacher")
    ask(visitor, "one")
    assert told(ollama)[0] == "You teach."
    assert visitor.talk("talk.talks.voice") == "woman"
    # During the conversation.
    page.select_option("#llm-model", "qwen3:8b")
    page.select_option("#persona", label="Usual assistant")
    ask(visitor, "two")
    assert (ollama.requests[-1]["model"], told(ollama)[0]) == ("qwen3:8b", "Usual.")
    page.select_option("#llm-model", "")
    # After a reload, in the resumed conversation, whose connection is older than the list.
    page.select_option("#persona", label="Ms. Teacher")
    page.reload()
    visitor.until("document.querySelectorAll('#persona option').length === 2")
    ask(visitor, "two again")
    assert told(ollama)[0] == "You teach."
    # The user's own.
    page.click("#personas-edit")
    page.fill("#persona-form [name=name]", "Pirate")
    page.fill("#persona-form [name=system]", "Arr. " * 1600)
    page.select_option("#persona-form [name=llm_model]", "qwen3:8b")
    page.fill("#persona-form [name=temperature]", "0.2")
    page.click("#persona-form >> text=Save and use")
    assert visitor.words("#persona-said") == "Pirate is saved and chosen."
    visitor.fits(tmp_path / "persona")
    assert page.evaluate(NAMELESS) == []
    page.set_viewport_size({"width": 1100, "height": 800})
    page.click("#personas-close")
    # A conversation continues with its persona.
    ask(visitor, "aye")
    startover(visitor)
    page.select_option("#persona", label="Usual assistant")
    page.click("#talks-open")
    page.click(".talk-item")
    page.click("#talk-continue")
    assert page.eval_on_selector("#persona", "select => select.selectedOptions[0].text") == "Pirate"
    ask(visitor, "two and a half")
    assert told(ollama)[0] == ("Arr. " * 1600).strip()
    # In a new conversation after a reload: its prompt is longer than an address can be.
    page.reload()
    visitor.until("document.querySelectorAll('#persona option').length === 3")
    startover(visitor)
    ask(visitor, "three")
    assert (ollama.requests[-1]["model"], ollama.requests[-1]["options"]["temperature"]) == ("qwen3:8b", 0.2)
    assert told(ollama) == [("Arr. " * 1600).strip(), "three"]
    assert [one["persona"] for one in kept(visitor)] == ["Pirate"] * 2, "the last one of each conversation"
    page.click("#personas-edit")
    assert page.input_value("#persona-form [name=name]") == "Pirate"
    page.click("#persona-delete")
    page.keyboard.press("Escape")
    assert page.locator("#persona option").count() == 2
    ask(visitor, "four")
    assert told(ollama)[0] == "Usual."
    assert visitor.complaints == []


def test_a_choice_that_the_service_lost_is_forgotten(service: Service, visit: Visit, ollama: FakeOllama) -> None:
    visitor = visit(service.url)
    visitor.page.evaluate("localStorage.setItem('parley.manner', JSON.stringify({ persona: '', model: 'gone:1b' }))")
    visitor.page.reload()
    visitor.page.fill("#words", "hello")
    visitor.page.press("#words", "Enter")
    visitor.see("#trouble:not([hidden]) >> text=gone:1b")
    visitor.page.click("#trouble-action")
    ended(visitor, "hello")
    assert ollama.requests[-1]["model"] == "llama3.2"


def test_a_choice_lost_during_a_conversation_blocks_no_other(
    service: Service, visit: Visit, ollama: FakeOllama
) -> None:
    visitor = visit(service.url)
    ask(visitor, "one")
    lost = {"id": "lost", "name": "Lost", "voice": "", "language": "", "llm_model": ""}  # the operator has removed it
    visitor.talk(f"void talk.talks.personas.served.push({json.dumps(lost)})")
    visitor.talk("talk.talks.personas.choose('lost', 'gone:1b')")
    visitor.until("localStorage.getItem('parley.manner') === JSON.stringify({ persona: '', model: '' })")
    visitor.page.select_option("#llm-model", "qwen3:8b")
    ask(visitor, "two")
    assert ollama.requests[-1]["model"] == "qwen3:8b"
