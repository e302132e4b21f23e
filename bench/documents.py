"""A 3-hour transcript as a document: `python -m bench.documents`.

Times in ms, medians of ROUNDS: the requests of a page (load, edit, undo, merged speakers, downloads), and the page in
Chromium from its address to the last word, and from the end of an edit to its display. Last, the outline of the
recording, once.
"""

import asyncio
import hashlib
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import soundfile
from playwright.sync_api import sync_playwright

from bench.rows import Rows
from jobs.database import open_database
from jobs.job import Options, Submission
from jobs.result import FORMATS, store_form
from jobs.store import JobStore
from pipeline.stt import Segment, Word
from tests.server_process import serving

HOURS = 3
WORDS = 30_000
PER_SEGMENT = 10
ROUNDS = 5
RATE_HZ = 16_000
TEXT = [
    "the", "committee", "agreed", "that", "every", "station", "should", "report", "its", "figures", "before", "the",
    "end", "of", "the", "month",
]  # fmt: skip
COUNTED = "document.querySelectorAll('#transcript .word').length"
CORRECT = """async (index) => {
  const span = document.querySelectorAll('#transcript .paragraph')[index].querySelector('.segment');
  span.closest('.paragraph').querySelector('.edit').click();
  span.textContent = `Corrected ${span.textContent}`;
  const begun = performance.now();
  document.querySelector('.edit-bar button').click();
  for (;;) {
    await new Promise((done) => requestAnimationFrame(done));
    const shown = document.querySelectorAll('#transcript .paragraph')[index];
    if (!shown.classList.contains('editing') && shown.querySelector('.word')?.textContent === 'Corrected') break;
  }
  return performance.now() - begun;
}"""


def segments() -> Iterator[Segment]:
    step_s = HOURS * 3600 / WORDS
    for number in range(WORDS // PER_SEGMENT):
        first = number * PER_SEGMENT
        words = [
            Word(TEXT[(first + n) % len(TEXT)], (first + n) * step_s, (first + n + 0.9) * step_s, 0.9)
            for n in range(PER_SEGMENT)
        ]
        text = " ".join(word.text for word in words) + "."
        words[-1] = Word(f"{words[-1].text}.", words[-1].start_s, words[-1].end_s, 0.9)
        speaker = "AB"[number // 8 % 2]
        yield Segment(words[0].start_s, words[-1].end_s, text, "en", words, speaker=speaker, id=number)


def sound(path: Path) -> None:
    """Write HOURS of noise that rises and falls."""
    minute = np.random.default_rng(0).normal(0, 0.1, 60 * RATE_HZ) * np.abs(np.sin(np.linspace(0, 12, 60 * RATE_HZ)))
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, format="FLAC") as file:
        for _ in range(HOURS * 60):
            file.write(minute.astype(np.float32))


async def prepare(folder: Path) -> str:
    """Create a finished job; return its id."""
    (folder / "data").mkdir()
    sound(folder / "talk.flac")
    data = (folder / "talk.flac").read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    target = folder / "uploads" / sha256[:2]
    target.mkdir(parents=True)
    shutil.move(folder / "talk.flac", target / sha256)
    async with open_database(f"sqlite:///{folder}/data/parley.db") as database:
        store = JobStore(database, max_waiting=10)
        one = Submission("talk.flac", Options(diarize=True), sha256, len(data))
        [job], _ = await store.submit([one], cached=[None])
        claimed = await store.claim(job.id)
        assert claimed is not None
        body = store_form(list(segments()), language="en", duration_s=HOURS * 3600, engine="bench")
        await store.complete(claimed, "k" * 64, body, HOURS * 3600)
        return job.id


def median_ms(action: Callable[[], object]) -> float:
    took = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        action()
        took.append(1000 * (time.perf_counter() - begun))
    return statistics.median(took)


def requests(url: str, path: str, rows: Rows) -> None:
    with httpx.Client(base_url=url, timeout=120) as client:

        def version() -> int:
            versions = client.get(f"{path}/versions").json()
            return int(versions["version"])

        def edit(*operations: dict[str, object]) -> None:
            body = {"version": version(), "operations": list(operations)}
            client.post(f"{path}/edits", json=body).raise_for_status()

        def undo() -> None:
            now = version()
            client.post(f"{path}/versions/{now - 1}/restore", json={"version": now}).raise_for_status()

        rows.add("load", f"{median_ms(lambda: client.get(path).raise_for_status()):.0f}")
        number = iter(range(10**6))
        change = {"op": "text", "segment": 1500}
        rows.add("edit", f"{median_ms(lambda: edit({**change, 'text': f'edit {next(number)} of it'})):.0f}")
        rows.add("undo", f"{median_ms(undo):.0f}")
        edit({"op": "merge_speakers", "speaker": "B", "into": "A"})
        rows.add("undo of merged speakers", f"{median_ms(undo):.0f}")
        for kind in FORMATS:
            address = f"{path}/download?format={kind}"
            rows.add(f"download {kind}", f"{median_ms(partial(client.get, address)):.0f}")


def page(url: str, job_id: str, rows: Rows) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            opened = browser.new_page(viewport={"width": 1440, "height": 900})
            opened.goto(f"{url}/ui#transcribe/{job_id}")
            took = []
            for _ in range(ROUNDS):
                begun = time.perf_counter()
                opened.reload()
                while opened.evaluate(COUNTED) < WORDS - 2 * PER_SEGMENT:  # edits removed some
                    time.sleep(0.005)
                opened.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
                took.append(1000 * (time.perf_counter() - begun))
            rows.add("page ready", f"{statistics.median(took):.0f}")
            edits = [opened.evaluate(CORRECT, 20 + number) for number in range(ROUNDS)]
            rows.add("edit shown", f"{statistics.median(edits):.0f}")
        finally:
            browser.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job_id = asyncio.run(prepare(folder))
        rows = Rows("what", "ms")
        with serving(folder, JOB_WORKERS="0", UPLOAD_DIR=str(folder / "uploads")) as service:
            requests(service.url, f"/jobs/{job_id}", rows)
            page(service.url, job_id, rows)
            begun = time.perf_counter()
            peaks = httpx.get(f"{service.url}/jobs/{job_id}/waveform", timeout=300).json()["peaks"]
            rows.add("outline", f"{1000 * (time.perf_counter() - begun):.0f}")
            assert len(peaks) == 1000, json.dumps(peaks)[:100]


if __name__ == "__main__":
    main()
