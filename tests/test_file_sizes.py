"""Sizes of files in a folder that another program changes."""

import shutil
import threading
from pathlib import Path

from pipeline.support.file_sizes import file_sizes


def test_all_files_count(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one").write_bytes(bytes(3))
    (tmp_path / "two").write_bytes(bytes(5))
    assert sorted(file_sizes(tmp_path)) == [3, 5]
    assert list(file_sizes(tmp_path / "absent")) == []


def test_folders_that_vanish_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(bytes(7))
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            for number in range(30):
                (tmp_path / f"{number}" / "inside").mkdir(parents=True, exist_ok=True)
            for number in range(30):
                shutil.rmtree(tmp_path / f"{number}")

    changing = threading.Thread(target=change)
    changing.start()
    try:
        found = [list(file_sizes(tmp_path)) for _ in range(200)]
    finally:
        over.set()
        changing.join()
    assert found == [[7]] * 200
