"""Scores of a run's report, from answered rows: attributes, expressions, emotions, trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from affectgpt.clip import Clip
from eval.answers.rows import AnsweredRow
from eval.answers.tasks import OWN_TASKS
from eval.metrics.recognition import confusion, encode_labels, label_tallies
from eval.metrics.stats import Metric, interval, intervals, mean_tally
from eval.metrics.task_scores import TaskScore, score_task
from eval.predict.answers import Prediction, as_prediction
from videmo.distance import tree_similarity
from videmo.tree import AffectiveTree, parse_tree

HEADLINED = ("tree", "expression_single", "attribute_closed")
"""Tasks whose scores have names of their own."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Metrics by name, and the confusion matrix of emotions."""

    metrics: dict[str, Metric]
    labels: list[str]
    confusion: list[list[int]]


def score(clips: Sequence[Clip], predictions: Sequence[Prediction], resamples: int = 1000) -> Scores:
    """Score answers to the rows of one split; intervals are clustered by `group`, the actor.

    - `attribute_accuracy`, `expression_accuracy`: right answers to the closed questions of that level.
    - `emotion_war`, `emotion_uar`: of the emotion at the top of the written tree against that of the gold tree; an
      answer without one counts as wrong.
    - `tree_similarity`: 1 - matched distance / nodes of both, mean over clips.
    - `parse_rate`: share of answers to tree rows that obey the syntax to the letter.
    - `<task>_<score>`: of every other task that was answered, its primary score, see `eval/metrics/task_scores.py`.
    """
    assert [clip.id for clip in clips] == [prediction["id"] for prediction in predictions]
    pairs = list(zip(clips, predictions, strict=True))

    trees = [row for row in pairs if row[0].task == "tree"]
    by_task = _scores_of_tasks(pairs)
    metrics = {
        "attribute_accuracy": _primary(by_task.pop("attribute_closed", None), resamples),
        "expression_accuracy": _primary(by_task.pop("expression_single", None), resamples),
    }
    reference = [parse_tree(clip.answer) for clip, _ in trees]
    written = [parse_tree(prediction["response"]) for _, prediction in trees]
    truth_names = [_emotion(tree) for tree in reference]
    labels = sorted(set(truth_names))
    truth, said = encode_labels(truth_names, [_emotion(tree) for tree in written], labels)
    groups = _groups(trees)
    emotions = label_tallies(truth, said, len(labels))
    tallies = {
        "emotion_war": emotions["war"],
        "emotion_uar": emotions["uar"],
        "tree_similarity": mean_tally([tree_similarity(*pair) for pair in zip(reference, written, strict=True)]),
        "parse_rate": mean_tally([tree.is_valid for tree in written]),
    }
    metrics |= intervals(tallies, groups, resamples)
    metrics |= {f"{task}_{scored.primary}": _primary(scored, resamples) for task, scored in by_task.items()}
    return Scores(metrics, labels, confusion(truth, said, len(labels)).tolist() if len(trees) else [])


def _scores_of_tasks(pairs: Sequence[tuple[Clip, Prediction]]) -> dict[str, TaskScore]:
    """Score every task but trees, as `affectgpt eval faces` scores a file of the same predictions."""
    by_task: dict[str, list[AnsweredRow]] = {}
    for clip, prediction in pairs:
        if clip.task in OWN_TASKS and clip.task != "tree":
            row = AnsweredRow(
                file="",
                line=clip.line,
                task=clip.task,
                key=clip.id,
                group=clip.group or clip.id,
                question=clip.question,
                gold=clip.answer,
                response=prediction["response"],
                options=tuple(clip.options or ()),
            )
            by_task.setdefault(clip.task, []).append(row)
    return {task: score_task(rows) for task, rows in by_task.items()}


def _primary(scored: TaskScore | None, resamples: int) -> Metric:
    """Return the primary score of a task with its interval; without a value if the task was not asked."""
    if scored is None:
        return interval(mean_tally([]))
    return interval(scored.tallies[scored.primary], scored.groups, resamples)


def constant_baseline(train: Sequence[Clip], test: Sequence[Clip], resamples: int = 1000) -> dict[str, Metric]:
    """Score the answer that is right most often in training, given to every test row of its question."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for clip in (clip for clip in train if clip.messages):
        answers = counts.setdefault((clip.task, clip.prompt[-1]["content"]), {})
        answers[clip.target] = answers.get(clip.target, 0) + 1
    said = [
        as_prediction(
            clip,
            max(
                sorted(answers := counts.get((clip.task, clip.prompt[-1]["content"]), {"": 0})),
                key=lambda text: answers[text],
            ),
        )
        for clip in test
    ]
    return score(test, said, resamples).metrics


def _emotion(tree: AffectiveTree) -> str:
    return tree.emotions[0].label if tree.emotions else ""


def _groups(rows: Sequence[tuple[Clip, Prediction]]) -> list[str]:
    return [clip.group or clip.id for clip, _ in rows]
