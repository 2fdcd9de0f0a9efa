"""What is kept beside a trainer's own state comes back, to as many processes as kept it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from train.fault_tolerance.exact_state import ExactStateMixin


class Base:
    """The part of transformers' Trainer that is called."""

    def _save_rng_state(self, output_dir):
        self.saved = output_dir

    def _load_rng_state(self, checkpoint):
        self.loaded = checkpoint


class Trainer(ExactStateMixin, Base):
    """One process of some, with losses since the last line of the log."""

    def __init__(self, loss: float, logged: int, index: int = 0, world: int = 2):
        self.args = SimpleNamespace(process_index=index, world_size=world)
        self._tr_loss, self._globalstep_last_logged = torch.tensor(loss), logged


def test_each_process_gets_its_own_back(tmp_path):
    for index in (0, 1):
        Trainer(1.5 + index, 6, index)._save_rng_state(str(tmp_path))
    for index in (0, 1):
        trainer = Trainer(0.0, 0, index)
        trainer._load_rng_state(str(tmp_path))
        assert float(trainer._tr_loss) == 1.5 + index
        assert trainer._globalstep_last_logged == 6
        assert trainer.loaded == str(tmp_path)


@pytest.mark.parametrize(("index", "world"), [(0, 1), (0, 3), (2, 3)])
def test_other_numbers_of_processes_begin_their_sums_anew(tmp_path, index, world):
    for saver in (0, 1):
        Trainer(1.5, 6, saver)._save_rng_state(str(tmp_path))
    trainer = Trainer(0.0, 8, index, world)
    trainer._load_rng_state(str(tmp_path))
    assert float(trainer._tr_loss) == 0.0
    assert trainer._globalstep_last_logged == 8


def test_nothing_to_go_on_from():
    trainer = Trainer(0.0, 0)
    trainer._load_rng_state(None)
    assert trainer.loaded is None
