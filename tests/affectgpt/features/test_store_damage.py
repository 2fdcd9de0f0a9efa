"""The store when writers are killed, files are cut off or flipped, and the disk is full: it is never wrong."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from affectgpt.features import shard as disk
from affectgpt.features.prune import prune
from affectgpt.features.store import FeatureStore
from tests.support.stores import HEADER, OTHERS, features, fill, flip, holds, in_child, key, offsets, same


def test_kill_while_writing_loses_nothing_that_was_put(folder):
    sizes = {}
    for moment in range(10):
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            store = FeatureStore(folder)
            for name in range(10_000):
                store.put(key((moment, name)), features((moment, name), size=40_000))
                os.write(send, b".")
            os._exit(1)
        os.close(send)
        os.read(receive, 1)
        time.sleep(0.003 * moment + 0.001)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reported = 1 + sum(len(part) for part in iter(lambda: os.read(receive, 4096), b""))  # noqa: B023
        os.close(receive)
        sizes[moment] = reported
    store = FeatureStore(folder)
    for moment, reported in sizes.items():
        for name in range(reported):
            assert same(store.get(key((moment, name))), features((moment, name), size=40_000))
    assert sum(sizes.values()) <= len(store) <= sum(sizes.values()) + len(sizes)
    assert all("at the end" in damage.what for damage in store.verify())
    store.put(key("new"), features("new"))
    store.close()
    assert holds(FeatureStore(folder), "new") == [True]


def test_kill_within_a_write(folder, monkeypatch):
    """The write itself stops half-way, at every kind of place."""
    pwrite = os.pwrite
    for cut in (0, 1, 50, HEADER, HEADER + 1, 300):

        def torn(descriptor: int, data: bytes, offset: int, cut: int = cut) -> int:
            if offset:
                pwrite(descriptor, data[:cut], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return pwrite(descriptor, data, offset)

        def work(cut: int = cut, torn: Callable[..., int] = torn) -> None:
            monkeypatch.setattr(os, "pwrite", torn)
            store = FeatureStore(folder)
            for name in range(2):
                store.put(key((cut, name)), features((cut, name)))

        assert in_child(work) == -signal.SIGKILL
        store = FeatureStore(folder)
        assert holds(store, (cut, 0), (cut, 1)) == [True, False]
        assert store.stats()["torn_bytes"] == sum(c for c in (0, 1, 50, HEADER, HEADER + 1, 300) if c <= cut)
    assert len(store) == 6


def test_a_torn_record_is_seen_once_it_is_whole(folder):
    shard = fill(folder, 0, 1)
    whole = shard.read_bytes()
    start = offsets(shard)[1]
    for cut in (start, start + 30, start + HEADER, len(whole) - 1):
        shard.write_bytes(whole[:cut])
        reader = FeatureStore(folder)
        assert holds(reader, 0, 1) == [True, False]
        assert [(d.offset, d.key) for d in reader.verify()] == ([] if cut == start else [(start, None)])
        shard.write_bytes(whole)
        assert holds(reader, 0, 1) == [True, True]


@pytest.mark.parametrize(
    ("where", "known"),
    [
        pytest.param(0, False, id="magic"),
        pytest.param(9, False, id="version"),
        pytest.param(12, False, id="checksum"),
        pytest.param(17, False, id="length"),
        pytest.param(23, False, id="length, to exabytes"),
        pytest.param(30, False, id="key"),
        pytest.param(60, False, id="fingerprint"),
        pytest.param(93, False, id="checksum of the header"),
        pytest.param(HEADER, True, id="first of the payload"),
        pytest.param(HEADER + 333, True, id="payload"),
    ],
)
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_flipped_bit_costs_one_entry(folder, where, known, victim):
    shard = fill(folder, 0, 1, 2)
    start, end = offsets(shard)[victim : victim + 2]
    flip(shard, start + where)
    store = FeatureStore(folder)
    assert holds(store, 0, 1, 2) == [name != victim for name in range(3)]
    (damage,) = store.verify()
    assert (damage.shard, damage.offset, damage.key) == (shard, start, key(victim) if known else None)
    unread = store.stats()["damaged_bytes"] + store.stats()["torn_bytes"]
    assert unread == (0 if known else end - start)
    store.put(key(victim), features(victim))
    assert holds(store, 0, 1, 2) == [True] * 3
    store.close()
    assert holds(FeatureStore(folder), 0, 1, 2) == [True] * 3
    assert prune(store)["kept"] == 3
    assert holds(store, 0, 1, 2) == [True] * 3
    assert store.verify() == []


def test_a_record_inside_a_payload_is_none_of_the_shard(folder):
    """Behind a damaged header records are searched for, and somebody's payload may hold the bytes of one."""
    payload = b"not what was put"
    digest = bytes.fromhex(key("inner"))
    inner = disk.encode(disk.Record(digest, bytes(32), disk.VERSION, disk.checksum(digest, payload), 0, 16), payload)
    with FeatureStore(folder) as store:
        store.put(key("outer"), {"bytes": torch.frombuffer(bytearray(b"\0" + inner), dtype=torch.uint8)})
        store.put(key("next"), features("next"))
    (shard,) = folder.glob("*.shard")
    assert shard.read_bytes().find(inner) % 64
    flip(shard, 0)
    store = FeatureStore(folder)
    assert store.keys() == [key("next")]
    assert holds(store, "next") == [True]


def test_damage_after_the_index_was_made_is_noticed(folder):
    shard = fill(folder, 0, 1)
    store = FeatureStore(folder)
    assert holds(store, 0, 1) == [True, True]
    flip(shard, offsets(shard)[1] + HEADER + 200)
    assert holds(store, 0, 1) == [True, False]
    os.truncate(shard, 100)
    assert holds(store, 0, 1) == [False, False]


def test_another_copy_stands_in_for_a_damaged_one(folder, tmp_path):
    first, second = fill(folder, 0), fill(tmp_path / "other", 0)
    second = second.rename(folder / second.name)
    store = FeatureStore(folder)
    assert store.stats()["duplicates"] == 1
    for shard in (first, second):
        assert holds(store, 0) == [True]
        assert holds(FeatureStore(folder), 0) == [True]
        flip(shard, HEADER + 200)
    assert holds(store, 0) == [False]


def test_a_disk_that_cannot_be_read_costs_what_lies_there(folder, monkeypatch):
    shard = fill(folder, 0, 1, 2)
    start, end = offsets(shard)[1:3]
    pread = os.pread

    def failing(descriptor: int, length: int, offset: int) -> bytes:
        if start <= offset < end:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", failing)
    monkeypatch.setattr(disk, "_SEARCH_BYTES", 64)
    assert holds(FeatureStore(folder), 0, 1, 2) == [True, False, True]


def test_empty_shards_and_what_is_not_ours_do_no_harm(folder):
    fill(folder, 0)
    (folder / OTHERS.format(1)).touch()
    (folder / OTHERS.format(2)).write_bytes(bytes(5_000_000) + b"\x89affect\n" * 9)
    foreign = [folder / name for name in ("README.txt", "my.shard", "00000000-1-00000000.shard.bak", "features.part")]
    for path in foreign:
        path.write_text("not ours")
    (folder / "folder.shard").mkdir()
    store = FeatureStore(folder)
    assert holds(store, 0) == [True]
    assert store.stats()["shards"] == 3
    assert [damage.shard.name for damage in store.verify()] == [OTHERS.format(2)]
    prune(store, grace_s=0)
    assert holds(store, 0) == [True]
    assert store.stats()["shards"] == 1
    assert all(path.exists() for path in foreign)


def test_records_of_a_newer_version_are_kept_but_not_read(folder, monkeypatch):
    monkeypatch.setattr(disk, "VERSION", 2)
    fill(folder, 0)
    monkeypatch.setattr(disk, "VERSION", 1)
    store = FeatureStore(folder)
    assert holds(store, 0) == [False]
    (damage,) = store.verify()
    assert "expected a record of version 1, got 2" in damage.what
    store.put(key(0), features(0))
    assert prune(store)["kept"] == 2
    assert holds(store, 0) == [True]


def test_a_full_disk_is_an_error_that_loses_nothing(folder, monkeypatch):
    store = FeatureStore(folder)
    store.put(key(0), features(0))
    (shard,) = folder.glob("*.shard")
    whole = shard.read_bytes()
    pwrite = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if offset % 64:  # after the first 200 bytes of a record
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, data[:200], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        for _ in range(2):
            with pytest.raises(OSError, match=r"could not write \d+ bytes: No space left on device\. Free") as error:
                store.put(key(1), features(1))
            assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(shard))
            assert shard.read_bytes() == whole
            assert holds(store, 0, 1) == [True, False]
        with pytest.raises(OSError, match="Free space"):
            FeatureStore(folder).put(key(1), features(1))
    assert list(folder.iterdir()) == [shard]  # the empty shard went with its store
    store.put(key(1), features(1))
    store.close()
    assert holds(FeatureStore(folder), 0, 1) == [True, True]


def test_entries_are_forced_to_the_disk_now_and_then(folder, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(descriptor) or fsync(descriptor))
    for every, expected in ((0, 1), (1, 7), (3, 3)):
        with FeatureStore(folder / str(every), sync_every=every) as store:
            store.put(key("first"), features("first"))
            del synced[int(every == 1) :]  # that of the folder
            for name in range(6):
                store.put(key(name), features(name))
        assert len(synced) == expected
        synced.clear()

    def failing(descriptor: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    store = FeatureStore(folder, sync_every=2)
    store.put(key(0), features(0))
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match=r"could not force 2 entries to the disk: Disk quota exceeded\. Free"):
        store.put(key(1), features(1))
    monkeypatch.undo()
    assert holds(store, 0, 1) == [True, True]


@pytest.fixture
def forced(monkeypatch) -> list[tuple[str, int]]:
    """Record what is forced to the disk and what gets its name, in order: ('sync' or 'name', inode)."""
    steps: list[tuple[str, int]] = []
    fsync, replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        steps.append(("sync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def name(draft: Path, path: Path) -> None:
        steps.append(("name", os.stat(draft).st_ino))
        replace(draft, path)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", name)
    return steps


def test_the_name_of_a_new_shard_is_forced_to_the_disk(folder, forced):
    store = FeatureStore(folder, sync_every=1)
    store.put(key(0), features(0))
    (shard,) = folder.glob("*.shard")
    assert forced == [("name", shard.stat().st_ino), ("sync", folder.stat().st_ino), ("sync", shard.stat().st_ino)]


def test_settings_are_on_the_disk_before_they_get_their_name(folder, forced):
    FeatureStore(folder).describe(key("settings"), {"tower": "one"})
    (path,) = (folder / "settings").iterdir()
    assert forced == [("sync", path.stat().st_ino), ("name", path.stat().st_ino)]


def test_a_joined_shard_is_on_the_disk_before_the_old_ones_go(folder, forced):
    old = [fill(folder, name) for name in range(2)]
    forced.clear()
    prune(FeatureStore(folder))
    (shard,) = folder.glob("*.shard")
    inode = shard.stat().st_ino
    assert forced == [("sync", inode), ("name", inode), ("sync", folder.stat().st_ino)]
    assert not any(path.exists() for path in old)
