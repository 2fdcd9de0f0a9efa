"""`affectgpt features`: fills a store and goes on after a kill, shares the work, finds damage, prunes with care."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from affectgpt.__main__ import find_commands
from affectgpt.clip import read_clips, write_clips
from affectgpt.command_line import run
from affectgpt.features.command import build_main, in_words, prune_main, stats_main, verify_main
from affectgpt.features.sources import StoredFeatures, build_features
from affectgpt.features.store import FeatureStore
from affectgpt.model.clip_encoder import encoding_settings
from affectgpt.problems import InputError
from tests.support.limits import wait_for
from tests.support.media import write_mute
from tests.support.rows import make_clip

ROOT = Path(__file__).parents[3]


@pytest.fixture
def rows(tmp_path, write_mp4) -> Path:
    """Two rows about each of three clips, and a row of text."""
    path = tmp_path / "rows.jsonl"
    files = [write_mp4(tmp_path / f"{seed}.mp4", seed) for seed in range(3)]
    clips = [make_clip(f"{file.stem}/{n}", video=file) for n in range(2) for file in files]
    write_clips(path, [*clips, make_clip("text")])
    return path


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def other(tiny, tmp_path) -> Path:
    """A model with other settings."""
    folder = tmp_path / "other"
    tiny.build(num_frames=4, audio_layers=[-1]).save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    tiny.encoder.save_pretrained(folder)
    return folder


@pytest.fixture
def call(capsys):  # type: ignore[no-untyped-def]
    """`call(main, *words)`: exit code, the JSON object printed, and the messages."""

    def call(main, *words: object) -> tuple[int, dict, str]:  # type: ignore[no-untyped-def]
        capsys.readouterr()
        code = run(main, [*map(str, words), "--json"])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out else {}, printed.err

    return call


@pytest.fixture
def build(tiny, rows, store, call):  # type: ignore[no-untyped-def]
    """`build(*words)` fills the store."""

    def build(*words: object, model: Path = tiny.folder) -> tuple[int, dict, str]:
        return call(build_main, rows, "--model", model, "--store", store, "--workers", 1, "--device", "cpu", *words)

    return build


def flip(shard: Path, at: int) -> None:
    whole = shard.read_bytes()
    shard.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])


def test_the_commands_are_registered():
    assert [words[1] for words in find_commands() if words[0] == "features"] == ["build", "prune", "stats", "verify"]


# Build


def test_what_is_missing_is_computed_once(build, tiny, rows, store):
    code, report, said = build()
    assert code == 0
    seconds = report.pop("seconds")
    assert seconds > 0
    assert report == {"clips": 3, "found": 0, "built": 3, "bad": 0, "store": str(store)}
    assert "3/3 clips, " in said
    assert said.endswith(f"3 clips in {seconds:.0f} s: 0 found, 3 computed, 0 unusable.\n")
    code, report, said = build()
    assert (code, report["found"], report["built"]) == (0, 3, 0)
    assert "a second" not in said

    def unneeded() -> None:
        pytest.fail("training would compute features again")

    clips = read_clips(rows)
    stored, bad = build_features(clips, tiny.encoder.config, tiny.processor, FeatureStore(store), unneeded)
    assert isinstance(stored, StoredFeatures)
    assert (bad, len(stored.of(clips))) == ([], 7)


def test_a_video_that_is_said_to_have_no_sound_is_computed(build, rows, tmp_path):
    write_clips(rows, [make_clip("said", video=write_mute(tmp_path / "mute.mp4"), has_sound=False)])
    code, report, _ = build()
    assert (code, report["built"], report["bad"]) == (0, 1, 0)


def test_bad_clips_are_named_and_listed(build, rows, tmp_path):
    (tmp_path / "1.mp4").write_bytes(b"no video")
    listed = tmp_path / "lists" / "bad.jsonl"
    code, report, said = build("--bad-samples", listed)
    assert (code, report["built"], report["bad"]) == (0, 2, 1)
    assert f"{rows}: row 2 (1/0) and 1 more: expected media that decode, got {tmp_path / '1.mp4'}: " in said
    (line,) = map(json.loads, listed.read_text().splitlines())
    assert (line["files"], line["rows"]) == ([str(tmp_path / "1.mp4")], ["1/0", "1/1"])
    for name in ("0.mp4", "2.mp4"):
        (tmp_path / name).write_bytes(b"no video")
    code, report, _ = build()
    assert (code, report["found"], report["bad"]) == (2, 0, 3)


def test_a_kill_costs_what_was_not_put(build, tiny, rows, store, tmp_path):
    row, *_ = map(json.loads, rows.read_text().splitlines())
    many = [json.dumps({**row, "id": str(number), "end": 0.1 + number / 10_000}) + "\n" for number in range(4000)]
    rows.write_text("".join(many))
    command = [sys.executable, "-m", "affectgpt", "features", "build", rows, "--model", tiny.folder, "--store", store]
    child = subprocess.Popen([*command, "--workers", "1"], cwd=ROOT, stderr=subprocess.DEVNULL)

    def some_are_put() -> bool:
        assert child.poll() is None
        return sum(path.stat().st_size for path in store.glob("*.shard")) >= 5000

    wait_for(some_are_put)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    left = len(FeatureStore(store))
    assert 1 <= left < 3900
    rows.write_text("".join(many[: left + 100]))
    code, report, _ = build()
    assert (code, report["found"], report["built"]) == (0, left, 100)
    assert FeatureStore(store).stats()["duplicates"] == 0


def test_processes_of_a_launcher_share_the_work(build, store, tmp_path, monkeypatch):
    (tmp_path / "1.mp4").write_bytes(b"no video")
    monkeypatch.setenv("WORLD_SIZE", "2")
    reports = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        code, report, said = build("--bad-samples", tmp_path / "bad.jsonl", f"--local_rank={rank}")
        assert f"Process {rank} of 2: {report['clips']} clips" in said
        reports.append((code, report["clips"], report["found"], report["built"], report["bad"]))
    assert reports == [(0, 2, 0, 2, 0), (0, 1, 0, 0, 1)]  # a 2 would have the launcher stop the first
    assert (tmp_path / "bad.0.jsonl").read_text() == ""
    assert len((tmp_path / "bad.1.jsonl").read_text().splitlines()) == 1
    assert len(FeatureStore(store)) == 2


@pytest.mark.slow
def test_torchrun_and_deepspeed_start_it(tiny, rows, tmp_path):
    folder = Path(sys.executable).parent
    torchrun = [folder / "torchrun", "--nproc-per-node", "2", "--no-python", folder / "affectgpt"]
    deepspeed = ["deepspeed", "--no_local_rank", "--num_accelerators", "2", "--module", "affectgpt"]
    for name, launcher in (("torchrun", torchrun), ("deepspeed", [folder / deepspeed[0], *deepspeed[1:]])):
        store = tmp_path / name
        words = ["features", "build", rows, "--model", tiny.folder, "--store", store, "--device", "cpu"]
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
        done = subprocess.run([*launcher, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        stats = FeatureStore(store).stats()
        assert (stats["entries"], stats["shards"], stats["duplicates"]) == (3, 2, 0)


def test_a_lora_adapter_stands_for_the_model_below_it(build, tiny, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(tiny.folder)}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    assert build()[1]["built"] == 3
    assert build(model=adapter)[1]["found"] == 3


def test_wrong_use_is_explained_before_any_work(build, tiny, store, tmp_path):
    code, report, said = build("--workers", 0, "--timeout", 0)
    assert (code, report) == (2, {})
    assert "--workers: its value: expected 1 or more, got 0" in said
    assert "--timeout: its value: expected more than 0 seconds, got 0" in said
    code, _, said = build(model=tmp_path / "nowhere")
    assert (code, said) == (
        2,
        f"{tmp_path / 'nowhere'}: expected a model folder, found nothing. Name a checkpoint or a Hub id.\n",
    )
    foreign = tmp_path / "foreign"
    tiny.config().text_config.save_pretrained(foreign)
    (foreign / "model.safetensors").touch()
    code, _, said = build(model=foreign)
    assert code == 2
    assert "expected an AffectGPT model, got a qwen3" in said
    (tmp_path / "0.mp4").unlink()
    code, _, said = build()
    assert code == 2
    assert "0.mp4, which is not there" in said
    assert not store.exists()


# Verify


def test_verify_lists_all_damage(build, store, call):
    build()
    code, report, _ = call(verify_main, store)
    assert (code, report) == (0, {"entries": 3, "shards": 1, "damage": []})
    (shard,) = store.glob("*.shard")
    shard.write_bytes(shard.read_bytes() + b"torn")
    code, report, _ = call(verify_main, store)
    assert (code, len(report["damage"])) == (0, 1)
    flip(shard, 200)
    code, report, said = call(verify_main, store)
    assert code == 2
    (key,) = (item["key"] for item in report["damage"] if item["key"])
    assert f"{shard}: offset 0: the checksum of " in said
    assert f"(key {key})" in said
    assert said.endswith(f"Remove the damage with: affectgpt features prune {store}\n")
    assert call(prune_main, store)[1]["kept"] == 2
    assert call(verify_main, store)[0] == 0


def test_verify_looks_up_the_clips_of_rows(build, tiny, rows, store, call, tmp_path, write_mp4):
    build()
    write_mp4(tmp_path / "1.mp4", 7)
    code, report, said = call(verify_main, store, "--model", tiny.folder, rows)
    assert (code, report["clips"], report["found"], report["missing"]) == (0, 3, 2, 1)
    assert "3 clips of the rows: 2 stored, 1 missing." in said
    (shard,) = store.glob("*.shard")
    flip(shard, 200)
    code, report, _ = call(verify_main, store, "--model", tiny.folder, rows)
    assert (code, report["found"]) == (2, 1)
    for words in (["--model", tiny.folder], [rows]):
        code, report, said = call(verify_main, store, *words)
        assert (code, report) == (2, {})
        assert "expected --model and ROWS together, got only one of them" in said


def test_verify_compares_settings_where_all_are_others(build, other, rows, store, call):
    build()
    code, _, said = call(verify_main, store, "--model", other, rows)
    assert code == 2
    assert f"{store}: audio.layers: expected [-1], got None" in said
    assert f"{store}: vision.num_frames: expected 4, got 3" in said
    assert "vision.pooling" not in said
    build(model=other)
    assert call(verify_main, store, "--model", other, rows)[1]["found"] == 3


@pytest.mark.parametrize("main", [verify_main, stats_main, prune_main])
def test_what_is_no_store_is_refused(main, tmp_path):
    with pytest.raises(InputError, match="expected a folder of features, got none there") as error:
        main([str(tmp_path)])
    assert str(error.value).startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


# Stats and prune


def test_stats_say_what_is_kept_in_words(tiny, build, other, store, call, capsys):
    build()
    build(model=other)
    code, report, _ = call(stats_main, store)
    assert (code, report["entries"], report["shards"], report["damaged_bytes"]) == (0, 6, 2, 0)
    assert [item["entries"] for item in report["settings"]] == [3, 3]
    assert stats_main([str(store)]) == 0
    out = capsys.readouterr().out
    assert f"{store}: 6 entries, 0.0 MB in 2 shards" in out
    marks = {item["settings"]["vision"]["num_frames"]: item["fingerprint"][:12] for item in report["settings"]}
    looks = f"vision resnet {tiny.sources['vision']['hash'][:8]}, its own output"
    hears = f"audio whisper {tiny.sources['audio']['hash'][:8]}"
    assert f"3 with settings {marks[3]}: {looks}, 3 frames of face; {hears}, its own " in out
    assert f"3 with settings {marks[4]}: {looks}, 4 frames of face; {hears}, layers -1" in out


def test_settings_in_words(tiny):
    config = tiny.config(
        visual="both",
        vision_layers=[-2, -1],
        audio_sampling="windows",
        sources={"vision": {"hash": "0123456789"}, "audio": {"hash": "abcdefghij"}},
    )
    assert in_words(encoding_settings(config, tiny.processor)) == (
        "vision resnet 01234567, layers -2 -1, 3 frames of face and frame; "
        "audio whisper abcdefgh, its own output, 4 windows of 2 s"
    )
    assert in_words({}) == "not described"


def test_prune_keeps_what_is_named(build, tiny, other, rows, store, call, tmp_path):
    build()
    build(model=other)
    before = {path.name: path.read_bytes() for path in store.glob("*.shard")}
    code, plan, said = call(prune_main, store, "--keep-model", other, "--dry-run")
    assert (code, plan["kept"], plan["removed"], plan["dry_run"]) == (0, 3, 3, True)
    assert "3 entries kept; would be removed: 3 entries" in said
    assert {path.name: path.read_bytes() for path in store.glob("*.shard")} == before
    code, done, _ = call(prune_main, store, "--keep-model", other)
    assert done == {**plan, "dry_run": False}
    assert len(FeatureStore(store)) == len(FeatureStore(store).descriptions()) * 3 == 3

    few = tmp_path / "few.jsonl"
    few.write_text(rows.read_text().splitlines()[0] + "\n")
    code, done, _ = call(prune_main, store, "--keep-model", tiny.folder, other, "--keep-rows", few)
    assert (code, done["kept"], done["removed"]) == (0, 1, 2)
    assert build(model=other)[1]["found"] == 1


def test_prune_refuses_to_empty_a_store_by_mistake(build, tiny, other, rows, store, call):
    build()
    code, report, said = call(prune_main, store, "--keep-model", other)
    assert (code, report) == (2, {})
    assert f"{store}: expected features of {other}, got only those of other settings" in said
    code, _, said = call(prune_main, store, "--keep-rows", rows)
    assert code == 2
    assert "--keep-rows: its use: expected --keep-model with it, got none" in said
    assert len(FeatureStore(store)) == 3
