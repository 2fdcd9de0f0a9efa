"""Several runs one after the other in the processes of one launch, with the answers of `fixed_rollouts`.

    deepspeed ... --module tests.integration.several_runs '[["sgd", "recipe.yaml", "output=..."], ...]'

The first word of a run is its optimiser: "adamw", the product's, or "sgd", whose weights can be compared
(`tests/support/rounding.py`).

Which rows a supervised step reads is written to `rows-RANK.jsonl` in the folder of its run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from transformers import Trainer
from transformers.integrations import unset_hf_deepspeed_config

from tests.integration.fixed_rollouts import generate
from tests.support.rounding import sgd_with_momentum
from train import run
from train.fault_tolerance.finite_loss import ROW_IDS
from train.stages import grpo_trainer, sft_trainer

_compute_loss = sft_trainer.OrderedTrainer.compute_loss


def compute_loss(self: Any, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """As the trainer's, which takes the names of the rows out."""
    path = Path(self.args.output_dir).parents[1] / f"rows-{PartialState().process_index}.jsonl"
    with path.open("a") as file:
        file.write(json.dumps({"run": self.args.run_name, "rows": inputs[ROW_IDS]}) + "\n")
    return _compute_loss(self, model, inputs, *args, **kwargs)


if __name__ == "__main__":
    grpo_trainer.generate_groups = generate
    sft_trainer.OrderedTrainer.compute_loss = compute_loss  # type: ignore[method-assign]
    optimisers = {"adamw": Trainer.get_optimizer_cls_and_kwargs, "sgd": sgd_with_momentum}
    codes = []
    for optimiser, *words in json.loads(next(word for word in sys.argv[1:] if word.startswith("["))):
        Trainer.get_optimizer_cls_and_kwargs = staticmethod(optimisers[optimiser])  # type: ignore[method-assign]
        codes.append(run.entry(words))
        unset_hf_deepspeed_config()
        AcceleratorState._reset_state()  # else the next run would have the DeepSpeed configuration of this one
    sys.exit(max(codes))
