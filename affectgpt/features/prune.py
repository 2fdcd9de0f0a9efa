"""Rewriting of a feature store without damage, duplicates and unwanted entries."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Container
from pathlib import Path
from typing import NamedTuple, TypedDict

from affectgpt.features import shard as disk
from affectgpt.features.shard import Gap, Record
from affectgpt.features.store import FeatureStore, fingerprint_of

_FULL_SHARD = 64 << 20  # such a shard stays as it is if all of it is kept; smaller ones are joined
_NEW_SHARD = 1 << 30  # another shard is begun beyond this


class Pruned(TypedDict):
    """Report of `prune`: entries kept and removed, duplicates and damage dropped, bytes freed, shards left alone."""

    kept: int
    removed: int
    duplicates: int
    damaged_bytes: int
    freed_bytes: int
    shards_left_alone: int


class _Kept(NamedTuple):
    """Shard to be replaced: its size, and the records to keep."""

    path: Path
    size: int
    records: list[Record]

    @property
    def kept_bytes(self) -> int:
        return sum(record.end - record.offset for record in self.records)


def prune(
    store: FeatureStore,
    keep: Container[str] | None = None,
    fingerprints: Collection[str] | None = None,
    grace_s: float = 3600.0,
    dry_run: bool = False,
) -> Pruned:
    """Rewrite shards without damage, duplicates, and entries that `keep` or `fingerprints` do not name.

    A crash at any point loses nothing: new shards are complete on the disk before old ones are removed. Readers find
    the new ones by themselves. A shard is left alone while a process may be writing to it (see `may_be_written`). A
    writer idle for longer than `grace_s` notices that its shard is gone, and starts another.

    Args:
        keep: keys to keep; all when None.
        fingerprints: fingerprints of the settings to keep; all when None. Descriptions of other settings are removed
            once no entry of theirs is left.
        dry_run: report what would be done, and change nothing.
    """

    def is_kept(record: Record) -> bool:
        return (keep is None or record.key.hex() in keep) and (
            fingerprints is None or fingerprint_of(record) in fingerprints
        )

    store.close()
    done = Pruned(kept=0, removed=0, duplicates=0, damaged_bytes=0, freed_bytes=0, shards_left_alone=0)
    seen: set[tuple[bytes, int]] = set()
    batch: list[_Kept] = []

    def replace_batch() -> None:
        gain = sum(item.size - item.kept_bytes for item in batch) if dry_run else _replace(store.folder, batch)
        done["freed_bytes"] += gain
        batch.clear()

    for path in map(store.folder.joinpath, sorted(disk.list_shards(store.folder))):
        if disk.may_be_written(path, grace_s):
            done["shards_left_alone"] += 1
            continue
        item = _survey(path, is_kept, seen, done)
        if item.size < _FULL_SHARD or item.kept_bytes < item.size:
            batch.append(item)
        if sum(item.size for item in batch) >= _NEW_SHARD:
            replace_batch()
    replace_batch()
    if dry_run:
        return done
    for draft in map(store.folder.joinpath, disk.list_files(store.folder, disk.DRAFT)):
        if not disk.may_be_written(draft, grace_s):
            draft.unlink(missing_ok=True)
    store.refresh()
    if fingerprints is not None:
        for fingerprint in store.descriptions().keys() - set(fingerprints) - store.stats()["fingerprints"].keys():
            store.description(fingerprint).unlink(missing_ok=True)
    return done


def _survey(path: Path, is_kept: Callable[[Record], bool], seen: set[tuple[bytes, int]], done: Pruned) -> _Kept:
    """Read a shard and return the intact records to keep; update `seen` and `done`."""
    records = []
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for found in disk.scan(file.fileno(), 0, size):
            if isinstance(found, Gap):
                done["damaged_bytes"] += found.end - found.offset
            elif not is_kept(found):
                done["removed"] += 1
            elif (found.key, found.version) in seen:
                done["duplicates"] += 1
            elif not found.is_sound(file.fileno()):
                done["damaged_bytes"] += found.end - found.offset
            else:
                seen.add((found.key, found.version))
                records.append(found)
    done["kept"] += len(records)
    return _Kept(path, size, records)


def _replace(folder: Path, batch: list[_Kept]) -> int:
    """Replace old shards by one new shard of the records kept; return the bytes freed."""
    end = 0
    if any(item.records for item in batch):
        draft, descriptor = disk.create(folder)
        try:
            for item in batch:
                with item.path.open("rb") as file:
                    for record in item.records:
                        whole = disk.read_at(file.fileno(), record.end - record.offset, record.offset)
                        end = disk.write_at(descriptor, whole, end)
            os.fsync(descriptor)
            disk.publish(draft)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise disk.explained(error, draft, f"could not join {len(batch)} shards") from error
        finally:
            os.close(descriptor)
    freed = -end
    for item in batch:
        if item.path.stat().st_size == item.size:  # else its writer lives, and what was copied are harmless duplicates
            item.path.unlink()
            freed += item.size
    return freed
