"""Every function that reads text from outside, wrapped so that it takes one whole text."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request

from commands.logs import CONTROL
from commands.redaction import Redaction
from jobs import addresses, fetch, names, webhooks
from jobs.folders import looking
from jobs.transcript_library import passages, search, words
from pipeline import languages
from pipeline.conversation.partials import LocalAgreement
from pipeline.conversation.timeline import Timeline
from pipeline.errors import ParleyError
from pipeline.listening import endpointing, interruption
from pipeline.listening.dictated_text import dictated
from pipeline.listening.options import LiveOptions
from pipeline.llm import Message, ToolCall, markers, reading, written
from pipeline.llm.builtin import numbers, patterns, understanding
from pipeline.llm.builtin.english import ENGLISH
from pipeline.llm.prompt import alternating, estimated_tokens, shortened
from pipeline.llm.reply import ReplyText
from pipeline.llm.streaming import one_line
from pipeline.speech import clauses, detector
from pipeline.speech.language import text_language
from pipeline.speech.normalise import for_voice
from pipeline.stt import Segment, Word, lacking, short_context, word_times
from pipeline.support import json_text, openai_names, untrusted
from pipeline.support.encodable import encodable
from pipeline.tools import ToolError, basic
from pipeline.transcripts import line_breaks, subtitles
from pipeline.transcripts.alignment import ctc
from pipeline.transcripts.exports import document, pdf
from pipeline.transcripts.speakers import SpeakerTurn, assigning
from pipeline.translation.clauses import ClauseCutter
from pipeline.tts import common, silence, xtts
from pipeline.tts import split as pieces
from server import errors, parameters
from server.access import access, bodies, callers, jwts, keys, origins, page_tokens, rules
from server.http import headers
from server.http.multipart import disposition, fields_of
from server.jobs import views
from server.openai import models, transcriptions
from server.pages import accept, assembled
from server.realtime import audio as realtime_sound
from server.realtime import parsing
from server.realtime.errors import RealtimeError
from server.telephone.twilio import messages as twilio_messages
from server.telephone.twilio.signature import signature
from server.webrtc import call
from server.wyoming import wire
from server.wyoming.wire import Broken

LAYOUT = subtitles.Layout(line_width=42, max_lines=2, max_chars_per_s=17, max_cue_s=6, highlight_words=True)
"""Layout that cuts a segment of any length into cues of a few seconds."""
LARGE = subtitles.Layout(line_width=500, max_lines=10)
"""Layout with the largest cues that a caller can get."""
REACHABLE = addresses.Reachable("")


REFUSALS = (ParleyError, ValueError, RealtimeError, ToolError, Broken)


def quietly(function: Callable[..., Any], *args: Any, **more: Any) -> Callable[[str], object]:
    """Wrap a function of a text so that a refusal counts as a result."""

    def call(text: str) -> object:
        with contextlib.suppress(*REFUSALS):
            return function(text, *args, **more)
        return None

    return call


def segment(said: str) -> Segment:
    """Return a segment whose words have times."""
    found = [Word(word, number / 3, number / 3 + 0.3, 1.0) for number, word in enumerate(said.split())]
    return Segment(0.0, len(found) / 3 + 1.0, said, words=found)


def without_times(said: str) -> Segment:
    return Segment(0.0, 1.0 + len(said) / 15, said)


def letter_by_letter(said: str) -> None:
    """Split a reply into clauses as a language model writes it, in chunks of four characters."""
    splitter = clauses.ClauseSplitter()
    for at in range(0, len(said), 4):
        splitter.feed(said[at : at + 4])
    splitter.finish()


def agreed(said: str) -> None:
    agreement = LocalAgreement()
    agreement.add(said)
    agreement.add(said + " more")


def heard(said: str) -> None:
    """Compute the heard part of a reply of many clauses."""
    timeline = Timeline()
    timeline.rate_hz = 100
    for clause in clauses.split(said):
        timeline.spoken((clause.start, clause.end), clause.start, clause.end)
        timeline.sent(clause.start, clause.end - clause.start)
    timeline.heard_text(said, timeline.sent_ms / 2)


def diarized(said: str) -> None:
    """Assign two alternating speakers to a segment."""
    one = segment(said)
    turns = [SpeakerTurn(at / 2, at / 2 + 0.5, "AB"[at % 2]) for at in range(int(one.end_s * 2) + 1)]
    assigning.with_speakers([one], turns)
    assigning.with_speakers([without_times(said)], turns)


def renamed(said: str) -> None:
    """Give names to two alternating speakers, with one turn for each character of the text."""
    turns = [SpeakerTurn(at / 2, at / 2 + 0.5, "AB"[at % 2]) for at in range(len(said))]
    assigning.with_names(turns, turns, ["A"])


def normal(said: str) -> None:
    """Normalise a transcript and map it back to the original text."""
    found = patterns.normal(said, ENGLISH.contractions)
    found.written(0, len(found.line))


def form(name: str) -> None:
    """Read a form whose field names contain the text."""
    fields_of([(name, "a"), (f"{name}[]", "a"), (f"a[{name}]", "b"), *[(name[: at % 50], "c") for at in range(2000)]])


def request(**sent: str) -> Request:
    found = Headers({name.replace("_", "-"): value for name, value in sent.items()})
    raw = [(name, value) for name, value in found.raw if value.isascii()]
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": raw})


def sendable(value: str) -> str:
    return value.encode("ascii", "replace").decode()


def key_sent(value: str) -> None:
    for name in ("authorization", "x_api_key"):
        access._sent(request(**{name: sendable(value)}))


def origin(value: str) -> None:
    from pipeline.settings import Settings

    rules = origins.Origins(Settings(), keys=False)
    rules.good_origin(request(origin=sendable(value), host=sendable(value)))
    rules.good_host(request(host=sendable(value)))


def claimed(value: str) -> None:
    bodies._claimed({"headers": [(b"content-length", value.encode("utf-8", "replace"))]})


def event(value: str) -> None:
    parsing.parse(json.dumps({"type": "conversation.item.create", "item": {"type": value}}))


def many_mistakes(value: str) -> None:
    """Parse an event with one invalid part for every ten characters of the text."""
    content = [{"type": value[:5]} for _ in range(len(value) // 10)]
    parsing.parse(json.dumps({"type": "conversation.item.create", "item": {"type": "message", "content": content}}))


def many_messages(text: str) -> list[Message]:
    """Return a conversation with one long message of the user for every ten characters of the text."""
    return [Message("user", text[at] * 500) for at in range(0, len(text), 10)]


def many_calls(text: str) -> tuple[ToolCall, ...]:
    """Return a call for every ten characters of the text, all with the same id."""
    return tuple(ToolCall("a", "get_time", "{}") for _ in range(0, len(text), 10))


def written_reply(said: str) -> None:
    """Read the chunks of a reply of a model that was offered a function."""
    reply = ReplyText(["get_time"])
    for at in range(0, len(said), 4):
        reply.feed(said[at : at + 4])
    reply.finish()


CASES: dict[str, Callable[[str], object]] = {
    "commands.logs:CONTROL": lambda text: CONTROL.sub(" ", text),
    "commands.redaction:Redaction": Redaction(["a secret of ours"]),
    "jobs.addresses:Reachable.check": quietly(REACHABLE.check),
    "jobs.addresses:counted_host": addresses.counted_host,
    "jobs.fetch:_joined": quietly(lambda text: fetch._joined("http://example.org/a", text)),
    "jobs.transcript_library.passages:passages_of": lambda text: passages.passages_of(
        json.dumps(
            {"segments": [{"text": text[at : at + 90], "start": at, "end": at} for at in range(0, len(text), 90)]}
        )
    ),
    "jobs.transcript_library.passages:passages_of, one segment": lambda text: passages.passages_of(
        json.dumps({"segments": [{"text": text, "start": 0, "end": 9}]})
    ),
    "jobs.transcript_library.search:_snippet": lambda text: search._snippet(
        text, "[[0, 0.0]]", words.terms("alpha bravo a n")
    ),
    "jobs.transcript_library.words:places": lambda text: words.places(text, words.terms('alpha bravo "a a a" a n')),
    "jobs.transcript_library.words:terms": words.terms,
    "jobs.transcript_library.words:tokens": words.tokens,
    "jobs.transcript_library.words:units": words.units,
    "jobs.names:name_in_disposition": names.name_in_disposition,
    "jobs.names:name_in_url": names.name_in_url,
    "jobs.folders.looking:is_ignored": looking.is_ignored,
    "jobs.names:safe_name": names.safe_name,
    "jobs.webhooks:retry_after_s": webhooks.retry_after_s,
    "pipeline.transcripts.alignment.ctc:split_words": lambda text: list(ctc.split_words(text)),
    "pipeline.transcripts.line_breaks:by_characters": lambda text: line_breaks.by_characters(without_times(text)),
    "server.webrtc.call:offer_of": quietly(lambda text: call.offer_of(f"v=0\r\nm=audio \r\nm=application \r\n{text}")),
    "pipeline.stt.lacking:refusal": lambda text: lacking.refusal(text, ["en"], [text]),
    "pipeline.stt.short_context:agree": lambda text: short_context.agree(text, text, text),
    "pipeline.stt.word_times:filled": lambda text: word_times.filled(
        [word_times.Timed(word, None) for word in text.split()], 0.0, 9.0
    ),
    "pipeline.llm.prompt:estimated_tokens": quietly(lambda text: estimated_tokens(Message("user", text))),
    "pipeline.llm.prompt:alternating, many messages": lambda text: alternating(many_messages(text)),
    "pipeline.llm.prompt:alternating, many calls of one id": lambda text: alternating(
        [Message("user", "hi"), Message("assistant", "", calls=many_calls(text)), Message("tool", text, call_id="a")]
    ),
    "pipeline.llm.prompt:shortened, many messages": quietly(lambda text: shortened(many_messages(text), 10**9)),
    "pipeline.listening.endpointing:completeness": lambda text: [
        endpointing.completeness(text, language) for language in ("en", "pt", "es")
    ],
    "pipeline.listening.endpointing:delay": lambda text: endpointing.delay(text, "en", LiveOptions()),
    "pipeline.listening.interruption:words_beyond_backchannels": lambda text: [
        interruption.words_beyond_backchannels(text, "en", more_comes=more) for more in (True, False)
    ],
    "pipeline.conversation.partials:LocalAgreement": agreed,
    "pipeline.translation.clauses:ClauseCutter": lambda text: ClauseCutter().add(text.split(), "en"),
    "pipeline.llm.builtin.numbers:value": lambda text: numbers.value(
        text.split(), numbers.ENGLISH, point="point", comma_decimal=False
    ),
    "pipeline.llm.builtin.patterns:normal": normal,
    "pipeline.llm.builtin.patterns:without_accents": patterns.without_accents,
    "pipeline.llm.builtin.understanding:amount": lambda text: understanding.amount(text, ENGLISH),
    "pipeline.llm.builtin.understanding:language_of": lambda text: understanding.language_of(text, None),
    "pipeline.llm.builtin.understanding:terms": lambda text: understanding.terms(
        understanding.Wanted("sum", {"sum_1": text}, {}), ENGLISH
    ),
    "pipeline.llm.builtin.understanding:understand": lambda text: understanding.understand(text, ENGLISH),
    "pipeline.llm.streaming:one_line": one_line,
    "pipeline.transcripts.speakers.assigning:with_names": renamed,
    "pipeline.transcripts.speakers.assigning:with_speakers": diarized,
    "pipeline.speech.normalise.__init__:for_voice": lambda text: [
        for_voice(clause, "en") for clause in (text[at : at + 220] for at in range(0, len(text), 220))
    ],
    "pipeline.languages:code_of": languages.code_of,
    "pipeline.languages:plain_code": languages.plain_code,
    "pipeline.transcripts.exports.document:printable": document.printable,
    "pipeline.transcripts.exports.document:right_to_left": document.right_to_left,
    "pipeline.transcripts.exports.pdf:laid_out": pdf.laid_out,
    "pipeline.transcripts.subtitles:render": lambda text: [
        subtitles.render("vtt", [segment(text)], layout=LAYOUT),
        subtitles.render("srt", [without_times(text)], layout=LAYOUT),
        subtitles.render("srt", [segment(text)], layout=LARGE),
    ],
    "pipeline.transcripts.subtitles:joined": lambda text: subtitles.joined(text.split()),
    "pipeline.speech.clauses:ClauseSplitter": letter_by_letter,
    "pipeline.speech.clauses:split": clauses.split,
    "pipeline.conversation.timeline:Timeline.heard_text": heard,
    "pipeline.tools.basic:evaluated": quietly(basic.evaluated),
    "pipeline.tts.common:clean": common.clean,
    "pipeline.tts.silence:pause_after": silence.pause_after,
    "pipeline.tts.split:split": lambda text: pieces.split(text, 250),
    "pipeline.tts.xtts:xtts_language": quietly(lambda text: xtts.xtts_language(text, ["en", "pt"])),
    "pipeline.support.untrusted:seconds_until": untrusted.seconds_until,
    "pipeline.support.untrusted:whole_number": untrusted.whole_number,
    "pipeline.transcripts.line_breaks:clean": line_breaks.clean,
    "pipeline.transcripts.line_breaks:found_in": lambda text: list(
        line_breaks.found_in(line_breaks.clean(text), segment(text).words)
    ),
    "pipeline.transcripts.line_breaks:pieces": lambda text: line_breaks.pieces(segment(text)),
    "pipeline.transcripts.line_breaks:width": line_breaks.width,
    "pipeline.support.encodable:encodable": lambda text: encodable(text + "\ud83d"),
    "pipeline.support.json_text:parsed": quietly(json_text.parsed, most_chars=10**6),
    "pipeline.listening.dictated_text:dictated": lambda text: [dictated(text, language) for language in ("en", "de")],
    "pipeline.listening.interruption:is_command": interruption.is_command,
    "pipeline.listening.interruption:is_echo": lambda text: interruption.is_echo(
        text, "It is ten past nine in Lisbon."
    ),
    "pipeline.llm.markers:marker_of": markers.marker_of,
    "pipeline.llm.markers:may_become_marker": markers.may_become_marker,
    "pipeline.llm.reading:read_arguments": quietly(reading.read_arguments),
    "pipeline.llm.reply:ReplyText": written_reply,
    "pipeline.llm.written:calls_in": lambda text: written.calls_in(text, ["get_time"]),
    "pipeline.llm.written:calls_in_values": lambda text: written.calls_in_values(text, ["get_time"]),
    "pipeline.llm.written:known_name": lambda text: written.known_name(text, ["get_time"]),
    "pipeline.languages:language_code": quietly(languages.language_code),
    "pipeline.support.openai_names:known_as": lambda text: openai_names.known_as(text, ["whisper-1"]),
    "pipeline.speech.detector:chances": lambda text: detector.chances(text, ("en", "fr")),
    "pipeline.speech.language:text_language": lambda text: text_language(text, usual="en", speaks=bool),
    "server.access.callers:address_in": callers.address_in,
    "server.http.multipart:disposition": lambda text: disposition(text.encode("utf-8", "replace")),
    "server.access.access:_sent": key_sent,
    "server.access.bodies:_claimed": claimed,
    "server.access.jwts:_name": lambda text: jwts._name(text, None),
    "server.access.keys:hashed": keys.hashed,
    "server.access.origins:Origins": origin,
    "server.access.page_tokens:PageTokens.find": page_tokens.PageTokens("", 60.0).find,
    "server.access.rules:rule_for": lambda text: rules.rule_for(text, "GET"),
    "server.errors:body_of": lambda text: errors.body_of(text, ParleyError(text)),
    "server.http.headers:_here": quietly(headers._here),
    "server.jobs.views:attachment": quietly(views.attachment),
    "server.jobs.views:statuses": quietly(views.statuses),
    "server.openai.models:is_path": models.is_path,
    "server.openai.transcriptions:language_name": transcriptions.language_name,
    "server.parameters:from_json": quietly(parameters.from_json),
    "server.parameters:language_code": quietly(parameters.language_code),
    "server.parameters:spoken_languages": quietly(lambda text: parameters.spoken_languages(text, [text])),
    "server.parameters:system_prompt": quietly(parameters.system_prompt),
    "server.realtime.parsing:parse": quietly(parsing.parse),
    "server.realtime.parsing:parse, an event": quietly(event),
    "server.realtime.parsing:parse, many mistakes": quietly(many_mistakes),
    "server.realtime.audio:decoded_size": realtime_sound.decoded_size,
    "server.realtime.audio:decoded": quietly(lambda text: realtime_sound.decoded(text, "audio")),
    "server.pages.accept:wants_html": accept.wants_html,
    "server.pages.accept:accepts_gzip": accept.accepts_gzip,
    "server.pages.assembled:language_for": assembled.language_for,
    "server.pages.assembled:version": assembled.version,
    "server.http.multipart:fields_of": form,
    "server.telephone.twilio.messages:message_of": quietly(twilio_messages.message_of),
    "server.telephone.twilio.signature:signature": lambda text: signature("token", text, [(text, text)]),
    "server.wyoming.wire:_head": quietly(lambda text: wire._head(text.encode("utf-8", "replace"))),
}
"""Functions by module and name."""
SLOW = {
    "pipeline.transcripts.line_breaks:by_characters", "pipeline.transcripts.speakers.assigning:with_speakers",
    "pipeline.transcripts.speakers.assigning:with_names",
    "pipeline.speech.normalise.__init__:for_voice", "pipeline.transcripts.subtitles:render",
    "pipeline.speech.clauses:ClauseSplitter", "pipeline.translation.clauses:ClauseCutter",
    "pipeline.conversation.timeline:Timeline.heard_text", "pipeline.transcripts.line_breaks:pieces",
    "pipeline.llm.reply:ReplyText", "server.realtime.parsing:parse, many mistakes",
}  # fmt: skip
"""Cases that take long for any text and are therefore measured with a few patterns only. ReplyText has more in
`tests/test_reply_text.py`."""
