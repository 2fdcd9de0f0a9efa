"""The contract of the store: what goes in comes out, exactly, quickly, and in little memory."""

from __future__ import annotations

import json
import os

import psutil
import pytest
import torch

from affectgpt.features import shard as disk
from affectgpt.features import store as module
from affectgpt.features.store import FeatureStore
from tests.support.stores import features, key, same


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
