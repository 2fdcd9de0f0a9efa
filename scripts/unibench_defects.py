"""Prints, as Markdown for docs/results.md, how scores of MER-UniBench change from official to clean, by repair.

    SHARED_DATA=... python scripts/unibench_defects.py [CHECKPOINT]

CHECKPOINT is the one whose repairs are shown, by default the last that all sets have. The tables come from unibench/ in
SHARED_DATA: labels, published predictions, wheel tables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.emotions.matcher import VocabularyMatcher
from affectgpt.emotions.wheels import EmotionWheels
from eval.benchmarks.unibench.files import Reread, load_wheels, read_labels, read_predictions
from eval.benchmarks.unibench.scores import Scored, score
from eval.benchmarks.unibench.sets import BENCHMARKS, Answers, Gold, Mode
from eval.benchmarks.unibench.table import build_table, find_runs

PLEASANT = {"happy", "joyful", "joy", "peaceful", "powerful", "genius"}
"""Pleasant official groups of level 1; the others are unpleasant except `surprised`."""
READ: dict[Mode, Reread] = {"official": "none", "clean": "empty"}


class Set:
    """Data set with its answers as each mode reads them, and its scores in both."""

    def __init__(self, folder: Path, name: str, files: Mapping[str, Path], wheels: EmotionWheels) -> None:
        self.benchmark, extractor = BENCHMARKS[name], VocabularyMatcher()
        labels = read_labels(folder / name / "labels.csv", self.benchmark)
        self.gold: list[Gold] = list(labels.gold.values())
        groups = self.benchmark.groups(list(labels.gold))
        self.answers: dict[Mode, dict[str, Answers]] = {
            mode: {
                run: read_predictions(path, self.benchmark, labels, extractor, reread).answers
                for run, path in files.items()
            }
            for mode, reread in READ.items()
        }
        self.scores: dict[Mode, dict[str, Scored]] = {
            mode: score(self.benchmark, self.gold, self.answers[mode], mode, wheels, groups=groups) for mode in READ
        }

    def steps(self, run: str) -> list[float]:
        """Return primary scores from official to clean: rule repaired, all clips scored, empty lists read again."""
        official, clean = (self.scores[mode][run].evaluation for mode in READ)
        if self.benchmark.task == "sentiment":
            value: float = clean["primary"]["value"]
            return [official["primary"]["value"], clean["secondary"]["waf_signed"]["value"] or 0.0, value, value]
        known = [index for index, gold in enumerate(self.gold) if gold != ("neutral",)]
        answers = self.answers["official"][run]
        same = score(self.benchmark, [self.gold[i] for i in known], {"": [answers[i] for i in known]}, resamples=1)
        every = score(self.benchmark, self.gold, {"": answers}, resamples=1)
        evaluations = [official, same[""].evaluation, every[""].evaluation, clean]
        return [float(item["primary"]["value"]) for item in evaluations]

    def counted(self, run: str, wheels: EmotionWheels) -> str:
        """Describe the counts behind the steps."""
        answers = [answer for answer in self.answers["official"][run] if answer]
        if self.benchmark.task == "sentiment":
            counts = self.scores["clean"][run].evaluation["counts"]
            return (
                f"{counts['neutral_answers_to_signed']} undecided answers to clips with a sign, "
                f"{counts['gold_neutral']} clips of valence 0"
            )
        words = [word for answer in answers for word in answer.words]
        reach = [[group for group in wheels.groups(word) if group] for word in words]
        sides = [{group in PLEASANT for group in groups if group != "surprised"} for groups in reach]
        return (
            f"{self.gold.count(('neutral',))} neutral clips, {sum(not item.words for item in answers)} empty lists; "
            f"of {len(words)} words {sum(not groups for groups in reach)} on no official wheel, "
            f"{sum(0 < len(groups) < len(wheels.tables) for groups in reach)} on some only, "
            f"{sum(len(side) == 2 for side in sides)} pleasant on one and unpleasant on another, "
            f"{self.scores['clean'][run].evaluation['counts']['words_without_group']} not on the project's"
        )


def with_interval(figure: Mapping[str, Any]) -> str:
    """Format a score and its interval in percent."""
    return f"{100 * figure['value']:.2f} ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"


def main() -> None:
    """Print both tables and the counts."""
    folder = Path(os.environ.get("SHARED_DATA", ""), "unibench")
    if not folder.is_dir():
        raise SystemExit("SHARED_DATA: expected the folder that holds unibench/ with predictions, found none.")
    wheels = load_wheels(folder / "wheels")
    sets = {name: Set(folder, name, files, wheels) for name, files in find_runs(folder).items()}
    columns = [("official", "best-per-set"), ("official", "one"), ("clean", "best-per-set"), ("clean", "one")]
    tables = [
        build_table({name: item.scores[mode] for name, item in sets.items()}, rule, mode) for mode, rule in columns
    ]
    print("| set | " + " | ".join(f"{mode}, {rule}" for mode, rule in columns) + " | precision or signed |")
    print("|---" * (len(columns) + 2) + "|")
    for name, item in sets.items():
        cells = [
            f"{with_interval(table['sets'][name]['primary'])} `{table['checkpoint']['chosen'][name]}`"
            for table in tables
        ]
        beside = "waf_signed" if item.benchmark.task == "sentiment" else "precision"
        print(f"| {name} | {' | '.join(cells)} | {with_interval(tables[-1]['sets'][name]['secondary'][beside])} |")
    print(f"| mean of {len(sets)} | {' | '.join(with_interval(table['mean']) for table in tables)} | |\n")
    run = sys.argv[1] if sys.argv[1:] else next(iter(tables[-1]["checkpoint"]["chosen"].values()))
    print(f"| set, checkpoint {run} | official | rule repaired | all clips | empty lists read = clean | counted |")
    print("|---" * 6 + "|")
    for name, item in sets.items():
        steps = " | ".join(f"{100 * value:.2f}" for value in item.steps(run))
        print(f"| {name} | {steps} | {item.counted(run, wheels)} |")
    print("\n| set | official: mean and spread over the checkpoints | best |\n|---|---|---|")
    for name, item in sets.items():
        values = [100 * scored.evaluation["primary"]["value"] for scored in item.scores["official"].values()]
        print(f"| {name} | {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} | {max(values):.2f} |")


if __name__ == "__main__":
    main()
