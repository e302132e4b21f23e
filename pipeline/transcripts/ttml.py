"""Write transcripts as TTML (W3C Timed Text Markup Language 1), for players, broadcasters and editors of subtitles."""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from pipeline.stt import Segment
from pipeline.transcripts.exports.document import printable
from pipeline.transcripts.line_breaks import line_of
from pipeline.transcripts.subtitles import PLAIN, Cue, Layout, cues, timestamp

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata" ttp:timeBase="media" \
xmlns:ttp="http://www.w3.org/ns/ttml#parameter" xml:lang={language}>
  <head>
    <metadata>
      <ttm:title>{title}</ttm:title>
{agents}    </metadata>
  </head>
  <body>
    <div>
"""
_TAIL = "    </div>\n  </body>\n</tt>\n"


def as_ttml(segments: Sequence[Segment], *, title: str, language: str | None, layout: Layout = PLAIN) -> str:
    """Return the whole file. Each speaker is an agent, to which the cues refer."""
    found = cues(segments, layout)
    speakers = list(dict.fromkeys(cue.speaker for cue in found if cue.speaker))
    agents = {speaker: f"speaker{number}" for number, speaker in enumerate(speakers, 1)}
    told = "".join(
        f'      <ttm:agent xml:id="{agent}" type="person"><ttm:name type="full">{escape(printable(speaker))}'
        "</ttm:name></ttm:agent>\n"
        for speaker, agent in agents.items()
    )
    head = _HEAD.format(language=quoteattr(language or ""), title=escape(printable(title)), agents=told)
    return head + "".join(_cue(cue, layout, agents) for cue in found) + _TAIL


def _cue(cue: Cue, layout: Layout, agents: dict[str, str]) -> str:
    lines = "<br/>".join(escape(printable(line_of(line))) for line in cue.lines(layout) if line)
    agent = f' ttm:agent="{agents[cue.speaker]}"' if cue.speaker else ""
    return f'      <p begin="{timestamp(cue.start_ms, ".")}" end="{timestamp(cue.end_ms, ".")}"{agent}>{lines}</p>\n'
