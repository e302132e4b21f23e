"""The page of a service that downloads its language model, in a real browser."""

from pathlib import Path

from tests.browser.conftest import Visit
from tests.browser.test_transcribe import give, row
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import HEARS
from tests.server_process import serving
from tests.servers.running import closed_port
from tests.stt.recordings import TRAINED
from tests.test_starting import waiting


def test_the_page_shows_the_progress_of_the_start_and_then_works(visit: Visit, tmp_path: Path) -> None:
    with waiting(tmp_path, **TRAINED) as start:
        start.at_half()
        visitor = visit(f"{start.server.url}/", language="pt-BR", starts=False)
        visitor.see("#starting .progress[aria-valuenow='50']")
        assert "Baixando qwen3" in visitor.words("#starting-steps")
        assert visitor.page.is_hidden("#press")
        assert visitor.page.is_hidden("#settings"), "they have no voices and languages yet"
        visitor.fits(tmp_path / "starting")
        visitor.page.evaluate("localStorage.setItem('parley.choices', JSON.stringify({ theme: 'dark' }))")
        visitor.page.emulate_media(color_scheme="light")
        visitor.page.reload()
        visitor.see("#starting")
        assert visitor.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 21)"

        start.finish()
        visitor.see("#press:enabled")
        assert visitor.page.is_hidden("#starting")
        visitor.ask("hello")
        visitor.until("document.querySelector('.reply p').textContent.includes('I am here.')")
        assert visitor.complaints == []


def test_the_page_shows_which_models_are_still_loading(visit: Visit, tmp_path: Path) -> None:
    with waiting(tmp_path, 3600, **TRAINED) as start:
        start.at_half()
        visitor = visit(f"{start.server.url}/", language="de-DE", starts=False)
        visitor.see("#starting .progress")
        start.goes_on.set()
        visitor.see("#starting-steps:has-text('Sprachmodell: qwen3 wird geladen')")
        assert visitor.page.query_selector("#starting .progress") is None
        assert start.get("/health").json()["loading"] == [
            {"step": "load", "model": "qwen3", "done": 0, "total": 0, "stage": "llm"}
        ]


def test_an_open_list_of_jobs_goes_on_after_a_restart(visit: Visit, tmp_path: Path) -> None:
    port = str(closed_port())
    with serving(tmp_path, **HEARS, PORT=port, JOB_WORKERS="0") as server:
        visitor = visit(f"{server.url}/#transcribe")
        visitor.see("#no-jobs")
        give(visitor, ("heron.wav", recording(0)))
        visitor.see(f"{row('heron.wav')}[data-state=queued]")
    with waiting(tmp_path, PORT=port, **HEARS) as start:
        start.at_half()
        visitor.see("#jobs-trouble:has-text('is starting')")
        start.finish()
        visitor.see(f"{row('heron.wav')}[data-state=completed]")
        visitor.see("#jobs-trouble", state="hidden")
