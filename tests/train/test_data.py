"""What a supervised stage reads: items, modality dropout, useful tokens."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import SimpleNamespace

import pytest

from affectgpt.clip import Clip
from affectgpt.reader import Row
from train.data import StageDataset, SupervisedCollator


class Reader:
    """Rows that say what was kept from the model; counts how often it was asked."""

    tokenizer = SimpleNamespace(pad_token_id=0)

    def __init__(self) -> None:
        self.calls = 0

    def read(self, clips: Sequence[Clip], hidden: Sequence[Collection[str]]) -> list[Row]:
        self.calls += 1
        return [
            Row(f"{clip.id}{''.join(hide)}", [1] * (int(clip.id) + 1), [2])
            for clip, hide in zip(clips, hidden, strict=True)
        ]


@pytest.fixture
def clips() -> list[Clip]:
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "joy"}]
    return [Clip(id=str(row), messages=turns, task="text", answer="joy") for row in range(5)]


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


def test_useful_tokens_are_counted(clips):
    data = StageDataset(clips, [[0], [3]], Reader())  # type: ignore[arg-type]
    collator = SupervisedCollator(data.reader)
    assert collator.useful_share() is None
    collator(data.__getitems__([0, 1]))
    assert collator.useful_share() == pytest.approx(7 / 10)
    collator(data.__getitems__([1]))
    assert collator.useful_share() == pytest.approx(12 / 15)
    packed = SupervisedCollator(data.reader, packing=True)
    packed(StageDataset(clips, [[0, 3], [2, 2]], data.reader).__getitems__([0, 1]))
    assert packed.useful_share() == pytest.approx(15 / 16)
