"""The page when the service is away, full, locked, or back again."""

from pathlib import Path

import pytest

from server.access.callers import USE
from server.access.keys import KeyFile
from tests.browser.conftest import OTHER_NAME, Visit
from tests.in_process import in_process
from tests.server_process import ServerProcess, constants, killed, serving
from tests.servers.running import closed_port
from tests.stt.recordings import TRAINED

pytestmark = pytest.mark.real_time


@pytest.mark.parametrize(("calls", "link"), [(True, "channel"), (False, "socket")], ids=["WebRTC", "WebSocket"])
def test_the_page_resumes_the_conversation_after_a_dropped_connection(
    server: ServerProcess, visit: Visit, calls: bool, link: str
) -> None:
    visitor = visit(server.url, calls=calls)
    visitor.ask("my name is Alice")
    token = visitor.talk("talk.connection.token")
    visitor.talk(f"talk.connection.link.{link}.close()")
    visitor.until(
        "old => import('/web/app.js').then(({ talk: { connection: c } }) => c.ready && c.token !== old)", token
    )
    visitor.ask("what is my name")
    visitor.see("text=Your name is Alice.")
    assert visitor.page.locator(".note").count() == 0


def test_a_reloaded_page_keeps_its_conversation(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.ask("my name is Alice")
    visitor.page.reload()
    visitor.see("text=my name is Alice")
    visitor.ask("what is my name")
    visitor.see("text=Your name is Alice.")
    visitor.page.click("#settings summary")
    visitor.page.click("#new")
    assert visitor.page.locator(".reply").count() == 0
    visitor.reload()
    assert visitor.page.locator(".reply").count() == 0, "the conversation before is over"
    visitor.ask("what is my name")
    visitor.see("text=You have not told me your name yet.")


def test_the_page_reconnects_to_a_restarted_service(visit: Visit, tmp_path: Path) -> None:
    port = str(closed_port())
    with serving(tmp_path, **TRAINED, PORT=port) as first:
        visitor = visit(first.url)
        visitor.ask("my name is Alice")
    visitor.see("#trouble:visible")
    assert "being restarted" in visitor.words("#trouble")
    assert "will not remember" in visitor.words("#trouble"), "before the service is back and starts a new conversation"
    assert visitor.words("#link-words") == "no connection"
    with serving(tmp_path, **TRAINED, PORT=port):
        visitor.see("[data-link=open]")
        visitor.see("#trouble", state="hidden")
        assert "does not remember" in visitor.words(".note")  # another process: the page says so
        assert "Alice" in visitor.words(".reply p")
        visitor.ask("what is two plus three")


def test_a_vanished_service_is_reported_without_promises(visit: Visit, tmp_path: Path) -> None:
    with killed(tmp_path, **TRAINED) as server:
        visitor = visit(server.url)
        visitor.ask("my name is Alice")
    visitor.see("#trouble:visible")
    assert "does not answer" in visitor.words("#trouble")
    assert "If only the network failed" in visitor.words("#trouble")


def test_where_udp_is_blocked_the_page_falls_back_to_the_websocket(visit: Visit, tmp_path: Path) -> None:
    deaf = constants({"server.webrtc.listening:MAX_ADDRESSES": 0})  # no address of a client gets an answer
    with in_process(tmp_path, **deaf) as server:
        visitor = visit(server.url)
        asked: list[str] = []
        visitor.page.on("request", lambda request: asked.append(request.url))
        visitor.ask("my name is Alice")
        assert visitor.page.text_content("#link-words") == "connected (WebSocket)"
        assert [url for url in asked if "/ws/call" in url]
        asked.clear()
        visitor.page.reload()
        visitor.see("text=my name is Alice")
        visitor.ask("what is my name")
        visitor.see("text=Your name is Alice.")
        assert not [url for url in asked if "/ws/call" in url], "the tab remembers it"


def test_a_call_that_fails_keeps_the_conversation_it_has_resumed(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.ask("my name is Alice")
    visitor.page.evaluate(
        "() => { RTCPeerConnection.prototype.setRemoteDescription = () => Promise.reject(new Error()); }"
    )
    visitor.talk("talk.connection.link.channel.close()")
    visitor.until("document.getElementById('link-words').textContent === 'connected (WebSocket)'")
    visitor.ask("what is my name")
    visitor.see("text=Your name is Alice.")


def test_a_full_service_is_explained_and_retried(visit: Visit, tmp_path: Path) -> None:
    with in_process(tmp_path, MAX_SESSIONS="1") as server:
        with server.connect():
            visitor = visit(server.url)
            visitor.page.fill("#words", "what is two plus three")
            visitor.page.press("#words", "Enter")
            visitor.see("#trouble:visible")
            assert "The service is full" in visitor.words("#trouble")
        visitor.see("text=2 plus 3 is 5.")
        visitor.see("#trouble", state="hidden")


@pytest.mark.parametrize("calls", [True, False], ids=["WebRTC", "WebSocket"])
def test_the_page_asks_for_a_key_and_uses_it(visit: Visit, tmp_path: Path, calls: bool) -> None:
    with in_process(tmp_path, API_KEYS="transcriber:transcribe:no-sesame,open-sesame") as server:
        visitor = visit(server.url, calls=calls)
        visitor.see("#sign-in:has-text('needs an access key')")  # before the user presses a button
        assert visitor.page.evaluate("document.activeElement.id") == "key"
        assert visitor.page.locator("#engines li").count() == 0
        visitor.page.keyboard.press("Escape")
        visitor.page.fill("#words", "what is two plus three")
        visitor.page.press("#words", "Enter")
        visitor.see("#sign-in:has-text('needs an access key')")
        visitor.page.click("#sign-in-later")
        visitor.page.click("#trouble:has-text('needs an access key') >> text=Sign in")
        for unknown in ("wrong", "ключ", "a\u2028b"):
            visitor.page.fill("#key", unknown)
            visitor.page.press("#key", "Enter")
            visitor.see("#sign-in:has-text('does not know this access key')")
            visitor.page.click("#sign-in-later")
            visitor.page.click("#trouble >> text=Sign in")
        visitor.page.fill("#key", "no-sesame")
        visitor.page.press("#key", "Enter")
        visitor.see("#sign-in:has-text(\"lacks the 'talk' permission\")")
        sent: list[str] = []
        visitor.page.on("websocket" if not calls else "request", lambda opened: sent.append(opened.url))
        visitor.sign_in("open-sesame")
        visitor.see("text=2 plus 3 is 5.")
        visitor.until("document.querySelectorAll('#engines .stage').length === 3")
        visitor.until("document.getElementById('voice').options.length === 2")
        assert visitor.page.locator("#voice option").all_text_contents() == ["man", "woman"]
        assert sent
        assert "sesame" not in "".join(sent)
        assert visitor.page.evaluate("JSON.stringify(localStorage)").find("sesame") < 0, "kept until the tab is closed"
        visitor.page.reload()
        visitor.ask("what is two plus four")


def test_a_revoked_key_ends_the_conversation_with_an_explanation(visit: Visit, tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys")
    key = keys.add("anna", USE)
    with in_process(tmp_path, API_KEYS_FILE=str(tmp_path / "keys")) as server:
        visitor = visit(server.url)
        visitor.see("#sign-in[open]")
        visitor.sign_in(key)
        visitor.ask("my name is Alice")
        keys.remove("anna")
        visitor.see("#sign-in:has-text('does not know this access key')")
        visitor.see("[data-link=idle]")
        visitor.page.click("#sign-out")
        visitor.see("#sign-in:has-text('needs an access key')")
        assert "Alice" not in visitor.words("main"), "what was said with the key is gone"


def test_a_page_on_another_host_name_explains_what_is_missing(visit: Visit, tmp_path: Path) -> None:
    """Over plain HTTP and a name other than localhost: no microphone, and no conversation until the name is allowed."""
    with in_process(tmp_path) as server:
        visitor = visit(f"http://{OTHER_NAME}:{server.port}")
        visitor.see("#trouble:visible")
        assert "https" in visitor.words("#trouble")
        visitor.page.fill("#words", "what is two plus three")
        visitor.page.press("#words", "Enter")
        visitor.see("text=ALLOWED_ORIGINS")
        assert f"http://{OTHER_NAME}:{server.port}" in visitor.words("#trouble")
    with in_process(tmp_path, ALLOWED_ORIGINS="*") as server:
        visitor = visit(f"http://{OTHER_NAME}:{server.port}")
        visitor.page.fill("#words", "what is two plus three")
        visitor.page.press("#words", "Enter")
        visitor.see("text=2 plus 3 is 5.")
