"""Errors of word times on utterances spliced with silence between them, for which the truth is known.

    python -m bench.word_times [--count 40]

The truth is the loud span of each utterance, so the start of its first word and the end of its last word are measured:
for the trained test model (Whisper's own times), and for PocketSphinx. Both on eSpeak's voices.
"""

import argparse
import asyncio
import io
import statistics

import numpy as np

from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import Recording
from pipeline.engines import Opened
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Segment, SpeechToText, sphinx, whisper
from pipeline.transcripts.long_files import transcribe_file
from tests.stt.recordings import MODEL, spliced

LOUD = 0.01
"""Loudness threshold, relative to full scale."""


def loud(clip: Clip, start_s: float, end_s: float) -> tuple[float, float]:
    """The loud span, without the silence that eSpeak puts around it."""
    first = int(start_s * clip.rate_hz)
    heard = np.flatnonzero(np.abs(clip.samples[first : int(end_s * clip.rate_hz)]) > LOUD)
    return (first + int(heard[0])) / clip.rate_hz, (first + int(heard[-1])) / clip.rate_hz


async def measure(name: str, opened: Opened[SpeechToText], count: int) -> None:
    clip, truth = spliced([(3.0, number) for number in range(count)])
    recording = Recording(io.BytesIO(encode_wav(clip)), max_seconds=1e6)
    events = transcribe_file(opened.engine, recording, FileRequest("en", words=True))
    found = [event async for event in events if isinstance(event, Segment) and event.words]
    starts, ends = [], []
    for _, start_s, end_s in truth:
        start_s, end_s = loud(clip, start_s, end_s)
        inside = [one for one in found if start_s - 1 < (one.start_s + one.end_s) / 2 < end_s + 1]
        if inside:
            starts.append(abs(inside[0].words[0].start_s - start_s))
            ends.append(abs(inside[-1].words[-1].end_s - end_s))
    p95 = float(np.percentile(starts + ends, 95))
    print(
        f"{name}: {len(starts)} of {count} utterances; error of starts {1000 * statistics.mean(starts):.0f} ms, "
        f"of ends {1000 * statistics.mean(ends):.0f} ms, p95 {1000 * p95:.0f} ms"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40)
    count = parser.parse_args().count
    # The trained model was trained on one utterance at a time.
    whisper.PACK = False
    settings = Settings(whisper_model=str(MODEL))
    async with whisper.open_engine(settings, lambda progress: None) as opened:
        await measure("whisper", opened, count)
    async with sphinx.open_engine(Settings(), lambda progress: None) as opened:
        await measure("sphinx", opened, count)


if __name__ == "__main__":
    asyncio.run(main())
