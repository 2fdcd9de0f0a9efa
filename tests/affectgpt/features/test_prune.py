"""Pruning: what is kept stays readable, whoever writes, reads or is killed meanwhile."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from affectgpt.features import prune as pruning
from affectgpt.features import shard as disk
from affectgpt.features.prune import prune
from affectgpt.features.store import FeatureStore
from tests.support.stores import as_from_elsewhere, features, fill, holds, in_child, key, offsets, same


def test_entries_are_counted_and_pruned_by_settings(folder):
    store = FeatureStore(folder)
    for name, settings in enumerate(("a", "a", "b", "c", "")):
        store.put(key(name), features(name), fingerprint=key(settings) if settings else "")
    for settings in "abcd":
        store.describe(key(settings), {"name": settings})
    assert store.stats()["fingerprints"] == {key("a"): 2, key("b"): 1, key("c"): 1, "": 1}
    done = prune(store, fingerprints={key("a"), key("c"), key("d")})
    assert (done["kept"], done["removed"]) == (3, 2)
    assert store.stats()["fingerprints"] == {key("a"): 2, key("c"): 1}
    assert store.descriptions().keys() == {key("a"), key("c"), key("d")}
    assert prune(store, {key(1), key(2)}, {key("a")})["kept"] == 1
    assert store.keys() == [key(1)]


def test_settings_of_entries_that_stay_are_kept(folder):
    """A shard that somebody writes to is left alone, with entries of settings that nobody named."""
    writer = FeatureStore(folder)
    writer.put(key(0), features(0), fingerprint=key("a"))
    for settings in "ab":
        writer.describe(key(settings), {"name": settings})
    done = prune(FeatureStore(folder), fingerprints={key("c")})
    assert (done["removed"], done["shards_left_alone"]) == (0, 1)
    assert writer.descriptions().keys() == {key("a")}


def test_a_dry_run_says_what_would_be_done_and_does_nothing(folder):
    fill(folder, 0, 1, fingerprint=key("a"))
    fill(folder, 2)
    store = FeatureStore(folder)
    store.describe(key("a"), {"name": "a"})
    draft, descriptor = disk.create(folder)
    os.close(descriptor)  # left behind by a kill
    os.utime(draft, (0, 0))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    keep = {key(1), key(2)}
    said = prune(store, keep, fingerprints={""}, dry_run=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert (said["kept"], said["removed"]) == (1, 2)
    assert prune(store, keep, fingerprints={""}) == said
    assert not draft.exists()
    assert store.descriptions() == {}


def test_drafts_that_somebody_may_be_writing_are_left_alone(folder):
    fill(folder, 0)
    drafts = [disk.create(folder) for _ in range(3)]  # locked, left a moment ago, left long ago
    for _, descriptor in drafts[1:]:
        os.close(descriptor)
    for draft, _ in drafts[::2]:
        os.utime(draft, (0, 0))
    prune(FeatureStore(folder))
    assert [draft.exists() for draft, _ in drafts] == [True, True, False]
    os.close(drafts[0][1])


def test_pruning_joins_shards_and_drops_what_is_not_kept(folder, tmp_path):
    fill(folder, *range(10))
    fill(folder, *range(10, 20))
    copied = fill(tmp_path / "other", *range(5, 15))
    copied.rename(folder / copied.name)
    store = FeatureStore(folder)
    reader = FeatureStore(folder)
    assert all(holds(reader, *range(20)))
    size = store.stats()["bytes"]
    done = prune(store, {key(name) for name in range(8)})
    assert (done["kept"], done["removed"], done["duplicates"], done["shards_left_alone"]) == (8, 19, 3, 0)
    stats = store.stats()
    assert (stats["entries"], stats["shards"], stats["duplicates"]) == (8, 1, 0)
    assert done["freed_bytes"] == size - stats["bytes"]
    for other in (store, reader, FeatureStore(folder)):
        assert holds(other, *range(20)) == [True] * 8 + [False] * 12
    assert prune(store, [])["removed"] == 8
    assert list(folder.glob("*.shard")) == []
    store.put(key(0), features(0))
    assert holds(reader, 0) == [True]


def test_large_shards_that_are_kept_whole_stay(folder, monkeypatch):
    monkeypatch.setattr(pruning, "_FULL_SHARD", 1500)
    monkeypatch.setattr(pruning, "_NEW_SHARD", 2500)
    large = fill(folder, *range(10))
    for name in range(10, 20):
        fill(folder, name)
    store = FeatureStore(folder)
    done = prune(store)
    assert (done["kept"], done["removed"]) == (20, 0)
    assert large.exists()
    assert 2 < store.stats()["shards"] < 11
    assert all(holds(store, *range(20)))


def test_a_reader_follows_a_prune_without_being_told(folder):
    reader = FeatureStore(folder)
    fill(folder, *range(4))
    assert all(holds(reader, *range(4)))
    reader.close()  # so that it holds no descriptor of the shard that goes
    prune(FeatureStore(folder), {key(name) for name in range(3)})
    assert [same(reader.get(key(name)), features(name)) for name in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("known", [True, False])
def test_a_reader_that_looks_during_a_prune_misses_nothing(folder, monkeypatch, known):
    """A folder is not listed at one instant: the list may have passed the new shard by when the old one goes."""
    fill(folder, 0)
    reader = FeatureStore(folder)
    if known:
        assert holds(reader, 0) == [True]
    fill(folder, 1)
    files = disk.list_files
    looks = []

    def during(place: Path, pattern: re.Pattern[str]) -> dict[str, int]:
        sizes = files(place, pattern)
        looks.append(sizes)
        if len(looks) in (1, 3):  # the first list lacks both, the shards on the third are gone when it is used
            with monkeypatch.context() as patch:
                patch.setattr(disk, "list_files", files)
                prune(FeatureStore(folder))
        return {} if looks == [sizes] else sizes

    monkeypatch.setattr(disk, "list_files", during)
    assert holds(reader, 0, 1) == [True, True]
    assert len(looks) >= 5


def test_shards_in_use_are_left_alone(folder):
    writer = FeatureStore(folder)
    writer.put(key(0), features(0))
    fill(folder, 1)
    recent = as_from_elsewhere(fill(folder, 2))
    as_from_elsewhere(fill(folder, 3), age_s=4000)
    store = FeatureStore(folder)
    done = prune(store, [])
    assert (done["removed"], done["shards_left_alone"]) == (2, 2)
    assert recent.exists()
    assert holds(store, 0, 1, 2, 3) == [True, False, True, False]
    assert prune(store, [], grace_s=0)["shards_left_alone"] == 1
    assert holds(store, 0, 2) == [True, False]
    writer.put(key(4), features(4))
    assert holds(store, 0, 4) == [True, True]
    assert prune(writer, [])["removed"] == 2  # its own can go: it begins another
    writer.put(key(5), features(5))
    assert holds(store, 0, 4, 5) == [False, False, True]


def test_a_writer_whose_shard_was_removed_begins_another(folder):
    writer = FeatureStore(folder)
    writer.put(key(0), features(0))
    (shard,) = folder.glob("*.shard")
    shard.unlink()
    writer.put(key(1), features(1))
    assert holds(FeatureStore(folder), 0, 1) == [False, True]
    assert holds(writer, 0, 1) == [False, True]


def test_without_locks_the_time_of_the_last_change_decides(folder, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(disk.fcntl, "flock", refuse)
    shard = fill(folder, 0)
    store = FeatureStore(folder)
    assert prune(store, [])["shards_left_alone"] == 1
    os.utime(shard, (0, 0))
    assert prune(store, [])["removed"] == 1


def test_a_shard_that_grows_while_it_is_pruned_is_not_removed(folder, monkeypatch):
    shard = fill(folder, 0, 1)
    whole = shard.read_bytes()
    os.truncate(shard, offsets(shard)[1])
    replace = os.replace

    def meanwhile(source: Path, target: Path) -> None:
        replace(source, target)
        shard.write_bytes(whole)

    monkeypatch.setattr(os, "replace", meanwhile)
    store = FeatureStore(folder)
    prune(store)
    monkeypatch.undo()
    assert holds(store, 0, 1) == [True, True]
    prune(store)
    assert store.stats()["duplicates"] == 0
    assert holds(store, 0, 1) == [True, True]


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "error"])
def test_a_prune_stopped_at_any_step_loses_nothing(folder, monkeypatch, killed):
    fill(folder, *range(3))
    fill(folder, *range(3, 6))
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for step in range(100):
        for path in folder.iterdir():
            path.unlink()
        for name, content in whole.items():
            (folder / name).write_bytes(content)
        steps = iter(range(1000))

        def stop(original: Callable[..., object], steps=steps, step=step) -> Callable[..., object]:
            def maybe(*args: object) -> object:
                if next(steps) == step:
                    if killed:
                        os.kill(os.getpid(), signal.SIGKILL)
                    raise OSError(errno.EPERM, "simulated")
                return original(*args)

            return maybe

        def work(stop=stop) -> None:
            for name in ("pwrite", "fsync", "replace", "unlink"):
                monkeypatch.setattr(os, name, stop(getattr(os, name)))
            prune(FeatureStore(folder), {key(name) for name in range(1, 6)})

        status = in_child(work) if killed else None
        if not killed:
            with suppress(OSError):
                work()
                status = 0
            monkeypatch.undo()
        store = FeatureStore(folder)
        assert all(holds(store, *range(1, 6)))
        assert store.verify() == []
        prune(store, {key(name) for name in range(1, 6)}, grace_s=0)
        assert holds(store, *range(6)) == [False] + [True] * 5
        assert len(list(folder.iterdir())) == 1
        if status == 0:
            break
    assert step >= 9  # 5 records, 2 of fsync, 1 of replace, 2 of unlink
