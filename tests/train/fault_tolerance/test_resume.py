"""A stage goes on only from a checkpoint that this run can read; every other is refused with what to do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from affectgpt.problems import InputError, RunError
from train.fault_tolerance.checkpoint import draft_of, publish
from train.fault_tolerance.resume import forget_stage, train_from_newest


class Trainer:
    """One process of some."""

    def __init__(self, processes: int = 1, error: Exception | None = None) -> None:
        self.happened: list[str] = []
        self.accelerator = SimpleNamespace(
            num_processes=processes, wait_for_everyone=lambda: self.happened.append("all are here")
        )
        self.error = error
        self.point: str | None = None

    def on_first(self, work):
        self.happened.append("the first looks")
        return work()

    def train(self, resume_from_checkpoint):
        self.point = resume_from_checkpoint
        if self.error:
            raise self.error


def save(folder: Path, processes: int, sharded: bool, latest: str = "global_step4") -> Path:
    place = folder / "checkpoint-4"
    draft = draft_of(place)
    draft.mkdir(parents=True)
    for rank in range(processes):
        (draft / f"progress-{rank}.pt").write_bytes(b"x")
    if sharded:
        (draft / "global_step4").mkdir()
        (draft / "global_step4" / "shard.pt").write_bytes(b"x")
        (draft / "latest").write_text(latest)
    publish(draft, place)
    return place


def go_on(folder: Path, trainer: Trainer, deepspeed: bool) -> Trainer:
    train_from_newest(trainer, "one", folder, [folder / "log.jsonl", folder / "rollouts.jsonl"], deepspeed)
    return trainer


@pytest.mark.parametrize(("saved_by", "processes", "sharded"), [(1, 1, False), (2, 1, False), (2, 2, True)])
def test_it_goes_on(tmp_path, saved_by, processes, sharded):
    place = save(tmp_path, saved_by, sharded)
    (tmp_path / ".checkpoint-9.part").mkdir()
    trainer = go_on(tmp_path, Trainer(processes), deepspeed=sharded)
    assert trainer.point == str(place)
    assert not (tmp_path / ".checkpoint-9.part").exists()  # a save that was cut off
    assert trainer.happened == ["all are here", "the first looks"]


def test_what_was_logged_after_the_checkpoint_is_forgotten(tmp_path):
    """Of this stage: those steps are about to be taken again."""
    save(tmp_path, 1, False)
    lines = [{"stage": stage, "step": step} for stage, step in (("zero", 9), ("one", 2), ("one", 4), ("one", 6))]
    for name in ("log.jsonl", "rollouts.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    go_on(tmp_path, Trainer(), deepspeed=False)
    for name in ("log.jsonl", "rollouts.jsonl"):
        assert [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] == lines[:3], name


def test_it_begins_where_there_is_nothing(tmp_path):
    assert go_on(tmp_path, Trainer(), deepspeed=False).point is None


@pytest.mark.parametrize(
    ("saved_by", "processes", "sharded", "deepspeed", "told"),
    [
        (2, 1, True, True, "saved with deepspeed, by 2 processes, and this run is with deepspeed, by 1 process"),
        (2, 2, True, False, "saved with deepspeed, by 2 processes, and this run is without deepspeed"),
        (2, 2, False, True, "saved without deepspeed, and this run is with deepspeed, by 2 processes"),
    ],
)
def test_shards_of_others_are_refused(tmp_path, saved_by, processes, sharded, deepspeed, told):
    save(tmp_path, saved_by, sharded)
    with pytest.raises(InputError, match=told) as caught:
        go_on(tmp_path, Trainer(processes), deepspeed)
    assert f"begin stage 'one' anew: delete {tmp_path}" in str(caught.value)


def test_what_names_shards_elsewhere_is_refused(tmp_path):
    save(tmp_path, 1, True, latest="../../elsewhere")
    with pytest.raises(InputError, match=r"latest: expected one of global_step4, got '\.\./\.\./elsewhere'"):
        go_on(tmp_path, Trainer(), deepspeed=True)


def test_what_is_not_read_from_a_file_is_named(tmp_path):
    place = save(tmp_path, 1, False)
    error = pickle.UnpicklingError("Weights only load failed: os.system\nadvice of torch")
    with pytest.raises(RunError, match=r"os\.system") as caught:
        go_on(tmp_path, Trainer(error=error), deepspeed=False)
    assert str(place) in str(caught.value)
    assert "advice" not in str(caught.value)


def test_forget_stage(tmp_path):
    path = tmp_path / "log.jsonl"
    forget_stage(path, "one")
    assert not path.exists()
    rows = [{"stage": name, "step": step} for name in ("one", "two") for step in (1, 2, 3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    forget_stage(path, "two", after_step=2)
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows[:-1]
    forget_stage(path, "one")
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows[3:-1]
    path.write_text('[1]\n{"step": 1}\n{"stage": "one", "step": 1}\n{"stage": "one", "st')
    forget_stage(path, "one")
    assert path.read_text() == '{"step": 1}\n'


def test_a_line_cut_short_by_a_kill_is_forgotten(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"stage": "one", "step": 1}\n{"stage": "one", "st')
    forget_stage(path, "two")
    assert path.read_text() == '{"stage": "one", "step": 1}\n'


def test_lines_whose_text_holds_other_ends_of_lines_are_kept(tmp_path):
    """Prompts with U+2028 or U+0085, as tables of MELD have them, are lines of rollouts like others."""
    path = tmp_path / "rollouts.jsonl"
    texts = ["a\u2028b", "a\u2029b", "a\x85b", "a\u2028\u2028", "\x1c\x1d\x1e\x0b\x0c", "plain"]
    rows = [{"stage": "one", "step": step, "prompt": text} for step, text in enumerate(texts)]
    path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    before = path.read_bytes()
    forget_stage(path, "two")
    assert path.read_bytes() == before
    forget_stage(path, "one", after_step=3)
    assert [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] == rows[:4]


def test_a_line_cut_inside_a_character_is_forgotten(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    whole = '{"stage": "one", "step": 1, "prompt": "高兴"}\n'.encode()
    path.write_bytes(whole + whole[:-6])
    forget_stage(path, "two")
    assert path.read_bytes() == whole
