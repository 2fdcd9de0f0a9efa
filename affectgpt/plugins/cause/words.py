"""The cause plugin: which words of a dialogue caused the emotion.

- `naive_bayes`: GEE's rule (Kim et al., EMNLP 2021) with word counts instead of its generator. A word's score is its
  evidence for the two likeliest emotions, taken together, against the two least likely ones; trains in seconds.
- `attention`: the weights with which an emotion model pools the words, as ESCM's head gives them.
- `occlusion`: the log-odds that the emotion of an emotion model loses without the word; works with any such model.

Weights of a dialogue add up to 1. Stop words (the, my, was) are left out.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import EMOTIONS, Dialogue, dialogue_of, known_emotions
from affectgpt.evidence.kinds.cause import CauseEvidence, CauseWord
from affectgpt.evidence.words import Text, read_text
from affectgpt.plugins.parts.text_encoders import SCRATCH
from affectgpt.plugins.plugin import Plugin, Status, plugin_class
from affectgpt.problems import InputError, Problem, nearest

Method = Literal["naive_bayes", "attention", "occlusion"]
_SMOOTHING = 1.0
_TOP, _BOTTOM = 2, 2


class WordCounts:
    """Counts of each word in dialogues of each emotion; `fit` or `load` makes one.

    Args:
        words: the vocabulary.
        counts: (E, words).
        prior: (E,) number of dialogues of each emotion.
    """

    def __init__(self, words: Sequence[str], counts: np.ndarray, prior: np.ndarray) -> None:
        self.words, self.counts, self.prior = list(words), counts, prior
        self.place = {word: index for index, word in enumerate(words)}
        smoothed = counts + _SMOOTHING
        self.log_likelihood = np.log(smoothed / smoothed.sum(1, keepdims=True))
        self.log_prior = np.log(prior / prior.sum())

    @classmethod
    def fit(cls, texts: Sequence[Text], targets: Sequence[int], labels: int) -> Self:
        """Count the words of texts by emotion; `targets` are indices of the `labels` emotions."""
        spoken = [[word.casefold() for *_, word in text.words()] for text in texts]
        totals = Counter(word for words in spoken for word in words)
        words = sorted(word for word, count in totals.items() if count > 1)
        columns = {word: index for index, word in enumerate(words)}
        counts = np.zeros((labels, len(words)))
        for target, text_words in zip(targets, spoken, strict=True):
            for word in text_words:
                if word in columns:
                    counts[target, columns[word]] += 1
        return cls(words, counts, np.bincount(targets, minlength=labels).astype(float))

    def scores(self, words: Sequence[str]) -> np.ndarray:
        """Score words (n,) by the log-probability that each gives to the text's likeliest emotions; at most 0."""
        columns = [self.place.get(word.casefold()) for word in words]
        known = [column for column in columns if column is not None]
        posterior = self.log_prior + self.log_likelihood[:, known].sum(1)
        order = np.argsort(-posterior, kind="stable")
        top, bottom = order[:_TOP], order[_TOP:][-_BOTTOM:]
        scores = np.full(len(words), -math.inf)
        for index, column in enumerate(columns):
            if column is not None:
                joint = self.log_prior + self.log_likelihood[:, column]
                merged = np.logaddexp.reduce(joint[top])
                scores[index] = merged - np.logaddexp.reduce([merged, *joint[bottom]])
        return scores


def _emotion_model() -> Any:
    """Return the class of the plugin `emotion`, whose attention and probabilities two of the methods use."""
    return plugin_class("emotion")


class CauseModel(Plugin):
    """Model that weights words by one of three methods; `fit` or `load` makes one."""

    name, kind = "cause", "cause"
    paper = "HEF (arXiv 2402.11801); GEE (Kim et al., EMNLP 2021)"
    status: ClassVar[Status] = "tested"

    def __init__(self, method: Method, model: WordCounts | Plugin, about: Mapping[str, Any]) -> None:
        self.method, self.about = method, dict(about)
        self.model: Any = model

    @classmethod
    def fit(
        cls,
        rows: Sequence[Clip],
        method: Method = "naive_bayes",
        encoder: str | None = None,
        epochs: int | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Self:
        """Train on rows whose emotion is known; its cause need not be known.

        Args:
            encoder, epochs, seed, settings: settings of the emotion model that `attention` and `occlusion` use; its
                encoder is 'scratch' by default.

        Raises:
            InputError: an unknown method, too few emotions, or settings of an emotion model with `naive_bayes`.
        """
        if method not in get_args(Method):
            raise InputError(
                Problem("cause plugin", "method", "a known one", method, nearest(method, get_args(Method)))
            )
        if method != "naive_bayes":
            model = _emotion_model().fit(rows, encoder=encoder or SCRATCH, epochs=epochs, seed=seed, **settings)
            return cls(method, model, {"method": method, "rows": len(rows), "emotion_model": model.about})
        asked = {"encoder": encoder, "epochs": epochs, **settings}
        if given := [name for name, value in asked.items() if value is not None]:
            expected, got = "method attention or occlusion", f"method {method}, which asks no emotion model"
            raise InputError([Problem("cause plugin", name, expected, got, "Leave it out.") for name in given])
        told, labels, targets = known_emotions(rows, cls.name)
        counts = WordCounts.fit([read_text(dialogue.turns) for dialogue in told], targets, len(labels))
        return cls(method, counts, {"method": method, "rows": len(told), "labels": labels})

    def predict(self, rows: Sequence[Clip]) -> list[CauseEvidence | None]:
        """Predict the weights of each row's words; None for rows without words."""
        said = {place: dialogue for place, row in enumerate(rows) if (dialogue := dialogue_of(row)) is not None}
        found: list[CauseEvidence | None] = [None] * len(rows)
        for place, evidence in zip(said, self._weigh([*said.values()]), strict=True):
            found[place] = evidence
        return found

    def _weigh(self, dialogues: Sequence[Dialogue]) -> list[CauseEvidence]:
        texts = [read_text(dialogue.turns) for dialogue in dialogues]
        if isinstance(self.model, WordCounts):
            scores = [self.model.scores([word for *_, word in text.words()]) for text in texts]
            raw = [np.exp(values) for values in scores]
        elif self.method == "attention":
            raw = self.model.word_weights(texts)
        else:
            raw = self.model.occlusion(texts)
        return [_evidence(text, weights) for text, weights in zip(texts, raw, strict=True)]

    def save(self, folder: Path) -> None:
        """Write the counts or the emotion model, and the method."""
        (folder / "cause.json").write_text(json.dumps({"method": self.method, "about": self.about}), encoding="utf-8")
        if not isinstance(self.model, WordCounts):
            self.model.save(folder)
            return
        (folder / "vocabulary.json").write_text(json.dumps(self.model.words, ensure_ascii=False), encoding="utf-8")
        save_file({"counts": self.model.counts, "prior": self.model.prior}, folder / "counts.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a model that `save` wrote."""
        saved = json.loads((folder / "cause.json").read_text(encoding="utf-8"))
        if saved["method"] != "naive_bayes":
            return cls(saved["method"], _emotion_model().load(folder), saved["about"])
        words = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        return cls(saved["method"], WordCounts(words, **load_file(folder / "counts.safetensors")), saved["about"])

    @classmethod
    def parameters(
        cls,
        method: Method = "naive_bayes",
        labels: int = len(EMOTIONS),
        words: int = 0,
        encoder: str = SCRATCH,
        features: int = 0,
    ) -> dict[str, int]:
        """Count the numbers of a word-count model, or the parameters of the emotion model that the method uses.

        Args:
            labels: number of emotions.
            words: size of the vocabulary, which the data determine.
            encoder, features: sizes of the emotion model.
        """
        if method == "naive_bayes":
            return {"counts": labels * words, "prior": labels}
        return _emotion_model().parameters(encoder, labels, words, features)

    def sizes(self) -> dict[str, Any]:
        """Return the sizes that the data determined."""
        if not isinstance(self.model, WordCounts):
            return {"method": self.method, **self.model.sizes()}
        return {"method": self.method, "labels": len(self.model.prior), "words": len(self.model.words)}

    def card(self) -> dict[str, Any]:
        """Return the training data and settings."""
        return self.about


def _evidence(text: Text, weights: np.ndarray) -> CauseEvidence:
    """Make evidence of words whose weights add up to 1; stop words are left out."""
    chosen = [
        (turn, start, word, float(weight))
        for (_, turn, start, word), weight in zip(text.words(), weights, strict=True)
        if weight > 0 and word.casefold() not in ENGLISH_STOP_WORDS
    ]
    total = sum(weight for *_, weight in chosen)
    return CauseEvidence(
        tuple(CauseWord(turn, start, start + len(word), word, weight / total) for turn, start, word, weight in chosen)
    )
