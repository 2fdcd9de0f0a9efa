"""Effect of plugins on a language model's emotion predictions, beside controls that separate help from luck.

| condition | evidence that the model is given |
|---|---|
| `plugin` | the evidence of the rows |
| `no_plugin` | none |
| `oracle` | the gold emotion always among the first k, other evidence in line with the answer where that tells |
| `random_emotions` | the same probabilities beside other labels |
| `random_causes` | other words of the row, moments moved |
| `random_<plural>` | the like of every other kind of evidence that rows carry |
| `plugin_situation`, `no_plugin_situation` | besides, the situation, which gives the emotion away |
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from affectgpt.clip import Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.empathy.two_stage import Decision, Selection, decide
from affectgpt.evidence.controls import kinds_of, oracle, shuffled, without_evidence
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.dialogue import TASKS, dialogue_of
from affectgpt.evidence.prompting import evidence_summaries
from affectgpt.evidence.shortlist import shortlist
from affectgpt.inputs.reader import Reader
from affectgpt.problems import InputError
from eval.metrics.calibration import score_emotions
from eval.metrics.evaluation import describe_groups
from eval.metrics.recognition import encode_labels, label_tallies
from eval.metrics.responses import TextScorer, score_responses
from eval.metrics.stats import RESAMPLES, Metric, Tally, best_constant, compare, intervals, mean_tally

DECIDED = ("oracle", "random_emotions")
"""Conditions that fix the emotion; their responses do not depend on the evidence and are not compared."""


def conditions(clips: Sequence[Clip], cues: Cues, seed: int = 0) -> dict[str, list[Clip]]:
    """Return the rows of each condition, without the conditions that add the situation."""
    rng = np.random.default_rng(seed)
    return {
        "plugin": list(clips),
        "no_plugin": [without_evidence(clip) for clip in clips],
        "oracle": [oracle(clip, cues, rng) for clip in clips],
        **{f"random_{kind.plural}": [shuffled(clip, kind.kind, rng) for clip in clips] for kind in kinds_of(clips)},
    }


def evaluate(
    model: Any,
    reader: Reader,
    clips: Sequence[Clip],
    selection: Selection,
    batch_size: int = 16,
    max_new_tokens: int = 64,
    text_scorer: TextScorer | None = None,
    resamples: int = RESAMPLES,
    examples: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Score every condition; intervals are clustered by `group`.

    Args:
        clips: rows of an emotion task with evidence of an emotion plugin.
        text_scorer: compares responses by meaning.
        examples: number of rows that are shown whole.

    Returns:
        `plugin`, the scores of the evidence itself; `conditions`, name -> metrics; `over_no_plugin`, name -> difference
        of accuracy; of rows with responses `responses`, name -> metrics; `examples`; and `baselines`, the scores of
        the best constant answer.
    """
    given = conditions(clips, reader.cues)
    readers = dict.fromkeys(given, reader)
    answered = [name for name in given if name not in DECIDED]
    if any(clip.situation for clip in clips):
        informed = copy.copy(reader)
        informed.cues = replace(reader.cues, situation=True)
        for name in ("plugin", "no_plugin"):
            given[f"{name}_situation"], readers[f"{name}_situation"] = given[name], informed
    references = [_response_of(clip) for clip in clips]
    groups = [clip.group or clip.id for clip in clips]
    lists = [shortlist(clip) for clip in clips]
    options = sorted({label for emotions in lists for label in emotions.first + emotions.rest})
    tallies: dict[str, dict[str, Tally]] = {}
    report: dict[str, Any] = {
        "n": len(clips),
        "plugin": score_emotions([emotions.evidence for emotions in lists], [clip.answer for clip in clips]),
        "conditions": {},
        "over_no_plugin": {},
        "responses": {},
        "baselines": constant_answer(clips, options, groups, resamples),
        "examples": [_example(clip, reader) for clip in clips[:examples]],
    }
    for place, (name, rows) in enumerate(given.items()):
        if progress:
            progress(name, place, len(given))
        respond = name in answered and (any(references) or examples > 0)
        said = decide(model, readers[name], rows, selection, batch_size, max_new_tokens, respond)
        tallies[name] = _tallies(rows, said, options)
        report["conditions"][name] = intervals(tallies[name], groups, resamples)
        for example, decision in zip(report["examples"], said, strict=False):
            example["said"][name] = {"emotion": decision.emotion, "response": decision.response}
        if respond and any(references):
            told = [place for place, reference in enumerate(references) if reference]
            texts = [said[place].response or "" for place in told]
            report["responses"][name] = score_responses(texts, [references[place] for place in told], text_scorer)
    alone = tallies["no_plugin"]["accuracy"]
    for name, found in tallies.items():
        if name != "no_plugin":
            report["over_no_plugin"][name] = compare(alone, found["accuracy"], groups, resamples)
    return report


def constant_answer(
    clips: Sequence[Clip], labels: Sequence[str], groups: Sequence[str], resamples: int = RESAMPLES
) -> dict[str, dict[str, Metric]]:
    """Score the best constant answer, by its name: what a model says that does not read the row."""
    names = sorted({*labels, *(clip.answer for clip in clips)})

    def tallies(label: str) -> dict[str, Tally]:
        gold, answered = encode_labels([clip.answer for clip in clips], [label] * len(clips), names)
        macro = label_tallies(gold, answered, len(names))["macro_f1"]
        return {"accuracy": mean_tally(gold == answered), "macro_f1": macro}

    label, _ = best_constant(names, lambda name: tallies(name)["accuracy"])
    return {f"always {label}": intervals(tallies(label), groups, resamples)}


def require_evidence(clips: Sequence[Clip], path: str) -> None:
    """Refuse rows from which no conditions can be made.

    Raises:
        InputError: no row of an emotion task, or rows without evidence of an emotion plugin; the message says how many.
    """
    if not clips:
        raise InputError(f"{path}: expected rows of task {' or '.join(TASKS)}, got none.")
    bare = [clip.id for clip in clips if shortlist(clip).evidence is None]
    if bare:
        raise InputError(
            f"{path}: expected evidence of an emotion plugin on every row, {len(bare)} of {len(clips)} have none, such "
            f"as {bare[0]}. Put it there with: affectgpt plugins run DIR {path} --out ROWS2"
        )


def _tallies(clips: Sequence[Clip], said: Sequence[Decision], labels: Sequence[str]) -> dict[str, Tally]:
    """Return the metrics of decisions about rows, by name."""
    names = sorted({*labels, *(clip.answer for clip in clips)})
    truth, answered = encode_labels([clip.answer for clip in clips], [item.emotion or "" for item in said], names)
    stages = np.array([np.nan if item.stage is None else item.stage for item in said])
    right = truth == answered
    substring = [tidy(clip.answer) in item.said.casefold() for clip, item in zip(clips, said, strict=True)]
    found = {
        "accuracy": mean_tally(right),
        "accuracy_substring": mean_tally(substring),
        "macro_f1": label_tallies(truth, answered, len(names))["macro_f1"],
        "coverage": mean_tally([item.emotion is not None for item in said]),
    }
    if not np.isnan(stages).all():
        found["stage1_rate"] = mean_tally(np.where(np.isnan(stages), np.nan, stages == 1))
        found["fallback_rate"] = mean_tally(np.where(np.isnan(stages), np.nan, stages == 2))
        found["fallback_accuracy"] = mean_tally(np.where(stages == 2, right, np.nan))
    return found


def _example(clip: Clip, reader: Reader) -> dict[str, Any]:
    """Return a row and its evidence for a page, without the answers of the conditions."""
    turns = dialogue_of(clip)
    return {
        "id": clip.id,
        "turns": list(turns.turns) if turns else [],
        "first": list(shortlist(clip, reader.cues).first),
        "evidence": evidence_summaries(clip, reader.cues),
        "truth": clip.answer,
        "said": {},
    }


def _response_of(clip: Clip) -> str:
    """Return the response in a dialogue's target; empty if there is none."""
    _, _, response = clip.target.partition("\nResponse:")
    return response.strip() if clip.task == "dialogue" else ""


def describe(report: dict[str, Any]) -> str:
    """Write the report as a table."""
    scores = report["plugin"]
    recall = ", ".join(f"@{count} {value:.3f}" for count, value in scores["recall_at"].items())
    lines = [f"{report['n']} rows. The plugin itself: accuracy {scores['accuracy']:.3f}, recall {recall}.", ""]
    lines.append(f"{'':20} {'accuracy':22} {'over no plugin':24} {'macro F1':>8} {'first':>6} {'read':>6}")
    for name, found in report["conditions"].items():
        over = report["over_no_plugin"].get(name)
        difference = f"{_signed(over['value'])} [{_signed(over['low'])}, {_signed(over['high'])}]" if over else ""
        accuracy = found["accuracy"]
        interval = f"[{_edge(accuracy, 'low')}, {_edge(accuracy, 'high')}]"
        lines.append(
            f"{name:20} {f'{_share(accuracy)} {interval}':22} {difference:24} "
            f"{_share(found['macro_f1']):>8} {_share(found.get('stage1_rate')):>6} {_share(found['coverage']):>6}"
        )
    for name, found in report["baselines"].items():
        accuracy = found["accuracy"]
        interval = f"[{_edge(accuracy, 'low')}, {_edge(accuracy, 'high')}]"
        lines.append(f"{name:20} {f'{_share(accuracy)} {interval}':22} {'':24} {_share(found['macro_f1']):>8}")
    lines.append("first: share of rows decided among the first emotions; read: share of answers that can be read")
    lines += describe_groups(report["conditions"]["no_plugin"]["accuracy"].get("groups"))
    for name, texts in report["responses"].items():
        lines.append(f"responses, {name}: " + ", ".join(f"{key} {value:.3f}" for key, value in texts.items()))
    return "\n".join(lines)


def _share(metric: Metric | None) -> str:
    return "–" if metric is None or metric["value"] is None else f"{metric['value']:.3f}"


def _edge(metric: Any, side: str) -> str:
    return "–" if metric[side] is None else f"{metric[side]:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"
