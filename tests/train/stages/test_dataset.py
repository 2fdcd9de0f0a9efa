"""What a supervised stage reads: items, modality dropout, useful tokens."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import SimpleNamespace

import pytest

from affectgpt.clip import Clip
from affectgpt.inputs.reader import EncodedRow
from tests.support.rows import make_clip
from train.stages.dataset import StageDataset


class Reader:
    """Rows that say what was kept from the model; counts how often it was asked."""

    tokenizer = SimpleNamespace(pad_token_id=0)

    def __init__(self) -> None:
        self.calls = 0

    def read(self, clips: Sequence[Clip], hidden: Sequence[Collection[str]]) -> list[EncodedRow]:
        self.calls += 1
        return [
            EncodedRow(f"{clip.id}{''.join(hide)}", [1] * (int(clip.id) + 1), [2])
            for clip, hide in zip(clips, hidden, strict=True)
        ]


@pytest.fixture
def clips() -> list[Clip]:
    return [make_clip(str(row), task="text") for row in range(5)]


def test_items_of_a_batch_are_read_together(clips):
    reader = Reader()
    data = StageDataset(clips, [[0, 3], [1], [4, 4, 2]], reader)  # type: ignore[arg-type]
    items = data.__getitems__([2, 0])
    assert [[row.id for row in item] for item in items] == [["4", "4", "2"], ["0", "3"]]
    assert reader.calls == 1
    assert [row.id for row in data[1]] == ["1"]
    assert len(data) == 3


def test_modality_dropout_depends_on_the_place_alone(clips):
    items = [[row] for row in range(5)] * 200
    data = StageDataset(clips, items, Reader(), dropout=0.3, seed=1)  # type: ignore[arg-type]
    names = [item[0].id for item in data.__getitems__(range(1000))]
    dropped = [name[1:] for name in names if name[1:]]
    assert 250 < len(dropped) < 350
    assert set(dropped) == {"video", "audio", "text"}
    assert [data[place][0].id for place in (7, 500, 3)] == [names[place] for place in (7, 500, 3)]
    other = StageDataset(clips, items, Reader(), dropout=0.3, seed=2)  # type: ignore[arg-type]
    assert [item[0].id for item in other.__getitems__(range(1000))] != names


class Ahead:
    """Source that notes which rows it was told to expect."""

    def __init__(self) -> None:
        self.expected: list[list[str]] = []

    def of(self, clips: Sequence[Clip]) -> list[dict[str, object]]:
        return [{} for _ in clips]

    def expect(self, clips: Sequence[Clip]) -> None:
        self.expected.append([clip.id for clip in clips])


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_next_batch_of_a_process_is_expected(world: int) -> None:
    rows = [make_clip(str(row), task="text") for row in range(20)]
    reader = Reader()
    reader.source = source = Ahead()  # type: ignore[attr-defined]
    data = StageDataset(rows, [[row] for row in range(20)], reader)  # type: ignore[arg-type]
    batches = [list(range(start, start + 2)) for start in range(0, 20, 2 * world)]  # those of the first process
    for batch in batches:
        data.__getitems__(batch)
    asked = [[str(row) for row in batch] for batch in batches]
    assert source.expected[1 : len(batches) - 1] == asked[2:]
    assert source.expected[0] == ["2", "3"]  # before it knows how many processes there are
    assert not set(source.expected[-1]) & {row for batch in asked for row in batch}


class Teller(Reader):
    """Rows that say which emotion their evidence finds likeliest."""

    def read(self, clips: Sequence[Clip], hidden: Sequence[Collection[str]]) -> list[EncodedRow]:
        return [
            EncodedRow(max(zip(told["probabilities"], told["labels"], strict=True))[1] if told else "nothing", [1], [2])
            for told in ((clip.evidence or {}).get("emotion") for clip in clips)
        ]


def test_evidence_is_kept_back_or_made_false_as_often_as_asked():
    labels = [f"e{place}" for place in range(10)]
    evidence = {"emotion": {"kind": "emotion", "labels": labels, "probabilities": [0.82, *[0.02] * 9]}}
    turns = [{"role": "user", "content": "My tire burst"}, {"role": "assistant", "content": "e0"}]
    row = Clip(id="0", messages=turns, task="dialogue", answer="e0", evidence=evidence)
    data = StageDataset([row], [[0, 0]] * 1000, Teller(), seed=3, evidence=(0.3, 0.2))  # type: ignore[arg-type]
    said = [[told.id for told in item] for item in data.__getitems__(range(1000))]
    flat = [name for item in said for name in item]
    assert 540 < flat.count("nothing") < 660
    assert 960 < flat.count("e0") < 1120  # the false one names it too, one time in ten
    assert 280 < len([name for name in flat if name not in ("e0", "nothing")]) < 440
    assert [[told.id for told in item] for item in data.__getitems__([7, 500])] == [said[7], said[500]]
    whole = StageDataset([row], [[0]] * 50, Teller())  # type: ignore[arg-type]
    assert {item[0].id for item in whole.__getitems__(range(50))} == {"e0"}
