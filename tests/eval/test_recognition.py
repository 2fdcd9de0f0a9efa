"""WAR, UAR and the confusion matrix against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, recall_score

from eval.recognition import confusion, encode_labels, uar, war

LABELS = ["anger", "fear", "joy", "calm"]


def draw(seed: int) -> tuple[list[str], list[str]]:
    """Truth and answers, unevenly spread; some classes never occur, some answers are no labels."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 60))
    present = LABELS[: int(rng.integers(1, len(LABELS) + 1))]
    truth = rng.choice(present, count, p=rng.dirichlet(np.ones(len(present))))
    said = np.where(rng.random(count) < 0.5, truth, rng.choice([*LABELS, "", "glee"], count))
    return truth.tolist(), said.tolist()


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("seed", range(60))
def test_figures_equal_those_of_scikit_learn(seed: int) -> None:
    names, answers = draw(seed)
    truth, said = encode_labels(names, answers, LABELS)
    assert war(truth, said) == pytest.approx(accuracy_score(names, answers))
    assert uar(truth, said) == pytest.approx(balanced_accuracy_score(names, answers))
    macro = recall_score(names, answers, labels=sorted(set(names)), average="macro", zero_division=0)
    assert uar(truth, said) == pytest.approx(macro)
    whole = confusion_matrix(truth, said, labels=range(len(LABELS) + 1))
    counts = confusion(truth, said, len(LABELS))
    assert counts.tolist() == whole[:-1].tolist()
    assert counts.sum() == len(names)


def test_codes_follow_the_list_of_labels() -> None:
    truth, said = encode_labels(["joy", "anger"], ["joy", "glee"], LABELS)
    assert (truth.tolist(), said.tolist()) == ([2, 0], [2, 4])
    with pytest.raises(KeyError):
        encode_labels(["glee"], ["joy"], LABELS)


def test_figures_by_hand_where_classes_are_uneven() -> None:
    truth, said = encode_labels(["joy"] * 8 + ["fear"] * 2, ["joy"] * 8 + ["joy", "fear"], LABELS)
    assert war(truth, said) == pytest.approx(0.9)
    assert uar(truth, said) == pytest.approx(0.75)


def test_an_answer_that_is_no_label_is_wrong_and_stands_in_the_last_column() -> None:
    truth, said = encode_labels(["joy", "joy"], ["", "glee"], LABELS)
    assert war(truth, said) == uar(truth, said) == 0
    assert confusion(truth, said, 4)[2].tolist() == [0, 0, 0, 0, 2]


def test_of_nothing_there_are_no_figures() -> None:
    truth, said = encode_labels([], [], LABELS)
    assert math.isnan(war(truth, said))
    assert math.isnan(uar(truth, said))
    assert confusion(truth, said, 4).tolist() == [[0] * 5] * 4
