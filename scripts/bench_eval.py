"""Times scoring MER-UniBench and measures its memory.

It scores all seven checkpoints of the four sets of SHARED_DATA, in official mode, with intervals of 1,000 resamples.

The peer works as the published scorer does: words are looked up anew for every clip and wheel, and there is no
interval. It leaves out the time which that scorer spends on reading tables twice.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from _bench import compare, report

LIMITS = {"unibench_official": 1.5, "unibench_peak_rss": 500.0}
"""Maximum seconds and MB that scoring may take."""


def score_all(folder: Path) -> None:
    """Read and score everything, as `affectgpt eval unibench-all` does."""
    from affectgpt.emotions.matcher import VocabularyMatcher
    from eval.benchmarks.unibench.files import load_wheels, read_labels, read_predictions
    from eval.benchmarks.unibench.scores import score
    from eval.benchmarks.unibench.sets import BENCHMARKS
    from eval.benchmarks.unibench.table import find_runs

    wheels, extractor = load_wheels(folder / "wheels"), VocabularyMatcher()
    for name, files in find_runs(folder).items():
        labels = read_labels(folder / name / "labels.csv", BENCHMARKS[name])
        runs = {run: read_predictions(path, BENCHMARKS[name], labels, extractor).answers for run, path in files.items()}
        score(BENCHMARKS[name], list(labels.gold.values()), runs, "official", wheels)


def score_plainly(folder: Path) -> None:
    """Compute, as the peer, the primary metrics alone, without intervals."""
    from sklearn.metrics import f1_score

    from eval.benchmarks.unibench.files import load_wheels, parse_list, read_labels
    from eval.benchmarks.unibench.sets import BENCHMARKS
    from eval.benchmarks.unibench.table import find_runs

    wheels = load_wheels(folder / "wheels")

    def group(word: str, wheel: int) -> str | None:
        reached = sorted({on for base in wheels.forms.get(word, ()) for on in wheels.synonyms.get(base, ())})
        return next((wheels.tables[wheel][on][0] for on in reached if on in wheels.tables[wheel]), None)

    for name, files in find_runs(folder).items():
        gold = read_labels(folder / name / "labels.csv", BENCHMARKS[name]).gold
        for path in files.values():
            with path.open(encoding="utf-8") as file:
                rows = [json.loads(line) for line in file]
            if BENCHMARKS[name].task == "sentiment":
                signed = [(gold[row["name"]], row["sentiment"] == "positive") for row in rows if gold[row["name"]]]
                f1_score([value > 0 for value, _ in signed], [positive for _, positive in signed], average="weighted")
                continue
            for wheel in range(len(wheels.tables)):
                pairs = [(group(gold[row["name"]][0], wheel), parse_list(row["openset"])) for row in rows]
                hits = [label in {group(word, wheel) for word in words} for label, words in pairs if label]
                sum(hits) / len(hits)


def measure(name: str, folder: Path) -> dict[str, float]:
    """Measure seconds and peak memory of one of the two in a process of its own, without its imports."""
    done = subprocess.run(
        [sys.executable, __file__, "--run", name], env={**os.environ, "SHARED_DATA": str(folder)}, capture_output=True
    )
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def run_once(work: Callable[[Path], None], folder: Path) -> dict[str, float]:
    """Import what is needed, then time one call in this process."""
    if work is score_plainly:
        import_module("sklearn.metrics")
    import eval.benchmarks.unibench.files
    import eval.benchmarks.unibench.scores
    import eval.benchmarks.unibench.table  # noqa: F401

    began = time.perf_counter()
    work(folder)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run fewer rounds: within a minute")
    parser.add_argument("--run", choices=("ours", "peer"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    shared = os.environ.get("SHARED_DATA")
    if not shared or not Path(shared, "unibench").is_dir():
        raise SystemExit("SHARED_DATA: expected the folder that holds unibench/ with predictions, found none.")
    works = {"ours": score_all, "peer": score_plainly}
    if options.run:
        print(json.dumps(run_once(works[options.run], Path(shared, "unibench"))))
        return
    rounds = 2 if options.quick else 7
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name in works:
            runs[name].append(measure(name, Path(shared)))
    seconds = {name: median(item["seconds"] for item in items) for name, items in runs.items()}
    peak = {name: max(item["mb"] for item in items) for name, items in runs.items()}
    results: list[dict[str, Any]] = [
        compare("unibench_official", "s", seconds["ours"], seconds["peer"]),
        compare("unibench_peak_rss", "MB", peak["ours"], peak["peer"]),
    ]
    report(results, rounds, ["numpy", "openpyxl", "scikit-learn", "simplemma"])
    for item in results:
        if item["ours"] > LIMITS[item["name"]]:
            print(f"{item['name']}: {item['ours']} {item['unit']} is over {LIMITS[item['name']]}", file=sys.stderr)


if __name__ == "__main__":
    main()
