"""Evidence about a row comes from a plugin that has not seen its dialogue."""

from __future__ import annotations

import json

import pytest

from affectgpt.clip import Clip, read_clips
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.evidence.table import read_all
from affectgpt.plugins.command import crossfit_main
from affectgpt.plugins.crossfit import held_out_evidence
from affectgpt.plugins.plugin import Plugin
from affectgpt.problems import InputError
from tests.affectgpt.plugins.emotion.test_plugin import write_data


class Memory(Plugin):
    """Knows which groups it has seen."""

    name, kind = "memory", "emotion"

    def __init__(self, groups):
        self.groups = groups

    @classmethod
    def fit(cls, rows):
        return cls({row.group for row in rows})

    def predict(self, rows):
        seen = [float(row.group in self.groups) for row in rows]
        return [EmotionEvidence(("seen", "new"), (value, 1 - value)) for value in seen]

    def save(self, folder):
        """Nothing."""

    @classmethod
    def load(cls, folder):
        return cls(set())

    def card(self):
        return {}


def rows(count: int) -> list[Clip]:
    turns = [{"role": "user", "content": "words"}, {"role": "assistant", "content": "sad"}]
    return [
        Clip(id=str(place), messages=turns, task="dialogue", answer="sad", group=f"g{place // 3}")
        for place in range(count)
    ]


def test_no_row_was_seen():
    found = held_out_evidence(Memory.fit, rows(30), folds=4)
    assert all(piece is not None and piece.top(1)[0][0] == "new" for piece in found)  # type: ignore[union-attr]


@pytest.mark.parametrize("folds", [1, 11])
def test_folds_that_cannot_be_dealt(folds):
    with pytest.raises(InputError, match="expected 2 to 10"):
        held_out_evidence(Memory.fit, rows(30), folds=folds)


def test_the_command(tmp_path, capsys):
    data = write_data(tmp_path / "data.jsonl", 60)
    out = tmp_path / "out" / "rows.jsonl"
    assert crossfit_main(["cause", str(data), "--out", str(out), "--folds", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["with_evidence"] == 60
    written = read_clips(out)
    assert all(set(read_all(row.evidence)) == {"cause"} for row in written)
    assert {row.task for row in written} == {"dialogue"}
    with pytest.raises(InputError, match="unknown setting of plugin 'cause'"):
        crossfit_main(["cause", str(data), "--out", str(out), "--set", "nothing=1"])
