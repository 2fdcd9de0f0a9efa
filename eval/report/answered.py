"""Answers of a run, task by task: confusion, recall and F1 by class, scores by speaker, single answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from eval.report.figures import class_chart, confusion_matrix
from eval.report.glossary import SCORES
from eval.report.html import DASH, MISSING, Cell, Cells, Table, percent, plain, score_cell

NONE = "(none)"
MOST_SPEAKERS = 40
"""Number of speakers that are listed, the worst first."""


def confusion(stages: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the matrices of the main task after each stage, and its most frequent mistakes; None if there are none."""
    known = [stage for stage in stages if (stage.get("confusion") or {}).get("counts") and _is_answered(stage)]
    if not known:
        return None
    *earlier, last = [(stage["name"], Markup(confusion_matrix(*axes_of(stage["confusion"])))) for stage in known]
    return {"last": last, "earlier": earlier, "mistakes": _mistakes(known[-1]["confusion"])}


def _is_answered(stage: Mapping[str, Any]) -> bool:
    """Tell whether any answer of a stage names a class; after stages that were not taught to, none does."""
    _, columns, counts = axes_of(stage["confusion"])
    return any(count for line in counts for name, count in zip(columns, line, strict=True) if name != NONE)


def axes_of(found: Mapping[str, Any]) -> tuple[list[str], list[str], list[list[int]]]:
    """Return names of rows, names of columns, counts. Labels of which there is neither clip nor answer are left out.

    "(none)", the last column, is never a gold label, so that it has no row.
    """
    counts, labels = found["counts"], [str(label) for label in found["labels"]]
    columns = labels if len(counts[0]) == len(labels) else [*labels, NONE]
    rows = [index for index, label in enumerate(labels) if label != NONE and any(counts[index])]
    used = [index for index, label in enumerate(columns) if any(counts[row][index] for row in rows)]
    kept = [index for index, label in enumerate(columns) if index in used or index in rows]
    return [labels[row] for row in rows], [columns[i] for i in kept], [[counts[row][i] for i in kept] for row in rows]


def _mistakes(found: Mapping[str, Any]) -> list[tuple[str, str, int, int]]:
    """Return gold label, predicted label, count, and count of the gold label, of the most frequent errors, sorted."""
    rows, columns, counts = axes_of(found)
    wrong = sorted(
        (-count, gold, predicted, sum(line))
        for gold, line in zip(rows, counts, strict=True)
        for predicted, count in zip(columns, line, strict=True)
        if count and gold != predicted
    )
    often = [mistake for mistake in wrong if mistake[0] < -1]
    return [(gold, predicted, -count, total) for count, gold, predicted, total in (often or wrong)[:8]]


def answered(stage: Mapping[str, Any], answers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the values of a subsection for each task that the stage answered: tables and figures."""
    return [_task(task, answers.get(name, [])) for name, task in stage.get("tasks", {}).items()]


def _task(task: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    classes = task.get("classes", {})
    bars = {f"{label} ({found['gold']})": found["recall"] for label, found in classes.items() if found["gold"]}
    return {
        "title": task["title"],
        "question": task.get("question", ""),
        "n": task["n"],
        "readable": task["readable"],
        "constant": task["best_constant"]["answer"],
        "scores": _score_table(task),
        "chart": Markup(class_chart(bars)) if len(bars) > 1 else None,
        "classes": _class_table(classes) if classes else None,
        "speakers": _speaker_table(task) if len(task["speakers"]) > 1 else None,
        "answers": _answer_table(answers) if answers else None,
        "left_out": task["n"] - len(answers),
    }


def _score_table(task: Mapping[str, Any]) -> Table:
    constants = task["best_constant"]["scores"]
    rows: list[Cells] = []
    for name, metric in task["scores"].items():
        term = SCORES.get(name)
        write = plain if term is not None and term.unit == "number" else percent
        beside = Cell(write(constants.get(name)), muted=True)
        title = Cell(term.title if term else name, [term.meaning] if term else [], wraps=True)
        rows.append([title, score_cell(metric, None, (), term), beside])
    heads = [
        "score",
        "value and 95 % interval",
        f"best constant answer: {_text(task['best_constant']['answer'], 40)}",
    ]
    return Table(f"All scores, {task['n']} answers", heads, rows)


def _class_table(classes: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        [
            label,
            str(found["gold"]),
            str(found["answered"]),
            score_cell(found["recall"]) if found["gold"] else MISSING,
            percent(found["precision"]) if found["precision"] is not None else MISSING,
            percent(found["f1"]),
        ]
        for label, found in classes.items()
    ]
    return Table("By class, per cent", ["class", "clips", "answered", "recall", "precision", "F1"], rows)


def _speaker_table(task: Mapping[str, Any]) -> Table:
    term = SCORES.get(task["primary"])
    write, ascending = (plain if term and term.unit == "number" else percent), not (term and term.lower_is_better)
    ranked = sorted(task["speakers"].items(), key=lambda item: item[1]["value"] or 0.0, reverse=not ascending)
    rows = [[name, str(found["n"]), write(found["value"])] for name, found in ranked[:MOST_SPEAKERS]]
    rest = len(ranked) - len(rows)
    caption = f"By speaker, the hardest first{f' ({rest} more left out)' if rest else ''}"
    return Table(caption, ["speaker", "answers", term.title if term else task["primary"]], rows)


def _answer_table(answers: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [
            Cell(str(answer["id"]), [str(answer["group"])] if answer.get("group") else []),
            Cell(_text(answer["gold"])),
            Cell(_text(answer["response"]) or DASH, ["not readable"] if answer.get("read", "") is None else []),
            _judgement(answer),
        ]
        for answer in answers
    ]
    return Table("Answers, the worst first", ["clip", "gold", "the model's answer", "right"], rows)


def _text(value: Any, longest: int = 160) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _judgement(answer: Mapping[str, Any]) -> Cell | str:
    if isinstance(answer.get("right"), bool):
        return "✓" if answer["right"] else "✗"
    quality = answer.get("quality")
    if not isinstance(quality, int | float):
        return MISSING
    return f"off by {plain(-quality)}" if quality < 0 else f"{percent(quality)} %"
