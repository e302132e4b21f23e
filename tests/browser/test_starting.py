"""The page of a service that downloads its language model, in a real browser."""

from pathlib import Path

from tests.browser.conftest import Visit, low_contrasts
from tests.test_starting import waiting


def test_the_page_shows_the_progress_of_the_start_and_then_works(visit: Visit, tmp_path: Path) -> None:
    with waiting(tmp_path) as start:
        start.at_half()
        visitor = visit(f"{start.server.url}/", language="pt-BR", starts=False)
        visitor.see("#starting .progress[aria-valuenow='50']")
        assert "Baixando qwen3" in visitor.words("#starting-steps")
        assert visitor.page.is_hidden("#press")
        assert visitor.page.is_hidden("#settings"), "they have no voices and languages yet"
        for look in visitor.looks():
            assert low_contrasts(visitor) == [], look
            assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), look
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
