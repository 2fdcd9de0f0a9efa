"""The trainer of supervised stages: rows in their drawn order, loss on answers only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from affectgpt.clip import Clip
from train.fault_tolerance.exact_state import ExactStateMixin
from train.fault_tolerance.finite_loss import ROW_TOKENS, FiniteLossMixin, NamedRows
from train.fault_tolerance.safe_trainer import SafeCheckpointsMixin
from train.fingerprint import stream_of
from train.stages.arguments import common_arguments, train_stage
from train.stages.context import StageContext
from train.stages.curriculum import batch_by_length
from train.stages.dataset import StageDataset, SupervisedCollator
from train.stages.order import stage_order
from train.stages.packing import draw_packs
from train.stages.supervised import SupervisedSettings


class OrderedTrainer(SafeCheckpointsMixin, ExactStateMixin, FiniteLossMixin, Trainer):
    """Trainer that reads rows in the order of the data set, which was shuffled once; a resumed run continues in it.

    It logs the share of tokens so far that were not padding.
    """

    useful_tokens = tokens = 0

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SequentialSampler(rows)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Compute the trainer's loss, and count tokens."""
        self.useful_tokens += inputs[ROW_TOKENS]
        self.tokens += inputs["input_ids"].numel()
        return super().compute_loss(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as the trainer does, with the share of useful tokens."""
        if self.tokens:
            logs["useful_tokens"] = self.useful_tokens / self.tokens
        super().log(logs, start_time)

    def kept(self) -> dict[str, Any]:
        """Return the mixin's state and the numbers of tokens so far."""
        return {**super().kept(), "tokens": [self.useful_tokens, self.tokens]}

    def restore(self, kept: dict[str, Any]) -> None:
        """Restore the state that `kept` returned."""
        super().restore(kept)
        self.useful_tokens, self.tokens = kept["tokens"]


def stage_dataset(context: StageContext, stage: SupervisedSettings, rows: Sequence[Clip]) -> StageDataset:
    """Return the data set of a stage: its rows in order, with modality and evidence dropout."""
    seed = int(stream_of(context.seed, f"{stage.name} dropout").integers(2**31))
    doubt = stage.evidence_dropout, stage.evidence_corruption
    items = supervised_items(context, stage, rows)
    return StageDataset(rows, items, context.reader, stage.modality_dropout, seed, doubt)


def supervised_items(context: StageContext, stage: SupervisedSettings, rows: Sequence[Clip]) -> list[list[int]]:
    """Draw the items of a supervised stage: rows, or packs of rows, as indices into `rows`."""
    if stage.packing is not None:
        return draw_packs(stage, rows, context.reader, int(stream_of(context.seed, stage.name).integers(2**31)))
    order = stage_order(context.seed, stage, rows, context.merged)
    distinct = list(dict.fromkeys(order))
    lengths = dict(zip(distinct, context.reader.lengths([rows[row] for row in distinct]), strict=True))
    # Rows of like length share a batch; how many batches a process sees must not change the order.
    return [[row] for row in batch_by_length(order, lengths, stage.batch_size, context.seed)]


def run_sft(
    context: StageContext,
    stage: SupervisedSettings,
    model: PreTrainedModel,
    dataset: StageDataset,
    folder: Path,
    callbacks: Sequence[TrainerCallback],
    world_size: int = 1,
) -> Trainer:
    """Train `model` in place on a stage; resume from the newest checkpoint in `folder` if there is one.

    Raises:
        InputError: the batch cannot be split over the processes.
    """
    trainer = OrderedTrainer(
        model=model,
        args=TrainingArguments(**common_arguments(context, stage, folder, world_size)),
        train_dataset=dataset,
        data_collator=NamedRows(SupervisedCollator(dataset.reader, stage.packing is not None)),
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    train_stage(trainer, context, stage, folder)
    return trainer
