"""Checkpoints that survive a kill, a full disk and a power cut: whole and verified, or not there.

A checkpoint is written into a draft folder beside its path. Then every file is flushed to the disk and hashed, a
manifest of sizes and hashes is written last, and the draft is renamed to its path, so that half a checkpoint is never
seen. A checkpoint is trusted only after its manifest was checked.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from affectgpt.features.file_hashes import ContentIndex
from affectgpt.problems import RunError, shorten

MANIFEST = "manifest.json"
KEPT = 2
"""Number of checkpoints of a stage that are kept."""
_NAME = re.compile(r"checkpoint-(\d+)")
_RANK = re.compile(r"^(?:(?:bf16_|fp16_)?zero_pp_rank_|rng_state_|progress-)(\d+)")
"""Rank in the name of a file that one process of several writes: DeepSpeed's, the trainer's, `exact_state.py`'s."""
_PAUSE_S = 0.02
_ADVICE = "The last checkpoint is kept; free some space, then run the same command to resume."


class SaveError(RunError):
    """Error: a checkpoint could not be written; earlier ones are untouched."""


def draft_of(place: Path) -> Path:
    """Return the draft folder of a folder that is still to be published."""
    return place.with_name(f".{place.name}.part")


@contextmanager
def drafting(place: Path) -> Iterator[Path]:
    """Make the draft of a folder for a block that writes and publishes it; the draft is deleted if the block fails.

    Raises:
        SaveError: the disk is full; the message says how full.
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


def hash_part(draft: Path, rank: int, processes: int) -> None:
    """Flush and hash the files of a draft that fall to a process, and note the hashes there for `publish`.

    What a process writes into a checkpoint of several has its rank in its name; all else falls to the first one. An
    error is noted too, so that the first process reports it.
    """
    try:
        noted: Any = {path.relative_to(draft).as_posix(): digest for path, digest in _hashed(draft, rank, processes)}
    except OSError as error:
        noted = f"process {rank}: {error}"
    note = draft.with_name(f"{draft.name}.hashes-{rank}")
    part = note.with_name(f".{note.name}")
    part.write_text(json.dumps(noted), encoding="utf-8")
    part.rename(note)


def _hashed(draft: Path, rank: int, processes: int) -> list[tuple[Path, str]]:
    files = [path for path in _files_of(draft) if owner_of(path.name, processes) == rank]
    with ThreadPoolExecutor() as pool:
        return list(zip(files, pool.map(_flush_and_hash, files), strict=True))


def owner_of(name: str, processes: int) -> int:
    """Return the rank of the process that flushes and hashes a file, by its name: the one that wrote it."""
    match = _RANK.search(name)
    rank = int(match[1]) if match else 0
    return rank if rank < processes else 0


def _files_of(draft: Path) -> list[Path]:
    return sorted(path for path in draft.rglob("*") if path.is_file() and path != draft / MANIFEST)


def publish(draft: Path, place: Path, processes: int = 1) -> None:
    """Flush and hash the files of a draft, write its manifest, and rename it to its path.

    An older folder of that path is deleted once the new one is in place.

    Args:
        processes: number of processes; all but the first call `hash_part`, and are waited for.

    Raises:
        OSError: a file cannot be read, here or by another process.
    """
    files = _files_of(draft)
    digests = {path.relative_to(draft).as_posix(): digest for path, digest in _hashed(draft, 0, processes)}
    for rank in range(1, processes):
        digests |= _noted(draft, rank)
    entries = {
        name: {"bytes": path.stat().st_size, "sha256": digests[name]}
        for path in files
        for name in [path.relative_to(draft).as_posix()]
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


def _noted(draft: Path, rank: int) -> dict[str, str]:
    """Wait for the hashes of another process; should it die, its sentinel ends this one too."""
    note = draft.with_name(f"{draft.name}.hashes-{rank}")
    while not note.is_file():
        time.sleep(_PAUSE_S)
        os.listdir(note.parent)  # without it, NFS would go on believing that the file is not there
    noted: dict[str, str] | str = json.loads(note.read_text(encoding="utf-8"))
    if isinstance(noted, str):
        raise OSError(noted)
    return noted


def flaw_of(place: Path, read: bool = True, index: ContentIndex | None = None) -> str | None:
    """Return why a published folder cannot be trusted; None if every file is what its manifest says.

    Args:
        read: check the hashes of the files too, not only their sizes.
        index: remembered hashes; a file that has not changed since is not read again.
    """
    try:
        entries = json.loads((place / MANIFEST).read_text(encoding="utf-8"))["files"]
        wanted = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in entries.items()}
    except OSError:
        return "it has no manifest: its writing was interrupted"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    for name, (size, _) in wanted.items():
        path = place / name
        if Path(name).is_absolute() or ".." in Path(name).parts or path.is_symlink():
            return f"{shorten(name)} is outside of it"
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name}: expected {size} bytes, got {path.stat().st_size}"
    if not read:
        return None
    if index is not None:
        known = index.hashes(place / name for name in wanted)
        differ = (name for name, (_, expected) in wanted.items() if known.get(place / name) != expected)
    else:
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(_hash, [place / name for name in wanted]))
        pairs = zip(wanted.items(), digests, strict=True)
        differ = (name for (name, (_, expected)), digest in pairs if digest != expected)
    wrong = next(differ, None)
    return None if wrong is None else f"{wrong}: its content is not what was written"


def steps_of(folder: Path) -> list[tuple[int, Path]]:
    """Return the published trainer checkpoints with their steps, the newest first."""
    found = [(int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return sorted(found, reverse=True)


def newest_valid(folder: Path, say: Callable[[str], object] = lambda text: None) -> Path | None:
    """Return the newest trainer checkpoint that can be trusted; None if there is none.

    Args:
        say: called with a sentence for each newer one that was skipped, and why.
    """
    for _, path in steps_of(folder):
        flaw = flaw_of(path) or _stranger_in(path)
        if flaw is None:
            return path
        say(f"{path} is skipped: {flaw}")
    return None


def _stranger_in(checkpoint: Path) -> str | None:
    """Return a file that was not saved with a checkpoint, if there is one: DeepSpeed would unpickle it."""
    known = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["files"].keys() | {MANIFEST}
    for path in sorted(checkpoint.rglob("*")):
        name = path.relative_to(checkpoint).as_posix()
        if name not in known and not path.name.startswith(".") and (path.is_symlink() or not path.is_dir()):
            return f"{shorten(name)} was not saved with it"
    return None


def rotate(folder: Path, kept: int = KEPT) -> None:
    """Delete all trainer checkpoints but the newest whole ones, judged by sizes; if none is whole, delete none."""
    whole = 0
    for _, path in steps_of(folder):
        if whole >= kept:
            shutil.rmtree(path, ignore_errors=True)
        elif flaw_of(path, read=False) is None:
            whole += 1


def clear_drafts(folder: Path) -> None:
    """Delete the drafts that interrupted saves left in a folder."""
    for path in (*folder.glob(".*.part"), *folder.glob(".*.old")):
        shutil.rmtree(path, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def require_room(folder: Path, expected: int) -> None:
    """Refuse a save for which the disk has too little room.

    Args:
        expected: bytes of the last save; 0 if there was none.

    Raises:
        SaveError: the message says how much is missing.
    """
    free = shutil.disk_usage(folder).free
    if expected > free:
        raise SaveError(f"{folder}: {_megabytes(expected - free)} are missing: {_shortage(expected, free)}")


def _is_full(error: BaseException, folder: Path, written: int) -> str | None:
    """Return the message for a save that failed on a full disk, else None. torch and safetensors wrap that error."""
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
