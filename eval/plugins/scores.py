"""Scores of a plugin's evidence as answers to the tasks of its rows, by answer type.

| answer type | figures |
|---|---|
| `label` | accuracy, macro F1, weighted F1; of evidence that ranks labels also recall of the likeliest and ECE |
| `labels` | macro F1 over labels (of action units: their mean F1), micro F1, example F1 |
| `number` | CCC, Pearson's r, MAE |
| `intensities` | the same over labels, and of each label |
| `distribution` | JS and KL divergence, accuracy of the likeliest |

Answers come from `Evidence.answer_to` alone, so that evidence of any kind is scored. A row without an answer is wrong
if its task asks for a label or a set of labels, else it is left out; `coverage` is the share of rows with an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from affectgpt.clip import Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.evidence.evidence import Evidence
from affectgpt.problems import InputError
from affectgpt.tasks import TASKS
from eval.metrics.calibration import score_emotions
from eval.metrics.evaluation import describe_groups, with_interval
from eval.metrics.recognition import js_divergence, kl_divergence, label_tallies, number_tallies, set_tallies
from eval.metrics.stats import Tally, best_constant, divide, intervals, mean_tally

_CANDIDATES = 30
"""Number of label sets that are tried as constant answers: those that are right most often."""
Scores = dict[str, Any]


def score_evidence(rows: Sequence[Clip], evidence: Sequence[Evidence | None]) -> Scores:
    """Score evidence as answers to rows; figures are fractions, None if one cannot be computed.

    Returns:
        `n`, `coverage`, the figures by name; `intervals`, name -> value, low, high, n, clustered by `group`; and
        `baseline`, the constant `answer` that scores best and its figures.

    Raises:
        InputError: rows of several answer types or of one that evidence cannot give, or evidence that answers no row.
    """
    kinds = {TASKS[row.task].answer for row in rows}
    if len(kinds) != 1 or not kinds <= set(_SCORERS):
        tasks = ", ".join(f"{task} ({TASKS[task].answer})" for task in dict.fromkeys(row.task for row in rows))
        raise InputError(
            f"expected rows of one answer type among {', '.join(_SCORERS)}, got {tasks}. Choose with --tasks."
        )
    answers = [None if item is None else item.answer_to(row) for row, item in zip(rows, evidence, strict=True)]
    if all(answer is None for answer in answers) and any(item is not None for item in evidence):
        kind = next(item.kind for item in evidence if item is not None)
        raise InputError(f"evidence of kind {kind} gives no answer to task {rows[0].task}. Choose others with --tasks.")
    return _SCORERS[kinds.pop()](rows, evidence, answers)


def describe(scores: Scores) -> str:
    """Write scores as text."""
    lines = [f"{scores['n']} rows, {100 * scores['coverage']:.1f} % answered"]
    constant = scores["baseline"]
    for name, metric in scores["intervals"].items():
        alone = f", constant {constant[name]:.3f}" if constant.get(name) is not None else ""
        if metric["value"] is not None:
            lines.append(f"{name} {with_interval(metric, 3)}{alone}")
    lines += describe_groups(next((metric.get("groups") for metric in scores["intervals"].values()), None))
    recall = ", ".join(f"@{count} {value:.3f}" for count, value in scores.get("recall_at", {}).items())
    lines += [f"recall {recall}, calibration error {scores['ece']:.3f}"] if recall else []
    return "\n".join(lines)


def _report(
    rows: Sequence[Clip], coverage: float, tallies: Mapping[str, Tally], constant: Any, alone: Mapping[str, Tally]
) -> Scores:
    groups = [row.group or row.id for row in rows]
    return {
        "n": len(rows),
        "coverage": coverage,
        **{name: _number(tally.value) for name, tally in tallies.items()},
        "intervals": intervals(tallies, groups),
        "baseline": {"answer": constant, **{name: _number(tally.value) for name, tally in alone.items()}},
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _coverage(answers: Sequence[Any]) -> float:
    return sum(answer is not None for answer in answers) / len(answers)


def _score_labels(rows: Sequence[Clip], evidence: Sequence[Evidence | None], answers: Sequence[Any]) -> Scores:
    gold = [tidy(row.answer) for row in rows]
    predicted = ["" if answer is None else tidy(answer) for answer in answers]
    labels = sorted({*gold, *filter(None, predicted)})
    codes = {label: code for code, label in enumerate(labels)}
    right = np.array([codes[label] for label in gold])

    def tallies(spoken: Sequence[str]) -> dict[str, Tally]:
        answered = np.array([codes.get(label, len(labels)) for label in spoken])
        weighted = label_tallies(right, answered, len(labels))["weighted_f1"]
        return {
            "accuracy": mean_tally(right == answered),
            "macro_f1": _macro_f1(right, answered, len(labels)),
            "weighted_f1": weighted,
        }

    constant, _ = best_constant(sorted(set(gold)), lambda label: mean_tally([label == other for other in gold]))
    scores = _report(rows, _coverage(answers), tallies(predicted), constant, tallies([constant] * len(rows)))
    if any(item is not None and item.top(1) for item in evidence):
        written = {tidy(name): name for item in evidence if item is not None for name, _ in item.top()}
        ranked = score_emotions(evidence, [written.get(label, label) for label in gold])
        scores |= {name: ranked[name] for name in ("accuracy", "macro_f1", "recall_at", "ece")}
    return scores


def _macro_f1(right: np.ndarray, answered: np.ndarray, count: int) -> Tally:
    """Return the mean F1 over all gold labels; a label that is never predicted has an F1 of 0."""
    ones = np.eye(count + 1)[:, :count]
    counts = np.stack([ones[right] * ones[answered], ones[right], ones[answered]], axis=1)

    def figure(sums: np.ndarray) -> np.ndarray:
        both, gold, named = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, count), -2, 0)
        present = gold > 0
        scores = np.where(present, np.nan_to_num(divide(2 * both, gold + named)), 0.0)
        return divide(scores.sum(axis=-1), present.sum(axis=-1))

    return Tally(counts.reshape(len(counts), 3 * count), figure, ones[right])


def _score_sets(rows: Sequence[Clip], evidence: Sequence[Evidence | None], answers: Sequence[Any]) -> Scores:
    gold = [frozenset(map(tidy, row.answer)) for row in rows]
    predicted = [frozenset(map(tidy, answer or ())) for answer in answers]
    labels = sorted(frozenset().union(*gold, *predicted))

    def coded(sets: Sequence[frozenset[str]]) -> np.ndarray:
        return np.array([[label in chosen for label in labels] for chosen in sets], int)

    right = coded(gold)
    often = [chosen for chosen, _ in Counter(gold).most_common(_CANDIDATES)]
    candidates = sorted({*often, frozenset().union(*gold)}, key=sorted)
    constant, _ = best_constant(candidates, lambda chosen: set_tallies(right, coded([chosen] * len(rows)))["macro_f1"])
    alone = set_tallies(right, coded([constant] * len(rows)))
    return _report(rows, _coverage(answers), set_tallies(right, coded(predicted)), sorted(constant), alone)


def _score_numbers(rows: Sequence[Clip], evidence: Sequence[Evidence | None], answers: Sequence[Any]) -> Scores:
    gold = [{row.task: row.answer} for row in rows]
    predicted = [{} if answer is None else {row.task: answer} for row, answer in zip(rows, answers, strict=True)]
    return _score_named(rows, gold, predicted)


def _score_intensities(rows: Sequence[Clip], evidence: Sequence[Evidence | None], answers: Sequence[Any]) -> Scores:
    return _score_named(rows, [_tidied(row.answer) for row in rows], [_tidied(answer or {}) for answer in answers])


def _score_named(
    rows: Sequence[Clip], gold: Sequence[Mapping[str, float]], predicted: Sequence[Mapping[str, float]]
) -> Scores:
    """Score numbers by name: means over names, and each name's figures if there are several names."""
    names = list(dict.fromkeys(name for item in gold for name in item))
    right = np.array([[item.get(name, np.nan) for name in names] for item in gold], float)
    given = np.array([[item.get(name, np.nan) for name in names] for item in predicted], float)
    medians = np.nanmedian(right, axis=0)
    each = {name: _of_name(right[:, index], given[:, index]) for index, name in enumerate(names)}
    constant = {name: _of_name(right[:, index], np.full(len(rows), medians[index])) for index, name in enumerate(names)}
    answered = ~np.isnan(given[~np.isnan(right)])
    middle = dict(zip(names, medians.tolist(), strict=True))
    scores = _report(
        rows,
        float(answered.mean()),
        _mean_over(each),
        middle if len(names) > 1 else medians[0].item(),
        _mean_over(constant),
    )
    if len(names) > 1:
        groups = [row.group or row.id for row in rows]
        scores["each"] = {name: intervals(tallies, groups) for name, tallies in each.items()}
    return scores


def _of_name(right: np.ndarray, given: np.ndarray) -> dict[str, Tally]:
    """Return CCC, Pearson's r and MAE of the rows that have both numbers; the others add nothing to the totals."""
    known = ~np.isnan(right) & ~np.isnan(given)
    tallies = number_tallies(right[known], given[known])
    whole = {}
    for name in ("ccc", "pearson", "mae"):
        parts = np.zeros((len(right), tallies[name].parts.shape[1]))
        parts[known] = tallies[name].parts
        whole[name] = Tally(parts, tallies[name].figure)
    return whole


def _mean_over(each: Mapping[str, Mapping[str, Tally]]) -> dict[str, Tally]:
    """Return each figure's mean over names, as one score; names without the figure are left out."""
    return {figure: _mean_tally([tallies[figure] for tallies in each.values()]) for figure in ("ccc", "pearson", "mae")}


def _mean_tally(tallies: Sequence[Tally]) -> Tally:
    edges = np.cumsum([0, *(tally.parts.shape[1] for tally in tallies)])

    def figure(sums: np.ndarray) -> np.ndarray:
        values = np.stack(
            [tally.figure(sums[..., edges[index] : edges[index + 1]]) for index, tally in enumerate(tallies)]
        )
        known = ~np.isnan(values)
        return divide(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))

    return Tally(np.concatenate([tally.parts for tally in tallies], axis=1), figure)


def _score_distributions(rows: Sequence[Clip], evidence: Sequence[Evidence | None], answers: Sequence[Any]) -> Scores:
    gold = [_tidied(row.answer) for row in rows]
    predicted = [_tidied(answer or {}) for answer in answers]
    names = list(dict.fromkeys(name for item in [*gold, *predicted] for name in item))
    right = np.array([[item.get(name, 0.0) for name in names] for item in gold], float)
    given = np.array([[item.get(name, 0.0) if item else np.nan for name in names] for item in predicted], float)
    mean = right.mean(axis=0)

    def tallies(shares: np.ndarray) -> dict[str, Tally]:
        known = ~np.isnan(shares).any(axis=1)
        agree = np.where(known, np.nan_to_num(shares).argmax(axis=1) == right.argmax(axis=1), np.nan)
        return {
            "js": mean_tally(js_divergence(right, shares), share=False),
            "kl": mean_tally(kl_divergence(right, shares), share=False),
            "accuracy": mean_tally(agree),
        }

    constant = dict(zip(names, mean.tolist(), strict=True))
    return _report(rows, _coverage(answers), tallies(given), constant, tallies(np.tile(mean, (len(rows), 1))))


def _tidied(values: Mapping[str, float]) -> dict[str, float]:
    return {tidy(name): value for name, value in values.items()}


_SCORERS: dict[str, Callable[[Sequence[Clip], Sequence[Evidence | None], Sequence[Any]], Scores]] = {
    "label": _score_labels,
    "labels": _score_sets,
    "number": _score_numbers,
    "intensities": _score_intensities,
    "distribution": _score_distributions,
}
"""Functions that score answers, by answer type."""
