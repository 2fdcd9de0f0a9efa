import json
import os
from pathlib import Path

import pytest

from affectgpt.emotions.matcher import VocabularyMatcher
from affectgpt.emotions.sentiment import SENTIMENTS, read_sentiment, sentiment_of


@pytest.mark.parametrize(
    ("labels", "sentiment"),
    [
        ([], "neutral"),
        (["neutral"], "neutral"),
        (["xqzt"], "neutral"),
        (["calm", "surprised"], "neutral"),
        (["happy"], "positive"),
        (["calm", "happy"], "positive"),
        (["sad", "angry", "hopeful"], "negative"),
        (["excited", "anxious"], "negative"),
        (["anxious", "excited"], "positive"),
        (["positive", "negative"], "neutral"),
        (["negative", "neutral", "positive"], "neutral"),
        (["positive", "negative", "happy"], "positive"),
        (["unknown words", "Sadness."], "negative"),
    ],
)
def test_majority_then_the_last_vote(labels, sentiment):
    assert sentiment_of(labels) == sentiment


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("positive", "positive"),
        (" Negative.", "negative"),
        ("[neutral]", "neutral"),
        ("**Positive** since he smiles", "positive"),
        ("mixed", None),
        ("not positive", None),
        ("", None),
        ("positively", None),
        ("positive" * 10**6, None),
    ],
)
def test_what_a_model_says_is_read_strictly(text, sentiment):
    assert read_sentiment(text) == sentiment


def _published(name):
    if "SHARED_DATA" not in os.environ:
        pytest.skip("needs the published predictions: set SHARED_DATA to the folder that holds unibench/")
    folder = Path(os.environ["SHARED_DATA"], "unibench", name)
    return [json.loads(line) for path in sorted(folder.glob("predictions_*.jsonl")) for line in path.open()]


@pytest.mark.parametrize(("name", "from_labels", "from_answers"), [("cmumosi", 0.945, 0.936), ("sims", 0.95, 0.94)])
def test_agreement_with_the_published_sentiment(name, from_labels, from_answers):
    rows = _published(name)
    published = [row["sentiment"] if row["sentiment"] in SENTIMENTS else "neutral" for row in rows]
    labels = [row["openset"].strip("[]").split(",") for row in rows]
    own = VocabularyMatcher().extract([row["response"] for row in rows])
    for words, target in ((labels, from_labels), (own, from_answers)):
        agree = sum(sentiment_of(list_) == truth for list_, truth in zip(words, published, strict=True))
        assert agree / len(rows) >= target
