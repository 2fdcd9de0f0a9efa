"""Cost of plugins and their evidence, on EmpatheticDialogues' development split (5,734 contexts of SHARED_DATA).

- `train_*`, `predict_*`: the emotion plugin without a download, and with fine-tuned MiniLM. There is no peer.
- `step_with_evidence`: a training step of the embedded language model on rows with evidence; the peer is the same step
  on the same rows without. `step_evidence_reading`: the peer already has the same words in its turns, so that nothing
  has to be assembled.
- `score_mode`: the scores of all labels of a row on one shared prompt; the peer reads the prompt for each label.

--quick leaves out the plugins, which take minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from _bench import alternate, compare, report

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import rows_with_emotion
from affectgpt.evidence.prompting import prompt_of
from affectgpt.evidence.shortlist import opening
from affectgpt.inference.label_scores import score_labels, split_lead
from affectgpt.inputs.batch import supervised_batch
from affectgpt.inputs.reader import ClipReader
from affectgpt.model.loading import load_model, load_processor
from affectgpt.plugins.cause.words import CauseModel
from affectgpt.plugins.emotion.plugin import EmotionModel
from affectgpt.plugins.plugin import with_evidence
from affectgpt.prompts import EMPATHY
from data_recipes.synthetic.towers import WEIGHTS
from train.config.model import ModelConfig
from train.stages.curriculum import batch_by_length
from train.stages.dataset import StageDataset, SupervisedCollator
from train.tiny_model import build_tiny

LIMITS = {"train_scratch": 120.0, "train_minilm": 600.0}
"""Maximum seconds on two cores."""
LEAST = {"predict_scratch": 2000.0}
"""Minimum contexts a second."""
LEAST_RATIO = {"step_with_evidence": 0.95, "score_mode": 5.0}
ROWS = 256
"""Number of rows on which steps are measured."""
BATCH = 16
SCORED = 8
"""Number of rows whose labels are scored together."""


def measure(encoder: str, rows: list[Any], rounds: int) -> list[dict[str, Any]]:
    """Train once, and predict several times."""
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


class NoMedia:
    """Feature source of text-only rows."""

    def of(self, clips: Sequence[Clip]) -> list[dict[str, Any]]:
        """Return no features for each row."""
        return [{} for _ in clips]


def language_model(rows: Sequence[Clip], folder: Path) -> tuple[Any, ClipReader]:
    """Build the embedded language model with its tokenizer fitted to the rows."""
    config = ModelConfig.model_validate({"tiny": {"vocab_size": 2048}})
    build_tiny(config, rows, WEIGHTS, 0, folder, folder)
    return load_model(folder, "float32"), ClipReader(load_processor(folder), NoMedia())  # type: ignore[arg-type]


def measure_steps(model: Any, reader: ClipReader, informed: Sequence[Clip], rounds: int) -> list[dict[str, Any]]:
    """Time training steps on rows with evidence, without it, and with its words in their turns, alternating."""
    bare = [replace(row, evidence=None) for row in informed]
    # A task that shows no evidence: the turns are read as they are.
    written = [
        replace(row, messages=[*prompt_of(row), row.messages[-1]], task="text", evidence=None) for row in informed
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def ready(rows: Sequence[Clip]) -> StageDataset:
        """Prepare rows as a stage reads them, those of similar length together; drawn once, before its first step."""
        order = batch_by_length(range(len(rows)), dict(enumerate(reader.lengths(rows))), BATCH, 0)
        return StageDataset(rows, [[index] for index in order], reader)

    def spend(data: StageDataset) -> None:
        collate = SupervisedCollator(reader)
        for start in range(0, len(data), BATCH):
            loss = model(**collate(data.__getitems__(range(start, start + BATCH)))).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    steps = len(informed) // BATCH
    peers: dict[str, Any] = {"bare": partial(spend, ready(bare)), "written": partial(spend, ready(written))}
    spent = {name: value / steps for name, value in alternate(partial(spend, ready(informed)), peers, rounds).items()}
    return [
        compare("step_with_evidence", "s", spent["ours"], spent["bare"]),
        compare("step_evidence_reading", "s", spent["ours"], spent["written"]),
    ]


def measure_scores(model: Any, reader: ClipReader, informed: Sequence[Clip], rounds: int) -> dict[str, Any]:
    """Time scoring in seconds a row, with one shared prompt and with one forward for each label."""
    labels = [opening(informed[0], label) for label in [*(informed[0].options or ()), EMPATHY["none"]]]
    rows = reader.read(informed)
    ids = [reader.tokenizer(label, add_special_tokens=False)["input_ids"] for label in labels]
    lead = len(split_lead(reader.tokenizer, labels)[0])

    def ours() -> torch.Tensor:
        return score_labels(model, reader, rows, labels, batch_size=SCORED)

    @torch.no_grad()
    def separately() -> torch.Tensor:
        scores_of_labels = []
        for start in range(0, len(rows), SCORED):
            part = rows[start : start + SCORED]
            for tokens in ids:
                batch = supervised_batch([replace(row, target_ids=tokens) for row in part], 0)
                targets = batch.pop("labels")
                scores = model(**batch).logits[:, :-1].log_softmax(-1)
                known = targets[:, 1:] != -100
                picked = scores.gather(-1, targets[:, 1:].clamp(min=0)[..., None])[..., 0] * known
                scores_of_labels.append(
                    torch.stack([row[keep][lead:].sum() for row, keep in zip(picked, known, strict=True)])
                )
        parts = torch.stack(scores_of_labels).view(-1, len(ids), SCORED)
        return parts.permute(0, 2, 1).reshape(len(rows), len(ids))

    model.eval()
    torch.testing.assert_close(ours(), separately(), rtol=0, atol=1e-4)
    spent = alternate(ours, {"separately": separately}, rounds)
    return compare("score_mode", "s/row", spent["ours"] / len(rows), spent["separately"] / len(rows))


def main() -> None:
    """Run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run fewer rounds and skip training plugins")
    options = parser.parse_args()
    data = Path(os.environ.get("SHARED_DATA", ""), "empathetic_dialogues", "dev.jsonl")
    if not data.is_file():
        raise SystemExit("SHARED_DATA: expected the folder that holds empathetic_dialogues/dev.jsonl, found none.")
    rows, rounds = rows_with_emotion(data), 1 if options.quick else 5
    results = [] if options.quick else measure("scratch", rows, rounds)
    if not options.quick:
        results += measure("minilm", rows, 1)
    some = rows[: ROWS // 8 if options.quick else ROWS]
    for plugin in (EmotionModel.fit(some, encoder="scratch", epochs=1), CauseModel.fit(some)):
        some = with_evidence(some, plugin.name, plugin.predict(some))
    with TemporaryDirectory() as folder:
        model, reader = language_model(some, Path(folder))
        results += measure_steps(model, reader, some, rounds)
        results.append(measure_scores(model, reader, some[:SCORED], rounds))
    report(results, rounds, ["torch", "transformers", "scikit-learn", "numpy"])
    for item in results:
        name = item["name"]
        missed = item["ours"] > LIMITS.get(name, float("inf")) or item["ours"] < LEAST.get(name, 0.0)
        if missed or (item["ratio"] or 0.0) < LEAST_RATIO.get(name, 0.0):
            print(f"{item['name']}: {item['ours']} {item['unit']} misses its limit", file=sys.stderr)


if __name__ == "__main__":
    main()
