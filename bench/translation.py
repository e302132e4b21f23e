"""The lag of a translation behind the speaker, with a real Whisper and a real voice, in real time.

    python -m bench.translation AUDIO.wav … [--whisper FOLDER] [--tts espeak kokoro] [--first-token 0.2] [--tokens 30]

Each recording is sent to `/v1/realtime/translations` at its own pace. The language model is a server that writes the
source text back, after `--first-token` seconds and with `--tokens` words a second: its time is known, and the sound
gets a usual length. The lag of a clause counts from the end of its last word (by Whisper's word times in the whole
recording) to the first text, and to the first sound, that the client receives.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from bench.rows import Rows
from bench.speaker import percentile
from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode_blocking
from tests.real_models import MODELS
from tests.server_process import ServerProcess, constants, serving
from tests.servers.chat import ChatTraps, FakeChat
from tests.servers.running import running
from tests.translation.client import CHUNK_MS, RATE_HZ, Listener, translating

TARGET = "es"
TEXT, SOUND = "session.output_transcript.delta", "session.output_audio.delta"


@dataclass
class Clause:
    """One clause of the translation, with the times at which the client received its first text and sound."""

    words: list[str] = field(default_factory=list)
    text_s: float = 0.0
    sound_s: float = 0.0


@dataclass
class Lags:
    """Lags of all clauses, in seconds."""

    text_s: list[float] = field(default_factory=list)
    sound_s: list[float] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    silent: int = 0
    """Clauses that the voice did not begin in time."""
    left_s: list[float] = field(default_factory=list)
    """Time from the end of each recording to the end of its session."""


def bare(word: str) -> str:
    return "".join(char for char in word.lower() if char.isalnum())


async def word_ends(url: str, file: Path) -> list[tuple[str, float]]:
    """Return the words of a recording and their ends, in seconds."""
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=600) as client:
        found = await client.audio.transcriptions.create(
            file=file, model="whisper-1", response_format="verbose_json", timestamp_granularities=["word"]
        )
    return [(bare(word.word), word.end) for word in found.words or []]


async def listen(url: str, clip: Clip) -> tuple[list[Clause], float]:
    """Translate a clip in real time; return the clauses, and the time from its end to that of the session. Times are
    seconds from its first sample."""
    clauses: dict[int, Clause] = {}
    async with translating(url) as listener:
        await listener.update(TARGET)
        began = time.monotonic()

        async def speak() -> None:
            await pace(listener, clip, began)
            await listener.send(type="session.close")

        speaking = asyncio.create_task(speak())
        while (event := await listener.next())["type"] != "session.closed":
            now = time.monotonic() - began
            if event["type"] == TEXT:
                clause = clauses.setdefault(event["elapsed_ms"], Clause())
                clause.text_s = clause.text_s or now
                clause.words += event["delta"].split()
            elif event["type"] == SOUND:
                clause = clauses[event["elapsed_ms"]]
                clause.sound_s = clause.sound_s or now
            else:
                assert event["type"] != "error" or event["error"]["code"] == "overloaded", event
        await speaking
    return list(clauses.values()), time.monotonic() - began - clip.seconds


async def pace(listener: Listener, clip: Clip, began: float) -> None:
    """Send a clip in real time."""
    size = RATE_HZ * CHUNK_MS // 1000
    for start in range(0, len(clip.samples), size):
        end_s = min(len(clip.samples), start + size) / RATE_HZ
        await asyncio.sleep(max(0.0, began + end_s - time.monotonic()))
        await listener.speak(Clip(clip.samples[start : start + size], RATE_HZ), silence_s=0)


def lags(clauses: Sequence[Clause], ends: Sequence[tuple[str, float]], into: Lags) -> None:
    """Add the lags of a recording's clauses. Words that the whole recording does not have end no clause."""
    heard = [bare(word) for clause in clauses for word in clause.words]
    matcher = SequenceMatcher(None, heard, [word for word, _ in ends], autojunk=False)
    end_of = {a + i: ends[b + i][1] for a, b, size in matcher.get_matching_blocks() for i in range(size)}
    count = 0
    for clause in clauses:
        count += len(clause.words)
        into.words.append(len(clause.words))
        into.silent += not clause.sound_s
        if (end_s := end_of.get(count - 1)) is not None:
            into.text_s.append(clause.text_s - end_s)
            if clause.sound_s:
                into.sound_s.append(clause.sound_s - end_s)


async def measure(server: ServerProcess, files: Sequence[Path]) -> Lags:
    found = Lags()
    for file in files:
        clip = decode_blocking(file.read_bytes(), max_seconds=600).at(RATE_HZ)
        clauses, left_s = await listen(server.url, clip)
        found.left_s.append(left_s)
        lags(clauses, await word_ends(server.url, file), found)
    return found


async def run(options: argparse.Namespace) -> None:
    def echo(messages: list[dict[str, Any]]) -> str:
        return str(messages[-1]["content"])

    chat = FakeChat(reply_to=echo, tokens_per_second=options.tokens, traps=ChatTraps(first_token_s=options.first_token))
    rows = Rows("voice", "clauses", "words", "text p50", "p95", "sound p50", "p95", "silent", "end", "CPU s/s")
    async with running(chat.app()) as address:
        for tts in options.tts:
            settings = {
                "STT_ENGINE": "whisper", "WHISPER_MODEL": str(options.whisper.resolve()), "TTS_ENGINE": tts,
                "LLM_ENGINE": "openai", "LLM_OPENAI_URL": f"{address}/v1",
                **({"TTS_MODEL": str(MODELS / "kokoro-82m")} if tts == "kokoro" else {}),
                **constants({"pipeline.workers:NICENESS": 0}, by_default=False),
            }  # fmt: skip
            with tempfile.TemporaryDirectory() as folder:
                serves = serving(Path(folder), **settings)
                server = await asyncio.to_thread(serves.__enter__)
                try:
                    await measure(server, options.audio[:1])  # warm-up
                    before = server.busy_s()
                    found = await measure(server, options.audio)
                    busy_s = server.busy_s() - before
                finally:
                    await asyncio.to_thread(serves.__exit__, None, None, None)
            spoken_s = sum(decode_blocking(file.read_bytes(), max_seconds=600).seconds for file in options.audio)
            rows.add(
                tts, str(len(found.words)), f"{sum(found.words) / len(found.words):.1f}",
                *(f"{percentile(values, p):.2f} s" for values in (found.text_s, found.sound_s) for p in (50, 95)),
                str(found.silent), f"{percentile(found.left_s, 50):.2f} s", f"{busy_s / spoken_s:.2f}",
            )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path, nargs="+")
    parser.add_argument("--whisper", type=Path, default=MODELS / "whisper-tiny.en")
    parser.add_argument("--tts", nargs="+", default=["espeak", "kokoro"], choices=["espeak", "kokoro"])
    parser.add_argument("--first-token", type=float, default=0.2)
    parser.add_argument("--tokens", type=float, default=30.0)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
