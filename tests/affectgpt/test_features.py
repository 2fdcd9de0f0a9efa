"""The feature store: found again, never stale, never broken; clips decoded once, bad ones named."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from affectgpt import features as module
from affectgpt.clip import Clip
from affectgpt.features import FeatureStore, FeatureTable, build_features, media_key, media_of, tower_fingerprint
from affectgpt.media.bundle import Media


def make_clip(name: str, **media: object) -> Clip:
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "joy"}]
    return Clip(id=name, messages=turns, task="text", **media)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


@pytest.fixture
def decoded(monkeypatch) -> Counter[Media]:
    """Counts how often each media is given to the decoders."""
    seen: Counter[Media] = Counter()
    original = module.map_sandboxed

    def counting(function, items, *rest):  # type: ignore[no-untyped-def]
        items = list(items)
        seen.update(items)
        return original(function, items, *rest)

    monkeypatch.setattr(module, "map_sandboxed", counting)
    return seen


def test_round_trip_in_half_precision(store):
    kept = {"video_features": torch.randn(3, 4), "audio_features": torch.randn(2, 5)}
    assert store.get("ab12") is None
    store.put("ab12", kept)
    found = store.get("ab12")
    assert found is not None
    assert found.keys() == kept.keys()
    for name, value in found.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, kept[name].half().float())
    assert [path.name for path in store.folder.rglob("*") if path.is_file()] == ["ab12.safetensors"]


@pytest.mark.parametrize("harm", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"x" * 99])
def test_a_broken_entry_is_no_entry(store, harm):
    store.put("ab12", {"video_features": torch.randn(3, 4)})
    path = store.folder / "ab" / "ab12.safetensors"
    path.write_bytes(harm(path.read_bytes()))
    assert store.get("ab12") is None
    store.put("ab12", {"video_features": torch.ones(3, 4)})
    assert store.get("ab12")["video_features"].sum() == 12  # type: ignore[index]


def test_cached_equals_online_and_clips_are_decoded_once(tiny, store, decoded, write_mp4, tmp_path):
    model = tiny.model().model
    files = [write_mp4(tmp_path / f"{seed}.mp4", seed) for seed in range(2)]
    clips = [make_clip(f"{file.stem}/{row}", video=file) for file in files for row in range(3)]
    clips += [make_clip("text"), make_clip("part", video=files[0], start=0.1, end=0.4)]
    online = build_features(clips, model, tiny.processor, store)
    assert online.bad == []
    assert decoded == {media_of(clip): 1 for clip in clips if clip.has_media}
    assert len(decoded) == 3
    shapes = {name: tuple(value.shape) for name, value in online.of(clips[0]).items()}
    assert shapes == {"video_features": (3, 24), "audio_features": (4, 16)}
    assert online.of(clips[0]) is online.of(clips[2])
    assert online.of(clips[6]) == {}
    assert not torch.equal(online.of(clips[0])["video_features"], online.of(clips[3])["video_features"])
    assert not torch.equal(online.of(clips[0])["video_features"], online.of(clips[7])["video_features"])

    broken = next(store.folder.rglob("*.safetensors"))
    broken.write_bytes(broken.read_bytes()[:-7])
    again = build_features(clips, model, tiny.processor, store)
    assert sum(decoded.values()) == 4  # the broken one alone
    cached = build_features(clips, model, tiny.processor, store)
    assert sum(decoded.values()) == 4
    for table in (again, cached):
        assert table.features.keys() == online.features.keys()
        for media, values in online.features.items():
            assert values.keys() == table.features[media].keys()
            assert all(torch.equal(value, table.features[media][name]) for name, value in values.items())


def test_bad_media_are_listed_with_their_rows(tiny, store, write_mp4, tmp_path):
    good = write_mp4(tmp_path / "good.mp4")
    cut, empty = tmp_path / "cut.mp4", tmp_path / "empty.mp4"
    cut.write_bytes(good.read_bytes()[:-400])
    empty.write_bytes(b"")
    files = {"cut": cut, "good": good, "empty": empty}
    clips = [make_clip(f"{name}/{row}", video=file) for row in range(2) for name, file in files.items()]
    clips.append(make_clip("text"))
    table = build_features(clips, tiny.model().model, tiny.processor, store)
    named = {sample.rows: sample for sample in table.bad}
    assert set(named) == {("cut/0", "cut/1"), ("empty/0", "empty/1")}
    for sample in table.bad:
        assert sample.reason
        assert sample.to_json() == {"files": list(sample.files), "reason": sample.reason, "rows": list(sample.rows)}
    assert named["cut/0", "cut/1"].files == (str(cut),)
    assert [clip.id for clip in table.usable(clips)] == ["good/0", "good/1", "text"]
    # Nothing is kept of them: mended, they are read.
    cut.write_bytes(write_mp4(tmp_path / "new.mp4", 1).read_bytes())
    assert len(build_features(clips, tiny.model().model, tiny.processor, store).bad) == 1


def test_keys_change_with_bytes_span_and_kind(tmp_path):
    one, two, copied = (tmp_path / name for name in ("1.mp4", "2.mp4", "3.mp4"))
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    copied.write_bytes(b"one")
    whole = Media(one, None, None, None, None)
    others = [
        Media(two, None, None, None, None),
        Media(None, one, None, None, None),
        Media(one, one, None, None, None),
        Media(one, None, one, None, None),
        Media(one, None, None, 0.5, None),
        Media(one, None, None, None, 0.5),
    ]
    keys = {media_key(media, "towers") for media in [whole, *others]}
    assert len(keys) == 7
    assert media_key(whole, "other towers") not in keys
    assert media_key(replace(whole, video=copied), "towers") == media_key(whole, "towers")
    one.write_bytes(b"one, changed")
    assert media_key(whole, "towers") not in keys


def test_fingerprints_change_with_weights_and_settings(tiny):
    model, processor = tiny.model().model, tiny.processor
    first = tower_fingerprint(model, processor)
    assert tower_fingerprint(tiny.model().model, processor) == first
    model.language_model.embed_tokens.weight.data += 1  # what is trained does not matter
    model.soft_tokens.project["video"].weight.data += 1
    assert tower_fingerprint(model, processor) == first

    seen = {first}
    model.audio_tower.layer_norm.bias.data[0] += 1e-3
    seen.add(tower_fingerprint(model, processor))
    next(value for value in model.vision_tower.buffers() if value.is_floating_point())[0] += 1e-3
    seen.add(tower_fingerprint(model, processor))
    seen.add(tower_fingerprint(tiny.build(num_audio_windows=5).model, processor))
    other = copy.deepcopy(processor)
    other.image_processor.image_mean = [0.4, 0.5, 0.5]
    seen.add(tower_fingerprint(model, other))
    other.feature_extractor.hop_length = 80
    seen.add(tower_fingerprint(model, other))
    assert len(seen) == 6


def test_usable_rows_of_a_table():
    media = Media(Path("/a.mp4"), None, None, None, None)
    table = FeatureTable({media: {"video_features": torch.ones(1, 2)}})
    known, unknown = make_clip("a", video=media.video), make_clip("b", video=Path("/b.mp4"))
    assert table.usable([known, unknown]) == [known]
    assert table.of(known) == table.features[media]
    with pytest.raises(KeyError):
        table.of(unknown)
