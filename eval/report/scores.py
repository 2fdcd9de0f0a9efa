"""Scores of a run's report, from answered rows: of every task that a row can ask, and of trees level by level."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from affectgpt.clip import Clip
from affectgpt.tasks import TASKS, Task
from eval.answers.rows import AnsweredRow
from eval.metrics.recognition import confusion
from eval.metrics.stats import Difference, Metric, compare, interval, mean_tally
from eval.metrics.task_scores import TaskScore, score_task
from eval.predict.answers import Prediction, as_prediction
from eval.report.glossary import NAMED
from videmo.tree import parse_tree

CONTRACT = (
    *("attribute_accuracy", "expression_accuracy"),
    *("emotion_war", "emotion_uar", "tree_similarity", "parse_rate"),
)
"""Scores that every report has, without a value where their task is not asked."""
HEADLINES: Mapping[str, tuple[str, ...]] = {
    "choice": ("accuracy", "uar"),
    "labels": ("example_f1", "hit_rate"),
    "number": ("ccc", "mae"),
    "words": ("word_f1",),
    "tree": ("tree_similarity", "emotion_uar"),
}
"""Way of judging (`affectgpt/tasks.py`) -> scores that stand in the tables of a report, as `<task>_<score>`."""
SHOWN_ANSWERS = 200
"""Most answers of a task that a report lists, the worst first."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Metrics by name, the confusion matrix of emotions, and the scores of each task."""

    metrics: dict[str, Metric]
    labels: list[str]
    confusion: list[list[int]]
    tasks: dict[str, TaskScore]


def is_scored(clip: Clip) -> bool:
    """Tell whether a run scores a row: whether its task is judged, and teaches more than language."""
    return TASKS[clip.task].judged is not None and TASKS[clip.task].scored


def is_closed(task: Task, level: str) -> bool:
    """Tell whether a task asks the closed questions of a level."""
    return task.level == level and task.judged == "choice"


def score(clips: Sequence[Clip], predictions: Sequence[Prediction], resamples: int = 1000) -> Scores:
    """Score answers to the rows of one split; intervals are clustered by `group`, the actor.

    - `attribute_accuracy`, `expression_accuracy`: right answers to the closed questions of that level.
    - `emotion_war`, `emotion_uar`: of the emotion at the top of the written tree against that of the gold tree; an
      answer without one counts as wrong.
    - `tree_similarity`: 1 - matched distance / nodes of both, mean over clips.
    - `parse_rate`: share of answers to tree rows that obey the syntax to the letter.
    - `<task>_<score>`: of every other task that was asked, its headline scores, see `HEADLINES`.

    Scores of tasks that no row asks have no value.
    """
    tasks = score_tasks(clips, predictions)
    metrics = dict.fromkeys(CONTRACT, interval(mean_tally([])))
    for task, scored in tasks.items():
        for name, tally in report_names(task, scored).items():
            metrics[name] = interval(scored.tallies[tally], scored.groups, resamples)
        if task == "tree":
            metrics["parse_rate"] = interval(mean_tally(scored.readable), scored.groups, resamples)
    shown = main_classes(tasks)
    if shown is None or shown.classes is None:
        return Scores(metrics, [], [], tasks)
    labels = list(shown.classes.labels)
    counts = confusion(shown.classes.gold, shown.classes.predicted, len(labels)).tolist()
    return Scores(metrics, labels, counts, tasks)


def report_names(task: str, scored: TaskScore) -> dict[str, str]:
    """Return the names in report.json of a task's scores -> their names among the tallies, the first one first.

    Closed questions of many kinds, each with options of its own, have no UAR.
    """
    if task not in NAMED:
        return {f"{task}_{name}": name for name in HEADLINES[TASKS[task].judged or "words"]}
    many = TASKS[task].judged == "choice" and not (scored.classes and scored.classes.is_one_set)
    return {name: tally for name, tally in NAMED[task].items() if not (many and tally == "uar")}


def main_classes(tasks: Mapping[str, TaskScore]) -> TaskScore | None:
    """Return the scores of the task whose classes a report shows first: the tree's emotion, else the highest level."""
    found = [
        (TASKS[task].judged == "tree", TASKS[task].level == "emotion", TASKS[task].level == "expression", task)
        for task, scored in tasks.items()
        if scored.classes is not None and scored.classes.is_one_set
    ]
    return tasks[max(found)[-1]] if found else None


def score_tasks(clips: Sequence[Clip], predictions: Sequence[Prediction]) -> dict[str, TaskScore]:
    """Score every task that the rows ask, as `affectgpt eval faces` scores a file of the same predictions."""
    assert [clip.id for clip in clips] == [prediction["id"] for prediction in predictions]
    by_task: dict[str, list[AnsweredRow]] = {}
    for clip, prediction in zip(clips, predictions, strict=True):
        if is_scored(clip):
            row = AnsweredRow(
                file="",
                line=clip.line,
                task=clip.task,
                key=clip.id,
                group=clip.group or clip.id,
                question=clip.question,
                gold=clip.answer if isinstance(clip.answer, list) else str(clip.answer),
                response=prediction["response"],
                options=tuple(clip.options or ()),
            )
            by_task.setdefault(clip.task, []).append(row)
    return {task: score_task(rows) for task, rows in by_task.items()}


def details(tasks: Mapping[str, TaskScore], resamples: int = 1000) -> dict[str, Any]:
    """Return all that a report says of each task: every score, the best constant answer, classes, speakers."""
    return {task: _details(task, tasks[task], resamples) for task in ordered_tasks(tasks)}


def ordered_tasks(tasks: Iterable[str]) -> list[str]:
    """Return tasks by how much they say about a clip: trees, then classes and sets, numbers, texts; emotions first."""
    judged = {"tree": 0, "choice": 1, "labels": 1, "number": 2, "words": 3}
    levels = {"emotion": 0, "expression": 1, "attribute": 2}
    return sorted(
        tasks, key=lambda task: (judged[TASKS[task].judged or "words"], levels.get(TASKS[task].level or "", 3))
    )


def _details(task: str, scored: TaskScore, resamples: int) -> dict[str, Any]:
    answer, constant = scored.constant
    found: dict[str, Any] = {
        "title": TASKS[task].title,
        "question": scored.rows[0].question,
        "n": len(scored.rows),
        "primary": scored.primary,
        "scores": {name: interval(tally, scored.groups, resamples) for name, tally in scored.tallies.items()},
        "readable": interval(mean_tally(scored.readable), scored.groups, resamples),
        "best_constant": {
            "answer": answer,
            "scores": {name: _rounded(tally.value) for name, tally in constant.items()},
        },
        "speakers": _speakers(scored),
    }
    if scored.classes is not None and scored.classes.is_one_set:
        found["confusion"], found["classes"] = _classes(scored, resamples)
    return found


def _classes(scored: TaskScore, resamples: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a task's confusion matrix, and recall, precision and F1 of each class that is gold or answered."""
    assert scored.classes is not None
    labels = list(scored.classes.labels)
    counts = confusion(scored.classes.gold, scored.classes.predicted, len(labels))
    classes = {}
    for code, label in enumerate(labels):
        right, gold, answered = int(counts[code, code]), int(counts[code].sum()), int(counts[:, code].sum())
        if gold or answered:
            classes[label] = {
                "gold": gold,
                "answered": answered,
                "recall": interval(scored.recalls[label], scored.groups, resamples) if gold else None,
                "precision": _rounded(right / answered) if answered else None,
                "f1": _rounded(2 * right / (gold + answered)),
            }
    return {"labels": labels, "counts": counts.tolist()}, classes


def _speakers(scored: TaskScore) -> dict[str, Any]:
    """Return number of rows and primary score of each group of several rows; none if rows name no group."""
    groups = np.array(scored.groups)
    named = groups[groups != np.array([row.key for row in scored.rows])]
    tally = scored.tallies[scored.primary]
    return {
        str(group): {
            "n": int(np.sum(groups == group)),
            "value": _rounded(float(tally.figure(tally.parts[groups == group].sum(axis=0)))),
        }
        for group in np.unique(named)
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)


def answers(tasks: Mapping[str, TaskScore]) -> dict[str, list[dict[str, Any]]]:
    """Return the answers to each task, the worst first: gold answer, response, how good it is; at most 200 a task.

    Where answers have classes, `read` is the class that was read from the response. Of trees, only the emotion on top.
    """
    found = {}
    for task, scored in tasks.items():
        order = np.argsort(scored.quality, kind="stable")[:SHOWN_ANSWERS]
        found[task] = [_answer(task, scored, int(index)) for index in order]
    return found


def _answer(task: str, scored: TaskScore, index: int) -> dict[str, Any]:
    row, quality = scored.rows[index], float(scored.quality[index])
    found: dict[str, Any] = {
        "id": row.key,
        "group": None if row.group == row.key else row.group,
        "gold": row.gold,
        "response": row.response,
        "quality": round(quality, 6) if np.isfinite(quality) else None,
    }
    if scored.classes is not None:
        labels, gold, predicted = scored.classes.labels, scored.classes.gold[index], scored.classes.predicted[index]
        found |= {"read": labels[predicted] if predicted < len(labels) else None, "right": bool(gold == predicted)}
        if TASKS[task].judged == "tree":  # the whole trees stand in the predictions of the stage
            written = parse_tree(row.response).emotions
            top = written[0].label if written else ""
            found |= {"gold": labels[gold], "response": top, "read": top or None}
    return found


def differences(
    first: Mapping[str, TaskScore], second: Mapping[str, TaskScore], resamples: int
) -> dict[str, Difference]:
    """Compare the second answers to the same rows with the first, task by task.

    Returns:
        Name of the score in report.json -> difference, of the tasks that both answered.
    """
    found = {}
    for task in ordered_tasks(task for task in first if task in second):
        one, other = first[task], second[task]
        assert [row.key for row in one.rows] == [row.key for row in other.rows]
        for name in _compared(task, one):
            tally = report_names(task, one)[name]
            found[name] = compare(one.tallies[tally], other.tallies[tally], one.groups, resamples)
    return found


def _compared(task: str, scored: TaskScore) -> list[str]:
    """Return the names in report.json of a task's scores that are compared: the first, of trees the emotion's too."""
    names = report_names(task, scored)
    wanted = ("emotion_uar", "tree_similarity") if TASKS[task].judged == "tree" else ()
    return [name for tally in wanted for name in names if names[name] == tally] or [*names][:1]


def constant_answers(train: Sequence[Clip], test: Sequence[Clip]) -> list[Prediction]:
    """Give every test row the answer to its question that is right most often in training."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for clip in (clip for clip in train if clip.messages):
        answered = counts.setdefault((clip.task, clip.prompt[-1]["content"]), {})
        answered[clip.target] = answered.get(clip.target, 0) + 1
    return [
        as_prediction(
            clip,
            max(
                sorted(answered := counts.get((clip.task, clip.prompt[-1]["content"]), {"": 0})),
                key=lambda text: answered[text],
            ),
        )
        for clip in test
    ]


def constant_baseline(train: Sequence[Clip], test: Sequence[Clip], resamples: int = 1000) -> dict[str, Metric]:
    """Score the answer that is right most often in training, given to every test row of its question."""
    return score(test, constant_answers(train, test), resamples).metrics
