"""The page in a real browser, which listens with the browser's microphone and replies through its loudspeaker."""

import re

import pytest

from pipeline.audio.clip import Clip
from tests.browser.conftest import RATE_HZ, Visit, low_contrasts, said
from tests.questions import spoken
from tests.server_process import ServerProcess

pytestmark = pytest.mark.real_time
AFTER_S = 60.0
"""Silence after the last word."""
SUM = said(2.0, "what_is_two_plus_three", AFTER_S)
MEANWHILE = said(2.0, "what_time_is_it", AFTER_S)
"""Speech during a story, which takes half a minute."""
STATE = "talk.turns.player.context.state"
"""State of the page's AudioContext."""
LOOK = """(selector) => {
  const one = document.querySelector(selector);
  return [Math.round(one.getBoundingClientRect().right), getComputedStyle(one).font];
}"""
"""The right edge of an element, and its type."""
LEVELS = """(() => {
  const [circle] = getComputedStyle(document.querySelector(".halo")).scale.split(" ");
  const [meter] = getComputedStyle(document.getElementById("level"), "::after").scale.split(" ");
  return circle > 1.1 && meter > 0.3;
})()"""
"""Whether the circle around the button and the meter show the microphone's level."""
IN_VIEW = """() => {
  const view = document.getElementById("scroll").getBoundingClientRect();
  const last = [...document.querySelector(".heard").getClientRects()].at(-1);
  return last.top >= view.top && last.bottom <= view.bottom;
}"""
"""Whether the end of the heard part can be seen."""
both = pytest.mark.parametrize("calls", [True, False], ids=["WebRTC", "WebSocket"])
"""Runs a test over both of the page's transports; the other tests use WebRTC."""


@both
def test_a_spoken_question_is_written_while_heard_and_answered_aloud(
    server: ServerProcess, visit: Visit, calls: bool
) -> None:
    visitor = visit(server.url, microphone=SUM, calls=calls)
    visitor.page.emulate_media(reduced_motion="no-preference")
    visitor.page.click("#press")
    visitor.see("#talk[data-state=hearing]")
    visitor.until(LEVELS)
    visitor.see(".you.partial")
    partial = visitor.page.evaluate(LOOK, ".you")
    visitor.see(".you:not(.partial)")
    assert visitor.page.evaluate(LOOK, ".you") == partial, "at the same edge, in the same type"
    visitor.page.emulate_media(reduced_motion="reduce")
    visitor.see(".reply .waterfall")
    assert visitor.page.text_content("#link-words") == f"connected ({'WebRTC' if calls else 'WebSocket'})"
    assert visitor.words(".you p") == "what is two plus three"
    assert visitor.words(".reply p") == "2 plus 3 is 5."
    visitor.until(
        "import('/web/app.js').then(({ talk }) => talk.turns.player.total > 10_000)"
    )  # half a second, at 22,050 Hz
    assert visitor.talk("talk.turns.player.loudest") > 0.02
    visitor.page.click(".waterfall summary")
    shown = visitor.words(".waterfall")
    assert "Playback" in shown
    assert re.search(r"answered in \d+(\.\d+)? s", shown)
    assert visitor.page.text_content("#press-name") == "Stop"
    assert visitor.page.get_attribute(".reply p", "lang") == "en"
    visitor.page.click("#press")
    assert visitor.words("#state") == "Microphone off"
    assert visitor.complaints == []


@both
def test_an_interruption_stops_the_reply_and_marks_the_heard_part(
    server: ServerProcess, visit: Visit, calls: bool
) -> None:
    visitor = visit(server.url, microphone=MEANWHILE, calls=calls)
    visitor.ask("tell me a story")
    visitor.see(".reply.speaking .heard:not(:empty)")
    visitor.page.click("#press")
    visitor.see(".reply.interrupted")
    assert low_contrasts(visitor) == []
    heard, unheard = visitor.words(".interrupted .heard"), visitor.words(".interrupted .unheard")
    assert heard.startswith("Once upon a time")
    assert unheard.endswith("just in case.")
    assert visitor.words(".interrupted .mark") == "Not heard:"
    visitor.see(".reply:not(.interrupted) .waterfall")
    assert visitor.page.locator(".you p").all_inner_texts()[1] == "what time is it"
    assert visitor.complaints == []


@both
def test_words_light_up_in_view_until_the_reply_is_stopped(server: ServerProcess, visit: Visit, calls: bool) -> None:
    size = (320, 480) if calls else (390, 844)  # each transport at another size
    visitor = visit(server.url, calls=calls, size=size)
    page, sent = visitor.page, list[str]()
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(str(frame))))
    page.click("text=Tell me a story.")
    visitor.see(".reply.speaking .heard:not(:empty)")
    for length in (30, 60, 90):
        visitor.until("length => document.querySelector('.heard').textContent.length > length", length)
        assert page.evaluate(IN_VIEW), length
    assert (page.text_content(".coming") or "").endswith("just in case.")
    if calls:
        page.keyboard.press("Escape")
    else:
        page.click("#hush")
    visitor.see(".reply.interrupted .waterfall")
    assert not page.is_visible("#hush"), "nothing speaks"
    silent = visitor.talk("talk.turns.player.total")
    page.wait_for_timeout(700)
    assert visitor.talk("talk.turns.player.total") - silent < 0.3 * 22_050
    played = [float(match[1]) for frame in sent if (match := re.search(r'"played","ms":([\d.]+)', frame))]
    assert len(played) == (0 if calls else 1), "a call's service knows what it has sent"
    assert all(3_000 < ms < 20_000 for ms in played)
    # The end of the heard part stays in view, and the rest is folded.
    assert page.evaluate(IN_VIEW)
    folded = page.locator(".unheard").bounding_box()
    page.click(".unfold")
    whole = page.locator(".unheard").bounding_box()
    assert folded
    assert whole
    assert folded["height"] < 70 < whole["height"]
    assert page.locator(".unfold").count() == 0


@both
def test_the_loudspeaker_rests_in_silence_and_wakes_for_a_reply(
    server: ServerProcess, visit: Visit, calls: bool
) -> None:
    visitor = visit(server.url, calls=calls, clock=True)
    page = visitor.page
    page.clock.install()
    for answers in (1, 2):
        visitor.ask("what is two plus three")
        visitor.until("n => document.querySelectorAll('.reply:not(.speaking) .waterfall').length === n", answers)
        assert visitor.talk("talk.turns.player.loudest") > 0.02
        visitor.talk("void (talk.turns.player.loudest = 0)")
        assert visitor.talk(STATE) == "running"
        page.clock.fast_forward(11_000)
        visitor.until(f"import('/web/app.js').then(({{ talk }}) => {STATE} === 'suspended')")
    page.click("#press")
    visitor.see("#talk[data-state=listening]")
    page.clock.fast_forward(11_000)
    page.wait_for_timeout(300)
    assert visitor.talk(STATE) == "running", "the microphone is open"
    page.click("#press")
    page.clock.fast_forward(11_000)
    visitor.until(f"import('/web/app.js').then(({{ talk }}) => {STATE} === 'suspended')")


def test_a_denied_microphone_is_explained_and_typing_still_works(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url, refused=True)
    visitor.page.click("#press")
    visitor.see("#trouble:visible")
    assert "microphone is blocked" in visitor.words("#trouble")
    assert visitor.words("#state") == "Microphone off"
    visitor.page.fill("#words", "what is two plus three")
    visitor.page.click("#send")
    visitor.see("text=2 plus 3 is 5.")


def test_an_unavailable_microphone_is_explained(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    rejected = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{}'))".format
    for broken, told in (
        (rejected("NotFoundError"), "No micro"),
        (rejected("NotReadableError"), "another"),
        ("Object.defineProperty(window, 'isSecureContext', { value: false })", "https"),
    ):
        visitor.page.evaluate(f"() => {{ {broken}; }}")
        visitor.page.click("#press")
        visitor.see(f"#trouble:visible:has-text('{told}')")


@both
def test_push_to_talk_listens_while_the_button_is_held(server: ServerProcess, visit: Visit, calls: bool) -> None:
    visitor = visit(server.url, microphone=SUM, calls=calls)
    page = visitor.page
    page.click("#settings summary")
    page.check("#push")
    assert visitor.words("#state").startswith("Hold the button")
    page.hover("#press")
    page.mouse.down()
    visitor.see("#talk[data-state=hearing]")
    assert visitor.talk("talk.choices.wishes.options.turn_detection") is False
    visitor.listen(SUM.seconds - AFTER_S + 1)  # the question is over, but the reply waits until the button is released
    assert page.locator(".reply").count() == 0
    page.mouse.up()
    visitor.see("text=2 plus 3 is 5.")


def test_the_loudspeaker_setting_turns_barge_in_off(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url, microphone=MEANWHILE)
    visitor.page.click("#settings summary")
    visitor.page.check("#loudspeaker")
    visitor.ask("tell me a story")
    visitor.see(".reply.speaking .heard:not(:empty)")
    visitor.page.click("#press")
    visitor.listen(MEANWHILE.seconds - AFTER_S + 0.5)  # the user spoke meanwhile
    assert visitor.page.locator(".reply.speaking").count() == 1
    assert visitor.page.locator(".interrupted").count() == 0


def test_the_page_waits_for_the_chosen_wake_word(server: ServerProcess, visit: Visit) -> None:
    called = spoken("Okay Nabu", "en-us")
    question = said(2.0, "what_is_two_plus_three")
    visitor = visit(
        server.url, microphone=Clip.join([question, said(1.5, called, "what_time_is_it", AFTER_S)], RATE_HZ)
    )
    visitor.page.click("#settings summary")
    visitor.see("#wake-choice")
    visitor.page.select_option("#wake", "okay_nabu")
    visitor.page.click("#settings summary")
    visitor.page.click("#press")
    visitor.see("text=Say “Okay Nabu”.")
    visitor.see(".reply .waterfall")
    assert "time" in visitor.words(".you p")
    assert visitor.page.locator(".you").count() == 1, "the question before it was ignored"
    visitor.see("text=Say “Okay Nabu”.")
    visitor.page.reload()
    visitor.page.click("#settings summary")
    visitor.until("document.getElementById('wake').value === 'okay_nabu'")
    assert visitor.complaints == []


def test_the_chosen_voice_is_remembered(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.page.click("#settings summary")
    visitor.until("document.getElementById('voice').options.length > 1")
    assert visitor.page.input_value("#voice") == "man"
    visitor.page.select_option("#voice", "woman")
    visitor.page.select_option("#language", "en")
    visitor.page.reload()
    visitor.until("document.getElementById('voice').value === 'woman'")
    assert visitor.page.input_value("#language") == "en"
    visitor.ask("hello")
    assert visitor.talk("talk.choices.query.voice") == "woman"


def test_sound_is_resampled_without_aliases_or_seams(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    power = visitor.page.evaluate(
        """import('/web/resampler.js').then(({ Resampler }) => {
          const through = (hz, from, to) => {
            const resampler = new Resampler(from, to);
            const all = [];
            for (let piece = 0; piece < from; piece += 128) {
              const wave = (_, i) => Math.sin(2 * Math.PI * hz * (piece + i) / from);
              all.push(...resampler.process(Float32Array.from({ length: 128 }, wave)));
            }
            const wanted = all.map((_, i) => Math.sin(2 * Math.PI * hz * i / to));
            const middle = [200, all.length - 200];
            const mean = (values) =>
              values.slice(...middle).reduce((sum, value) => sum + value * value, 0) / (middle[1] - 200);
            return { count: all.length, power: mean(all), error: mean(all.map((value, i) => value - wanted[i])) };
          };
          return {
            passed: through(1000, 48000, 16000), kept: through(1000, 22050, 48000), odd: through(3000, 44100, 16000),
            alias: through(12000, 48000, 16000), same: through(1000, 48000, 48000),
          };
        })"""
    )
    for name in ("passed", "kept", "odd", "same"):
        assert power[name]["error"] < 1e-5, name
    assert abs(power["passed"]["count"] - 16_000) < 60
    assert power["alias"]["power"] < 1e-5


def test_silence_starts_no_turn_and_the_microphone_is_marked_in_every_tab(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url, microphone=said(60.0))
    page = visitor.page
    page.click("#press")
    visitor.see("#talk[data-state=listening]")
    page.wait_for_timeout(3000)
    assert page.locator("#turns li").count() == 0
    page.click("#tabs a >> nth=2")
    visitor.until('document.title === "● Status · Parley"')
    page.click("#live")
    page.click("#tabs a >> nth=0")
    visitor.see("#talk[data-state=off]")
    visitor.until('document.title === "Talk · Parley"')
    assert not page.is_visible("#live")
