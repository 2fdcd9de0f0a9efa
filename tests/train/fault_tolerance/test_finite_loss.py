"""A loss that is no number stops a supervised and a GRPO stage before the step, with the names of the rows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from affectgpt.inputs.reader import EncodedRow
from affectgpt.problems import RunError
from train.fault_tolerance.finite_loss import ROW_IDS, ROW_TOKENS, FiniteLossMixin, NamedRows


class Base:
    """A trainer whose loss is given with the batch."""

    def compute_loss(self, model, inputs, return_outputs=False):
        assert not {ROW_IDS, ROW_TOKENS} & inputs.keys()
        return (inputs["loss"], "outputs") if return_outputs else inputs["loss"]


class Trainer(FiniteLossMixin, Base):
    """One process."""

    def __init__(self):
        self.accelerator = SimpleNamespace(gather=lambda value: value, num_processes=1)
        self.state = SimpleNamespace(global_step=6)


def test_finite_losses_pass():
    loss = torch.tensor(1.5)
    assert Trainer().compute_loss(None, {"loss": loss, ROW_IDS: ["a"], ROW_TOKENS: 3}) is loss
    assert Trainer().compute_loss(None, {"loss": loss}, return_outputs=True) == (loss, "outputs")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_others_stop_before_the_step(value):
    with pytest.raises(RunError, match=rf"step 7: the loss is {value} in rows a, b\. The step was not taken"):
        Trainer().compute_loss(None, {"loss": torch.tensor(float(value)), ROW_IDS: ["a", "b"]})


@pytest.mark.parametrize(("mine", "theirs"), [(1.5, "nan in rows x"), (float("inf"), None)])
def test_a_loss_of_one_process_stops_all_of_them(monkeypatch, mine, theirs):
    """The processes meet twice: whether all are finite, and if not, what each has to tell."""
    trainer = Trainer()
    trainer.accelerator.num_processes = 2
    trainer.accelerator.gather = lambda value: torch.cat([value, torch.tensor([int(theirs is None)])])

    def gather_told(told, own):
        told[:] = [own, theirs]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather_told)
    expected = theirs or "inf in rows a"
    with pytest.raises(RunError, match=rf"step 7: the loss is {expected}\. The step was not taken"):
        trainer.compute_loss(None, {"loss": torch.tensor(mine), ROW_IDS: ["a"]})


def test_batches_carry_the_names_and_lengths_of_their_rows():
    rows = [EncodedRow("x", [1], [2]), EncodedRow("y", [1, 3], [2]), EncodedRow("z", [1], [2, 4, 5])]
    batch = NamedRows(lambda items: {"count": len(items)})([[rows[0], rows[1]], [rows[2]]])
    assert batch == {"count": 2, ROW_IDS: ["x", "y", "z"], ROW_TOKENS: 9}
