"""Saves that wait for no disk: one at a time, published when all processes have written, failing alike everywhere."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.support.limits import PATIENCE_S
from train.fault_tolerance import checkpoint, safe_trainer
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
        self.args = SimpleNamespace(output_dir=str(folder), process_index=rank)
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

    def slowly(draft: Path, place: Path, processes: int) -> None:
        may_go_on.wait(10)
        original(draft, place, processes)

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
    def full(draft: Path, place: Path, processes: int) -> None:
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


class Sharded(Trainer):
    """One process of some, each of which writes a shard and the first one weights too."""

    def __init__(self, folder: Path, rank: int, meeting: threading.Barrier) -> None:
        super().__init__(folder, rank, meeting.parties)
        self.rank, self.meeting = rank, meeting

    def wait(self) -> None:
        self.meeting.wait(PATIENCE_S)

    def on_first(self, work):  # the barrier stands for the broadcast
        result = work() if self.rank == 0 else None
        self.meeting.wait(PATIENCE_S)
        return result

    def write(self, folder: Path) -> None:
        (folder / "global_step1").mkdir(parents=True, exist_ok=True)
        for name in (
            f"global_step1/bf16_zero_pp_rank_{self.rank}_mp_rank_00_optim_states.pt",
            f"global_step1/zero_pp_rank_{self.rank}_mp_rank_00_model_states.pt",
            f"rng_state_{self.rank}.pth",
            f"progress-{self.rank}.pt",
            *(("model.safetensors", "trainer_state.json") if self.rank == 0 else ()),
        ):
            (folder / name).write_bytes(name.encode())


def save_together(trainers: list[Sharded], monkeypatch) -> None:
    def write(self, model, trial) -> None:
        place = Path(self._get_output_dir(trial), f"checkpoint-{self.state.global_step}")
        place.mkdir(exist_ok=True)
        self.write(place)

    monkeypatch.setattr(Base, "_save_checkpoint", write)
    threads = [threading.Thread(target=trainer.save, args=(1,)) for trainer in trainers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)


def test_every_process_hashes_what_it_wrote_and_one_manifest_holds_all(tmp_path, monkeypatch):
    hashed: list[str] = []
    flush_and_hash = checkpoint._flush_and_hash
    monkeypatch.setattr(checkpoint, "_flush_and_hash", lambda path: hashed.append(path.name) or flush_and_hash(path))
    by_rank: dict[int, set[str]] = {}
    hash_files = checkpoint._hashed

    def note_rank(draft: Path, rank: int, processes: int) -> list[tuple[Path, str]]:
        found = hash_files(draft, rank, processes)
        by_rank[rank] = {path.name for path, _ in found}
        return found

    monkeypatch.setattr(checkpoint, "_hashed", note_rank)
    meeting = threading.Barrier(3)
    trainers = [Sharded(tmp_path, rank, meeting) for rank in range(3)]
    save_together(trainers, monkeypatch)
    trainers[0]._publishing.result(PATIENCE_S)
    place = tmp_path / "checkpoint-1"
    assert flaw_of(place) is None
    names = {path.name for path in place.rglob("*") if path.is_file()} - {"manifest.json"}
    assert set().union(*by_rank.values()) == names
    assert len(hashed) == len(names) == 14
    assert by_rank[0] == {name for name in names if "0_mp" in name or "_0." in name or "-0." in name} | {
        *("model.safetensors", "trainer_state.json")
    }
    assert all(f"progress-{rank}.pt" in by_rank[rank] and len(by_rank[rank]) == 4 for rank in (1, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_shard_that_its_process_cannot_hash_fails_the_save_by_name(tmp_path, monkeypatch):
    flush_and_hash = checkpoint._flush_and_hash

    def fail(path: Path) -> str:
        if path.name == "progress-1.pt":
            raise OSError(5, "Input/output error")
        return flush_and_hash(path)

    monkeypatch.setattr(checkpoint, "_flush_and_hash", fail)
    meeting = threading.Barrier(2)
    trainers = [Sharded(tmp_path, rank, meeting) for rank in range(2)]
    save_together(trainers, monkeypatch)
    with pytest.raises(OSError, match=r"process 1: .*Input/output error"):
        trainers[0]._publishing.result(PATIENCE_S)
    assert not list(tmp_path.iterdir())


def test_a_process_that_cannot_note_its_hashes_fails_at_once(tmp_path, monkeypatch):
    """Alone, for the first one waits for its note; the sentinels end that wait."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / ".checkpoint-1.part").mkdir()
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", lambda made, src: None)
    monkeypatch.setattr(safe_trainer, "hash_part", full)
    trainer = Trainer(tmp_path, rank=1, processes=2)
    trainer.save(1)
    with pytest.raises(OSError, match="No space left"):
        trainer.finish_saving()


def test_files_of_processes_that_are_no_more_fall_to_the_first():
    assert checkpoint.owner_of("rng_state_3.pth", 4) == 3
    assert checkpoint.owner_of("rng_state_3.pth", 2) == 0
    assert checkpoint.owner_of("model-00002-of-00003.safetensors", 4) == 0
