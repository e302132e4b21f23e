"""Files from outside are decoded in confined processes, which end without damage to anything else."""

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline.audio.clip import Clip
from pipeline.audio.decode import Recording, decode, decode_blocking, processes, utterance, warm_up
from pipeline.audio.decode import recording as recording_module
from pipeline.audio.decode.processes import FILES, TURNS, Call, Stopped, descriptor
from pipeline.audio.decode.wire import HEAD, SAMPLES, TOLD, Frames, Misbehaved, frame
from pipeline.errors import BadInput
from pipeline.support.threads import NICENESS, in_threads
from pipeline.transcripts.transcription import likeliest_language
from tests.decode.bombs import BOMBS, muxed, written
from tests.waiting import ended, eventually, left_of, until

SDP = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio %d RTP/AVP 0\na=rtpmap:0 PCMU/8000\n"


def zygote() -> psutil.Process:
    warm_up()
    assert processes._zygote._process is not None
    return psutil.Process(processes._zygote._process.pid)


def at_work() -> list[psutil.Process]:
    """Running decoding processes."""
    parent, found = processes._zygote._process, []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(parent.pid).children() if parent is not None else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
    return found


async def begun() -> psutil.Process:
    """Wait for a new decoding process, and return it."""
    return (await eventually(at_work))[0]


@pytest.mark.parametrize("kind", BOMBS)
async def test_thousands_of_tags_cost_only_their_sender(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utterance, "TURNS", replace(TURNS, open_s=0.3))
    make, count = BOMBS[kind]
    assert (await decode(make(20), max_seconds=10)).seconds == pytest.approx(0.2, abs=0.1)
    bomb = asyncio.create_task(decode(make(count), max_seconds=10))
    await asyncio.sleep(0)
    other = await decode(written("MP3"), max_seconds=10)
    assert other.seconds == pytest.approx(0.2, abs=0.1)
    if kind == "id3":  # the tags are skipped
        assert (await bomb).seconds == pytest.approx(0.2, abs=0.1)
    else:
        assert not bomb.done(), "the small file is decoded before the other has ended"
        with pytest.raises(BadInput) as raised:
            await bomb
        assert raised.value.code == "bad_audio"
    await eventually(lambda: not at_work())


async def test_decoding_of_a_long_file_with_many_tags_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_module, "FILES", replace(FILES, open_s=0.3))
    make, count = BOMBS["flac"]
    recording = Recording(io.BytesIO(make(2 * count)), max_seconds=10)

    def steps() -> object:
        yield from recording.blocks()

    with pytest.raises(BadInput) as raised:
        async with contextlib.aclosing(in_threads(steps(), recording.stop)) as blocks:  # type: ignore[arg-type,var-annotated]
            async for _ in blocks:
                pass
    assert raised.value.code == "bad_audio"
    await eventually(lambda: not at_work())


async def test_decoding_has_a_lower_priority_than_models() -> None:
    make, count = BOMBS["flac"]
    call = asyncio.create_task(decode(make(count), max_seconds=10))
    process = await begun()
    assert process.nice() > psutil.Process().nice() + NICENESS
    call.cancel()
    await asyncio.wait([call])


async def test_a_cancelled_call_ends_its_process_even_in_c_code() -> None:
    make, count = BOMBS["mp4-mdta"]
    call = asyncio.create_task(decode(make(count), max_seconds=10))
    process = await begun()
    assert not call.done()
    call.cancel()
    await asyncio.wait([call])
    await eventually(lambda: ended(process))
    assert call.cancelled()


async def test_a_cancelled_step_of_a_recording_ends_at_once() -> None:
    make, count = BOMBS["matroska"]
    recording = Recording(io.BytesIO(make(count)), max_seconds=10)
    stopped_by: list[type[BaseException]] = []

    def steps() -> object:
        try:
            yield from recording.blocks()
        except BaseException as error:
            stopped_by.append(type(error))
            raise

    async def read() -> None:
        async with contextlib.aclosing(in_threads(steps(), recording.stop)) as blocks:  # type: ignore[arg-type,var-annotated]
            async for _ in blocks:
                pass

    reading = asyncio.create_task(read())
    process = await begun()
    reading.cancel()
    await asyncio.wait([reading])
    assert stopped_by == [Stopped]
    await eventually(lambda: ended(process))


class TellsEnglish:
    """Reports one language for any sound, like a recogniser."""

    async def language_of(self, clip: Clip) -> tuple[str, float]:
        return "en", 1.0


async def test_a_cancelled_language_detection_ends_its_process() -> None:
    make, count = BOMBS["matroska"]
    recording = Recording(io.BytesIO(make(count)), max_seconds=10)
    asking = asyncio.create_task(likeliest_language(TellsEnglish(), recording, 30.0))  # type: ignore[arg-type]
    process = await begun()
    asking.cancel()
    await asyncio.wait([asking])
    await eventually(lambda: ended(process))
    assert recording._stopping.stopped


async def test_a_step_that_waits_for_a_slot_can_be_cancelled() -> None:
    taken = [FILES.slots.ask(0) for _ in range(FILES.slots._free)]
    try:
        recording = Recording(io.BytesIO(written("MP3")), max_seconds=10)
        blocks = in_threads(recording.blocks(), recording.stop)
        reading = asyncio.ensure_future(anext(blocks))
        await eventually(lambda: FILES.slots._waiting)
        reading.cancel()
        async with asyncio.timeout(processes.WAIT_S / 2):
            await asyncio.wait([reading])
        await blocks.aclose()
    finally:
        for slot in taken:
            FILES.slots.leave(slot)
    assert (await decode(written("MP3"), max_seconds=10)).seconds == pytest.approx(0.2, abs=0.1)
    assert next(Recording(io.BytesIO(written("MP3")), max_seconds=10).blocks()).size


async def test_a_crash_costs_one_call() -> None:
    make, count = BOMBS["flac"]
    call = asyncio.create_task(decode(make(count), max_seconds=10))
    process = await begun()
    other = asyncio.create_task(decode(written("OGG", "VORBIS"), max_seconds=10))
    process.send_signal(signal.SIGSEGV)
    with pytest.raises(BadInput) as raised:
        await call
    assert raised.value.code == "bad_audio"
    assert (await other).seconds == pytest.approx(0.2, abs=0.1)


async def test_a_lost_zygote_is_started_again() -> None:
    before = zygote()
    before.kill()
    before.wait()
    assert (await decode(written("MP3"), max_seconds=10)).seconds == pytest.approx(0.2, abs=0.1)
    assert zygote().pid != before.pid


def test_the_zygote_outlives_the_thread_that_started_it() -> None:
    lost = zygote()
    lost.kill()
    lost.wait()
    thread = threading.Thread(target=warm_up)
    thread.start()
    thread.join()
    started = processes._zygote._process
    assert started is not None
    assert decode_blocking(written("MP3"), max_seconds=10).seconds == pytest.approx(0.2, abs=0.1)
    assert processes._zygote._process is started


async def test_an_unresponsive_process_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    make, count = BOMBS["flac"]
    call = Call(FILES.request(10.0), descriptor(make(count)))
    with pytest.raises(BadInput) as raised:
        for _ in call.frames(0.1):
            pass
    assert raised.value.code == "bad_audio"
    call.close()
    await eventually(lambda: not at_work())


async def test_a_decoding_process_cannot_open_anything() -> None:
    make, count = BOMBS["flac"]
    call = asyncio.create_task(decode(make(count), max_seconds=10))
    process = await begun()
    await eventually(lambda: process.rlimit(psutil.RLIMIT_NOFILE) == (0, 0))
    assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert 0 < process.rlimit(psutil.RLIMIT_CPU)[0] < 10
    assert 0 < process.rlimit(psutil.RLIMIT_AS)[0] < 2**30
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Threads:\t1" in status
    call.cancel()
    await asyncio.wait([call])


def test_keys_of_the_service_are_not_in_its_decoders() -> None:
    script = (
        "from pipeline.audio.decode import warm_up, processes; import pathlib; warm_up(); "
        "print(pathlib.Path(f'/proc/{processes._zygote._process.pid}/environ').read_bytes())"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "API_KEYS": "k3y-of-the-service"}, capture_output=True,
        check=True, text=True,
    )  # fmt: skip
    assert "OPENBLAS_NUM_THREADS" in told.stdout
    assert "k3y-of-the-service" not in told.stdout


def test_no_decoder_outlives_a_killed_service(tmp_path: Path) -> None:
    make, count = BOMBS["flac"]
    (tmp_path / "bomb").write_bytes(make(count))
    script = (
        "import pathlib, sys; from pipeline.audio.decode import processes, warm_up; "
        "from pipeline.audio.decode.processes import *; "
        "warm_up(); call = Call(FILES.request(1e4), descriptor(pathlib.Path(sys.argv[1]).read_bytes())); "
        "print(processes._zygote._process.pid, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "bomb")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as service:
        assert service.stdout is not None
        parent = psutil.Process(int(service.stdout.readline()))
        children = until(parent.children)
        service.kill()
    assert not left_of([parent, *children])


def udp_ports() -> set[int]:
    found = set()
    for name in ("udp", "udp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                found.add(int(line.split()[1].rpartition(":")[2], 16))
    return found


@pytest.mark.parametrize("source", ["utterance", "recording"])
def test_a_session_description_opens_no_port(source: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = SDP % port
    with pytest.raises(BadInput) as raised:
        if source == "utterance":
            decode_blocking(data, max_seconds=10)
        else:
            next(Recording(io.BytesIO(data), max_seconds=10).blocks())
    assert raised.value.code == "bad_audio"
    assert port not in udp_ports()


@pytest.mark.parametrize(
    "head",
    [b"ffconcat version 1.0\nfile '%s'\n", b"#EXTM3U\n#EXTINF:10,\nfile://%s\n#EXT-X-ENDLIST\n",
     b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>%s</BaseURL></MPD>"],
    ids=["concat", "hls", "dash"],
)  # fmt: skip
def test_a_playlist_reveals_nothing_about_files(head: bytes, tmp_path: Path) -> None:
    there = tmp_path / "there.mp3"
    there.write_bytes(written("MP3"))
    read = os.stat(there).st_atime_ns
    told = []
    for path in (there, tmp_path / "missing.mp3"):
        for data in (head % str(path).encode(), head % path.name.encode()):
            with pytest.raises(BadInput) as raised:
                decode_blocking(data, max_seconds=10)
            told.append((raised.value.code, raised.value.message))
    assert len(set(told)) == 1
    assert os.stat(there).st_atime_ns == read


async def test_only_allowed_formats_are_probed_by_content() -> None:
    """A picture and a text under any file name."""
    for data in (b"\x89PNG\r\n\x1a\n" + bytes(64), b"<svg/>", b"RIFF\4\0\0\0WEBP", json.dumps({}).encode()):
        with pytest.raises(BadInput):
            await decode(data, max_seconds=10)


def test_no_descriptor_is_left_open() -> None:
    warm_up()
    decode_blocking(written("MP3"), max_seconds=10)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        decode_blocking(written("MP3"), max_seconds=10)
        with pytest.raises(BadInput):
            decode_blocking(b"no sound", max_seconds=10)
        next(Recording(io.BytesIO(muxed("webm", "libopus")), max_seconds=10).blocks())
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    "data",
    [HEAD.pack(b"X", 0), HEAD.pack(SAMPLES, 2**31), frame(TOLD, b"[" * 3000), frame(TOLD, b'{"rate_hz": 1}'),
     frame(TOLD, b'{"duration_s": "x", "rate_hz": 16000}'), frame(b"F", b'{"code": "internal", "message": "x"}'),
     frame(b"F", b"\x80\x04."), frame(TOLD, b"null")],
)  # fmt: skip
def test_frames_that_our_decoder_never_sends_are_refused(data: bytes) -> None:
    with pytest.raises(Misbehaved):
        list(Frames().feed(data))
