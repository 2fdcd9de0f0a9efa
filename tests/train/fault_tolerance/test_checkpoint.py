"""Checkpoints are whole and proven, or not there: every flaw is found and said, the last good one is never deleted."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from train.fault_tolerance import checkpoint
from train.fault_tolerance.checkpoint import (
    MANIFEST,
    SaveError,
    clear_drafts,
    draft_of,
    drafting,
    flaw_of,
    newest_valid,
    publish,
    require_room,
    rotate,
    steps_of,
)


def write(place: Path, content: bytes = b"weights") -> Path:
    draft = draft_of(place)
    (draft / "shards").mkdir(parents=True)
    (draft / "model.bin").write_bytes(content)
    (draft / "shards" / "rank0.bin").write_bytes(content * 2)
    publish(draft, place)
    return place


def fail(place: Path, error: Exception) -> None:
    with drafting(place) as draft:
        draft.mkdir()
        (draft / "model.bin").write_bytes(b"ha")
        raise error


def test_a_published_folder_is_whole(tmp_path):
    place = write(tmp_path / "checkpoint-5")
    assert flaw_of(place) is None
    files = json.loads((place / MANIFEST).read_text())["files"]
    assert {name: entry["bytes"] for name, entry in files.items()} == {"model.bin": 7, "shards/rank0.bin": 14}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]
    write(place, b"other")
    assert (place / "model.bin").read_bytes() == b"other"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]


def rename_in_manifest(place, name):
    manifest = json.loads((place / MANIFEST).read_text())
    manifest["files"][name] = manifest["files"].pop("model.bin")
    (place / MANIFEST).write_text(json.dumps(manifest))


def link(path):
    moved = path.rename(path.parent.parent / "elsewhere.bin")
    path.symlink_to(moved)


@pytest.mark.parametrize(
    ("damage", "flaw"),
    [
        (lambda place: (place / MANIFEST).unlink(), "no manifest: its writing was interrupted"),
        (lambda place: (place / MANIFEST).write_text('{"files": {"model'), "its manifest cannot be read"),
        (lambda place: (place / MANIFEST).write_text("[]"), "its manifest cannot be read"),
        (lambda place: (place / "shards" / "rank0.bin").unlink(), "shards/rank0.bin is missing"),
        (lambda place: (place / "model.bin").write_bytes(b""), "model.bin: expected 7 bytes, got 0"),
        (lambda place: (place / "model.bin").write_bytes(b"WEIGHTS"), "its content is not what was written"),
        (lambda place: rename_in_manifest(place, "../checkpoint-25/model.bin"), "is outside of it"),
        (lambda place: rename_in_manifest(place, str(place / "model.bin")), "is outside of it"),
        (lambda place: link(place / "model.bin"), "is outside of it"),
        (lambda place: (place / "shards" / "evil.pt").write_bytes(b"x"), "'shards/evil.pt' was not saved with it"),
        (lambda place: (place / "global_step9").symlink_to(place / "shards"), "'global_step9' was not saved with it"),
    ],
)
def test_every_flaw_is_found_and_an_older_checkpoint_taken(tmp_path, damage, flaw):
    for step in (5, 25, 100):
        write(tmp_path / f"checkpoint-{step}")
    damage(tmp_path / "checkpoint-100")
    said: list[str] = []
    assert newest_valid(tmp_path, said.append) == tmp_path / "checkpoint-25"
    assert len(said) == 1
    assert flaw in said[0]
    assert "checkpoint-100 is skipped" in said[0]


def test_nothing_to_go_on_from(tmp_path):
    assert newest_valid(tmp_path / "nowhere") is None
    (tmp_path / "checkpoint-7").mkdir()
    (tmp_path / "checkpoint-x").mkdir()
    assert [step for step, _ in steps_of(tmp_path)] == [7]
    assert newest_valid(tmp_path) is None


def test_rotation_never_deletes_the_last_good_one(tmp_path):
    for step in (1, 2, 3, 10):
        write(tmp_path / f"checkpoint-{step}")
    rotate(tmp_path)
    assert [step for step, _ in steps_of(tmp_path)] == [10, 3]
    (tmp_path / "checkpoint-10" / "model.bin").write_bytes(b"")
    for step in (11, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
    rotate(tmp_path, kept=1)
    assert [step for step, _ in steps_of(tmp_path)] == [12, 11, 10, 3]
    write(tmp_path / "checkpoint-13")
    rotate(tmp_path, kept=1)
    assert [step for step, _ in steps_of(tmp_path)] == [13]


def test_drafts_are_cleared_at_the_start(tmp_path):
    kept = write(tmp_path / "checkpoint-1")
    draft_of(tmp_path / "checkpoint-2").mkdir()
    (tmp_path / ".checkpoint-1.old").mkdir()
    clear_drafts(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter: file write failed")]
)
def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, error):
    place = write(tmp_path / "checkpoint-1")
    with pytest.raises(SaveError, match=r"checkpoint-1: the disk is full: 0.0 MB were written, .* MB are left"):
        fail(place, error)
    assert (place / "model.bin").read_bytes() == b"weights"
    assert flaw_of(place) is None
    assert not draft_of(place).exists()


def test_room_is_looked_for_before_a_save(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2_000_000})())
    require_room(tmp_path, 1_000_000)
    with pytest.raises(SaveError, match=r"1.0 MB are missing: a checkpoint takes 3.0 MB, 2.0 MB are free"):
        require_room(tmp_path, 3_000_000)


def test_other_failures_leave_nothing_behind(tmp_path):
    with pytest.raises(KeyError):
        fail(tmp_path / "checkpoint-1", KeyError("model"))
    assert list(tmp_path.iterdir()) == []


def test_everything_is_on_the_disk_before_the_rename(tmp_path, monkeypatch):
    """Files, then the manifest, then folders; the rename after them, and its folder last."""
    happened: list[str] = []
    sync, rename = os.fsync, os.rename

    def name_of(number: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{number}")).name

    monkeypatch.setattr(os, "fsync", lambda number: (happened.append(name_of(number)), sync(number))[1])
    monkeypatch.setattr(os, "rename", lambda old, new: (happened.append("rename"), rename(old, new))[1])
    draft = tmp_path / ".c.part"
    (draft / "shards").mkdir(parents=True)
    for name in ("a.bin", "shards/b.bin"):
        (draft / name).write_bytes(b"a")
    publish(draft, tmp_path / "c")
    assert set(happened[:2]) == {"a.bin", "b.bin"}
    assert happened[2] == MANIFEST
    assert set(happened[3:-2]) == {"shards", ".c.part"}
    assert happened[-2:] == ["rename", tmp_path.name]


KILLED = """
import sys, time
from pathlib import Path
from train.fault_tolerance.checkpoint import draft_of, publish
step = 0
while True:
    step += 1
    place = Path(sys.argv[1], f"checkpoint-{step}")
    draft = draft_of(place)
    draft.mkdir()
    for name in "abcdefgh":
        (draft / name).write_bytes(name.encode() * 200_000)
    publish(draft, place)
    print(step, flush=True)
"""


def test_killed_in_the_middle_of_saves(tmp_path):
    """Whatever moment the writer is killed at, each folder that stands under its name is whole."""
    done = []
    for attempt in range(6):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        command = [sys.executable, "-c", KILLED, str(folder)]
        root = Path(checkpoint.__file__).parents[2]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as writer:
            assert writer.stdout is not None
            first = int(writer.stdout.readline())
            time.sleep(0.004 * attempt)
            writer.kill()
            said = [first, *map(int, writer.stdout.read().split())]
        found = steps_of(folder)
        assert {step for step, _ in found} >= set(said)
        assert [flaw_of(path) for _, path in found] == [None] * len(found)
        done.append(len(found))
    assert min(done) >= 1
