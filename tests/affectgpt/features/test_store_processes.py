"""The store among processes and threads that write and read it at once."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from affectgpt.features import shard as disk
from affectgpt.features import store as module
from affectgpt.features.store import FeatureStore
from tests.support.limits import wait_for
from tests.support.stores import features, fill, holds, in_child, key, same

WRITER = """
import hashlib, pickle, sys
store = pickle.load(sys.stdin.buffer)
from tests.support.stores import features, holds, key
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
