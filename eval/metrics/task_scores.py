"""Scores of a task by rules alone: options, label sets, words in common, trees level by level."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from affectgpt.answers.judge import gold_choice, question_for, read_choice
from affectgpt.answers.reading import (
    LIMIT,
    clean,
    gives_up,
    normalise,
    read_letters,
    read_number,
    read_options,
    read_set,
    read_units,
    spelling_note,
    words,
)
from affectgpt.emotions.thoughts import answer_of
from affectgpt.problems import InputError, Problem, shorten
from affectgpt.tasks import TASKS as OURS
from eval.answers.labelled_file import SHOWN
from eval.answers.rows import AnsweredRow
from eval.answers.tasks import OWN_TASKS, TASKS, UNITS, VOCABULARIES
from eval.metrics.recognition import encode_labels, label_tallies, number_tallies, set_tallies
from eval.metrics.stats import Tally, best_constant, mean_tally
from videmo.distance import tree_similarity
from videmo.tree import LEVELS, AffectiveTree, Node, parse_tree

CANDIDATES = 30
"""Number of texts tried as constant answers: the most frequent gold ones."""
_SHORT = 12
"""Longest free text in words that counts as giving up if it declines; a longer one is a description."""


@dataclass(frozen=True, slots=True)
class Classes:
    """Classes of the rows of a task."""

    labels: Sequence[str]
    gold: np.ndarray
    """(n,) indices into `labels`."""
    predicted: np.ndarray
    """(n,) indices into `labels`; their number where the answer names none of them."""
    is_one_set: bool
    """Whether every row is asked to choose among the same labels, so that a confusion matrix means something."""


@dataclass(frozen=True, slots=True)
class TaskScore:
    """Scores of a task's answers."""

    rows: Sequence[AnsweredRow]
    tallies: dict[str, Tally]
    """Scores by name, the primary one first."""
    readable: np.ndarray
    """(n,) whether the answer could be read."""
    gave_up: np.ndarray
    """(n,) whether it could not be read and is empty or declines."""
    constant: tuple[str, dict[str, Tally]]
    """Constant answer with the best primary score, and its scores."""
    recalls: dict[str, Tally] = field(default_factory=dict)
    """Recall of each option, or of each emotion on top of a tree."""
    notes: list[str] = field(default_factory=list)
    """Remarks on what was read."""
    quality: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(n,) how good each answer is, to find the worst: 1 is perfect; of numbers, the error with its sign changed."""
    classes: Classes | None = None
    """Gold and predicted class of each row, if a row has one."""

    @property
    def primary(self) -> str:
        """Name of the primary score."""
        return next(iter(self.tallies))

    @property
    def groups(self) -> list[str]:
        """Cluster of each row."""
        return [row.group for row in self.rows]


def score_task(rows: Sequence[AnsweredRow]) -> TaskScore:
    """Score the rows of one task.

    Raises:
        InputError: a row's gold answer cannot be read.
    """
    task = rows[0].task
    if task in OURS and OURS[task].judged == "number":
        return _numbers(rows)
    kind = {**TASKS, **OWN_TASKS}[task]
    if kind == "text" and all(parse_tree(_text(row)).is_valid for row in rows):
        kind = "tree"  # captions and rationales that are written as trees
    if kind == "choice":
        return _choices(rows)
    if kind == "text":
        return _texts(rows)
    if kind == "tree":
        return _trees(rows)
    return _sets(rows, kind, task)


def _text(row: AnsweredRow) -> str:
    return row.gold if isinstance(row.gold, str) else ", ".join(row.gold)


def _gave_up(rows: Sequence[AnsweredRow], readable: np.ndarray) -> np.ndarray:
    pairs = zip(rows, readable, strict=True)
    return np.array([not fine and gives_up(row.response) for row, fine in pairs], bool)


def _refuse(rows: Iterable[AnsweredRow], expected: str) -> None:
    problems = [Problem(row.file, f"line {row.line}, gold answer", expected, shorten(row.gold)) for row in rows]
    if problems:
        raise InputError(problems[:SHOWN], f"{len(problems)} in all.")


def _choices(rows: Sequence[AnsweredRow]) -> TaskScore:
    """Score `accuracy` and `uar`. Options are compared by text, as their order may differ from question to question."""
    questions = [question_for(_text(row), row.question) for row in rows]
    gold = [gold_choice(_text(row), question) for row, question in zip(rows, questions, strict=True)]
    _refuse((row for row, label in zip(rows, gold, strict=True) if label is None), "one of the question's options")
    names = [label or "" for label in gold]
    listed = {text for row in rows for text in row.options}
    listed |= {text for question in set(questions) for text in read_options(question).values()}
    labels = sorted({*names, *map(normalise, listed)})
    predicted = [
        read_choice(row.response, question, row.options or labels)
        for row, question in zip(rows, questions, strict=True)
    ]
    right, answered = encode_labels(names, [label or "" for label in predicted], labels)

    def tallies(answers: np.ndarray) -> dict[str, Tally]:
        scores = label_tallies(right, answers, len(labels))
        return {"accuracy": scores["war"], "uar": scores["uar"]}

    always = {labels[code]: np.full(len(rows), code) for code in np.unique(right)}
    best, constant = best_constant(always, lambda label: tallies(always[label])["accuracy"])
    readable = np.array([label is not None for label in predicted])
    return TaskScore(
        rows,
        tallies(answered),
        readable,
        _gave_up(rows, readable),
        (best, {**tallies(always[best]), "accuracy": constant}),
        _recalls(right, answered, labels),
        notes=_notes_on_options(rows, questions, listed),
        quality=np.equal(right, answered).astype(float),
        classes=Classes(labels, right, answered, len({_offered(row) for row in rows}) == 1),
    )


def _offered(row: AnsweredRow) -> frozenset[str]:
    return frozenset(map(normalise, [*row.options, *read_options(row.question).values()] or [row.question]))


def _notes_on_options(rows: Sequence[AnsweredRow], questions: Sequence[str], listed: Iterable[str]) -> list[str]:
    """Say how many questions list no options that can be read, and which options count as one."""
    pairs = zip(rows, questions, strict=True)
    without = sum(bool(row.question.strip()) and not (row.options or read_options(question)) for row, question in pairs)
    unspelt = {_text(row) for row, question in zip(rows, questions, strict=True) if not read_options(question)}
    notes = [spelling_note(sorted({*listed, *unspelt}))]
    if without:
        notes.append(
            f"{without} of {len(rows)} questions list no options that can be read (as A. ..., (a) ... or 1. ...); "
            "their answers are compared with the gold labels of the file"
        )
    return [note for note in notes if note]


def _recalls(gold: np.ndarray, predicted: np.ndarray, labels: Sequence[str]) -> dict[str, Tally]:
    tallies = label_tallies(gold, predicted, len(labels))
    return {labels[code]: tallies[f"recall/{code}"] for code in np.unique(gold)}


def _sets(rows: Sequence[AnsweredRow], kind: str, task: str) -> TaskScore:
    """Score `example_f1` (F1 of each row's labels, averaged), `macro_f1`, `micro_f1` and `hit_rate`, of known labels.

    A hit names a gold label, whatever else it names; where no label is gold, it names none.
    """
    readers: dict[str, Callable[[AnsweredRow, object], frozenset[str] | None]] = {
        "letters": _options_chosen,
        "units": lambda row, text: read_units(text),
        "labels": lambda row, text: read_set(text, vocabulary),
    }
    occurring = {normalise(label) for row in rows for label in _members(row)} if kind == "labels" else set()
    vocabulary = sorted({*map(normalise, VOCABULARIES.get(task, ())), *occurring})
    read = readers[kind]
    if kind == "labels":
        gold: list[frozenset[str] | None] = [frozenset(map(normalise, _members(row))) for row in rows]
    else:
        gold = [read(row, _text(row)) for row in rows]
    _refuse((row for row, labels in zip(rows, gold, strict=True) if labels is None), f"{kind} that can be read")
    predicted = [read(row, row.response) for row in rows]
    known = {*vocabulary, *(UNITS if kind == "units" else ()), *(label for labels in gold for label in labels or ())}
    labels = sorted(known)
    targets = _matrix(gold, labels)
    answered = _matrix([own or frozenset() for own in predicted], labels)

    def tallies(answers: np.ndarray) -> dict[str, Tally]:
        scores = set_tallies(targets, answers)
        named = answers.any(axis=1)
        hit = mean_tally(np.where(targets.any(axis=1), (targets * answers).any(axis=1), ~named))
        return {**{name: scores[name] for name in ("example_f1", "macro_f1", "micro_f1")}, "hit_rate": hit}

    order = np.argsort(-targets.sum(axis=0), kind="stable")
    counts = range(1, int(np.count_nonzero(targets.any(axis=0))) + 1)
    always = {count: np.tile(np.isin(np.arange(len(labels)), order[:count]), (len(rows), 1)) for count in counts}
    always = always or {0: np.zeros_like(targets)}
    best, _ = best_constant(always, lambda count: tallies(always[count])["example_f1"])
    name = ", ".join(labels[code] for code in order[:best]) or "none"
    readable = np.array([own is not None for own in predicted])
    scored = tallies(answered)
    return TaskScore(
        rows,
        scored,
        readable,
        _gave_up(rows, readable),
        (name, tallies(always[best])),
        quality=scored["example_f1"].parts[:, 0],
    )


def _members(row: AnsweredRow) -> list[str]:
    if isinstance(row.gold, list):
        return row.gold
    return [label for label in re.split("[,;，、；\n]", row.gold) if normalise(label) not in ("", "none")]


def _options_chosen(row: AnsweredRow, text: object) -> frozenset[str] | None:
    options = read_options(row.question) or {chr(code): f"option {chr(code)}" for code in range(ord("A"), ord("Z") + 1)}
    letters = read_letters(text, options)
    return frozenset(normalise(options[letter]) for letter in letters) or None


def _matrix(sets: Iterable[frozenset[str] | None], labels: Sequence[str]) -> np.ndarray:
    return np.array([[label in (own or ()) for label in labels] for own in sets], int)


def _texts(rows: Sequence[AnsweredRow]) -> TaskScore:
    """Score `word_f1`, `word_precision`, `word_recall`: content words in common with the gold text, counted."""
    gold = [Counter(words(clean(_text(row)))) for row in rows]

    def tallies(answers: Sequence[Counter[str]]) -> dict[str, Tally]:
        overlap = np.array([_overlap(right, answer) for right, answer in zip(gold, answers, strict=True)])
        names = ("word_f1", "word_precision", "word_recall")
        return {name: mean_tally(overlap[:, index]) for index, name in enumerate(names)}

    predicted = [Counter(words(clean(row.response))) for row in rows]
    frequent = Counter(_text(row) for row in rows).most_common(CANDIDATES)
    bags = {text: Counter(words(clean(text))) for text, _ in frequent}
    best, constant = best_constant(bags, lambda text: tallies([bags[text]] * len(rows))["word_f1"])
    readable = np.array(
        [
            bool(bag) and not (bag.total() <= _SHORT and gives_up(row.response))
            for bag, row in zip(predicted, rows, strict=True)
        ]
    )
    shown = best if len(best) <= 60 else f"{best[:57]}..."
    scored = tallies(predicted)
    return TaskScore(
        rows,
        scored,
        readable,
        _gave_up(rows, readable),
        (shown, {**tallies([bags[best]] * len(rows)), "word_f1": constant}),
        quality=scored["word_f1"].parts[:, 0],
    )


def _numbers(rows: Sequence[AnsweredRow]) -> TaskScore:
    """Score `ccc`, `pearson` and `mae`. An answer without a number is left out, and missing from the coverage."""
    gold = np.array([float(_text(row)) for row in rows])
    read = [read_number(row.response) for row in rows]
    readable = np.array([number is not None for number in read])
    answered = np.array([math.nan if number is None else number for number in read])

    def tallies(answers: np.ndarray) -> dict[str, Tally]:
        known = ~np.isnan(answers)
        scores = number_tallies(gold[known], answers[known])
        return {name: _padded(scores[name], known) for name in ("ccc", "pearson", "mae")}

    middle = float(np.median(gold))
    return TaskScore(
        rows,
        tallies(answered),
        readable,
        _gave_up(rows, readable),
        (f"{middle:.3g}", tallies(np.full(len(rows), middle))),
        quality=-np.nan_to_num(np.abs(gold - answered), nan=np.inf),
    )


def _padded(tally: Tally, known: np.ndarray) -> Tally:
    """Return a tally of all rows, to which only the `known` ones contribute."""
    parts = np.zeros((len(known), tally.parts.shape[1]))
    parts[known] = tally.parts
    return Tally(parts, tally.figure)


def _overlap(gold: Counter[str], predicted: Counter[str]) -> tuple[float, float, float]:
    """Compute F1, precision and recall of words."""
    common = (gold & predicted).total()
    if not gold and not predicted:
        return 1.0, 1.0, 1.0
    precision, recall = common / max(predicted.total(), 1), common / max(gold.total(), 1)
    return (2 * precision * recall / (precision + recall) if common else 0.0), precision, recall


def _trees(rows: Sequence[AnsweredRow]) -> TaskScore:
    """Score the similarity of whole trees and of each level, and `emotion_war` and `emotion_uar` of the top emotion."""
    gold = [parse_tree(_text(row)) for row in rows]
    _refuse((row for row, tree in zip(rows, gold, strict=True) if not tree.is_valid), "a written tree (docs/tree.md)")
    emotions = [_emotion(tree) for tree in gold]
    labels = sorted(set(emotions))

    def codes(trees: Sequence[AffectiveTree]) -> tuple[np.ndarray, np.ndarray]:
        return encode_labels(emotions, [_emotion(tree) for tree in trees], labels)

    def tallies(trees: Sequence[AffectiveTree]) -> dict[str, Tally]:
        pairs = list(zip(gold, trees, strict=True))
        top = label_tallies(*codes(trees), len(labels))
        levels = {
            f"{name}_similarity": mean_tally([level_similarity(*pair, level) for pair in pairs])
            for level, name in (("a", "attribute"), ("e", "expression"), ("m", "emotion"))
        }
        whole = mean_tally([tree_similarity(*pair) for pair in pairs])
        return {"tree_similarity": whole, **levels, "emotion_war": top["war"], "emotion_uar": top["uar"]}

    predicted = [parse_tree(answer_of(row.response)[:LIMIT]) for row in rows]
    frequent = [text for text, _ in Counter(_text(row) for row in rows).most_common(5)]
    always = {text: [parse_tree(text)] * len(rows) for text in frequent}
    best, _ = best_constant(always, lambda text: tallies(always[text])["tree_similarity"])
    readable = np.array([tree.is_valid for tree in predicted])
    scored = tallies(predicted)
    return TaskScore(
        rows,
        scored,
        readable,
        _gave_up(rows, readable),
        (f"the tree of {_emotion(parse_tree(best))}", tallies(always[best])),
        _recalls(*codes(predicted), labels),
        quality=scored["tree_similarity"].parts[:, 0],
        classes=Classes(labels, *codes(predicted), is_one_set=True),
    )


def _emotion(tree: AffectiveTree) -> str:
    return tree.emotions[0].label if tree.emotions else ""


def level_similarity(reference: AffectiveTree, prediction: AffectiveTree, level: str) -> float:
    """Compute the tree similarity of one level's nodes ('a', 'e' or 'm') regardless of supports; 1 if all are equal."""

    def alone(tree: AffectiveTree) -> AffectiveTree:
        nodes = tuple(Node(level, node.label) for node in tree.level(level))
        attributes, expressions, emotions = (nodes if level == other else () for other in LEVELS)
        return AffectiveTree(attributes, expressions, emotions)

    return tree_similarity(alone(reference), alone(prediction))
