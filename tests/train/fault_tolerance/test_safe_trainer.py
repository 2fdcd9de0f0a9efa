"""Saves that wait for no disk: one at a time, published when all processes have written, failing alike everywhere."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from train.fault_tolerance import safe_trainer
from train.fault_tolerance.checkpoint import SaveError, flaw_of, steps_of
from train.fault_tolerance.safe_trainer import SafeCheckpointsMixin


class Base:
    """A trainer that writes one file."""

    def _save_checkpoint(self, model, trial):
        place = Path(self._get_output_dir(trial), f"checkpoint-{self.state.global_step}")
        place.mkdir()
        (place / "weights").write_bytes(b"w" * 100)


class Trainer(SafeCheckpointsMixin, Base):
    """One process of some."""

    def __init__(self, folder: Path, rank: int = 0, processes: int = 1) -> None:
        self.args = SimpleNamespace(output_dir=str(folder))
        self.state = SimpleNamespace(global_step=0)
        self.waited = 0
        self.accelerator = SimpleNamespace(num_processes=processes, wait_for_everyone=self.wait)
        self.is_world_process_zero = lambda: rank == 0

    def wait(self) -> None:
        self.waited += 1

    def save(self, step: int) -> None:
        self.state.global_step = step
        self._save_checkpoint(None, None)


def test_a_checkpoint_stands_under_its_name_when_saving_is_finished(tmp_path):
    trainer = Trainer(tmp_path)
    for step in (1, 2, 3):
        trainer.save(step)
    trainer.finish_saving()
    assert steps_of(tmp_path) == [(3, tmp_path / "checkpoint-3"), (2, tmp_path / "checkpoint-2")]
    assert [flaw_of(path) for _, path in steps_of(tmp_path)] == [None, None]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-2", "checkpoint-3"}
    assert trainer.waited == 3  # for the others to have written theirs, before each is published


def test_a_save_waits_for_the_one_before(tmp_path, monkeypatch):
    may_go_on = threading.Event()
    original = safe_trainer.publish

    def slowly(draft: Path, place: Path) -> None:
        may_go_on.wait(10)
        original(draft, place)

    monkeypatch.setattr(safe_trainer, "publish", slowly)
    trainer = Trainer(tmp_path)
    trainer.save(1)
    assert not steps_of(tmp_path)  # training goes on meanwhile
    second = threading.Thread(target=trainer.save, args=(2,))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    assert [path.name for path in tmp_path.iterdir()] == [".checkpoint-1.part"]
    may_go_on.set()
    second.join()
    trainer.finish_saving()
    assert [step for step, _ in steps_of(tmp_path)] == [2, 1]


def test_a_publication_that_failed_is_told_at_the_next_save(tmp_path, monkeypatch):
    def full(draft: Path, place: Path) -> None:
        raise OSError(28, "No space left on device")

    trainer = Trainer(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(safe_trainer, "publish", full)
        trainer.save(1)
        with pytest.raises(SaveError, match="checkpoint-1: the disk is full"):
            trainer.save(2)
    assert not list(tmp_path.iterdir())
    trainer.save(3)  # said once
    trainer.finish_saving()
    assert [step for step, _ in steps_of(tmp_path)] == [3]


def test_a_save_needs_as_much_room_as_the_last_one_took(tmp_path, monkeypatch):
    trainer = Trainer(tmp_path)
    trainer.save(1)
    trainer.finish_saving()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(SaveError, match="a checkpoint takes"):
        trainer.save(2)
    assert [step for step, _ in steps_of(tmp_path)] == [1]


def test_what_fails_on_the_first_process_fails_on_all(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", lambda made, src: sent.append(list(made)))

    def fail() -> None:
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        Trainer(tmp_path, processes=2).on_first(fail)
    assert Trainer(tmp_path, processes=2).on_first(lambda: "a") == "a"
    assert sent == [[None, "the first process: ValueError: no room"], ["a", None]]

    def hear(made: list[object], src: int) -> None:
        made[:] = heard

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", hear)
    heard: list[object] = sent[0]
    with pytest.raises(SaveError, match="the first process: ValueError: no room"):
        Trainer(tmp_path, rank=1, processes=2).on_first(fail)
    heard = sent[1]
    assert Trainer(tmp_path, rank=1, processes=2).on_first(fail) == "a"


def test_processes_other_than_the_first_publish_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", lambda made, src: None)
    (tmp_path / ".checkpoint-1.part").mkdir()  # by the first one
    trainer = Trainer(tmp_path, rank=1, processes=2)
    before = set(threading.enumerate())
    trainer.save(1)
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    trainer.finish_saving()
    assert not steps_of(tmp_path)
    assert (tmp_path / ".checkpoint-1.part" / "checkpoint-1" / "weights").is_file()
