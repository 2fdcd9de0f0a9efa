"""Features of clips: equal wherever they were made, computed once, under a key that changes with all that matters."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from affectgpt.features import sources as module
from affectgpt.features.file_hashes import ContentIndex
from affectgpt.features.prune import prune
from affectgpt.features.sources import (
    BadSample,
    DecodedMedia,
    OnlineFeatures,
    StoredFeatures,
    build_features,
    fill_store,
    find_missing,
    media_key,
    media_of,
    require_settings,
    undecodable,
    wanted_by,
)
from affectgpt.features.store import FeatureStore
from affectgpt.inputs.reader import ClipReader
from affectgpt.media.bundle import Media, Wanted
from affectgpt.media.decode import MediaError
from affectgpt.media.faces import crop_faces
from affectgpt.model.clip_encoder import encoding_settings, fingerprint, weights_hash
from affectgpt.problems import InputError
from tests.support.limits import PATIENCE_S
from tests.support.rows import make_clip


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


def build(tiny, store, clips) -> tuple[StoredFeatures, list[BadSample]]:  # type: ignore[no-untyped-def]
    return build_features(clips, tiny.encoder.config, tiny.processor, store, lambda: tiny.encoder, workers=1)


def same(one, other) -> bool:  # type: ignore[no-untyped-def]
    return [item.keys() for item in one] == [item.keys() for item in other] and all(
        torch.equal(value, b[name]) for a, b in zip(one, other, strict=True) for name, value in a.items()
    )


# Made once, equal everywhere


def test_stored_equals_online_and_clips_are_decoded_once(tiny, store, decoded, write_mp4, tmp_path):
    files = [write_mp4(tmp_path / f"{seed}.mp4", seed) for seed in range(2)]
    clips = [make_clip(f"{file.stem}/{row}", video=file) for file in files for row in range(3)]
    clips += [make_clip("text"), make_clip("part", video=files[0], start=0.1, end=0.4)]
    stored, bad = build(tiny, store, clips)
    assert bad == []
    assert decoded == {media_of(clip): 1 for clip in clips if clip.has_media}
    found = stored.of(clips)
    shapes = {name: tuple(value.shape) for name, value in found[0].items()}
    assert shapes == {"face_features": (3, 24), "audio_features": (4, 16)}
    assert all(value.dtype == torch.float32 for value in found[0].values())
    kept = [value for key in stored.keys.values() for value in (store.get(key) or {}).values()]
    assert {value.dtype for value in kept} == {torch.float16}
    assert same(found[:1] * 3, found[:3])
    assert found[6] == {}
    assert not torch.equal(found[0]["audio_features"], found[3]["audio_features"])
    assert not torch.equal(found[0]["audio_features"], found[7]["audio_features"])

    encoded: list[object] = []
    encoder = copy.copy(tiny.encoder)
    encoder.encode = lambda media: encoded.append(media) or tiny.encoder.encode(media)  # type: ignore[method-assign]
    online = OnlineFeatures(encoder, workers=1, timeout_s=PATIENCE_S)
    assert same(online.of(clips), found)
    assert len(encoded) == 4  # three clips, and the row of text
    online.media.close()

    again, bad = build_features(clips, tiny.encoder.config, tiny.processor, store, lambda: pytest.fail("not needed"))
    assert bad == []
    assert same(again.of(clips), found)
    assert sum(decoded.values()) == 3


def test_missing_modalities_have_no_features(tiny, store, write_mp4, tmp_path):
    file = write_mp4(tmp_path / "a.mp4")
    stored, _ = build(tiny, store, [clip := make_clip("sound", audio=file)])
    assert [item.keys() for item in stored.of([clip])] == [{"audio_features"}]


def test_a_damaged_entry_is_an_error_that_says_how_to_mend_it(tiny, store, decoded, write_mp4, tmp_path):
    clips = [make_clip(str(seed), video=write_mp4(tmp_path / f"{seed}.mp4", seed)) for seed in range(2)]
    found = build(tiny, store, clips)[0].of(clips)
    store.close()
    (shard,) = store.folder.glob("*.shard")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    reader = FeatureStore(store.folder)
    stored, _ = build(tiny, reader, clips)
    with pytest.raises(InputError, match="row 0, got none or a damaged entry") as error:
        stored.of(clips)
    assert f"affectgpt features prune {store.folder}" in str(error.value)
    prune(FeatureStore(store.folder))
    mended, _ = build(tiny, FeatureStore(store.folder), clips)
    assert same(mended.of(clips), found)
    assert decoded == {media_of(clips[0]): 2, media_of(clips[1]): 1}


def test_bad_media_are_listed_with_their_rows(tiny, store, write_mp4, tmp_path):
    good = write_mp4(tmp_path / "good.mp4")
    cut, empty, gone = (tmp_path / f"{name}.mp4" for name in ("cut", "empty", "gone"))
    cut.write_bytes(good.read_bytes()[:-400])
    empty.write_bytes(b"")
    files = {"cut": cut, "good": good, "empty": empty, "gone": gone}
    clips = [make_clip(f"{name}/{row}", video=file) for row in range(2) for name, file in files.items()]
    clips.append(make_clip("text"))
    stored, bad = build(tiny, store, clips)
    named = {sample.rows: sample for sample in bad}
    assert set(named) == {(f"{name}/0", f"{name}/1") for name in ("cut", "empty", "gone")}
    for sample in bad:
        assert sample.reason
        assert sample.to_json() == {"files": sample.files, "reason": sample.reason, "rows": list(sample.rows)}
    assert named["cut/0", "cut/1"].files == [str(cut)]
    assert named["gone/0", "gone/1"].reason.startswith(f"{gone}: cannot be read. ")
    assert stored.keys.keys() == {media_of(clips[1])}
    existing = [clip for clip in clips if clip.video != gone]
    wanted = wanted_by(tiny.encoder.config, tiny.processor)
    assert undecodable(existing, wanted, 1, 20.0) == [sample for sample in bad if sample.files != [str(gone)]]
    # Nothing is kept of them: mended, they are read.
    cut.write_bytes(write_mp4(tmp_path / "new.mp4", 1).read_bytes())
    assert [sample.rows[0] for sample in build(tiny, store, clips)[1]] == ["gone/0", "empty/0"]


def test_what_is_wanted_follows_the_model(tiny):
    assert wanted_by(tiny.encoder.config, tiny.processor) == Wanted(("face", "audio"), 3, 16_000)
    assert wanted_by(tiny.config(visual="both"), tiny.processor).streams == ("face", "frame", "audio")
    slow = copy.deepcopy(tiny.processor)
    slow.feature_extractor.sampling_rate = 24_000
    assert wanted_by(tiny.config(num_frames=5), slow, "pyav") == Wanted(("face", "audio"), 5, 24_000, reader="pyav")


def test_how_media_are_decoded_reaches_the_workers(tiny, store, tmp_path, monkeypatch):
    asked: list[tuple[Wanted, int, float]] = []

    def decoding(function, items, workers, timeout_s):  # type: ignore[no-untyped-def]
        asked.append((function.keywords["wanted"], workers, timeout_s))
        return iter(())

    monkeypatch.setattr(module, "map_sandboxed", decoding)
    (tmp_path / "a.mp4").write_bytes(b"any")
    clips, config = [make_clip("a", video=tmp_path / "a.mp4")], tiny.encoder.config
    wanted = wanted_by(config, tiny.processor, "decord")
    build_features(clips, config, tiny.processor, store, lambda: tiny.encoder, 7.0, 3, reader="decord")
    undecodable(clips, wanted, 3, 7.0)
    online = OnlineFeatures(tiny.encoder, workers=3, timeout_s=7.0, reader="decord").media
    asked.append((online.decoder.keywords["wanted"], online.sandbox.workers, online.sandbox.timeout_s))
    online.close()
    assert asked == [(wanted, 3, 7.0)] * 3


def test_a_clip_that_does_not_decode_is_an_error_where_it_is_wanted_at_once():
    source = DecodedMedia(Wanted(("audio",)), workers=1, timeout_s=20)
    source.sandbox = SimpleNamespace(map=lambda _, items: [(item, MediaError("cut.mp4: truncated")) for item in items])  # type: ignore[assignment]
    assert source.of([make_clip("words")]) == [{}]
    with pytest.raises(InputError, match=r"row bad: cut\.mp4: truncated\. Check with: affectgpt data check ROWS"):
        source.of([make_clip("words"), make_clip("bad", video=Path("cut.mp4"))])


def test_shares_are_disjoint_and_complete_however_far_each_is(tiny, store, write_mp4, tmp_path):
    file = write_mp4(tmp_path / "a.mp4")
    clips = [make_clip(f"{n}/{row}", audio=file, end=0.1 * n) for n in range(1, 6) for row in range(2)]
    config = tiny.encoder.config
    done: list[Media] = []
    for rank in range(3):  # each looks when those before it are through: what is missing is less then
        with FeatureStore(store.folder) as own:
            missing = find_missing(clips, config, tiny.processor, own, share=(rank, 3))
            assert missing.rows.keys() == set(missing.media)
            assert fill_store(missing, tiny.encoder, own, workers=1) == []
        done += missing.media
        assert len(list(store.folder.glob("*.shard"))) == rank + 1
    assert Counter(done) == dict.fromkeys((media_of(clip) for clip in clips), 1)
    rest = find_missing(clips, config, tiny.processor, store)
    assert (rest.media, len(rest.keys)) == ([], 5)
    assert store.stats()["duplicates"] == 0
    assert store.descriptions().keys() == store.stats()["fingerprints"].keys()


def test_progress_is_told(tiny, store, write_mp4, tmp_path):
    file = write_mp4(tmp_path / "a.mp4")
    clips = [make_clip(str(n), audio=file, end=0.1 * n) for n in range(1, 3)]
    told: list[tuple[int, int]] = []
    missing = find_missing(clips, tiny.encoder.config, tiny.processor, store)
    fill_store(missing, tiny.encoder, store, workers=1, progress=lambda *numbers: told.append(numbers))
    undecodable(clips, wanted_by(tiny.encoder.config, tiny.processor), 1, 20.0, lambda *numbers: told.append(numbers))
    assert told == [(1, 2), (2, 2)] * 2


# Keys


@pytest.mark.parametrize(
    ("clip", "key"),
    [
        ({"video": "v"}, "88bd9b98394db1cc43e3e0f0b306cb6ec9e238ba4fd289cc69cce22af9951839"),
        (
            {"video": "v", "audio": "a", "face": "f", "start": 1.5, "end": 4.0},
            "8a5686c5d1d15dc5a95f5efdb9781c43ad3799528edcf39ddb5e7c6dfd934607",
        ),
        ({"audio": "a", "start": 0.0}, "53dd3d76d6ef239c2f88ff2a475e27f80cfdfc7c8fa15a1c3a7145c0c4a99791"),
        ({"video": "v", "face": "f", "end": 2}, "2eca52d193fa2667776cabfc8fc88b70e0416a67eca6ecda316f394bc944ed82"),
    ],
)
def test_keys_are_those_of_the_first_stores(clip, key):
    hashes = {Path("v"): "aa" * 32, Path("a"): "bb" * 32, Path("f"): "cc" * 32}
    paths = {name: Path(value) if isinstance(value, str) else value for name, value in clip.items()}
    media = media_of(make_clip("a", **paths))
    assert media is not None
    assert media_key(media, hashes, "m" * 64) == key


def test_keys_of_stills_and_of_videos_without_sound_are_their_own():
    path = Path("x")
    media = [Media(path), Media(path, has_sound=False), Media(image=path), Media(audio=path), Media(path, path)]
    assert len({media_key(item, {path: "aa"}, "m") for item in media}) == len(media)


def test_a_still_has_features_for_every_frame_and_a_signal_none(tiny, store, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    still, brain = make_clip("still", image=tmp_path / "a.png"), make_clip("brain", signal=tmp_path / "a.npz")
    assert media_of(brain) is None
    stored, bad = build(tiny, store, [still, brain])
    assert bad == []
    features, nothing = stored.of([still, brain])
    assert nothing == {}
    assert {name: tuple(value.shape) for name, value in features.items()} == {"face_features": (3, 24)}
    crops = crop_faces(pixels[None]).crops
    assert torch.equal(features["face_features"], tiny.encoder.encode({"face": crops[[0, 0, 0]]})["face_features"])
    reader = ClipReader(tiny.processor, stored)
    assert reader.streams(still) == ("face",)
    assert reader.streams(still, hide=("video",)) == ()
    assert reader.streams(brain) == ()
    (row,) = reader.read([still])
    assert row.inputs["face_features"].shape == (1, 3, 24)


def test_a_video_without_sound_has_no_features_of_sound(tiny, store, write_mp4, tmp_path):
    clip = make_clip("silent", video=write_mp4(tmp_path / "a.mp4"), has_sound=False)
    stored, bad = build(tiny, store, [clip])
    assert bad == []
    assert stored.of([clip])[0].keys() == {"face_features"}
    assert ClipReader(tiny.processor, stored).streams(clip) == ("face",)


def test_keys_change_with_bytes_span_and_kind(tmp_path):
    one, two, copied = (tmp_path / name for name in ("1.mp4", "2.mp4", "3.mp4"))
    for path, content in ((one, b"one"), (two, b"two"), (copied, b"one")):
        path.write_bytes(content)
    index = ContentIndex(tmp_path / "contents.jsonl")

    def key(media: Media, mark: str = "towers") -> str:
        return media_key(media, index.hashes(media.files()), mark)

    whole = Media(one, None, None, None, None)
    others = [
        Media(two, None, None, None, None),
        Media(None, one, None, None, None),
        Media(one, one, None, None, None),
        Media(one, None, one, None, None),
        Media(one, None, None, 0.5, None),
        Media(one, None, None, None, 0.5),
    ]
    keys = {key(media) for media in [whole, *others]}
    assert len(keys) == 7
    assert key(whole, "other towers") not in keys
    assert key(replace(whole, video=copied)) == key(whole)
    one.write_bytes(b"one, changed")
    assert key(whole) not in keys


def test_fingerprints_change_with_all_that_features_depend_on(tiny):
    def mark(processor=tiny.processor, **changes) -> str:  # type: ignore[no-untyped-def]
        return fingerprint(encoding_settings(tiny.config(**changes), processor))

    first = mark()
    assert mark() == first == mark(pooling="mean", fusion="none")  # what is trained does not matter
    changed = [
        {"sources": tiny.sources | {"vision": {"hash": "a"}}},
        {"sources": tiny.sources | {"vision": {"hash": "b"}}},
        {"sources": tiny.sources | {"audio": {"hash": "a"}}},
        {"visual": "both"},
        {"num_frames": 4},
        {"vision_layers": [-1]},
        {"vision_layers": [-2, -1]},
        {"vision_pooling": "mean"},
        {"audio_layers": [-1]},
        {"num_audio_windows": 5},
        {"audio_sampling": "windows"},
        {"audio_sampling": "windows", "audio_window_s": 0.7},
    ]
    marks = [first, *(mark(**change) for change in changed)]
    other = copy.deepcopy(tiny.processor)
    other.image_processor.image_mean = [0.4, 0.5, 0.5]
    marks.append(mark(other))
    other.feature_extractor.hop_length = 80
    marks.append(mark(other))
    assert len(set(marks)) == len(marks) == 15
    # The length of windows does not matter where there are none.
    assert mark(audio_window_s=0.7) == first
    with pytest.raises(InputError, match=r"sources\.audio\.hash"):
        mark(sources={"vision": tiny.sources["vision"]})


def test_the_hash_of_weights_is_of_all_weights_and_buffers(tiny):
    tower = tiny.towers()["vision"]
    seen = {weights_hash(tower)}
    assert weights_hash(tiny.towers()["vision"]) in seen
    next(tower.parameters()).data.view(-1)[0] += 1e-3
    seen.add(weights_hash(tower))
    next(value for value in tower.buffers() if value.is_floating_point())[0] += 1e-3
    seen.add(weights_hash(tower))
    assert len(seen) == 3


def test_a_store_of_other_settings_alone_is_refused_where_it_is_asked_for(tiny, store):
    wanted = encoding_settings(tiny.config(), tiny.processor)
    require_settings(store, wanted)  # an empty one will do
    for changes in ({"num_frames": 4, "audio_layers": [-1]}, {"visual": "both", "num_frames": 5, "vision_layers": [0]}):
        other = encoding_settings(tiny.config(**changes), tiny.processor)
        store.describe(fingerprint(other), other)
    with pytest.raises(InputError) as error:
        require_settings(store, wanted)
    assert [(problem.where, problem.expected, problem.got) for problem in error.value.problems] == [
        ("audio.layers", "None", "[-1]"),
        ("vision.num_frames", "3", "4"),
    ]
    assert f"affectgpt features build ROWS --model DIR --store {store.folder}" in str(error.value)
    store.describe(fingerprint(wanted), wanted)
    require_settings(store, wanted)


def test_features_of_another_width_are_refused_by_the_model(tiny):
    ids = torch.full((1, 2), tiny.ids["face"])
    with pytest.raises(ValueError, match=r"face_features of shape \(1, 3, 25\): expected \(clips, time, 24\)"):
        tiny.model().model.splice(ids, face_features=torch.zeros(1, 3, 25))


def test_media_that_are_expected_are_decoded_once_and_ahead(write_mp4, tmp_path):
    rows = [make_clip(str(seed), video=write_mp4(tmp_path / f"{seed}.mp4", seed)) for seed in range(3)]
    source = DecodedMedia(Wanted(("frame",), 2), workers=1, timeout_s=PATIENCE_S)
    scheduled = []
    schedule = source.sandbox.schedule

    def noting(function, item):
        scheduled.append(item.video.name)
        return schedule(function, item)

    source.sandbox.schedule = noting
    try:
        plain = [value["frame"] for value in source.of(rows)]
        assert scheduled == ["0.mp4", "1.mp4", "2.mp4"]
        source.expect([rows[1], rows[0], rows[1]])
        assert scheduled[3:] == ["1.mp4", "0.mp4"]
        found = [value["frame"] for value in source.of([rows[0], make_clip("text"), rows[2]][::2])]
        assert scheduled[5:] == ["2.mp4"]  # the first was expected
        assert all((one == other).all() for one, other in zip(found, plain[::2], strict=True))
        source.expect([rows[1], rows[2]])
        assert scheduled[6:] == ["2.mp4"]  # the second is being decoded already
        assert len(source.of(rows[1:])) == 2
        (tmp_path / "0.mp4").write_bytes(b"no film")
        source.expect(rows[:1])
        with pytest.raises(InputError, match="row 0"):
            source.of(rows[:1])
    finally:
        source.close()


def test_clips_that_decoded_are_not_decoded_again_while_their_files_stay(write_mp4, decoded, tmp_path):
    rows = [make_clip(str(seed), video=write_mp4(tmp_path / f"{seed}.mp4", seed)) for seed in range(2)]
    rows.append(make_clip("bad", video=tmp_path / "bad.mp4"))
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    journal, frames = tmp_path / "cache" / "decoded.txt", Wanted(("frame",), 2)

    def names(wanted: Wanted = frames) -> list[str]:
        decoded.clear()
        bad = undecodable(rows, wanted, 1, PATIENCE_S, None, journal)
        assert [sample.rows for sample in bad] == [("bad",)]
        return sorted(media.video.name for media in decoded)

    assert names() == ["0.mp4", "1.mp4", "bad.mp4"]
    assert names() == ["bad.mp4"]
    write_mp4(tmp_path / "1.mp4", 7)
    assert names() == ["1.mp4", "bad.mp4"]
    assert names(Wanted(("frame",), 3)) == ["0.mp4", "1.mp4", "bad.mp4"]
    rows[0] = replace(rows[0], start=0.1)
    assert names() == ["0.mp4", "bad.mp4"]
    journal.write_text(journal.read_text()[:-10])  # cut short by a kill
    assert names() == ["0.mp4", "bad.mp4"]
    assert names() == ["bad.mp4"]
