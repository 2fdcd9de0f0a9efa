"""Sentiment: positive, negative or neutral, from labels by the wheel's valence or from an answer that names it.

The rule: each label that the wheel knows has one vote, its valence, and the majority wins. In a tie the last vote
counts, because answers move from what shows to what lies behind it (`excited, anxious`); but `positive, negative`,
which names the tie itself, is neutral, and so is a list without a vote. The rule was chosen on CMU-MOSI alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from affectgpt.emotions.lemmas import tidy
from affectgpt.emotions.taxonomy import find

Sentiment = Literal["positive", "negative", "neutral"]
SENTIMENTS: tuple[Sentiment, ...] = ("positive", "negative", "neutral")


def sentiment_of(labels: Sequence[str]) -> Sentiment:
    """Return the sentiment of a list of labels.

    >>> sentiment_of(["happy", "tense", "afraid"]), sentiment_of(["excited", "anxious"]), sentiment_of(["calm"])
    ('negative', 'negative', 'neutral')
    """
    entries = [entry for entry in map(find, labels) if entry]
    votes = [entry.valence for entry in entries if entry.valence]
    balance = sum(votes)
    if votes and not balance and not {"positive", "negative"} <= {entry.fine for entry in entries}:
        balance = votes[-1]
    return "positive" if balance > 0 else "negative" if balance < 0 else "neutral"


def read_sentiment(text: str) -> Sentiment | None:
    """Return the sentiment that an answer opens with (`Positive.`); None where it is none of the three.

    >>> read_sentiment("[Negative]"), read_sentiment("mixed")
    ('negative', None)
    """
    first = tidy(tidy(text[:200]).partition(" ")[0])
    return next((sentiment for sentiment in SENTIMENTS if first == sentiment), None)
