"""Rules of a live conversation: endpointing, barge-in, speech detection, partial transcripts and utterances."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio.clip import Samples
from pipeline.conversation.partials import LocalAgreement, following
from pipeline.listening.detector import FRAME, RATE_HZ, FullBand, SileroActivity, SpeechDetector, VoiceActivity
from pipeline.listening.endpointing import COMPLETE, UNFINISHED, Sound, completeness, delay
from pipeline.listening.interruption import BargeIn, Decision, words_beyond_backchannels
from pipeline.listening.options import LiveOptions
from pipeline.listening.utterance import Utterance
from tests.questions import spoken

DONE, OPEN, UNCLEAR = COMPLETE, UNFINISHED, 1.0

ENGLISH = [
    ("what time is it", DONE),
    ("What's the weather like?", DONE),
    ("what's the weather like", DONE),
    ("where are you from", DONE),
    ("what is this for", DONE),
    ("is it going to rain tomorrow", DONE),
    ("Turn on the light.", DONE),
    ("Please turn it on.", DONE),
    ("I think so.", DONE),
    ("I like it as well.", DONE),
    ("That was nice, though.", DONE),
    ("Call her.", DONE),
    ("It was in 2014.", DONE),
    ("What is two plus three?", DONE),
    ("yes", DONE),
    ("thank you", DONE),
    ("never mind", DONE),
    ('He said "no".', DONE),
    ("turn on the light", UNCLEAR),
    ("what I was looking for", DONE),
    ("who have you been waiting for", DONE),
    ("I have been waiting for", UNCLEAR),
    ("can you tell me", UNCLEAR),
    ("I think", OPEN),
    ("turn on the light and", OPEN),
    ("Turn on the light and.", OPEN),
    ("What is the capital of", OPEN),
    ("tell me a", OPEN),
    ("Tell me about", OPEN),
    ("I would like to", OPEN),
    ("My name is.", OPEN),
    ("Could you", OPEN),
    ("What is twenty.", UNCLEAR),
    ("Do you know.", OPEN),
    ("um", OPEN),
    ("Well, I was going to...", OPEN),
    ("first,", OPEN),
    ("If it rains tomorrow.", OPEN),
    ("unless you are busy", OPEN),
    ("If not, tell me.", DONE),
    ("If it rains tomorrow wake me up.", DONE),
    ("And so, my fellow Americans.", OPEN),
    ("Hey, Parley.", OPEN),
    ("Hey there.", DONE),
    ("Dear Anna, thank you.", DONE),
    ("five five five", OPEN),
    ("my number is five five five one", OPEN),
    ("555 12", OPEN),
    ("five five five one two three four", UNCLEAR),
    ("set a timer for five minutes because", OPEN),
]
PORTUGUESE = [
    ("que horas são", DONE),
    ("Que horas são?", DONE),
    ("quanto custa isso", DONE),
    ("onde fica a estação", DONE),
    ("por que o céu é azul", DONE),
    ("Senhoras e senhores.", OPEN),
    ("Acende a luz da sala.", DONE),
    ("Está frio, né?", DONE),
    ("está frio, né", UNCLEAR),
    ("gosto muito", UNCLEAR),
    ("para", DONE),
    ("sim", DONE),
    ("muito obrigado", DONE),
    ("bom dia", DONE),
    ("por favor acende a luz", UNCLEAR),
    ("acende a luz", UNCLEAR),
    ("você pode me", UNCLEAR),
    ("acende a luz e", OPEN),
    ("quero ir para", OPEN),
    ("O meu nome é.", OPEN),
    ("meu nome é", OPEN),
    ("eu gostaria", OPEN),
    ("qual é a", OPEN),
    ("onde fica o", OPEN),
    ("eu acho que", OPEN),
    ("hum", OPEN),
    ("Se chover amanhã.", OPEN),
    ("Se faz favor.", DONE),
    ("queria saber se", OPEN),
    ("nove um dois", OPEN),
    ("eu fui, então...", OPEN),
]
SPANISH = [
    ("qué hora es", DONE),
    ("que hora es", DONE),
    ("¿Qué hora es?", DONE),
    ("cómo te llamas", DONE),
    ("por qué el cielo es azul", DONE),
    ("Enciende la luz del salón.", DONE),
    ("¿Y tú?", DONE),
    ("para", DONE),
    ("sí", DONE),
    ("muchas gracias", DONE),
    ("buenos días", DONE),
    ("Señoras y señores.", OPEN),
    ("enciende la luz", UNCLEAR),
    ("por favor enciende la luz", UNCLEAR),
    ("puedes decirme", UNCLEAR),
    ("enciende la luz y", OPEN),
    ("esto es para", OPEN),
    ("me llamo", OPEN),
    ("me gustaría", OPEN),
    ("cuál es la", OPEN),
    ("dónde está el", OPEN),
    ("creo que", OPEN),
    ("es muy", OPEN),
    ("eh", OPEN),
    ("Aunque llueva mañana.", OPEN),
    ("quiero saber si", OPEN),
    ("nueve uno dos", OPEN),
    ("fui a casa, entonces…", OPEN),
]


@pytest.mark.parametrize(("text", "factor"), ENGLISH)
def test_completeness_of_english(text: str, factor: float) -> None:
    assert completeness(text, "en") == factor


@pytest.mark.parametrize(("text", "factor"), PORTUGUESE)
def test_completeness_of_portuguese(text: str, factor: float) -> None:
    assert completeness(text, "pt-BR") == factor


@pytest.mark.parametrize(("text", "factor"), SPANISH)
def test_completeness_of_spanish(text: str, factor: float) -> None:
    assert completeness(text, "es") == factor


DICTATED = {
    "en": "My number is 555.|555.|5 5 5|5-5-5.|J-O-H-N.|A B C|J. O. H. N.|john at gmail dot com|A B 1|555-12|+1 555|"
    "My email is john@gmail.com.|221B Baker Street|I live at 221B Baker Street.|My code is A1B2.|My PIN is 1234.|"
    "My email is john.smith.|my email address is john dot smith|Send it by email to j.smith84|It's 079.|I live at 22.|"
    "My address is 22|i live at twenty two|B for Bravo|N as in Nancy|it's spelled J O H N|My card number is 4111 1111|"
    "My number is 555 123 45|call 555|My birthday is March 3.|I was born on the 5th of March.|my number is plus|"
    "alpha bravo|My number is twenty",
    "pt": "Meu número é 912.|O meu telefone é 91 234.|J-O-Ã-O.|joão arroba gmail ponto com|Rua Augusta, 123.|"
    "Moro na Rua Augusta.|jota o á|Moro no 22.|Meu e-mail é joão.silva.|"
    "Nasci em 5 de março.|A de Ana|meu CPF é 123 456 789",
    "es": "Mi número es 612.|J-U-A-N.|juan arroba gmail punto com|Calle Mayor 5.|Vivo en el 22.|"
    "mi correo es juan punto perez|jota u a ene|nací el 3 de marzo|efe ge hache",
    "de": "Meine Nummer ist 555.|Hauptstraße 5.|A wie Anton|Ich wohne in der Hauptstraße 12.|null eins sieben",
    "fr": "Mon numéro est 06 12.|12 rue de la Paix 5|12 rue de la Paix.|4 place Bellecour.|"
    "jean arobase gmail point com|J'habite au 12.|Mon email est jean.dupont.",
    "ru": "Мой номер 555.|А Б В",
}
"""Dictation that can continue, in all spellings of a recogniser."""
NOT_DICTATED = {
    "en": "It was in 2014.|Set an alarm for 7:30.|Wake me up at 7 p.m.|It costs 12.50.|I live in the U.S.|It's 20 C.|"
    "Set a timer for 10 minutes.|I was born in 1990.|My birthday is 03/05/1990.|Meet me at noon.|That is plan B.|"
    "Open youtube.com.|I got an email.|Send an email to my mother.|Live music is at the theatre.|It costs 0.50.|"
    "I have 5.|The population is 1,000,000.|Watch it live at 9.",
    "pt": "Foi em 2014.|São 7:30.|Custa 12,50.",
    "es": "Fue en 2014.",
}


def _each(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(language, text) for language, texts in table.items() for text in texts.split("|")]


@pytest.mark.parametrize(("language", "text"), _each(DICTATED))
def test_dictation_gets_the_long_delay_whatever_its_sound(language: str, text: str) -> None:
    assert {delay(text, language, LiveOptions(), sound=sound) for sound in Sound} == {1200}


@pytest.mark.parametrize(("language", "text"), _each(NOT_DICTATED))
def test_numbers_and_letters_without_dictation_get_the_short_delay(language: str, text: str) -> None:
    assert delay(text, language, LiveOptions()) == 300


@pytest.mark.parametrize("text", ["My number is 555 123 4567.", "5551234", "555 1234"])
def test_possibly_complete_number_gets_the_usual_delay(text: str) -> None:
    assert delay(text, "en", LiveOptions()) == 500


def test_pending_transcript_gets_the_long_delay() -> None:
    assert delay(None, None, LiveOptions(), coming=True) == 1200
    assert delay(None, None, LiveOptions(adaptive_endpointing=False), coming=True) == 500


@pytest.mark.parametrize(
    ("text", "sound", "wait_ms"),
    [
        ("what time is it?", Sound.UNKNOWN, 300),
        ("what time is it?", Sound.COMING, 440),
        ("what time is it?", Sound.FINISHED, 440),
        ("what time is it?", Sound.GOES_ON, 1200),
        ("turn on the light", Sound.UNKNOWN, 500),
        ("turn on the light", Sound.COMING, 500),
        ("turn on the light", Sound.FINISHED, 440),
        ("turn on the light", Sound.GOES_ON, 1200),
        (None, Sound.FINISHED, 440),
    ],
)
def test_sound_decides_after_words_that_can_be_complete(text: str | None, sound: Sound, wait_ms: float) -> None:
    assert delay(text, "en", LiveOptions(), sound=sound) == pytest.approx(wait_ms)
    assert delay(text, "en", LiveOptions(adaptive_endpointing=False), sound=sound) == 500
    assert delay(None, None, LiveOptions(), coming=True, sound=sound) == 1200


@pytest.mark.parametrize(("text", "language"), [("", "en"), ("...!?", None), ("turn on and", "xx"), ("え", "ja")])
def test_every_text_in_every_language_has_a_factor(text: str, language: str | None) -> None:
    assert completeness(text, language) in (DONE, OPEN, UNCLEAR)


@pytest.mark.parametrize(
    ("text", "adaptive", "silence_ms", "wait_ms"),
    [
        (None, True, 500, 500),  # no transcript yet
        ("what time is it?", True, 500, 300),
        ("what time is it?", True, 300, 250),  # the minimum
        ("what time is it?", False, 500, 500),
        ("and", True, 500, 1200),
        ("and", True, 1000, 1500),  # the maximum
        ("and", False, 1000, 1000),
        ("turn on the light", True, 500, 500),
    ],
)
def test_delay_is_scaled_and_bounded(text: str | None, adaptive: bool, silence_ms: int, wait_ms: float) -> None:
    options = LiveOptions(min_silence_ms=250, max_silence_ms=1500, silence_ms=silence_ms, adaptive_endpointing=adaptive)
    assert delay(text, "en", options) == pytest.approx(wait_ms)


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("mhm", "en", 0),
        ("Mm-hmm.", "en", 0),
        ("Uh-huh, yeah.", "en", 0),
        ("yeah yeah yeah", "en", 0),
        ("Okay, got it.", "en", 0),
        ("that's right", "en", 0),
        ("I see", "en", 0),
        ("", "en", 0),
        ("yeah but wait", "en", 2),
        ("stop", "en", 1),
        ("no", "en", 1),
        ("I see a problem", "en", 2),
        ("Aham.", "pt", 0),
        ("Tá bom, tá bom.", "pt", 0),
        ("Pois é...", "pt", 0),
        ("sim, claro, entendi", "pt", 0),
        ("com certeza", "pt", 0),
        ("ah, que legal!", "pt", 0),
        ("para", "pt", 1),
        ("não, espera", "pt", 2),
        ("sim, mas e o preço", "pt", 4),
        ("Ajá.", "es", 0),
        ("sí, claro", "es", 0),
        ("vale, vale", "es", 0),
        ("por supuesto", "es", 0),
        ("claro que sí", "es", 0),
        ("espera", "es", 1),
        ("sí, pero no quiero", "es", 3),
        ("aham, claro, yeah", None, 0),  # unknown language: backchannels of all languages
        ("aham yeah stop", "xx", 1),
    ],
)
def test_words_beyond_backchannels_are_counted(text: str, language: str | None, words: int) -> None:
    assert words_beyond_backchannels(text, language) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [("of", 0), ("I", 0), ("yeah of", 0), ("I want", 2), ("stop", 1), ("of course", 0), ("of course not", 1)],
)
def test_beginning_of_a_backchannel_counts_as_no_words(text: str, words: int) -> None:
    assert words_beyond_backchannels(text, "en", more_comes=True) == words


# --- partial transcripts ---


def test_word_is_shown_once_two_hypotheses_agree_on_it() -> None:
    agreement = LocalAgreement()
    shown = []
    for hypothesis in [
        "turn",
        "turn on",
        "Turn on the",
        "turn off the light",
        "turn on the light",
        "turn on the light.",
    ]:
        agreement.add(hypothesis)
        shown.append(agreement.text)
    assert shown == ["", "turn", "turn on", "turn on", "turn on", "turn on the light."]


@given(st.lists(st.lists(st.sampled_from(["a", "B", "b.", "c"]), max_size=6), max_size=8))
def test_shown_words_stay_shown(hypotheses: list[list[str]]) -> None:
    agreement = LocalAgreement()
    before = ""
    for words in hypotheses:
        more = agreement.add(" ".join(words))
        assert agreement.text.startswith(before)
        assert more is (agreement.text != before)
        before = agreement.text


@pytest.mark.parametrize(
    ("known", "heard", "new"),
    [
        ("", "turn on", "turn on"),
        ("turn on", "Turn on, the light.", "the light."),
        ("turn on the light", "turn on", ""),
        ("twenty one apples", "21 apples and pears", "and pears"),
        ("21 apples", "twenty one apples and pears", "and pears"),
        ("so turn on the", "turn on the light", "light"),
        ("we can do it", "we can do it, we can do it", "we can do it"),
        ("something else", "turn on the light", "the light"),
    ],
)
def test_words_after_known_ones_are_found_in_another_writing(known: str, heard: str, new: str) -> None:
    assert " ".join(following(known.split(), heard.split())) == new
    agreement = LocalAgreement(known.split())
    for _ in range(2):
        agreement.add(heard)
    assert agreement.text == f"{known} {new}".strip()


# --- speech detection ---


class Script:
    """A VAD with scripted probabilities."""

    def __init__(self, *probabilities: float) -> None:
        self.probabilities = iter(probabilities)
        self.resets = 0

    def probability(self, frame: Samples) -> float:
        return next(self.probabilities)

    def reset(self) -> None:
        self.resets += 1


def detected(*probabilities: float, threshold: float = 0.5) -> SpeechDetector:
    detector = SpeechDetector(Script(*probabilities), threshold)
    for _ in probabilities:
        detector.feed(np.zeros(FRAME, np.float32))
    return detector


def test_speech_spans_its_first_frame_to_the_middle_of_its_last() -> None:
    detector = detected(0, 0, 0.9, 0.9, 0.9, 0, 0)
    assert (detector.began, detector.last_speech) == (2 * FRAME, 4 * FRAME + FRAME // 2)
    assert not detector.speaking
    assert detector.run_ms == 0
    assert detector.silence_ms == 2.5 * 32
    assert detected(0, 0.9, 0.9).run_ms == 64


def test_click_is_not_speech() -> None:
    detector = detected(0, 0, 0.9, 0, 0)
    assert detector.last_speech == 0
    assert detector.silence_ms == 5 * 32
    # A click does not shorten the silence after a sentence either.
    detector = detected(0.9, 0.9, 0.9, 0, 0, 0, 0.9, 0, 0)
    assert detector.last_speech == 2 * FRAME + FRAME // 2


def test_speech_continues_over_a_dip_but_does_not_begin_on_one() -> None:
    assert detected(0.9, 0.9, 0.4, 0.4, 0.36).speaking
    assert not detected(0.9, 0.9, 0.34).speaking
    assert not detected(0.4, 0.4, 0.4).speaking
    assert detected(0.9, 0.9, 0.3, 0.49).run_ms == 0


@pytest.mark.parametrize("threshold", [0.05, 0.1, 0.15, 0.5, 0.95])
def test_speech_ends_at_any_threshold(threshold: float) -> None:
    assert detected(1, 1, threshold=threshold).speaking
    assert not detected(1, 1, 0.01, threshold=threshold).speaking


def test_skipped_audio_counts_in_the_clock() -> None:
    script = Script(0.9, 0.9, 0.9, 0.9)
    detector = SpeechDetector(script, 0.5)
    for _ in range(2):
        detector.feed(np.zeros(FRAME, np.float32))
    detector.skip(1234)
    assert (detector.now, detector.speaking, script.resets) == (2 * FRAME + 1234, False, 1)
    detector.feed(np.zeros(FRAME, np.float32))
    assert detector.began == 2 * FRAME + 1234
    detector.cut()
    assert detector.run_ms == 0
    detector.feed(np.zeros(FRAME, np.float32))
    assert detector.run_ms == 32


# --- barge-in ---


@pytest.mark.parametrize(
    ("speech_ms", "silence_ms", "judged", "decision"),
    [
        (96, 0, False, Decision.WAIT),
        (96, 128, False, Decision.GO_ON),
        (192, 192, False, Decision.GO_ON),
        (320, 0, False, Decision.JUDGE),
        (320, 64, False, Decision.JUDGE),
        (320, 0, True, Decision.WAIT),
        (320, 160, True, Decision.GO_ON),
        (480, 160, False, Decision.JUDGE),
        (832, 0, True, Decision.CUT_IN),
        (832, 0, False, Decision.CUT_IN),
    ],
)
def test_barge_in_is_decided_by_length_and_then_by_words(
    speech_ms: int, silence_ms: int, judged: bool, decision: Decision
) -> None:
    detector = detected(*[0.0] * 5, *[0.9] * (speech_ms // 32), *[0.0] * (silence_ms // 32))
    barge_in = BargeIn(detector.began, judged_until=detector.now if judged else 0)
    assert barge_in.decide(detector, LiveOptions()) is decision


def test_continued_backchannel_is_judged_again() -> None:
    detector = detected(*[0.0] * 5, *[0.9] * 10)
    barge_in = BargeIn(detector.began, judged_until=detector.now)
    detector = detected(*[0.0] * 5, *[0.9] * 18, *[0.0] * 5)
    assert barge_in.decide(detector, LiveOptions()) is Decision.JUDGE
    barge_in.judging = True
    assert barge_in.decide(detector, LiveOptions()) is Decision.WAIT
    barge_in.judging = False
    # Also while the speech continues: "yeah, but …"
    assert barge_in.decide(detected(*[0.0] * 5, *[0.9] * 16), LiveOptions()) is Decision.WAIT
    assert barge_in.decide(detected(*[0.0] * 5, *[0.9] * 20), LiveOptions()) is Decision.JUDGE


# --- the audio of an utterance ---


def filled(frames: int) -> Utterance:
    """Return an utterance of frames whose samples are the frame's number."""
    utterance = Utterance()
    for number in range(frames):
        utterance.add(np.full(FRAME, number, np.float32))
    return utterance


def test_utterance_begins_at_the_requested_frame() -> None:
    utterance = filled(10)
    utterance.begin(3 * FRAME + 100)
    assert utterance.start == 3 * FRAME
    assert set(utterance.clip().samples) == {3, 4, 5, 6, 7, 8, 9}
    utterance.begin(-5000)
    assert utterance.start == 3 * FRAME
    assert utterance.seconds == 7 * FRAME / RATE_HZ


def test_clip_ends_at_the_exact_sample() -> None:
    utterance = filled(4)
    utterance.begin(FRAME)
    assert len(utterance.clip(until=2 * FRAME + 7).samples) == FRAME + 7
    assert len(utterance.clip(until=5).samples) == 0
    assert len(Utterance().clip().samples) == 0


def test_utterance_is_cut_in_its_longest_pause() -> None:
    utterance = filled(10)
    assert utterance.longest_pause() == 10 * FRAME  # no pauses: the whole utterance
    utterance.note_pause(1 * FRAME, 2 * FRAME)
    utterance.note_pause(4 * FRAME, 8 * FRAME)
    assert utterance.longest_pause() == 6 * FRAME
    utterance.keep_from(6 * FRAME)
    assert utterance.longest_pause() == 10 * FRAME  # the pauses before the cut are gone


def test_skipped_audio_leaves_no_gap_in_a_clip() -> None:
    utterance = filled(3)
    utterance.skip(1000)
    assert (utterance.start, utterance.seconds) == (3 * FRAME + 1000, 0)
    utterance.add(np.ones(FRAME, np.float32))
    assert len(utterance.clip().samples) == FRAME


# --- the real VAD ---


def frames(samples: Samples) -> list[Samples]:
    return [samples[start : start + FRAME] for start in range(0, len(samples) - FRAME + 1, FRAME)]


def probabilities(activity: SileroActivity, samples: Samples) -> np.ndarray:
    return np.array([activity.probability(frame) for frame in frames(samples)])


def quiet(seconds: float) -> Samples:
    return np.zeros(int(seconds * RATE_HZ), np.float32)


@pytest.fixture(scope="module")
def question() -> Samples:
    return np.concatenate([quiet(1), spoken("what time is it in lisbon").samples, quiet(1)])


def test_streamed_probabilities_match_the_batch_version(question: Samples) -> None:
    from faster_whisper.vad import get_vad_model

    whole = question[: len(question) // FRAME * FRAME].copy()
    batch = get_vad_model()(whole.copy()).reshape(-1)
    streamed = probabilities(SileroActivity(), whole)
    assert np.abs(batch - streamed)[:-1].max() <= 1e-3  # the batch version zeroes the end of its last frame


def test_detectors_do_not_share_state(question: Samples) -> None:
    alone = probabilities(SileroActivity(), question)
    one, other = SileroActivity(), SileroActivity()
    noise = np.random.default_rng(1).normal(0, 0.1, len(question)).astype(np.float32)
    together = [
        (one.probability(a), other.probability(b)) for a, b in zip(frames(question), frames(noise), strict=True)
    ]
    assert np.array_equal(alone, np.array([heard for heard, _ in together]))


def test_reset_clears_the_detector_state(question: Samples) -> None:
    activity = SileroActivity()
    first = probabilities(activity, question)
    assert not np.array_equal(first[:5], probabilities(activity, question)[:5])
    activity.reset()
    assert np.array_equal(first, probabilities(activity, question))


@pytest.mark.parametrize("voice", ["en-us+f2", "en-us", "pt-br", "es"])
def test_speech_is_found_at_its_position(voice: str) -> None:
    speech = spoken("good morning, turn on the light", voice).samples
    loud = np.flatnonzero(np.abs(speech) > 0.02)
    sound = np.concatenate([quiet(1), speech, quiet(1)])
    detector = SpeechDetector(SileroActivity(), 0.5)
    onsets = []
    for frame in frames(sound):
        detector.feed(frame)
        if detector.run_ms >= 60:
            onsets.append(detector.began)
    assert onsets[0] == pytest.approx(RATE_HZ + loud[0], abs=0.12 * RATE_HZ)
    assert detector.last_speech == pytest.approx(RATE_HZ + loud[-1], abs=0.2 * RATE_HZ)


def noises() -> dict[str, Samples]:
    random = np.random.default_rng(7)
    seconds = np.arange(3 * RATE_HZ) / RATE_HZ
    clicks = quiet(3)
    clicks[:: RATE_HZ // 3] = 0.9
    return {
        "silence": quiet(3),
        "quiet noise": random.normal(0, 0.003, 3 * RATE_HZ).astype(np.float32),
        "loud noise": random.normal(0, 0.2, 3 * RATE_HZ).astype(np.float32),
        "a tone": (0.3 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32),
        "hum of the mains": (0.2 * np.sin(2 * np.pi * 50 * seconds)).astype(np.float32),
        "clicks": clicks,
    }


@pytest.mark.parametrize("activity", [SileroActivity, lambda: FullBand(SileroActivity())], ids=["", "narrow band"])
@pytest.mark.parametrize("name", noises())
def test_noise_does_not_begin_an_utterance(name: str, activity: Callable[[], VoiceActivity]) -> None:
    detector = SpeechDetector(activity(), 0.5)
    runs = []
    for frame in frames(noises()[name]):
        detector.feed(frame)
        runs.append(detector.run_ms)
    assert max(runs) < 60


def test_speech_is_found_in_noise(question: Samples) -> None:
    """A signal-to-noise ratio of 15 dB: a fan in the room."""
    level = float(np.sqrt(np.mean(question[np.abs(question) > 0.01] ** 2))) / 10 ** (15 / 20)
    noisy = question + np.random.default_rng(3).normal(0, level, len(question)).astype(np.float32)
    speech = [probability >= 0.5 for probability in probabilities(SileroActivity(), noisy)]
    runs = [sum(1 for _ in run) for is_speech, run in itertools.groupby(speech) if is_speech]
    assert sum(runs) * 32 > 600
    assert not any(speech[:25])
