"""Watched folders in a running service: recordings in, results out."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.folders.mounts import missing
from jobs.folders.output import MARK
from pipeline.errors import ConfigError, EngineError
from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.scripted import ScriptedSTT
from tests.server_process import Service, constants
from tests.waiting import until

SAID = "the heron waits"


class Watched:
    """A service that watches a folder."""

    def __init__(self, service: Service, root: Path, client: httpx.Client) -> None:
        self.service, self.root, self.client = service, root, client

    def put(self, name: str, data: bytes | None = None) -> Path:
        """Put a complete file into the folder."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}")
        hidden.write_bytes(recording(0) if data is None else data)
        return hidden.rename(path)

    def jobs(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.client.get("/jobs?limit=100").json()["items"]
        return items

    def files(self) -> set[str]:
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}

    def becomes(self, *names: str) -> None:
        """Wait until the folder has exactly these files."""
        until(lambda: self.files() == set(names) or None)

    def shown(self) -> dict[str, Any]:
        [one] = self.client.get("/health").json()["watched_folders"]
        found: dict[str, Any] = one
        return found

    def rests(self) -> None:
        """Wait until all files have settled and nothing waits."""
        until(lambda: self.shown()["status"] == "watching" and not self.shown()["waiting"])
        until(lambda: all(job["status"] not in ("queued", "processing") for job in self.jobs()))


@contextmanager
def watching(folder: Path, *, heard: str | ScriptedSTT = SAID, **settings: str) -> Iterator[Watched]:
    root = folder / "in"
    root.mkdir(exist_ok=True)
    quick = {
        "jobs.folders.watcher:LOOK_S": 0.05,
        "jobs.folders.settling:SETTLE_S": 0.5,
        "jobs.folders.watcher:RETRY_S": 0.1,
        "jobs.folders.result_writer:ASIDE_S": 0.2,
    }
    own = {"WATCH_DIR": str(root), **constants(quick), **settings}
    with (
        in_process(folder, heard=heard, **own) as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
    ):
        yield Watched(service, root, client)


def test_a_recording_gets_its_results_once_and_again_when_it_changes(tmp_path: Path) -> None:
    with watching(tmp_path, WATCH_FORMATS="txt,srt,json,docx", SPEECH_LANGUAGE="pt") as watched:
        watched.put("2026/talk.wav")
        watched.put("2026/notes.txt", b"not a recording")
        both = ["2026/talk.wav", "2026/notes.txt"]
        results = [f"2026/talk.{kind}" for kind in ("txt", "srt", "json", "docx")]
        watched.becomes(*both, *results)
        assert (watched.root / "2026/talk.txt").read_text().strip() == SAID
        assert json.loads((watched.root / "2026/talk.json").read_text())["language"] == "pt"
        assert "-->" in (watched.root / "2026/talk.srt").read_text()
        [job] = watched.jobs()
        assert (job["filename"], job["status"], job["language"]) == ("talk.wav", "completed", "pt")
    with watching(tmp_path, heard="something else", WATCH_FORMATS="txt,srt,json,docx", SPEECH_LANGUAGE="pt") as again:
        again.rests()
        assert len(again.jobs()) == 1, "done before the restart"
        again.put("2026/talk.wav", recording(1))
        until(lambda: (again.root / "2026/talk.txt").read_text().strip() == "something else" or None)
        until(lambda: "something else" in (again.root / "2026/talk.json").read_text() or None)
        again.becomes(*both, *results)
        # The user corrects the transcript: their file stays.
        (again.root / "2026/talk.txt").write_text("corrected")
        again.put("2026/talk.wav", recording(2))
        again.becomes(*both, *results, "2026/talk (2).txt")
        assert (again.root / "2026/talk.txt").read_text() == "corrected"


def test_a_file_is_not_read_before_it_is_complete(tmp_path: Path) -> None:
    whole = recording(0)
    with watching(tmp_path) as watched:
        growing = watched.root / "growing.wav"
        with growing.open("wb", buffering=0) as file:
            for at in range(0, len(whole), len(whole) // 8 + 1):
                file.write(whole[at : at + len(whole) // 8 + 1])
                until(lambda: watched.shown()["waiting"] == 1)
                time.sleep(0.1)
            time.sleep(1.0)  # longer than it takes to settle, but the file is open
            assert watched.jobs() == []
        watched.put("down.wav.crdownload", b"RIFF")
        watched.becomes("growing.wav", "growing.txt", "growing.srt", "down.wav.crdownload")
        assert [job["size"] for job in watched.jobs()] == [len(whole)]
        (watched.root / "down.wav.crdownload").write_bytes(recording(1))
        (watched.root / "down.wav.crdownload").rename(watched.root / "down.wav")
        watched.becomes("growing.wav", "growing.txt", "growing.srt", "down.wav", "down.txt", "down.srt")


def test_a_failure_is_written_and_repeated_when_the_file_changes(tmp_path: Path) -> None:
    with watching(tmp_path, WATCH_FORMATS="txt", MAX_FILE_SIZE="1M") as watched:
        watched.put("bad.mp3", b"\xff\xfb" + bytes(2_000))
        watched.put("large.wav", recording(0) + bytes(1 << 20))
        watched.put("several.zip", b"PK\x03\x04" + bytes(100))
        errors = ["bad.mp3.error.txt", "large.wav.error.txt", "several.zip.error.txt"]
        watched.becomes("bad.mp3", "large.wav", "several.zip", *errors)
        assert "MAX_FILE_SIZE" in (watched.root / "large.wav.error.txt").read_text()
        assert "Archives" in (watched.root / "several.zip.error.txt").read_text()
        [failed] = watched.jobs()
        assert failed["error"]["message"] == (watched.root / "bad.mp3.error.txt").read_text().strip()
        watched.put("bad.mp3", recording(0))
        watched.becomes("bad.mp3", "bad.txt", "large.wav", "several.zip", *errors[1:])


def test_a_retried_job_gets_its_results(tmp_path: Path) -> None:
    hears = ScriptedSTT(SAID, error=EngineError("The recogniser is out.", code="unsupported_language"))
    with watching(tmp_path, heard=hears, WATCH_FORMATS="txt") as watched:
        watched.put("talk.wav")
        watched.becomes("talk.wav", "talk.wav.error.txt")
        hears.error = None
        watched.client.post(f"/jobs/{watched.jobs()[0]['job_id']}/retry").raise_for_status()
        watched.becomes("talk.wav", "talk.txt")


def test_subtitles_have_short_lines(tmp_path: Path) -> None:
    with watching(tmp_path, heard="the heron stands quite still at the edge " * 4, WATCH_FORMATS="srt") as watched:
        watched.put("talk.wav")
        watched.becomes("talk.wav", "talk.srt")
        lines = (watched.root / "talk.srt").read_text().splitlines()
        assert len([line for line in lines if line.startswith("the heron")]) > 1
        assert max(map(len, lines)) <= 42


def test_results_go_to_another_folder_and_the_source_is_never_written_to(tmp_path: Path) -> None:
    output = tmp_path / "out" / "of" / "it"
    with watching(tmp_path, OUTPUT_DIR=str(output), WATCH_FORMATS="txt") as watched:
        before = watched.root.stat().st_mtime_ns
        watched.put("a/talk.wav")
        until((output / "a" / "talk.txt").exists)
        watched.rests()
        assert watched.files() == {"a/talk.wav"}
        assert watched.root.stat().st_mtime_ns >= before


def test_nothing_is_begun_while_results_cannot_be_written(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_text("a file in the place of the folder")
    with watching(tmp_path, OUTPUT_DIR=str(output), WATCH_FORMATS="txt") as watched:
        watched.put("talk.wav")
        until(lambda: watched.shown()["status"] == "blocked")
        assert "OUTPUT_DIR" in watched.shown()["message"]
        assert (watched.jobs(), watched.shown()["waiting"]) == ([], 1)
        output.unlink()
        until((output / "talk.txt").exists)
        assert watched.shown()["status"] == "watching"


def test_a_folder_that_vanishes_and_comes_back_is_not_transcribed_again(tmp_path: Path) -> None:
    with watching(tmp_path, WATCH_FORMATS="txt") as watched:
        watched.put("talk.wav")
        watched.becomes("talk.wav", "talk.txt")
        watched.rests()
        watched.root.rename(tmp_path / "away")
        until(lambda: watched.shown()["status"] == "unavailable")
        (tmp_path / "away").rename(watched.root)
        watched.put("more.wav", recording(1))
        watched.becomes("talk.wav", "talk.txt", "more.wav", "more.txt")
        watched.rests()
        assert len(watched.jobs()) == 2
        shutil.rmtree(watched.root)  # also while nothing else is there
        until(lambda: watched.shown()["status"] == "unavailable")


def test_one_file_whose_results_have_no_place_does_not_stop_the_others(tmp_path: Path) -> None:
    output = tmp_path / "out"
    (tmp_path / "elsewhere").mkdir()
    output.mkdir()
    (output / "link").symlink_to(tmp_path / "elsewhere")
    with watching(tmp_path, OUTPUT_DIR=str(output), WATCH_FORMATS="txt") as watched:
        watched.put("link/talk.wav")
        until(lambda: [job for job in watched.jobs() if job["status"] == "completed"])
        os.utime(watched.put("more.wav", recording(1)), ns=(0, 11_000_000_000 * 10**9))  # the year 2318
        until((output / "more.txt").exists)
        watched.rests()
        assert len(watched.jobs()) == 2
        assert list((tmp_path / "elsewhere").iterdir()) == []
        (output / "link").unlink()
        until((output / "link" / "talk.txt").exists)


def test_results_wait_for_a_drive_that_is_not_there(tmp_path: Path) -> None:
    hears = ScriptedSTT(SAID, seconds=1.0)
    with watching(tmp_path, heard=hears, WATCH_FORMATS="txt") as watched:
        watched.put("talk.wav")
        until(lambda: [job for job in watched.jobs() if job["status"] == "processing"])
        watched.root.rename(tmp_path / "drive")
        watched.root.mkdir()  # its mount point
        until(lambda: [job for job in watched.jobs() if job["status"] == "completed"])
        watched.rests()
        assert watched.files() == set()
    with watching(tmp_path, WATCH_FORMATS="txt") as again:  # it is not there at the start either
        again.rests()
        assert again.files() == set()
        again.root.rmdir()
        (tmp_path / "drive").rename(again.root)
        again.becomes("talk.wav", "talk.txt")
        assert len(again.jobs()) == 1


def test_no_result_is_written_into_the_place_of_a_drive_that_is_not_there(tmp_path: Path) -> None:
    output, drive = tmp_path / "out", tmp_path / "drive"
    with watching(tmp_path, OUTPUT_DIR=str(output), WATCH_FORMATS="txt") as watched:
        watched.put("talk.wav")
        until((output / "talk.txt").exists)
        watched.rests()
        output.rename(drive)
        watched.put("more.wav", recording(1))
        until(lambda: watched.shown()["status"] == "blocked")
        assert "OUTPUT_DIR: it does not exist; mount its drive" in watched.shown()["message"]
        assert not output.exists()
        output.mkdir()  # the mount point
        until(lambda: "not mounted" in watched.shown()["message"])
        assert "is blocked: results cannot be written to OUTPUT_DIR: its drive is not mounted" in watched.service.text
    with watching(
        tmp_path, OUTPUT_DIR=str(output), WATCH_FORMATS="txt"
    ) as again:  # it is not there at the start either
        again.put("third.wav", recording(2))
        until(lambda: again.shown()["status"] == "blocked")
        assert list(output.iterdir()) == []
        output.rmdir()
        drive.rename(output)
        until((output / "more.txt").exists)
        until((output / "third.txt").exists)
        again.rests()
        assert len(again.jobs()) == 3


def test_a_folder_whose_mark_was_deleted_can_be_used_again(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with watching(tmp_path, OUTPUT_DIR=str(output), WATCH_FORMATS="txt") as watched:
        watched.put("talk.wav")
        until((output / "talk.txt").exists)
        (output / MARK).unlink()
        watched.put("more.wav", recording(1))
        until(lambda: watched.shown()["status"] == "blocked")
        assert MARK in watched.shown()["message"]
        (output / MARK).touch()
        until((output / "more.txt").exists)


def test_a_drive_that_the_system_should_mount_is_missed(tmp_path: Path) -> None:
    fstab, drive = tmp_path / "fstab", tmp_path / "my drive"
    point = str(drive).replace(" ", "\\040")
    fstab.write_text(
        f"# devices\nproc /proc proc defaults 0 0\nUUID=1 {point} ext4 noauto 0 2\nUUID=2 none swap sw 0 0\n"
    )
    assert missing(drive / "recordings", fstab) == drive
    assert missing(Path("/proc/self"), fstab) is None, "mounted"
    assert missing(tmp_path / "else", fstab) is None
    assert missing(drive, tmp_path / "no file") is None


def test_a_format_that_cannot_be_made_is_told_beside_the_others(tmp_path: Path) -> None:
    with watching(tmp_path, heard="𒀭𒂗𒆤", WATCH_FORMATS="txt,pdf") as watched:
        watched.put("talk.wav")
        watched.becomes("talk.wav", "talk.txt", "talk.wav.error.txt")
        assert (watched.root / "talk.wav.error.txt").read_text().startswith("pdf: ")


def test_two_recordings_of_one_name_share_no_file(tmp_path: Path) -> None:
    with watching(tmp_path, WATCH_FORMATS="txt") as watched:
        watched.put("talk.wav")
        watched.becomes("talk.wav", "talk.txt")
        watched.put("talk.flac", recording(1))
        watched.becomes("talk.wav", "talk.flac", "talk.txt", "talk (2).txt")


def test_a_name_in_no_encoding_is_a_name(tmp_path: Path) -> None:
    with watching(tmp_path, WATCH_FORMATS="txt") as watched:
        name = os.fsdecode(b"\xe9t\xe9.wav")
        watched.put(name)
        until((watched.root / os.fsdecode(b"\xe9t\xe9.txt")).exists)


def test_users_are_served_before_a_full_folder(tmp_path: Path) -> None:
    hears = ScriptedSTT(SAID, seconds=0.2)
    with watching(tmp_path, heard=hears, WATCH_FORMATS="txt") as watched:
        for number in range(12):
            watched.put(f"{number}.wav", recording(number))
        until(lambda: [job for job in watched.jobs() if job["status"] == "processing"])
        made = watched.client.post("/jobs", files={"files": ("mine.flac", recording(3, 4))}).json()["jobs"][0]
        until(lambda: watched.client.get(f"/jobs/{made['job_id']}").json()["status"] == "completed")
        others = [job["status"] for job in watched.jobs() if job["job_id"] != made["job_id"]]
        assert others.count("queued") <= 4
        assert len([one for one in others if one == "completed"]) < 12
        until(lambda: len([job for job in watched.jobs() if job["status"] == "completed"]) == 13)


def test_a_job_that_is_deleted_leaves_its_file_alone(tmp_path: Path) -> None:
    hears = ScriptedSTT(SAID, seconds=60)
    with watching(tmp_path, heard=hears, WATCH_FORMATS="txt") as watched:
        watched.put("talk.wav")
        [job] = until(watched.jobs)
        watched.client.delete(f"/jobs/{job['job_id']}").raise_for_status()
        watched.rests()
        assert (watched.jobs(), watched.files()) == ([], {"talk.wav"})


def test_one_of_several_services_watches_a_folder(tmp_path: Path) -> None:
    with watching(tmp_path, WATCH_FORMATS="txt") as first:
        first.put("talk.wav")
        with watching(tmp_path, WATCH_FORMATS="txt") as second:
            until(lambda: {first.shown()["status"], second.shown()["status"]} == {"watching", "elsewhere"})
            first.becomes("talk.wav", "talk.txt")
            second.put("more.wav", recording(1))
            first.becomes("talk.wav", "talk.txt", "more.wav", "more.txt")
            assert len(first.jobs()) == 2


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"WATCH_DIR": "{0}/uploads/in"}, "UPLOAD_DIR"),
        ({"WATCH_DIR": "{0}"}, "UPLOAD_DIR"),
        ({"WATCH_DIR": "{0}/a, {0}/a/b"}, "inside each other"),
        ({"WATCH_DIR": "{0}/a/in,{0}/b/in", "OUTPUT_DIR": "{0}/out"}, "different names"),
        ({"WATCH_DIR": "{0}/a", "WATCH_FORMATS": "txt,odt"}, "WATCH_FORMATS"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    placed = {name: value.format(tmp_path) for name, value in settings.items()}
    with pytest.raises(ConfigError, match=named), in_process(tmp_path, **placed):
        pass
