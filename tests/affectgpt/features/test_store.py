"""The store of tensors: exact, shared by processes, and never wrong, whatever is killed, cut off or flipped."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from affectgpt.features import prune as pruning
from affectgpt.features import shard as disk
from affectgpt.features import store as module
from affectgpt.features.prune import prune
from affectgpt.features.store import FeatureStore
from tests.support.limits import wait_for

HEADER = 96
OTHERS = "00000000-1-{:08x}.shard"  # as another machine would name its shard


def key(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def features(name: object, size: int = 40) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(int(key(name)[:12], 16))
    return {"video": torch.randn(3, size, generator=generator).half(), "audio": torch.randn(2, 5, generator=generator)}


def same(found: dict[str, torch.Tensor] | None, expected: dict[str, torch.Tensor]) -> bool:
    return (
        found is not None
        and found.keys() == expected.keys()
        and all(found[k].dtype == v.dtype and torch.equal(found[k], v) for k, v in expected.items())
    )


def holds(store: FeatureStore, *names: object) -> list[bool]:
    store.refresh()
    return [same(store.get(key(name)), features(name)) for name in names]


def fill(folder: Path, *names: object, **settings: str) -> Path:
    """A new shard with entries of these names."""
    with FeatureStore(folder) as store:
        before = set(folder.glob("*.shard"))
        for name in names:
            store.put(key(name), features(name), **settings)
    (shard,) = set(folder.glob("*.shard")) - before
    return shard


def as_from_elsewhere(shard: Path, age_s: float = 0.0) -> Path:
    moved = shard.rename(shard.with_name(OTHERS.format(len(list(shard.parent.glob("0*"))))))
    os.utime(moved, (time.time() - age_s,) * 2)
    return moved


def offsets(shard: Path) -> list[int]:
    """Where records begin, and where the last one ends."""
    whole = shard.read_bytes()
    starts = [at for at in range(0, len(whole), 64) if whole[at : at + 8] == b"\x89affect\n"]
    return [*starts, len(whole)]


def flip(shard: Path, at: int) -> None:
    with shard.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def in_child(work: Callable[[], None]) -> int:
    """Status of a forked process that does the work: 0, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


# What goes in comes out


def test_round_trip_keeps_shape_dtype_and_bits(folder):
    put = {
        "half": torch.randn(8, 768).half(),
        "single": torch.tensor([1.0, float("nan"), float("-inf"), -0.0]),
        "brain": torch.randn(2, 3, 4).bfloat16(),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "empty": torch.empty(0, 5),
    }
    with FeatureStore(folder) as store:
        store.put(key(0), put)
        store.put(key(1), {})
    for reader in (store, FeatureStore(str(folder))):
        found = reader.get(key(0))
        assert found is not None
        assert found.keys() == put.keys()
        for name, value in put.items():
            assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
            assert found[name].reshape(-1).view(torch.uint8).equal(value.reshape(-1).view(torch.uint8))
        assert reader.get(key(1)) == {}
        found["half"].zero_()  # belongs to the caller
        assert torch.equal(reader.get(key(0))["half"], put["half"])


def test_views_and_what_requires_gradients_can_be_put(folder):
    whole = torch.randn(6, 4, requires_grad=True)
    put = {"a": whole[:3], "b": whole[3:], "turned": whole.t(), "all": whole}
    store = FeatureStore(folder)
    store.put(key(0), put)
    assert same(store.get(key(0)), {name: value.detach() for name, value in put.items()})


def test_nothing_is_created_before_the_first_put(folder):
    store = FeatureStore(folder)
    assert store.get(key(0)) is None
    assert key(0) not in store
    assert (len(store), store.keys(), store.verify(), store.descriptions()) == (0, [], [], {})
    assert store.stats()["entries"] == 0
    store.close()
    assert not folder.exists()


def test_the_first_put_stays(folder):
    with FeatureStore(folder) as store:
        store.put(key(0), features(0))
        store.put(key(0), features(1))
        FeatureStore(folder).put(key(0), features(2))
        assert same(store.get(key(0)), features(0))
        assert store.keys() == [key(0)]
        assert store.stats()["duplicates"] == 0


@pytest.mark.parametrize("bad", ["", "ab12", "g" * 64, "a" * 63, "a" * 128])
def test_keys_and_fingerprints_that_are_none_are_refused(folder, bad):
    store = FeatureStore(folder)
    for use in (store.get, store.__contains__, lambda text: store.put(text, {}), lambda text: store.describe(text, {})):
        with pytest.raises(ValueError, match=r"expected a SHA-256 as 64 hexadecimal digits, got '"):
            use(bad)
    if bad:
        with pytest.raises(ValueError, match="fingerprint of features"):
            store.put(key(0), {}, fingerprint=bad)
    assert not folder.exists()


def test_too_large_an_entry_is_refused(folder, monkeypatch):
    monkeypatch.setattr(module, "_MAX_PAYLOAD", 1000)
    store = FeatureStore(folder)
    with pytest.raises(ValueError, match=r"expected at most 1000 bytes, got \d+; split them"):
        store.put(key(0), features(0, size=400))
    assert len(store) == 0


# Processes

WRITER = """
import hashlib, pickle, sys
store = pickle.load(sys.stdin.buffer)
from tests.affectgpt.features.test_store import features, holds, key
first, number = int(sys.argv[1]), 120
for name in range(first, first + number):
    store.put(key(name), features(name))
    assert all(holds(store, name, first))
print("written", flush=True)
while sum(holds(store, *range(180))) < 180:
    pass
store.close()
"""


def test_processes_write_and_read_at_once(folder):
    with FeatureStore(folder) as store:
        store.put(key("before"), features("before"))
        again = pickle.loads(pickle.dumps(store))
        assert (again.folder, again.sync_every) == (store.folder, store.sync_every)
        assert holds(again, "before") == [True]
        command = [sys.executable, "-c", WRITER]
        root = str(Path(__file__).parents[3])
        workers = []
        for first in (0, 60):  # half of their entries are the same
            worker = subprocess.Popen([*command, str(first)], stdin=subprocess.PIPE, cwd=root)
            assert worker.stdin is not None
            worker.stdin.write(pickle.dumps(store))
            worker.stdin.close()
            workers.append(worker)
        seen = 0
        while any(worker.poll() is None for worker in workers):
            seen = max(seen, sum(holds(store, *range(180))))
            time.sleep(0.05)
        assert [worker.returncode for worker in workers] == [0, 0]
        assert all(holds(store, "before", *range(180)))
        assert store.verify() == []
        stats = store.stats()
        assert (stats["entries"], stats["shards"]) == (181, 3)


def test_a_reader_sees_what_is_written_after_it_was_opened(folder):
    reader = FeatureStore(folder)
    assert reader.get(key(0)) is None
    with FeatureStore(folder) as writer:
        for name in range(5):
            writer.put(key(name), features(name))
            assert holds(reader, name) == [True]
        writer.put(key("late"), features("late"))
    wait_for(lambda: reader.get(key("late")) is not None)  # by itself, too
    assert len(reader) == 6


def test_missing_keys_cost_few_looks(folder, monkeypatch):
    fill(folder, 0)
    store = FeatureStore(folder)
    looks = []
    original = disk.list_shards
    monkeypatch.setattr(disk, "list_shards", lambda folder: looks.append(time.sleep(0.01)) or original(folder))
    began = time.monotonic()
    for name in range(1000):
        assert store.get(key(("missing", name))) is None
    assert 1 <= len(looks) <= 1 + (time.monotonic() - began) / 0.1


def test_a_forked_process_writes_to_its_own_shard(folder):
    store = FeatureStore(folder)
    store.put(key("parent"), features("parent"))

    def work() -> None:
        assert holds(store, "parent") == [True]
        store.put(key("child"), features("child"))
        assert holds(store, "parent", "child") == [True, True]
        store.close()

    assert in_child(work) == 0
    assert in_child(store.close) == 0  # nothing of its parent's is left to do for a child that put nothing
    store.put(key("after"), features("after"))
    assert holds(store, "parent", "child", "after") == [True] * 3
    assert store.stats()["shards"] == 2
    assert store.verify() == []


def test_threads_share_a_store(folder):
    store = FeatureStore(folder)
    wrong = []

    def work(first: int) -> None:
        for name in range(first, first + 60):
            store.put(key(name), features(name))
            wrong.extend(n for n in range(first, name + 1) if not same(store.get(key(n)), features(n)))

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 30, 60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert store.stats() | {"bytes": 0, "fingerprints": {}} == {
        "entries": 120,
        "bytes": 0,
        "shards": 1,
        "damaged_bytes": 0,
        "torn_bytes": 0,
        "duplicates": 0,
        "fingerprints": {},
    }


def test_few_descriptors_stay_open(folder, monkeypatch):
    monkeypatch.setattr(module, "_MAX_DESCRIPTORS", 3)
    for name in range(8):
        fill(folder, name)
    before = psutil.Process().num_fds()
    store = FeatureStore(folder)
    assert all(holds(store, *range(8), *range(8)))
    assert psutil.Process().num_fds() == before + 3
    store.close()
    assert psutil.Process().num_fds() == before
    assert all(holds(store, *range(8)))
    del store
    assert psutil.Process().num_fds() == before


# Killed, cut off, flipped


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
    """What is forced to the disk, and what gets its name, in their order: ('sync' or 'name', inode)."""
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


# Settings, and throwing away


def test_settings_are_described(folder):
    store = FeatureStore(folder)
    one, two = {"tower": "é", "size": [3, 4]}, {"tower": "other"}
    store.describe(key("one"), one)
    store.describe(key("two"), {"tower": "draft"})
    store.describe(key("two"), two)
    path = folder / "settings" / f"{key('one')}.json"
    before = path.stat()
    store.describe(key("one"), one)
    assert path.stat().st_ino == before.st_ino
    (folder / "settings" / "notes.json").write_text("{}")
    (folder / "settings" / f"{key('broken')}.json").write_text("{")
    assert FeatureStore(folder).descriptions() == {key("one"): one, key("two"): two}
    assert json.loads(path.read_text()) == one


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


# Cost


def test_memory_stays_flat_and_an_entry_is_one_read(folder, monkeypatch):
    names = range(200)
    put = {"video": torch.randn(8, 768).half(), "audio": torch.randn(8, 1024).half()}
    with FeatureStore(folder, sync_every=0) as store:
        for name in names:
            store.put(key(name), put)
    keys = [key(name) for name in names]
    store = FeatureStore(folder)

    def read_all() -> None:
        for name in keys:
            store.get(name)

    read_all()
    before = psutil.Process().memory_info().rss
    reads = []
    read_at = disk.read_at
    monkeypatch.setattr(disk, "read_at", lambda *place: reads.append(place) or read_at(*place))
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("a shard is opened again"))
    monkeypatch.setattr(disk, "list_shards", lambda _: pytest.fail("the folder is listed again"))
    for _ in range(25):
        read_all()
    assert psutil.Process().memory_info().rss - before < 20 << 20
    assert len(reads) == 25 * len(keys)
