"""Stages one after the other: each from the checkpoint before, by its settings, and again only where it is needed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from affectgpt.clip import Clip
from affectgpt.features import file_hashes
from affectgpt.model.loading import load_model, load_processor
from affectgpt.problems import InputError
from affectgpt.weights.export import export
from tests.support.tiny_rows import tiny_rows
from train.fault_tolerance.checkpoint import publish
from train.monitor import Console
from train.prepare import Prepared, context_of
from train.recipe import Recipe
from train.stages import grpo_run, sft_trainer
from train.stages import run as stages
from train.stages.context import StageContext
from train.stages.kind import StageResult
from train.stages.kinds import v0_1_0_fingerprint
from train.stages.run import Interrupted, run_stages
from train.stages.sft_trainer import supervised_items


def stage(name: str, **settings: object) -> dict[str, object]:
    fixed = {"name": name, "kind": "sft", "steps": 1, "batch_size": 2, "learning_rate": 1e-2, "mixture": {"tree": 1}}
    return fixed | {"warmup_ratio": 0.0} | settings


@pytest.fixture
def prepared(tiny) -> Prepared:
    clips, reader = tiny_rows(tiny)
    return Prepared({"train": clips}, reader, tiny.folder, "data", "older data", 0)


@pytest.fixture
def recipe(tiny, tmp_path) -> Callable[..., Recipe]:
    """`recipe(stage, ..., output="run", model={}, **settings)`."""

    def make(*planned: dict[str, object], output: str = "run", model: Any = None, **settings: object) -> Recipe:
        given = {"output": tmp_path / output, "data": {"train": "x"}, "stages": planned or (stage("one"), stage("two"))}
        return Recipe.model_validate(given | {"model": {"path": str(tiny.folder)} | (model or {})} | settings)

    return make


def context(recipe: Recipe, prepared: Prepared) -> StageContext:
    return context_of(recipe, prepared, Console({}, quiet=True))


def run(recipe: Recipe, prepared: Prepared) -> list[StageResult]:
    recipe.output.mkdir(exist_ok=True)
    given = prepared.starting_model, prepared.fingerprint, prepared.v0_1_0
    return list(run_stages(context(recipe, prepared), recipe.planned, *given, recipe.curriculum))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    [path] = folder.glob("*.safetensors")
    return load_file(path)


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], within: str = "") -> bool:
    assert one.keys() == two.keys()
    return all(value.allclose(two[name], rtol=0, atol=1e-12) for name, value in one.items() if within in name)


class Untrained:
    """What a supervised stage gives, without its training."""

    state = SimpleNamespace(global_step=1)
    accelerator = SimpleNamespace(wait_for_everyone=lambda: None)

    def __init__(self, context: StageContext, planned: Any, model: Any, *_: Any) -> None:
        self.model = model

    def finish_saving(self) -> None:
        """Nothing was saved on the way."""

    def save_model(self, folder: str) -> None:
        """As the trainer's."""
        self.model.save_pretrained(folder)

    def on_first(self, work: Callable[[], Any]) -> Any:
        """The only process does it."""
        return work()


def test_only_what_is_not_there_or_of_other_settings_is_run(recipe, prepared, monkeypatch):
    monkeypatch.setattr(sft_trainer, "run_sft", Untrained)

    def reused(given: Recipe, **changes: Any) -> list[bool]:
        return [result.reused for result in run(given, replace(prepared, **changes))]

    first = run(recipe(), prepared)
    assert [(result.stage.name, result.reused) for result in first] == [("one", False), ("two", False)]
    again = run(recipe(), prepared)
    assert [result.reused for result in again] == [True, True]
    assert [result.seconds for result in again] == [result.seconds for result in first]
    shutil.rmtree(first[0].folder)
    assert reused(recipe()) == [False, True]
    assert reused(recipe(stage("one"), stage("two", weight_decay=0.1))) == [True, False]
    assert reused(recipe(stage("one", weight_decay=0.1), stage("two", weight_decay=0.1))) == [False, False]
    assert reused(recipe(), fingerprint="other data") == [False, False]


def test_a_stage_knows_what_it_and_those_before_it_taught(recipe, prepared, monkeypatch):
    monkeypatch.setattr("train.stages.run._run_stage", lambda *_: 1.0)
    given = recipe(stage("one", mixture={"text": 1, "tree": 0}), stage("two", mixture={"caption": 1}))
    assert [result.taught for result in run(given, prepared)] == [("text",), ("text", "caption")]
    merged = given.model_copy(update={"curriculum": False, "output": given.output / "merged"})
    assert [result.taught for result in run(merged, prepared)] == [("text", "caption")]
    assert [result.entry()["taught"] for result in run(given, prepared)] == [["text"], ["text", "caption"]]


def sign(folder: Path) -> None:
    """Write the manifest of a folder anew, after a file was rewritten."""
    draft = folder.rename(folder.with_name("draft"))
    publish(draft, folder)


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "flaw"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, got"),
        (change_a_byte, "model.safetensors: its content is not what was written"),
        (lambda path: path.unlink(), "model.safetensors is missing"),
        (lambda path: path.with_name("config.json").write_text("{}"), "config.json: expected"),
        (lambda path: change_a_byte(path.with_name("tokenizer.json")), "tokenizer.json: its content is not"),
        (lambda path: path.with_name("manifest.json").unlink(), "it has no manifest"),
        (lambda path: path.with_name("manifest.json").write_text('{"files": '), "its manifest cannot be read"),
        (lambda path: path.with_name("stage.json").write_text('{"finger'), "stage.json: expected"),
    ],
)
def test_a_damaged_checkpoint_of_a_finished_stage_is_refused_by_name(recipe, prepared, monkeypatch, damage, flaw):
    monkeypatch.setattr(sft_trainer, "run_sft", Untrained)
    first, second = run(recipe(), prepared)
    damage(first.folder / "model.safetensors")
    kept = weights(second.folder)
    for _ in range(2):  # nothing is trained on it, and nothing forgotten
        with pytest.raises(InputError) as caught:
            run(recipe(), prepared)
        assert f"{first.folder}: stage 'one' is done, but its checkpoint is damaged: " in str(caught.value)
        assert flaw in str(caught.value)
        assert str(caught.value).endswith(f"run the same command again: rm -r {first.folder}")
    assert equal(weights(second.folder), kept)
    shutil.rmtree(first.folder)
    assert [result.reused for result in run(recipe(), prepared)] == [False, True]


def test_a_finished_stage_is_read_once(recipe, prepared, monkeypatch):
    monkeypatch.setattr(sft_trainer, "run_sft", Untrained)
    run(recipe(), prepared)
    read: list[Path] = []
    hash_file = file_hashes._hash
    monkeypatch.setattr(file_hashes, "_hash", lambda path: read.append(path) or hash_file(path))
    results = run(recipe(), prepared)
    assert {path.parent for path in read} == {result.folder for result in results}
    read.clear()
    run(recipe(), prepared)
    assert read == []
    os.utime(results[1].folder / "model.safetensors", ns=(1, 1))
    run(recipe(), prepared)
    assert read == [results[1].folder / "model.safetensors"]


def test_what_v0_1_0_finished_is_found_done_and_keeps_its_fingerprint(recipe, prepared, monkeypatch):
    monkeypatch.setattr(sft_trainer, "run_sft", Untrained)
    older, fingerprints = prepared.v0_1_0, []
    for result in run(recipe(), prepared):
        older = v0_1_0_fingerprint(older, result.stage, True)
        assert older != result.fingerprint
        note = result.folder / "stage.json"
        note.write_text(note.read_text().replace(result.fingerprint, older))
        sign(result.folder)
        fingerprints.append(older)
    again = run(recipe(), prepared)
    assert [(result.reused, result.fingerprint) for result in again] == [(True, one) for one in fingerprints]
    later = run(recipe(stage("one"), stage("two", weight_decay=0.1)), prepared)
    assert [result.reused for result in later] == [True, False]
    assert later[0].fingerprint == fingerprints[0]
    other = run(recipe(), replace(prepared, v0_1_0="other data"))
    assert [result.reused for result in other] == [False, False]


def test_what_a_stage_leaves_is_its_model_ready_to_load_and_no_checkpoint_of_its_steps(recipe, prepared, monkeypatch):
    monkeypatch.setattr(sft_trainer, "run_sft", Untrained)
    [result] = run(recipe(stage("one")), prepared)
    assert [path.name for path in result.folder.parent.iterdir()] == ["one"]
    processor = load_processor(result.folder)
    assert processor.tokenizer.get_vocab() == prepared.reader.tokenizer.get_vocab()
    note = json.loads((result.folder / "stage.json").read_text())
    assert (note["fingerprint"], note["steps"]) == (result.fingerprint, 1)


@pytest.mark.parametrize("done", [False, True])
def test_a_signal_stops_a_stage_and_what_is_done_is_kept(recipe, prepared, monkeypatch, done):
    """In the middle of it, its last checkpoint; after its last step, its result."""
    finished = []

    class Stopped(Untrained):
        state = SimpleNamespace(global_step=int(done))

        def __init__(
            self, context: Any, planned: Any, model: Any, data: Any, folder: Path, callbacks: Any, *_: Any
        ) -> None:
            super().__init__(context, planned, model)
            callbacks[0].interrupt(signal.SIGTERM, None)

        def finish_saving(self) -> None:
            finished.append(self)

    monkeypatch.setattr(sft_trainer, "run_sft", Stopped)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    given = recipe(stage("one"), stage("two"))
    with pytest.raises(Interrupted) as caught:
        run(given, prepared)
    assert caught.value.args == (signal.SIGTERM,)
    assert len(finished) == 1
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert [path.name for path in (given.output / "checkpoints").iterdir()] == (["one"] if done else ["one.steps"])


def test_a_reward_that_was_rewritten_is_another_setting(recipe, prepared, monkeypatch, tmp_path):
    monkeypatch.setattr(grpo_run, "run_grpo", Untrained)
    file = tmp_path / "mine.py"
    planned = stage("rl", kind="grpo", batch_size=8, reward_files=[str(file)], rewards={"kind": 1})
    reused = []
    for value in (1.0, 1.0, 2.0):
        file.write_text(f"def kind(completions, **_):\n    return [{value}] * len(completions)\n")
        reused += [result.reused for result in run(recipe(planned), prepared)]
    assert reused == [False, True, False]


def test_each_stage_goes_on_from_the_one_before(recipe, prepared, tiny):
    hardly = stage("two", learning_rate=1e-30)
    one, two = (weights(result.folder) for result in run(recipe(stage("one"), hardly), prepared))
    assert equal(one, two)
    assert not equal(one, weights(tiny.folder))


def test_names_of_folders_may_hold_spaces_and_any_script(recipe, prepared, tiny, tmp_path):
    """A run, its resumption, and an export, in a folder as people name them (ggml-org/whisper.cpp#3032)."""
    output = "my модель 情感 dir"
    [first, second] = run(recipe(output=output), prepared)
    assert [result.reused for result in run(recipe(output=output), prepared)] == [True, True]
    for part in ("vision", "audio"):
        shutil.copytree(tiny.folder / part, second.folder / part)
    export(second.folder, tmp_path / output / "вывод 模型 é")
    exported = load_model(tmp_path / output / "вывод 模型 é", "float32")
    trained = load_model(second.folder, "float32")
    assert equal(dict(exported.named_parameters()), dict(trained.named_parameters()))
    assert not equal(weights(first.folder), weights(second.folder))


def test_what_is_frozen_stays_as_it_was(recipe, prepared, tiny):
    before = weights(tiny.folder)
    for part, other in (("language_model", "soft_tokens"), ("soft_tokens", "language_model")):
        [result] = run(recipe(stage(part, freeze=[part])), prepared)
        after = weights(result.folder)
        assert equal(before, after, within=part)
        assert not equal(before, after, within=other)


def test_a_run_depends_on_its_seed_and_on_nothing_that_was_drawn_before(recipe, prepared):
    """Of an adapter, whose weights are drawn anew, with dropout."""
    lora = {"lora": {"r": 2, "dropout": 0.5}}
    found = []
    for number, seed in enumerate((0, 0, 1)):
        [result] = run(recipe(stage("one"), output=f"run{number}", model=lora, seed=seed), prepared)
        found.append(weights(result.folder))
        torch.rand(5)
    assert equal(found[0], found[1])
    assert not equal(found[0], found[2], within="lora_A")


def test_checkpoints_of_other_settings_are_not_gone_on_from(recipe, prepared):
    """A stage that was stopped, whose settings have changed since, begins anew."""
    given = recipe(stage("one"))
    steps = given.folder.steps("one")
    (steps / "checkpoint-1").mkdir(parents=True)
    (steps / "fingerprint").write_text("other settings")
    (steps / "checkpoint-1" / "weights").write_text("of other settings")
    these = "these settings", "these settings as v0.1.0 had them"
    assert stages._open_steps(given.folder, "one", *these) == steps
    assert not (steps / "checkpoint-1").exists()
    (steps / "checkpoint-1").mkdir()
    stages._open_steps(given.folder, "one", *these)
    assert (steps / "checkpoint-1").is_dir()
    (steps / "fingerprint").write_text(these[1])
    stages._open_steps(given.folder, "one", *these)
    assert (steps / "checkpoint-1").is_dir()


class Seen(Exception):
    """Carries what a stage was about to learn from."""


def test_what_a_recipe_keeps_back_or_makes_false_reaches_the_rows(recipe, prepared, monkeypatch):
    def stop(context: Any, stage: Any, model: Any, dataset: Any, *_: Any) -> None:
        raise Seen(dataset)

    monkeypatch.setattr(sft_trainer, "run_sft", stop)
    doubt = {"modality_dropout": 0.3, "evidence_dropout": 0.2, "evidence_corruption": 0.1}
    seen = []
    for settings in (stage("one", **doubt), stage("two", **doubt), stage("three", packing=256)):
        with pytest.raises(Seen) as caught:
            run(recipe(settings), prepared)
        seen.append(caught.value.args[0])
    assert [(data.dropout, data.evidence) for data in seen] == [*[(0.3, (0.2, 0.1))] * 2, (0.0, (0.0, 0.0))]
    assert len({data.seed for data in seen}) == 3
    assert [len(data) for data in seen] == [2, 2, 2]
    assert max(len(item) for item in seen[2].items) > 1 == len(seen[0].items[0])


def test_without_a_curriculum_the_one_stage_reads_the_rows_of_all(recipe, prepared, monkeypatch):
    def stop(context: Any, stage: Any, model: Any, dataset: Any, *_: Any) -> None:
        raise Seen(dataset)

    monkeypatch.setattr(sft_trainer, "run_sft", stop)
    tree, *others = prepared.clips["train"]
    mixed = replace(prepared, clips={"train": [tree, *(replace(row, task="caption") for row in others)]})
    given = recipe(stage("one", steps=2), stage("two", mixture={"caption": 1}), curriculum=False)
    with pytest.raises(Seen) as caught:
        run(given, mixed)
    rows = [row for [row] in caught.value.args[0].items]
    assert len(rows) == 6
    assert rows.count(0) == 4  # two steps of two rows


def test_rows_are_those_of_the_part_that_a_stage_is_for(recipe, prepared):
    def row(name: str) -> Clip:
        return replace(prepared.clips["train"][0], id=name)

    parts = {part: [row(part)] for part in ("train", "text", "rl", "dev", "test")}
    given = recipe(stage("one"), stage("rl", kind="grpo", batch_size=8))
    sft, grpo = given.stages

    def names(planned: Any, **changes: list[Clip]) -> list[str]:
        return [clip.id for clip in planned.draws_from(context(given, replace(prepared, clips=parts | changes)))]

    assert names(sft) == ["train", "text"]
    assert names(grpo) == ["rl"]
    assert names(grpo, rl=[]) == ["train"]


def test_rows_of_like_length_share_a_batch(recipe, prepared):
    """Every row that was drawn is read, in batches of neighbours by length."""
    clips = prepared.clips["train"]
    given = recipe(stage("one", steps=16))
    items = supervised_items(context(given, prepared), given.stages[0], clips)
    assert sorted(row for [row] in items) == sorted([*range(4)] * 8)
    lengths = prepared.reader.lengths(clips)
    ranks = sorted(range(4), key=lambda row: lengths[row])
    apart = [abs(ranks.index(one) - ranks.index(two)) for [one], [two] in zip(items[::2], items[1::2], strict=True)]
    assert max(apart) <= 1
