"""Entries of feature stores that follow from their names, shards from elsewhere, damage, and killed children."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from affectgpt.features.store import FeatureStore

HEADER = 96
OTHERS = "00000000-1-{:08x}.shard"  # as another machine would name its shard


def key(name: object) -> str:
    """Hash an entry's name to its key."""
    return hashlib.sha256(str(name).encode()).hexdigest()


def features(name: object, size: int = 40) -> dict[str, torch.Tensor]:
    """Draw the features of an entry from its name."""
    generator = torch.Generator().manual_seed(int(key(name)[:12], 16))
    return {"video": torch.randn(3, size, generator=generator).half(), "audio": torch.randn(2, 5, generator=generator)}


def same(found: dict[str, torch.Tensor] | None, expected: dict[str, torch.Tensor]) -> bool:
    """Say whether features are equal, names and dtypes included."""
    return (
        found is not None
        and found.keys() == expected.keys()
        and all(found[k].dtype == v.dtype and torch.equal(found[k], v) for k, v in expected.items())
    )


def holds(store: FeatureStore, *names: object) -> list[bool]:
    """Say of each name whether the store has its entry, and has it right."""
    store.refresh()
    return [same(store.get(key(name)), features(name)) for name in names]


def fill(folder: Path, *names: object, **settings: str) -> Path:
    """Write a new shard with entries of these names."""
    with FeatureStore(folder) as store:
        before = set(folder.glob("*.shard"))
        for name in names:
            store.put(key(name), features(name), **settings)
    (shard,) = set(folder.glob("*.shard")) - before
    return shard


def as_from_elsewhere(shard: Path, age_s: float = 0.0) -> Path:
    """Rename a shard to what another machine would call it, last changed `age_s` seconds ago."""
    moved = shard.rename(shard.with_name(OTHERS.format(len(list(shard.parent.glob("0*"))))))
    os.utime(moved, (time.time() - age_s,) * 2)
    return moved


def offsets(shard: Path) -> list[int]:
    """List where records begin, and where the last one ends."""
    whole = shard.read_bytes()
    starts = [at for at in range(0, len(whole), 64) if whole[at : at + 8] == b"\x89affect\n"]
    return [*starts, len(whole)]


def flip(shard: Path, at: int) -> None:
    """Flip a bit of the byte at an offset."""
    with shard.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def in_child(work: Callable[[], None]) -> int:
    """Do the work in a forked process and return its status: 0, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
