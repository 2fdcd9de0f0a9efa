"""What a run's report says of its stages: scores of the right rows, of the right checkpoint, answered once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from affectgpt.clip import Clip
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from data_recipes.synthetic.generate import NOTE, Settings, generate
from eval.benchmarks.empathy import scores as empathy_scores
from eval.predict.answers import Prediction
from eval.report.scores import score_tasks
from tests.support.rows import make_clip
from train import model_setup, results
from train.config.data import DataConfig
from train.monitor import Console, MemoryMeter
from train.prepare import Prepared, context_of, notes_of
from train.recipe import Recipe
from train.results import finish, summary
from train.stages import empathy, scores
from train.stages.context import StageContext
from train.stages.kind import StageKind, StageResult
from train.stages.kinds import KINDS
from train.stages.scores import scored_rows

TREE = "a1 mouth: smiling\ne1 open smile <- a1\nm1 {} <- e1"
JOY, FEAR = TREE.format("joy"), TREE.format("fear")


def row(name: str, answer: str = JOY, task: str = "tree", **settings: Any) -> Clip:
    return make_clip(name, answer, task, **settings)


@pytest.fixture
def prepared() -> Prepared:
    """Joy in training; of what is scored, fear on dev, joy on test but for a conflict."""
    hard = {"conflict": True}
    parts = {
        "train": [row("a"), row("b"), row("c", FEAR)],
        "dev": [row("d", FEAR), row("e", FEAR)],
        "test": [row("f", group="Ann"), row("g", group="Ann"), row("h", group="Bo"), row("i", FEAR, extra=hard)],
    }
    return Prepared(parts, SimpleNamespace(), Path("base"), "data", "older data", 1)  # type: ignore[arg-type]


def stage(kind: str = "sft", **settings: Any) -> StageKind:
    fixed = {"name": "one", "kind": kind, "steps": 3, "batch_size": 8, "learning_rate": 1, "mixture": {"tree": 1}}
    return KINDS[kind].model_validate(fixed | settings)


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    evaluation = {"resamples": 10, "batch_size": 3, "max_new_tokens": 50, "examples": 2, "closed_per_clip": 2}
    given = {"output": tmp_path, "data": {"train": "x"}, "model": {"path": "x"}, "stages": [stage()]}
    return Recipe.model_validate(given | {"evaluation": evaluation})


def context(recipe: Recipe, prepared: Prepared, **parts: list[Clip]) -> StageContext:
    return context_of(recipe, replace(prepared, clips=prepared.clips | parts), Console({}, quiet=True))


def result(planned: StageKind, folder: str = "one", fingerprint: str = "f00d", reused: bool = False) -> StageResult:
    return StageResult(planned, Path(folder), 1.5, reused, fingerprint)


@pytest.fixture
def asked(monkeypatch) -> list[tuple[Path, list[str], tuple[int, ...]]]:
    """Every call of the model, which sees joy everywhere: its checkpoint, the rows, the limits."""
    calls: list[tuple[Path, list[str], tuple[int, ...]]] = []

    def answer(model: Path, reader: Any, rows: Sequence[Clip], *limits: int, progress: Any) -> list[Prediction]:
        calls.append((model, [clip.id for clip in rows], limits))
        return [Prediction(id=clip.id, task=clip.task, response=JOY, status="ok", answer=clip.answer) for clip in rows]

    for module in (scores, model_setup):
        monkeypatch.setattr(module, "load_stage_model", lambda folder, settings: folder)
    monkeypatch.setattr(scores, "answer_rows", answer)
    return calls


@pytest.fixture
def scored(recipe, prepared, asked) -> Callable[..., dict[str, Any]]:
    """`scored(result, evaluation={}, **parts)`: a stage's entry in the report."""

    def score(found: StageResult, evaluation: dict[str, Any] | None = None, **parts: list[Clip]) -> dict[str, Any]:
        changed = recipe.evaluation.model_copy(update=evaluation or {})
        given = recipe.model_copy(update={"evaluation": changed})
        return found.stage.score(context(given, prepared, **parts), found)

    return score


def test_each_part_is_scored_by_itself(scored, asked):
    entry = scored(result(stage()))
    assert {name: entry[name] for name in ("name", "kind", "title", "seconds", "steps", "reused")} == {
        "name": "one",
        "kind": "sft",
        "title": "supervised",
        "seconds": 1.5,
        "steps": 3,
        "reused": False,
    }
    found = {part: entry[part]["emotion_war"] for part in ("metrics", "dev_metrics", "conflict_metrics")}
    assert {part: (metric["value"], metric["n"]) for part, metric in found.items()} == {
        "metrics": (0.75, 4),
        "dev_metrics": (0.0, 2),
        "conflict_metrics": (0.0, 1),
    }
    assert entry["confusion"] == {"labels": ["fear", "joy"], "counts": [[0, 1, 0], [0, 3, 0]]}
    assert asked == [(Path("one"), ["d", "e"], (3, 50)), (Path("one"), ["f", "g", "h", "i"], (3, 50))]


def test_answers_are_kept_as_long_as_what_they_depend_on_is_the_same(scored, asked):
    first = scored(result(stage()))
    asked.clear()
    assert scored(result(stage())) == first
    scored(result(stage()), {"resamples": 20})
    assert asked == []
    scored(result(stage(), fingerprint="other"))
    assert [rows for _, rows, _ in asked] == [["d", "e"], ["f", "g", "h", "i"]]
    asked.clear()
    scored(result(stage(), fingerprint="other"), test=[row("z")])
    assert [rows for _, rows, _ in asked] == [["z"]]
    asked.clear()
    scored(result(stage(), fingerprint="other"), {"max_new_tokens": 60}, test=[row("z")])
    assert [(rows, limits) for _, rows, limits in asked] == [(["d", "e"], (3, 60)), (["z"], (3, 60))]


def test_parts_that_are_not_there_are_not_scored(scored):
    assert scored(result(stage()), dev=[], test=[])["metrics"] == {}


def test_an_empathy_stage_is_scored_on_test_rows_once(recipe, scored, monkeypatch):
    calls = []

    def evaluate(model: Path, reader: Any, rows: Sequence[Clip], selection: Any, *limits: int, **more: Any) -> Any:
        calls.append(([clip.id for clip in rows], selection.margin, limits, more["resamples"], more["examples"]))
        return {"conditions": {"plugin": {"accuracy": {"value": 0.5}}}}

    monkeypatch.setattr(empathy_scores, "evaluate", evaluate)
    monkeypatch.setattr(empathy, "rows_to_come", lambda context, planned, rows: list(rows))
    planned = stage("empathy", selection={"margin": 0.25})
    entry = scored(result(planned))
    assert entry["metrics"] == {"accuracy_plugin": {"value": 0.5}}
    assert calls == [(["f", "g", "h", "i"], 0.25, (3, 50), 10, 2)]
    assert scored(result(planned)) == entry
    assert len(calls) == 1
    scored(result(planned, fingerprint="other"))
    scored(result(planned, fingerprint="other"), test=[row("z")])
    scored(result(planned, fingerprint="other"), {"resamples": 20}, test=[row("z")])
    assert [(rows, resamples) for rows, _, _, resamples, _ in calls] == [
        (["f", "g", "h", "i"], 10),
        (["f", "g", "h", "i"], 10),
        (["z"], 10),
        (["z"], 20),
    ]


def test_a_few_questions_of_each_clip_are_asked(recipe, prepared):
    closed = [
        row(f"{clip}{number}", "open", "attribute_closed", video=Path(f"/{clip}.mp4"))
        for clip in "ab"
        for number in range(5)
    ]
    others = [row("t"), row("s", "joy", "expression_single"), row("w", "Well.", "caption"), row("u", "?", "text")]

    def asked_of(rows: list[Clip]) -> list[Clip]:
        return scored_rows(context(recipe, prepared, test=rows), "test")

    chosen = asked_of([*others, *closed])
    assert [clip.id for clip in chosen[:2]] == ["t", "s"]
    assert Counter(clip.id[0] for clip in chosen[2:]) == {"a": 2, "b": 2}
    assert asked_of([*others, *closed]) == chosen
    assert [clip.id for clip in asked_of(others[2:])] == ["w"]


def test_the_summary_says_what_was_learned_from(recipe, prepared):
    found = summary(recipe, prepared, context(recipe, prepared), [])
    counts = {"clips": 0, "rows": 3, "actors": 0, "carries": {}, "labels": {}}
    assert found["data"]["train"] == counts
    assert (found["data"]["test"]["actors"], found["data"]["unusable_clips"]) == (2, 1)
    # The most frequent answer of training, given to the rows of test.
    baseline = found["baselines"]["constant answer"]["emotion_war"]
    assert (baseline["value"], baseline["n"]) == (0.75, 4)
    shown = EmotionEvidence(("joy", "fear"), (0.9, 0.1))
    carrying = [row("a", evidence={"voice": shown}), row("b", "joy", "expression_single", evidence={"voice": shown})]
    told = replace(prepared, clips=prepared.clips | {"train": carrying})
    assert summary(recipe, told, context(recipe, told), [])["data"]["train"]["carries"] == {"evidence": 1}
    unlike = replace(prepared, clips=prepared.clips | {"train": [row("c", FEAR)]})
    assert (
        summary(recipe, unlike, context(recipe, unlike), [])["baselines"]["constant answer"]["emotion_war"]["value"]
        == 0.25
    )


def test_the_report_of_a_run(recipe, prepared, scored, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "write_report", lambda out: out / "report.html")
    done = result(stage())
    entries = [scored(done)]
    (tmp_path / "ablations.json").write_text('{"full": {}}')

    def report(found: StageResult, seconds: float) -> dict[str, Any]:
        given = context(recipe, prepared)
        page = finish(recipe, prepared, given, [found], entries, seconds, MemoryMeter())
        assert page == tmp_path / "report.html"
        return json.loads((tmp_path / "report.json").read_text())

    first = report(done, 12.34)
    assert (first["stages"], first["ablations"]) == (entries, {"full": {}})
    assert first["resources"]["wall_s"] == 12.3
    # What is reused took no time now; it did then.
    assert report(replace(done, reused=True), 0.1)["resources"]["wall_s"] == 12.3
    assert report(done, 20.0)["resources"]["wall_s"] == 20.0
    assert first["comparisons"]["stages"] == []
    assert first["comparisons"]["constant answer"]["emotion_uar"]["value"] == 0  # it says what is most frequent
    assert [row["right"] for row in first["answers"]["tree"]] == [False, True, True, True]
    shown = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
    assert {example["id"] for example in shown} <= {"f", "g", "h", "i"}
    assert [(example["truth"], example["conflict"]) for example in shown] == [(FEAR, True), (JOY, False)]
    assert {example["predictions"]["one"] for example in shown} == {JOY}
    assert [example["wrong"] for example in shown] == [True, False]
    assert {example[name] for example in shown for name in ("video", "audio", "image")} == {None}  # not "None"


def labelled(count: int, wrong: int, **fields: Any) -> tuple[list[Clip], list[Prediction]]:
    rows = [row(f"r{i}", "joy", "emotion_label", options=["fear", "joy"], **fields) for i in range(count)]
    said = ["fear" if i < wrong else "joy" for i in range(count)]
    return rows, [
        Prediction(id=clip.id, task=clip.task, response=text, status="ok", answer="joy")
        for clip, text in zip(rows, said, strict=True)
    ]


@pytest.mark.parametrize(("wrong", "room", "expected"), [(20, 6, 4), (1, 6, 1), (0, 6, 0), (30, 6, 6), (30, 0, 0)])
def test_the_gallery_shows_mistakes_first_and_some_right_answers(recipe, prepared, wrong, room, expected):
    rows, said = labelled(30, wrong)
    given = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"examples": room})})
    chosen = results._chosen(context(given, prepared, test=rows), score_tasks(rows, said))
    assert [is_wrong for _, is_wrong in chosen] == [True] * expected + [False] * (room - expected)
    assert len({clip.id for clip, _ in chosen}) == room


def test_distinct_clips_are_counted_whatever_their_medium(recipe, prepared):
    sounds = [row(f"s{i}", "joy", "emotion_label", audio=Path(f"/{i // 2}.wav"), group="Ann") for i in range(6)]
    spans = [
        row(f"v{i}", "joy", "emotion_label", video=Path("/long.mp4"), start=float(i), subtitle="Hm.") for i in (0, 1)
    ]
    stills = [row("i", "joy", "emotion_label", image=Path("/a.png")), row("t", "joy", "emotion_label")]
    changed = replace(prepared, clips={"train": sounds, "test": [*sounds[:1], *spans, *stills]})
    data = summary(recipe, changed, context(recipe, changed), [])["data"]
    assert (data["train"]["clips"], data["train"]["carries"]) == (3, {"audio": 6})
    assert data["test"]["clips"] == 4
    assert data["test"]["carries"] == {"video": 2, "image": 1, "audio": 3, "text": 2}
    assert (data["test"]["actors"], data["test"]["actors_in_training"]) == (1, 1)
    assert data["train"]["labels"] == {"emotion_label": {"joy": 6}}


def test_what_the_data_say_of_themselves_is_in_the_report(tmp_path):
    folder = generate(Settings(clips=2, rl_clips=0, dev_clips=0, test_clips=0, text_rows=0), tmp_path / "drawn", 1)
    assert notes_of(DataConfig(train=folder / "train.jsonl")) == [NOTE]
    assert notes_of(DataConfig(synthetic={})) == [NOTE]
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["note"]  # as before there was one
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert notes_of(DataConfig(train=folder / "train.jsonl")) == [NOTE]
    (tmp_path / "train.jsonl").write_text("")
    (tmp_path / "manifest.json").write_text('{"note": 3}')  # of somebody else
    assert notes_of(DataConfig(train=tmp_path / "train.jsonl")) == []


def test_every_scored_task_of_labelled_clips_is_asked(recipe, prepared):
    tasks = ("emotion_label", "emotion_open", "valence", "expression_single", "caption", "text", "clip", "dialogue")
    rows = [row(task, "x", task) for task in tasks]
    asked = scored_rows(context(recipe, prepared, test=rows), "test")
    assert [clip.id for clip in asked] == list(tasks[:5])


def test_attribute_questions_on_sounds_are_counted_by_sound(recipe, prepared):
    rows = [row(f"{name}{i}", "x", "attribute_closed", audio=Path(f"/{name}.wav")) for name in "ab" for i in range(5)]
    asked = scored_rows(context(recipe, prepared, test=rows), "test")
    assert Counter(clip.id[0] for clip in asked) == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("name", "shown"),
    [("emotion_label_uar", "Emotion label: UAR 0.50"), ("valence_mae", "Valence: mean absolute error 0.50")],
)
def test_the_console_shows_the_scores_of_every_task(name, shown):
    metrics = {"emotion_uar": {"value": None}, "parse_rate": {"value": 1.0}, name: {"value": 0.5}}
    assert stage().headline(metrics) == shown
