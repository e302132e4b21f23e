"""Looking into a folder that others change, and writing into one that belongs to its users."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobs.folders import looking, results
from jobs.folders.looking import is_being_written, look, open_file, opened_folder, stamp_of
from jobs.folders.results import MAX_NAME_BYTES, Written

NO_WAY = "symbolic links|Not a directory|leads out"


def put(path: Path, data: bytes = b"sound") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_look_finds_files_in_sub_folders_and_no_unfinished_ones(tmp_path: Path) -> None:
    put(tmp_path / "a.mp3")
    put(tmp_path / "2026" / "mai" / "é.WAV", b"longer sound")
    for name in (".a.mp3", "b.mp3.part", "c.crdownload", "d.TMP", "~$e.mp3", ".sync/f.mp3", "@eaDir/g.mp3"):
        put(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.mp3")
    found = look(tmp_path)
    assert {path: stamp.size_bytes for path, stamp in found.items()} == {"a.mp3": 5, "2026/mai/é.WAV": 12}
    assert found["a.mp3"] == stamp_of(tmp_path, "a.mp3")


def test_links_lead_nowhere(tmp_path: Path) -> None:
    root, outside = tmp_path / "watched", tmp_path / "outside"
    put(root / "a.mp3")
    secret = put(outside / "secret.mp3")
    (root / "link.mp3").symlink_to(secret)
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    assert list(look(root)) == ["a.mp3"]
    for path in ("link.mp3", "folder/secret.mp3", "../outside/secret.mp3"):
        with pytest.raises(OSError, match=NO_WAY):
            os.close(open_file(root, path))
    with pytest.raises(OSError, match=NO_WAY), opened_folder(root, "folder/new.txt"):
        pass
    with pytest.raises(OSError, match=NO_WAY), opened_folder(root, "folder/new.txt", make=True):
        pass


def test_a_folder_that_becomes_a_link_after_the_look_is_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "watched", tmp_path / "outside"
    put(root / "sub" / "a.mp3")
    put(outside / "a.mp3", b"secret")
    [path] = look(root)
    (root / "sub" / "a.mp3").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(outside)
    with pytest.raises(OSError, match=NO_WAY):
        os.close(open_file(root, path))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp3")
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path, "pipe.mp3")


def test_deep_and_many_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MAX_FILES", 3)
    for number in range(9):
        put(tmp_path / f"{number}.mp3")
    assert len(look(tmp_path)) == 3
    deep = tmp_path / "deep" / "/".join("d" * looking.MAX_DEPTH)
    put(deep / "a.mp3")
    assert len(look(tmp_path / "deep")) == 1
    put(deep / "d" / "b.mp3")
    assert len(look(tmp_path / "deep")) == 1


@pytest.mark.skipif(not looking._LEASES, reason="this system does not tell whether a file is open for writing")
def test_a_file_that_another_process_writes_is_noticed(tmp_path: Path) -> None:
    path = put(tmp_path / "a.mp3")
    program = "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        writer.stdout.readline()
        descriptor = open_file(tmp_path, "a.mp3")
        assert is_being_written(descriptor)
        writer.stdin.close()
    assert not is_being_written(descriptor)
    path.open("ab").close()  # the lease is not held any longer, or this would wait
    os.close(descriptor)


@pytest.mark.skipif(not looking._LEASES, reason="this system does not tell whether a file is open for writing")
def test_writers_that_come_during_the_check_do_no_harm(tmp_path: Path) -> None:
    """The kernel signals them to the holder of a lease; by default that signal ends the process."""
    path, ended = put(tmp_path / "a.mp3"), threading.Event()

    def write() -> None:
        while not ended.is_set():
            path.open("ab").close()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for one in writers:
        one.start()
    descriptor = open_file(tmp_path, "a.mp3")
    answers = {is_being_written(descriptor) for _ in range(2_000)}
    ended.set()
    for one in writers:
        one.join()
    assert answers <= {True, False}
    os.close(descriptor)


def written(folder: Path, stem: str, ending: str, data: bytes, before: Written | None = None) -> Written:
    with opened_folder(folder, "x") as descriptor:
        return results.write(descriptor, stem, ending, data, before)


@pytest.mark.parametrize("links", [True, False])
def test_files_of_users_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:  # as on FAT and some network drives

        def refused(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refused)
    put(tmp_path / "talk.txt", b"notes of a user")
    (tmp_path / "talk (2).txt").symlink_to(tmp_path / "elsewhere")
    first = written(tmp_path, "talk", ".txt", b"said")
    assert first.name == "talk (3).txt"
    assert (tmp_path / "talk.txt").read_bytes() == b"notes of a user"
    # The recording has changed: its new transcript replaces the old one.
    second = written(tmp_path, "talk", ".txt", b"said more", first)
    assert second.name == first.name
    assert (tmp_path / first.name).read_bytes() == b"said more"
    # A user has corrected the transcript.
    put(tmp_path / first.name, b"corrected")
    third = written(tmp_path, "talk", ".txt", b"said again", second)
    assert third.name == "talk (4).txt"
    assert (tmp_path / first.name).read_bytes() == b"corrected"
    assert not (tmp_path / "elsewhere").exists()
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".")]


def test_only_a_planned_file_counts_as_written(tmp_path: Path) -> None:
    """A file of the same content that was not planned belongs to a user, or to another recording."""
    with opened_folder(tmp_path, "x") as folder:
        planned = results.plan(folder, "talk", ".txt", None)
    first = written(tmp_path, "talk", ".txt", b"said", planned)
    assert written(tmp_path, "talk", ".txt", b"said", planned) == first
    assert [one.name for one in tmp_path.iterdir()] == ["talk.txt"]
    assert written(tmp_path, "talk", ".txt", b"said").name == "talk (2).txt", "talk.mp3 beside talk.wav"
    # The same when it replaces the file of an earlier transcript.
    with opened_folder(tmp_path, "x") as folder:
        planned = results.plan(folder, "talk", ".txt", first)
    second = written(tmp_path, "talk", ".txt", b"said more", planned)
    assert second.name == "talk.txt"
    assert written(tmp_path, "talk", ".txt", b"said more", planned) == second
    assert sorted(one.name for one in tmp_path.iterdir()) == ["talk (2).txt", "talk.txt"]


def test_a_file_system_that_cannot_sync_folders_takes_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def refused(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refused)
    assert written(tmp_path, "talk", ".txt", b"said").name == "talk.txt"


def test_a_sub_folder_that_cannot_be_entered_counts_as_empty(tmp_path: Path) -> None:
    """As another user, because root can read everything."""
    put(tmp_path / "a.mp3")
    put(tmp_path / "names" / "b.mp3")
    (tmp_path / "names").chmod(0o444)
    tmp_path.chmod(0o755)
    child = os.fork()
    if not child:
        status = 1
        try:
            os.chdir(tmp_path)
            if not os.geteuid():
                os.setuid(65534)
            status = 0 if list(look(Path())) == ["a.mp3"] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    (tmp_path / "names").chmod(0o755)


def test_times_that_no_database_stores_are_the_last_one(tmp_path: Path) -> None:
    path = put(tmp_path / "a.mp3")
    os.utime(path, ns=(0, 11_000_000_000 * 10**9))  # the year 2318
    assert look(tmp_path)["a.mp3"].mtime_ns == looking.MOST_TIME


def test_long_names_fit(tmp_path: Path) -> None:
    stem = "é" * 125
    names = [written(tmp_path, stem, ".mp3.error.txt", data).name for data in (b"one", b"two")]
    assert all(len(os.fsencode(name)) <= MAX_NAME_BYTES for name in names)
    assert [name.endswith(end) for name, end in zip(names, (".mp3.error.txt", " (2).mp3.error.txt"), strict=True)]


def test_only_own_unchanged_files_are_removed(tmp_path: Path) -> None:
    first = written(tmp_path, "a.mp3", ".error.txt", b"no audio")
    put(tmp_path / first.name, b"a note")
    with opened_folder(tmp_path, "x") as folder:
        results.remove(folder, first)
        assert (tmp_path / first.name).exists()
        found = (tmp_path / first.name).stat()
        results.remove(folder, Written(first.name, found.st_size, found.st_mtime_ns))
    assert list(tmp_path.iterdir()) == []
