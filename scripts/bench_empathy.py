"""How long the emotion plugin takes to train on EmpatheticDialogues' development part (5,734 contexts of SHARED_DATA),
and how many contexts it reads a second: without a download, and with MiniLM fine-tuned. There is no peer.

--quick trains the first alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from _bench import compare, report

from affectgpt.empathy.dialogue import rows_with_emotion
from affectgpt.empathy.emotion_model import EmotionModel

LIMITS = {"train_scratch": 120.0, "train_minilm": 600.0}
"""Seconds on two cores."""
LEAST = {"predict_scratch": 2000.0}
"""Contexts a second."""


def measure(encoder: str, rows: list[Any], rounds: int) -> list[dict[str, Any]]:
    """Train once, predict several times."""
    began = time.perf_counter()
    model = EmotionModel.fit(rows, encoder=encoder)
    trained = time.perf_counter() - began
    speeds = []
    for _ in range(rounds):
        began = time.perf_counter()
        model.predict(rows)
        speeds.append(len(rows) / (time.perf_counter() - began))
    return [
        compare(f"train_{encoder}", "s", trained),
        compare(f"predict_{encoder}", "contexts/s", median(speeds), more_is_better=True),
    ]


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without MiniLM, fewer rounds")
    options = parser.parse_args()
    data = Path(os.environ.get("SHARED_DATA", ""), "empathetic_dialogues", "dev.jsonl")
    if not data.is_file():
        raise SystemExit("SHARED_DATA: expected the folder that holds empathetic_dialogues/dev.jsonl, found none.")
    rows, rounds = rows_with_emotion(data), 2 if options.quick else 5
    results = measure("scratch", rows, rounds)
    if not options.quick:
        results += measure("minilm", rows, 1)
    report(results, rounds, ["torch", "transformers", "scikit-learn", "numpy"])
    for item in results:
        if item["ours"] > LIMITS.get(item["name"], float("inf")) or item["ours"] < LEAST.get(item["name"], 0.0):
            print(f"{item['name']}: {item['ours']} {item['unit']} misses its limit", file=sys.stderr)


if __name__ == "__main__":
    main()
