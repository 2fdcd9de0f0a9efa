"""A linear model on TF-IDF features of words and letters: a strong baseline that needs no pretrained encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from affectgpt.problems import InputError, Problem, shorten


@lru_cache(maxsize=100_000)
def _pieces(word: str) -> tuple[str, ...]:
    """Return the runs of 2 to 5 letters of a word with its ends marked; cached, since words recur."""
    marked = f" {word} "
    return tuple(marked[start : start + size] for size in range(2, 6) for start in range(len(marked) - size + 1))


def _letters(text: str) -> list[str]:
    return [piece for word in text.casefold().split() for piece in _pieces(word[:64])]


_VIEWS: tuple[dict[str, Any], ...] = (
    {"ngram_range": (1, 2), "min_df": 2, "sublinear_tf": True},
    {"analyzer": _letters, "min_df": 3, "max_features": 60_000, "sublinear_tf": True},
)
_PENALTY = 10.0
_FIX = "Give it more rows, or leave TF-IDF features out with --set tfidf=false."


class TfidfModel:
    """Multinomial logistic regression on TF-IDF features; `fit` or `load` makes one.

    Args:
        views: the fitted vectorisers.
        weights: (E, features + 1), the last column the intercepts.
    """

    def __init__(self, views: Sequence[TfidfVectorizer], weights: np.ndarray) -> None:
        self.views, self.weights = list(views), weights

    @classmethod
    def fit(cls, texts: Sequence[str], targets: np.ndarray, labels: int) -> Self:
        """Train on texts and the indices of their labels; a label without a text gets almost no probability.

        Raises:
            InputError: so few texts that no word occurs twice.
        """
        views = [TfidfVectorizer(**view) for view in _VIEWS]
        try:
            features = hstack([view.fit_transform(texts) for view in views]).tocsr()
        except ValueError as error:
            problem = Problem(
                "emotion plugin", "its texts", "words that occur more than once", shorten(str(error), 200), _FIX
            )
            raise InputError(problem) from error
        model = LogisticRegression(C=_PENALTY, max_iter=200).fit(features, targets)
        weights = np.zeros((labels, features.shape[1] + 1), np.float32)
        weights[:, -1] = -30.0
        if len(model.classes_) == 2:  # one row of coefficients, for the second
            weights[model.classes_[0]] = 0.0
            weights[model.classes_[1]] = np.append(model.coef_[0], model.intercept_[0])
        else:
            weights[model.classes_] = np.hstack([model.coef_, model.intercept_[:, None]])
        return cls(views, weights)

    def log_probs(self, texts: Sequence[str]) -> np.ndarray:
        """Compute (B, E) log-probabilities."""
        features: csr_matrix = hstack([view.transform(texts) for view in self.views]).tocsr()
        logits = features @ self.weights[:, :-1].T + self.weights[:, -1]
        logits -= logits.max(1, keepdims=True)
        return np.asarray(logits - np.log(np.exp(logits).sum(1, keepdims=True)))

    def save(self, folder: Path) -> None:
        """Write the vocabularies and the weights."""
        words = [[*map(str, view.get_feature_names_out())] for view in self.views]
        (folder / "tfidf.json").write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
        idf = {f"idf.{place}": view.idf_ for place, view in enumerate(self.views)}
        save_file({"weights": self.weights, **idf}, folder / "tfidf.safetensors")

    @classmethod
    def load(cls, folder: Path) -> TfidfModel | None:
        """Load a model that `save` wrote; None if there is none."""
        if not (folder / "tfidf.json").is_file():
            return None
        tensors = load_file(folder / "tfidf.safetensors")
        views = []
        for place, words in enumerate(json.loads((folder / "tfidf.json").read_text(encoding="utf-8"))):
            settings = {key: value for key, value in _VIEWS[place].items() if key not in ("min_df", "max_features")}
            view = TfidfVectorizer(**settings, vocabulary=words)
            view.idf_ = tensors[f"idf.{place}"]
            views.append(view)
        return cls(views, tensors["weights"])
