"""Hashes of files: right after every change, made once, kept by several processes, whatever became of the journal."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from affectgpt.features import file_hashes as module
from affectgpt.features.file_hashes import ContentIndex


@pytest.fixture
def journal(tmp_path) -> Path:
    return tmp_path / "store" / "contents.jsonl"


@pytest.fixture
def files(tmp_path) -> list[Path]:
    for number in range(5):
        (tmp_path / f"{number}.mp4").write_bytes(f"clip {number}".encode())
    return sorted(tmp_path.glob("*.mp4"))


@pytest.fixture
def hashed(monkeypatch) -> list[Path]:
    """The files that were read."""
    seen: list[Path] = []
    original = module._hash
    monkeypatch.setattr(module, "_hash", lambda path: seen.append(path) or original(path))
    return seen


def right(files: list[Path]) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def lines_of(journal: Path) -> list[str]:
    """The lines of a journal; each begins with its newline."""
    before, *lines = journal.read_text().split("\n")
    assert before == ""
    return lines


def test_a_file_is_hashed_once(journal, files, hashed):
    index = ContentIndex(journal)
    assert index.hashes([*files, *files]) == right(files)
    assert index.hashes(files) == ContentIndex(journal).hashes(files) == right(files)
    assert sorted(hashed) == files
    assert len(lines_of(journal)) == len(files)


def test_names_may_hold_other_ends_of_lines(journal, tmp_path, hashed):
    files = [tmp_path / f"a{sign}b.mp4" for sign in ("\u2028", "\u2029", "\x85", "\x1c", "\n", "\r")]
    for file in files:
        file.write_bytes(repr(file.name).encode())
    assert ContentIndex(journal).hashes(files) == right(files)
    hashed.clear()
    assert ContentIndex(journal).hashes(files) == right(files)
    assert hashed == []


def test_a_changed_file_is_hashed_again(journal, files, hashed):
    ContentIndex(journal).hashes(files)
    hashed.clear()
    status = files[0].stat()
    files[0].write_bytes(b"CLIP 0")  # of the same size
    os.utime(files[0], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    files[1].write_bytes(b"longer than before")
    os.utime(files[1], ns=(status.st_atime_ns, files[2].stat().st_mtime_ns))
    assert ContentIndex(journal).hashes(files) == right(files)
    assert sorted(hashed) == files[:2]


def test_files_that_cannot_be_read_have_no_hash(journal, files, tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    lost = [tmp_path / "gone.mp4", tmp_path / "folder.mp4", files[0] / "below a file"]
    assert ContentIndex(journal).hashes([*lost, *files]) == right(files)


def test_nothing_is_written_where_nothing_is_new(journal, tmp_path):
    assert ContentIndex(journal).hashes([]) == {}
    assert ContentIndex(journal).hashes([tmp_path / "gone.mp4"]) == {}
    assert not journal.exists() or journal.read_bytes() == b""


def test_a_journal_that_may_only_be_read_will_do(journal, files, hashed, monkeypatch):
    ContentIndex(journal).hashes(files[:3])
    hashed.clear()

    def refuse(code: int) -> None:
        def fail(*_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(Path, "mkdir", fail)

    for code in (errno.EROFS, errno.EACCES):
        refuse(code)
        assert ContentIndex(journal).hashes(files) == right(files)
    assert sorted(hashed) == sorted(files[3:] * 2)
    refuse(errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        ContentIndex(journal).hashes(files)


@pytest.mark.parametrize("cut", [1, 2, 20, 70])
def test_a_line_cut_short_costs_one_file(journal, files, hashed, cut):
    ContentIndex(journal).hashes(files)
    journal.write_bytes(journal.read_bytes()[:-cut])
    hashed.clear()
    assert ContentIndex(journal).hashes(files) == right(files)
    assert len(hashed) == 1
    new = files[0].with_name("new.mp4")
    new.write_bytes(b"new")
    ContentIndex(journal).hashes([new])
    hashed.clear()
    assert ContentIndex(journal).hashes([*files, new]) == right([*files, new])
    assert hashed == []


def test_a_line_cut_short_while_we_are_about_to_write_costs_that_line_alone(journal, files, monkeypatch):
    """Whenever another process is cut off, at the last moment before our write too."""
    ContentIndex(journal).hashes(files[:2])
    torn = journal.read_bytes() + b'\n["/clips/0.mp4", 12'
    opened = Path.open

    class JustBefore:
        """The journal, which another process writes to just before we do."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> JustBefore:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            journal.write_bytes(torn)
            return self.file.write(data)

    def open_just_before(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = opened(path, mode, *args, **kwargs)
        return JustBefore(file) if path == journal and "a" in mode else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_just_before)
        ContentIndex(journal).hashes(files[2:])
    assert len(lines_of(journal)) == len(files) + 1
    monkeypatch.setattr(module, "_hash", lambda path: pytest.fail(f"{path} is hashed again"))
    assert ContentIndex(journal).hashes(files) == right(files)


def test_processes_that_find_a_line_cut_short_go_on_side_by_side(journal, files):
    """Show that no empty line arises where two writers meet a torn one."""
    journal.parent.mkdir()
    everyone = threading.Barrier(len(files))

    def append(path: Path) -> None:
        index = ContentIndex(journal)
        everyone.wait()
        index.hashes([path])

    for attempt in range(20):
        cut_short = f'\n["/clips/{attempt}.mp4", 12'
        journal.write_text(cut_short)
        threads = [threading.Thread(target=append, args=(path,)) for path in files]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        first, *rest = lines_of(journal)
        assert f"\n{first}" == cut_short
        assert {name: digest for name, *_, digest in map(json.loads, rest)} == {
            str(path): digest for path, digest in right(files).items()
        }


def test_lines_of_anything_are_passed_over(journal, files, hashed):
    ContentIndex(journal).hashes(files)
    hashed.clear()
    rubbish = [b"\xff\xfe\x00", b"null", b"3", b"[]", b'["a"]', b"{}", b'[["a"], 1, 2, "b"]', b"", b"\x00" * 300]
    journal.write_bytes(b"\n".join([*rubbish, journal.read_bytes(), *rubbish]))
    assert ContentIndex(journal).hashes(files) == right(files)
    assert hashed == []


WRITER = """
import sys
from pathlib import Path
from affectgpt.features.file_hashes import ContentIndex
folder, first = Path(sys.argv[1]), int(sys.argv[2])
index = ContentIndex(folder / "contents.jsonl")
for start in range(first, 1200, 300):
    index.hashes(folder / f"{number:04}.mp4" for number in range(start, start + 300))
"""


def test_processes_append_at_once(tmp_path):
    for number in range(1500):
        (tmp_path / f"{number:04}.mp4").write_bytes(str(number).encode())
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    workers = [subprocess.Popen([*command, first], cwd=root) for first in ("0", "150")]
    assert [worker.wait() for worker in workers] == [0, 0]
    files = sorted(tmp_path.glob("*.mp4"))[:1350]
    lines = [json.loads(line) for line in lines_of(tmp_path / "contents.jsonl")]  # none is torn, none empty
    assert {name: digest for name, *_, digest in lines} == {str(path): mark for path, mark in right(files).items()}
