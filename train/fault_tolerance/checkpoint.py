"""Checkpoints that outlive a kill, a full disk and a power cut: whole and proven, or not there.

A checkpoint is written into a draft folder beside its place. Then every file is flushed to the disk and hashed, a
manifest of sizes and hashes is written last, and the draft is renamed to its place: nobody ever finds half of one. What
is found is believed only after its manifest was checked.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from affectgpt.problems import RunError, shorten

MANIFEST = "manifest.json"
KEPT = 2
"""Checkpoints of a stage that are kept."""
_NAME = re.compile(r"checkpoint-(\d+)")
_ADVICE = "The checkpoint before is kept; make room and start again."


class SaveError(RunError):
    """A checkpoint could not be written; what was there before is untouched."""


def draft_of(place: Path) -> Path:
    """Where what will be at `place` is written."""
    return place.with_name(f".{place.name}.part")


@contextmanager
def drafting(place: Path) -> Iterator[Path]:
    """The draft folder of what will be at `place`, for a block that writes and publishes it; gone if the block fails.

    Raises:
        SaveError: the disk is full; says how full.
    """
    draft = draft_of(place)
    try:
        yield draft
    except Exception as error:
        written = size_of(draft)
        shutil.rmtree(draft, ignore_errors=True)
        if (full := _is_full(error, place.parent, written)) is not None:
            raise SaveError(f"{place}: {full}") from error
        raise


def publish(draft: Path, place: Path) -> None:
    """Flush and hash what a draft holds, write its manifest, and rename it to its place.

    What was at the place before, if anything, goes when the new folder stands.
    """
    files = sorted(path for path in draft.rglob("*") if path.is_file() and path != draft / MANIFEST)
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_flush_and_hash, files))
    entries = {
        path.relative_to(draft).as_posix(): {"bytes": path.stat().st_size, "sha256": digest}
        for path, digest in zip(files, digests, strict=True)
    }
    with (draft / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump({"files": entries}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    for folder in (*{path.parent for path in files}, draft):
        _flush_folder(folder)
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.rename(place, old)
    os.rename(draft, place)
    _flush_folder(place.parent)
    shutil.rmtree(old, ignore_errors=True)


def flaw_of(place: Path, read: bool = True) -> str | None:
    """Why a published folder cannot be trusted; None if every file is what its manifest says.

    Args:
        read: look into the files too, not at their sizes alone.
    """
    try:
        entries = json.loads((place / MANIFEST).read_text(encoding="utf-8"))["files"]
        wanted = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in entries.items()}
    except OSError:
        return "it has no manifest: its writing was cut off"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    for name, (size, _) in wanted.items():
        path = place / name
        if Path(name).is_absolute() or ".." in Path(name).parts or path.is_symlink():
            return f"{shorten(name)} leads out of it"
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name}: expected {size} bytes, got {path.stat().st_size}"
    if not read:
        return None
    with ThreadPoolExecutor() as pool:
        digests = pool.map(_hash, [place / name for name in wanted])
        for (name, (_, expected)), found in zip(wanted.items(), digests, strict=True):
            if found != expected:
                return f"{name}: its content is not what was written"
    return None


def steps_of(folder: Path) -> list[tuple[int, Path]]:
    """Published trainer checkpoints and their steps, the newest first."""
    found = [(int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return sorted(found, reverse=True)


def newest_valid(folder: Path, say: Callable[[str], object] = lambda text: None) -> Path | None:
    """The newest trainer checkpoint that can be trusted.

    Args:
        say: told of each newer one that was passed over, and why.
    """
    for _, path in steps_of(folder):
        flaw = flaw_of(path) or _stranger_in(path)
        if flaw is None:
            return path
        say(f"{path} is passed over: {flaw}")
    return None


def _stranger_in(checkpoint: Path) -> str | None:
    """A file that was not saved with a checkpoint: DeepSpeed opens what it finds, and unpickles it."""
    known = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["files"].keys() | {MANIFEST}
    for path in sorted(checkpoint.rglob("*")):
        name = path.relative_to(checkpoint).as_posix()
        if name not in known and not path.name.startswith(".") and (path.is_symlink() or not path.is_dir()):
            return f"{shorten(name)} was not saved with it"
    return None


def rotate(folder: Path, kept: int = KEPT) -> None:
    """Delete all trainer checkpoints but the newest whole ones, by their sizes; where none is whole, none."""
    whole = 0
    for _, path in steps_of(folder):
        if whole >= kept:
            shutil.rmtree(path, ignore_errors=True)
        elif flaw_of(path, read=False) is None:
            whole += 1


def clear_drafts(folder: Path) -> None:
    """Delete what saves that were cut off left in a folder."""
    for path in (*folder.glob(".*.part"), *folder.glob(".*.old")):
        shutil.rmtree(path, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def require_room(folder: Path, expected: int) -> None:
    """Refuse a save for which the disk has no room.

    Args:
        expected: bytes that the last save took; 0 if there was none.

    Raises:
        SaveError: says how much is missing.
    """
    free = shutil.disk_usage(folder).free
    if expected > free:
        raise SaveError(f"{folder}: {_megabytes(expected - free)} are missing: {_shortage(expected, free)}")


def _is_full(error: BaseException, folder: Path, written: int) -> str | None:
    """What to say where a save failed for want of room. torch and safetensors wrap the system's error in their own."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not full and "No space left" not in str(error) and "file write failed" not in str(error):
        return None
    free = shutil.disk_usage(folder).free
    return f"the disk is full: {_megabytes(written)} were written, {_megabytes(free)} are left. {_ADVICE}"


def _shortage(expected: int, free: int) -> str:
    return f"a checkpoint takes {_megabytes(expected)}, {_megabytes(free)} are free. {_ADVICE}"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _flush_and_hash(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return digest


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
