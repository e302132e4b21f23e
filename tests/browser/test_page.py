"""How the page is served, and its accessibility."""

from pathlib import Path

import httpx
import pytest

from tests.browser.conftest import Visit, low_contrasts, said
from tests.in_process import in_process
from tests.scripted import ScriptedSTT
from tests.server_process import ServerProcess

pytestmark = pytest.mark.real_time


def test_everything_works_with_the_keyboard(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url, microphone=said(2.0, "what_is_two_plus_three", 60.0))
    page = visitor.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the talk button"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.focus("#press")
    page.keyboard.press("Space")
    visitor.see("#talk[data-state=listening]")
    visitor.see("text=2 plus 3 is 5.")
    visitor.see("#talk[data-state=listening]")
    page.keyboard.press("Enter")
    visitor.see("#talk[data-state=off]")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    visitor.see("#talk[data-state=listening]")


@pytest.mark.parametrize(
    ("language", "button"), [("pt-BR", "Falar"), ("es-MX", "Hablar"), ("de-DE", "Sprechen"), ("fr-FR", "Talk")]
)
def test_the_page_uses_the_browsers_language(server: ServerProcess, visit: Visit, language: str, button: str) -> None:
    visitor = visit(server.url, language=language)
    visitor.until("document.getElementById('press-name').textContent !== ''")
    assert visitor.page.text_content("#press-name") == button
    assert visitor.page.get_attribute("html", "lang") == (language[:2] if button != "Talk" else "en")


def test_all_languages_have_the_same_texts(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    names = visitor.page.evaluate(
        "Promise.all(document.documentElement.dataset.languages.split(' ').map(async (code) => {"
        "  const { texts } = await import(`/web/texts/${code}.js`);"
        "  return Object.entries(texts).map(([name, words]) => [name, String(words).match(/{\\w+}/g)?.sort()]);"
        "}))"
    )
    assert len(names) == 4
    assert all(sorted(one) == sorted(names[0]) for one in names)


def test_the_page_fits_and_every_control_has_a_name(server: ServerProcess, visit: Visit, tmp_path: Path) -> None:
    visitor = visit(server.url)
    page = visitor.page
    visitor.until("document.querySelectorAll('#engines .stage').length === 3")
    visitor.ask("tell me a story")
    page.click("#settings summary")
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select, summary, [role], a')].filter((element) => {"
        "  if (element.closest('[hidden]')) return false;"
        "  const label = element.getAttribute('aria-label') ?? '';"
        "  const labels = [...(element.labels ?? [])].map(({ textContent }) => textContent).join('');"
        "  return !(label + labels + element.textContent).trim() && !['status', 'alert'].includes(element.role);"
        "}).map((element) => element.outerHTML)"
    )
    assert nameless == []
    assert page.evaluate(
        "new Set([...document.querySelectorAll('[id]')].map(({ id }) => id)).size"
        " === document.querySelectorAll('[id]').length"
    )
    visitor.fits(tmp_path / "settings")
    assert visitor.complaints == []


@pytest.mark.parametrize("language", ["en-US", "pt-BR", "es-ES"])
def test_all_examples_are_visible_on_a_phone(server: ServerProcess, visit: Visit, language: str) -> None:
    visitor = visit(server.url, size=(320, 640), language=language)
    visitor.until("document.querySelectorAll('#engines .stage').length === 3")
    visible = (
        "(() => {"
        "  const view = document.getElementById('scroll').getBoundingClientRect();"
        "  const places = [...document.querySelectorAll('.examples button')].map((one) => one.getBoundingClientRect());"
        "  return places.length === 3 && places.every(({ top, bottom }) => top >= view.top && bottom <= view.bottom);"
        "})()"
    )
    assert visitor.page.evaluate(visible)
    visitor.page.set_viewport_size({"width": 390, "height": 844})
    assert visitor.page.evaluate(visible)


def test_a_card_tells_the_limits_of_basic_engines_until_it_is_closed(visit: Visit, tmp_path: Path) -> None:
    with in_process(tmp_path, STT_ENGINE="sphinx", TTS_ENGINE="espeak") as running:
        visitor = visit(running.url, language="fr-FR")
        page = visitor.page
        visitor.see("#basic")
        assert "sounds like a robot" in page.inner_text("#basic")
        assert "Speech in your language is not understood" in page.inner_text("#basic")
        options = page.locator("#language option")
        assert options.all_text_contents() == ["Any (detected)", "English"], "what it understands"
        page.click("#basic-close")
        page.reload()
        visitor.see("#engines button")
        assert not page.is_visible("#basic")
        page.click("#engines button")
        visitor.see("#basic")
        page.goto(running.url + "/ui#transcribe")
        visitor.see("#basic-files:has-text('one word in four wrong')")


def test_a_language_that_is_not_understood_is_told_until_the_first_press(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url, language="pt-BR", microphone=said(60.0))
    page = visitor.page
    visitor.see("#lacking")
    assert visitor.words("#lacking") == "Aqui não se entende português, só inglês."
    assert "o reconhecedor só tem inglês." in visitor.words("#basic")
    assert page.locator("#language option").all_text_contents() == ["Qualquer um (detectado)", "Inglês"]
    assert low_contrasts(visitor) == []
    page.click("#basic-close")
    page.reload()
    visitor.see("#lacking")
    assert not page.is_visible("#basic")
    page.click("#settings summary")
    page.select_option("#language", "en")
    assert not page.is_visible("#lacking"), "the user speaks it"
    page.select_option("#language", "auto")
    visitor.see("#lacking")
    page.keyboard.press("Escape")
    page.click("#press")
    visitor.see("#talk[data-state=listening]")
    assert not page.is_visible("#lacking")


def test_a_language_without_a_voice_is_marked(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.until("document.querySelectorAll('#engines .stage').length === 3")
    visitor.talk("talk.setLanguages(['en', 'pt'], ['en-us'])")
    options = visitor.page.locator("#language option").all_text_contents()
    assert options == ["Any (detected)", "English", "Portuguese (replies as text only)"]


def test_recordings_note_a_recogniser_of_other_languages(visit: Visit, tmp_path: Path) -> None:
    with in_process(tmp_path, heard=ScriptedSTT(languages=["en"])) as running:
        visitor = visit(running.url + "/ui#transcribe", language="de-DE")
        visitor.see("#basic-files:has-text('Die Erkennung kann nur Englisch.')")
        visitor = visit(running.url + "/ui#transcribe")
        visitor.until("document.querySelectorAll('#engines .stage').length === 3")
        assert not visitor.page.is_visible("#basic-files")


def test_recordings_can_have_the_languages_of_the_chosen_model(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url + "/ui#transcribe")
    page = visitor.page
    options = page.locator("#job-options [name=language] option")
    visitor.until("document.querySelectorAll('#job-options [name=model_id] option').length > 1")
    assert options.all_text_contents() == ["Any (detected)", "English"], "what the loaded recogniser understands"
    page.click("#options-summary")
    page.select_option("#job-options [name=model_id]", "faster_large-v3_int8")
    assert options.count() > 40, "the languages of a model that is not loaded are unknown"
    page.select_option("#job-options [name=language]", "pt")
    page.select_option("#job-options [name=model_id]", "")
    assert page.input_value("#job-options [name=language]") == "auto"


def test_a_reply_that_needs_a_language_model_leads_to_one(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    page = visitor.page
    visitor.see("#basic")
    visitor.ask("write me a poem about rivers")
    visitor.see(".reply .suggestion:has-text('A language model would answer this.')")
    assert not page.is_visible("#basic")
    page.click(".suggestion button")
    visitor.see("#basic:has-text('Without a language model')")
    assert page.evaluate("document.activeElement.id") == "basic-close"
    visitor.ask("what is two plus three")
    visitor.see("text=2 plus 3 is 5.")
    visitor.see(".reply:nth-of-type(4):not(.speaking)")
    assert page.locator(".suggestion").count() == 1
    assert visitor.complaints == []


def test_a_failed_turn_shows_its_error_in_the_pages_language(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url, language="de-DE")
    visitor.talk(
        "[{ type: 'turn_started' }, { type: 'reply_delta', text: 'The heron' },"
        " { type: 'turn_failed', code: 'llm_unavailable', message: 'No model.', timings_ms: {} },"
        " { type: 'turn_started' }, { type: 'turn_failed', code: 'odd', message: 'Odd.', timings_ms: {} },"
        "].map((event) => talk.happened(event))"
    )
    assert visitor.words(".reply .heard") == "The heron"
    assert visitor.words(".reply .failure") == "Keine Antwort: Das Sprachmodell antwortet nicht."
    assert visitor.words(".note.failure") == "Keine Antwort: Odd."
    assert visitor.page.locator(".interrupted").count() == 0
    assert low_contrasts(visitor) == []


def test_colours_and_key_are_remembered_on_request(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    page = visitor.page
    page.click("#settings summary")
    page.select_option("[name=theme]", "dark")
    for remembered in (True, False):
        page.click("#sign-in-open")
        page.set_checked("#sign-in [name=remember]", remembered)
        visitor.sign_in("a-key")
        page.evaluate("sessionStorage.clear()")  # as in another tab
        visitor.reload()
        page.click("#settings summary")
        assert page.text_content("#sign-in-open") == ("Change or sign out" if remembered else "Sign in")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 21)"


def test_escape_closes_only_the_card_above_the_settings(server: ServerProcess, visit: Visit) -> None:
    page = visit(server.url).page
    page.click("#settings summary")
    page.click("#sign-in-open")
    page.keyboard.press("Escape")
    assert page.is_hidden("#sign-in")
    assert page.is_visible("#choices")
    page.keyboard.press("Escape")
    assert page.is_hidden("#choices")


def test_browsers_get_the_page_and_other_clients_get_json(server: ServerProcess) -> None:
    def kind(path: str, accept: str) -> str:
        return httpx.get(server.url + path, headers={"Accept": accept}).headers["content-type"].split(";")[0]

    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    assert kind("/", browser) == "text/html"
    assert kind("/", "*/*") == "application/json"
    assert kind("/", "") == "application/json"
    assert kind("/", "application/json, text/html;q=0.5") == "application/json"
    assert kind("/", "text/html;q=0, */*") == "application/json"
    assert kind("/ui", "*/*") == "text/html"
    assert httpx.get(server.url).json()["message"] == "Parley is listening."


@pytest.mark.parametrize("path", ["/ui", "/web/style.css", "/docs/swagger-ui-bundle.js"])
def test_the_page_and_its_files_are_compressed_for_clients_that_accept_it(server: ServerProcess, path: str) -> None:
    plain = httpx.get(server.url + path, headers={"Accept-Encoding": "identity"})
    assert int(plain.headers["content-length"]) == len(plain.content)
    for accepted in ("gzip, deflate, br", "GZIP;q=0.5", "*"):
        answer = httpx.get(server.url + path, headers={"Accept-Encoding": accepted})
        assert answer.headers["content-encoding"] == "gzip"
        assert int(answer.headers["content-length"]) < len(answer.content) / 2
        assert answer.content == plain.content
        assert [answer.headers[name] for name in ("etag", "content-type")] == [
            plain.headers[name] for name in ("etag", "content-type")
        ]
    for accepted in ("identity", "gzip;q=0, *", "br"):
        answer = httpx.get(server.url + path, headers={"Accept-Encoding": accepted})
        assert "content-encoding" not in answer.headers
        assert "Accept-Encoding" in answer.headers["vary"]


def test_images_and_ranges_are_served_as_they_are(server: ServerProcess) -> None:
    assert "content-encoding" not in httpx.get(f"{server.url}/web/apple-touch-icon.png").headers
    part = httpx.get(f"{server.url}/web/app.js", headers={"Range": "bytes=0-9"})
    assert (part.status_code, len(part.content), part.headers.get("content-encoding")) == (206, 10, None)
    told = httpx.head(f"{server.url}/web/app.js")
    assert (told.status_code, told.content) == (200, b"")


def test_the_page_has_strict_headers(server: ServerProcess) -> None:
    for path in ("/ui", "/web/app.js", "/web/style.css"):
        answer = httpx.get(server.url + path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-cache"
        again = httpx.get(server.url + path, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        assert not again.content


@pytest.mark.parametrize("language", ["en-GB", "pt-BR"])
def test_exactly_the_modules_that_the_page_runs_are_loaded_at_once(
    server: ServerProcess, visit: Visit, language: str
) -> None:
    visitor = visit(server.url, language=language)
    visitor.until("document.querySelectorAll('#engines .stage').length === 3")
    loaded, announced = visitor.page.evaluate(
        "[performance.getEntriesByType('resource').map(({ name }) => name).filter((name) => name.includes('.js')),"
        " [...document.querySelectorAll('link[rel=modulepreload]')].map(({ href }) => href)]"
    )
    assert len(loaded) > 50
    assert sorted(loaded) == sorted(announced)


def test_a_browser_keeps_files_until_they_change(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    used = visitor.page.evaluate(
        "[...document.querySelectorAll('link[rel=modulepreload], link[rel=stylesheet], h1 img')]"
        ".map(({ href, src }) => href ?? src)"
    )
    for address in used:
        plain, _, version = address.partition("?v=")
        assert version
        assert "immutable" in httpx.get(address).headers["cache-control"]
        assert httpx.get(f"{plain}?v=other").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/web/", "/web/../main.py", "/web/%2e%2e/main.py", "/web/..%2fmain.py", "/web//etc/passwd"]
)
def test_only_the_pages_files_are_served(server: ServerProcess, path: str) -> None:
    assert httpx.get(f"{server.url}/web/{path}").status_code == 404


def test_voices_are_listed(server: ServerProcess) -> None:
    voices = httpx.get(server.url + "/v1/audio/voices").json()["voices"]
    assert [voice["id"] for voice in voices] == ["man", "woman"]
    assert [voice["default"] for voice in voices] == [True, False]
