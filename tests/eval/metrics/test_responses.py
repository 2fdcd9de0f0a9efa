"""Responses: by hand, and as the packages that the field uses score them."""

from __future__ import annotations

import pytest
import sacrebleu

from affectgpt.problems import InputError
from eval.metrics.responses import MeaningScorer, distinct, score_responses

SAID = ["Oh no, that is sad!", "That is sad."]
TRUE = ["Oh no, that must be sad!", "That sounds sad."]


def test_distinct_by_hand():
    # oh no , that is sad ! that is sad . : 11 words, of which 8 differ; 6 and 3 pairs, of which 2 come twice
    assert distinct(SAID, 1) == pytest.approx(8 / 11)
    assert distinct(SAID, 2) == pytest.approx(7 / 9)
    assert distinct(["", "word"], 2) == 0


def test_bleu_is_sacrebleus():
    found = score_responses(SAID, TRUE)
    assert set(found) == {"dist1", "dist2", "bleu"}
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(SAID, [TRUE]).score / 100)
    assert score_responses(TRUE, TRUE)["bleu"] == pytest.approx(1)


def test_meaning(minilm):
    scorer = MeaningScorer(minilm)
    alike, far = scorer(TRUE, TRUE), scorer(["The bus stops here.", "Five pages."], TRUE)
    assert alike == pytest.approx(dict.fromkeys(alike, 1.0), abs=1e-4)
    assert all(far[name] < scorer(SAID, TRUE)[name] < 1 for name in far)
    half = scorer([TRUE[0], " "], TRUE)
    assert half == pytest.approx(dict.fromkeys(alike, 0.5), abs=1e-4)
    assert set(scorer(["", ""], TRUE).values()) == {0.0}


def test_no_encoder():
    with pytest.raises(InputError, match="sentence encoder"):
        MeaningScorer("no/such-encoder")
