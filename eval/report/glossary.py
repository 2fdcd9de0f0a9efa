"""Every figure of a report: its title, its definition in one sentence, and how it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from affectgpt.tasks import TASKS

Unit = Literal["share", "number"]


@dataclass(frozen=True, slots=True)
class Term:
    """Figure of a report."""

    title: str
    meaning: str
    unit: Unit = "share"
    """Whether it is a fraction, which is written in per cent, or a number of its own scale."""
    lower_is_better: bool = False


_WAR = "weighted average recall (accuracy): the share of answers that are right; an answer that cannot be read is wrong"
_UAR = (
    "unweighted average recall: the share that is right of each class, averaged over the classes, so that a rare one "
    "counts as much as a frequent one"
)
SCORES = {
    "accuracy": Term("right (WAR)", _WAR),
    "uar": Term("UAR", _UAR),
    "example_f1": Term(
        "F1",
        "agreement of the labels that are named with the gold ones (2 x both / (named + gold)), averaged over rows",
    ),
    "hit_rate": Term("hit rate", "share of rows for which at least one gold label is named, whatever else is named"),
    "macro_f1": Term("macro F1", "F1 of each label over all rows, averaged over labels"),
    "micro_f1": Term("micro F1", "F1 of all labels counted together, so that frequent ones count more"),
    "word_f1": Term("word F1", "share of content words that answer and gold text have in common (F1), mean over rows"),
    "word_precision": Term("word precision", "share of the answer's content words that the gold text has too"),
    "word_recall": Term("word recall", "share of the gold text's content words that the answer has too"),
    "ccc": Term(
        "CCC",
        "concordance correlation: 1 if every number is right, 0 if answers tell nothing, lower if they are too high, "
        "too low or too flat even where they rise and fall with the gold ones",
        "number",
    ),
    "pearson": Term("Pearson's r", "linear correlation of answers and gold numbers, whatever their scale", "number"),
    "mae": Term("mean absolute error", "how far answers are from the gold number, in its unit", "number", True),
    "tree_similarity": Term(
        "tree similarity",
        "how close the written explanation is to the gold one: 1 less the nodes that would have to be added, taken "
        "away or renamed, as a share of all nodes; 100 is identical",
    ),
    "attribute_similarity": Term("attributes", "tree similarity of what is seen and heard alone, regardless of links"),
    "expression_similarity": Term("expressions", "tree similarity of what is expressed alone, regardless of links"),
    "emotion_similarity": Term("emotions", "tree similarity of the emotions alone"),
    "emotion_war": Term("emotion (WAR)", f"of the emotion on top of the tree: {_WAR}"),
    "emotion_uar": Term("emotion (UAR)", f"of the emotion on top of the tree: {_UAR}"),
}
"""Name of a task's score -> its words."""

TERMS = {
    "emotion_uar": Term("Emotion (UAR)", f"of the emotion on top of the tree: {_UAR}"),
    "emotion_war": Term("Emotion (WAR)", f"of the emotion on top of the tree: {_WAR}"),
    "tree_similarity": Term("Tree similarity", SCORES["tree_similarity"].meaning),
    "expression_accuracy": Term("Expressions", "share of questions about what is expressed that are answered right"),
    "attribute_accuracy": Term("Attributes", "share of questions about what is seen and heard that are answered right"),
    "expression_uar": Term("Expressions (UAR)", f"of the questions about what is expressed: {_UAR}"),
    "attribute_uar": Term("Attributes (UAR)", f"of the questions about what is seen and heard: {_UAR}"),
    "parse_rate": Term("Well-formed", "share of explanations that obey the syntax of trees to the letter"),
}
"""Name of a score in report.json -> its words; of other tasks it is `<task>_<score>`, see `term_of`."""

NAMED: dict[str, dict[str, str]] = {
    "tree": {name: name for name in ("tree_similarity", "emotion_war", "emotion_uar")},
    "attribute_closed": {"attribute_accuracy": "accuracy", "attribute_uar": "uar"},
    "expression_single": {"expression_accuracy": "accuracy", "expression_uar": "uar"},
}
"""Task -> names in report.json of its scores, as v0.1.0 had them -> names among its tallies. Scores of all other tasks
are named `<task>_<score>`."""

WORDS = {
    "95 % interval": "range that would hold the true score in 95 of 100 tests with other people; the people of the "
    "test clips, each with all their clips, are what is drawn",
    "n": "number of answers that a figure rests on",
    "groups": "people or dialogues that the answers come from, over which an interval is drawn",
    "constant answer": "the answer that is most frequent in training, given to every clip: who does not exceed it has "
    "not shown that the clip matters",
    "recall": "of the clips of a class, the share that is given its name",
    "precision": "of the clips that are given a class's name, the share that belong to it",
    "F1 of a class": "harmonic mean of recall and precision: high only if both are",
    "readable": "share of answers in which one of the possible answers can be found",
}
"""Words that stand beside the figures of every report."""

EMPATHY_WORDS = {
    "accuracy": "share of dialogues whose emotion is named right",
    "macro F1": "F1 of each emotion, averaged over emotions",
    "decided in stage 1": "share of dialogues decided among the emotions that the plugin held likeliest, not all",
    "answers read": "share of answers in which an emotion could be found",
    "more than by itself": "difference in accuracy to the model without plugins, paired by dialogue, in points",
    "ECE": "expected calibration error: how far a plugin's probabilities are from how often it is right; 0 is best",
    "dist1, dist2": "different words (pairs of words) among all words of the responses: low if it always says the same",
    "bleu": "words and word sequences in common with the gold response; 100 is identical",
}
"""Figures of the section about plugins."""
TREE_WORDS = {
    "nodes right": "attributes, expressions and emotions of the gold tree that the model wrote with the same label",
    "links right": "lines from an emotion to its expressions, and from these to their attributes, that both trees have",
}
"""Figures beside a written tree."""
SIGNAL_WORDS = {
    "reward": "weighted sum of the rewards, which GRPO maximises; at best, the sum of the weights",
    "KL": "how far the model has moved from where GRPO began",
}
"""Figures of the curves of reinforcement learning."""


def term_of(name: str) -> Term:
    """Return the words of a score in report.json; of an unknown one, its name."""
    if name in TERMS:
        return TERMS[name]
    for task in sorted(TASKS, key=len, reverse=True):
        score = SCORES.get(name.removeprefix(f"{task}_"))
        if name.startswith(f"{task}_") and score:
            title = f"{TASKS[task].title}: {score.title}"
            return Term(title, score.meaning, score.unit, score.lower_is_better)
    return Term(name, "")


def definitions(names: Iterable[str]) -> dict[str, str]:
    """Return title and definition of scores, of those that have one."""
    terms = (term_of(name) for name in names)
    return {term.title: term.meaning for term in terms if term.meaning}


def is_score_of(name: str, task: str) -> bool:
    """Tell whether a score in report.json is one of a task's."""
    if task in NAMED:
        return name in NAMED[task] or (task == "tree" and name == "parse_rate")
    return name.startswith(f"{task}_") and name.removeprefix(f"{task}_") in SCORES


def is_taught(stage: Mapping[str, Any], name: str) -> bool:
    """Tell whether a stage of report.json, or one before it, teaches what a score measures; True if it is not known.

    Scores that belong to no task, those of plugins, count as taught.
    """
    taught = stage.get("taught")
    return (
        not taught
        or any(is_score_of(name, task) for task in taught)
        or not any(is_score_of(name, task) for task in TASKS)
    )


def taught_metrics(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of a stage of report.json in what it, or a stage before it, teaches."""
    return {name: metric for name, metric in stage["metrics"].items() if is_taught(stage, name)}
