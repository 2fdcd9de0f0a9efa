"""Where things lie in a run folder; runs of v0.1.0 are found by these paths."""

from __future__ import annotations

from pathlib import Path

from train.run_folder import RunFolder

RUN = RunFolder(Path("runs/demo"))


def test_files_lie_where_v0_1_0_put_them():
    found = {
        RUN.recipe: "recipe.yaml",
        RUN.log: "log.jsonl",
        RUN.rollouts: "rollouts.jsonl",
        RUN.bad_samples: "bad_samples.jsonl",
        RUN.report: "report.json",
        RUN.page: "report.html",
        RUN.examples: "examples.jsonl",
        RUN.resources: "resources.json",
        RUN.ablations: "ablations.json",
        RUN.comparisons: "comparisons.json",
        RUN.ablation: "ablation.yaml",
        RUN.console: "console.log",
        RUN.running: ".running",
        RUN.lock: ".lock",
        RUN.checkpoint("emotion"): "checkpoints/emotion",
        RUN.note("emotion"): "checkpoints/emotion/stage.json",
        RUN.steps("emotion"): "checkpoints/emotion.steps",
        RUN.predictions("emotion", "test"): "predictions/emotion-test.jsonl",
        RUN.empathy_scores("hear"): "predictions/hear-empathy.json",
        RUN.plugins("hear"): "plugins/hear",
        RUN.published_report("emotion"): "hub/emotion.json",
        RUN.published("emotion"): "hub/emotion.sent",
        RUN.merged("emotion", "f00d"): ".merged-emotion-f00d",
    }
    assert {path.relative_to("runs/demo").as_posix(): name for path, name in found.items()} == {
        name: name for name in found.values()
    }
    assert RUN.cache == Path("runs/cache")
    assert RUN.name == "demo"
