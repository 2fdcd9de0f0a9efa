"""The emotion plugin: which of a closed set of emotions the last speaker of a dialogue feels.

Attention pooling over the tokens of a text encoder, as in ESCM's emotion head (EMNLP Findings 2023); its weights also
show which words decided. A linear model on TF-IDF features of words and letters is combined with it: the
log-probabilities of both are added with weights fitted, like a temperature, on held-out conversations.

Shapes: B texts, L tokens, D width of the encoder, E emotions, H heads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import EMOTIONS, dialogue_of, known_emotions
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.evidence.words import Text, read_text
from affectgpt.plugins.parts.attention_head import AttentionHead, head_parameters
from affectgpt.plugins.parts.device import plugin_device
from affectgpt.plugins.parts.text_encoders import (
    MINILM,
    SCRATCH,
    HubEncoder,
    ScratchEncoder,
    TextEncoder,
    Tokens,
    encoder_shape,
    find_encoder,
    load_encoder,
)
from affectgpt.plugins.parts.tfidf import TfidfModel
from affectgpt.plugins.plugin import Plugin, Status
from affectgpt.problems import InputError
from affectgpt.progress import Progress

HELD_OUT = 0.08
"""Share of conversations held out of training for calibration."""


class EmotionModel(Plugin):
    """Encoder with its head, and optionally a TF-IDF model; `fit` or `load` makes one."""

    name, kind = "emotion", "emotion"
    paper = "HEF (arXiv 2402.11801); its head is ESCM's (EMNLP Findings 2023)"
    status: ClassVar[Status] = "tested"
    labels: list[str]

    def __init__(
        self, labels: Sequence[str], encoder: TextEncoder, tfidf: TfidfModel | None, about: Mapping[str, Any]
    ) -> None:
        self.labels, self.encoder, self.tfidf, self.about = list(labels), encoder, tfidf, dict(about)
        dropout = 0.5 if isinstance(encoder, ScratchEncoder) else 0.1
        self.head = AttentionHead(encoder.width, len(self.labels), dropout)
        self.scale = torch.ones(1 if tfidf is None else 2)
        """(H,) how much the log-probabilities of each head count: the inverse of a temperature."""
        self.network = nn.ModuleDict({"encoder": encoder, "head": self.head})  # type: ignore[dict-item]
        self.network.to(plugin_device())

    @classmethod
    def fit(
        cls,
        rows: Sequence[Clip],
        encoder: str = MINILM,
        epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int = 32,
        frozen: bool = False,
        tfidf: bool = True,
        seed: int = 0,
    ) -> Self:
        """Train a model on rows whose emotion is known.

        Args:
            encoder: 'minilm', 'scratch', or the folder or Hub id of a text encoder.
            epochs, learning_rate: by default values that suit the encoder.
            frozen: freeze a pretrained encoder and train only the head.
            tfidf: combine the encoder with a linear model on TF-IDF features.

        Raises:
            InputError: fewer than two emotions, too few conversations, or an encoder that cannot be loaded.
        """
        told, labels, numbers = known_emotions(rows, cls.name)
        texts, targets = [read_text(dialogue.turns) for dialogue in told], np.array(numbers)
        held_out = _held_out([dialogue.group or str(place) for place, dialogue in enumerate(told)], seed)
        train = np.flatnonzero(~held_out)
        if len(learned := {labels[target] for target in targets[train]}) < 2:
            raise InputError(
                f"{cls.name} plugin: expected rows of two emotions or more besides the conversations held out for "
                f"calibration, got {len(learned)} in {len(train)} rows. Give it more conversations."
            )
        torch.manual_seed(seed)
        scratch = encoder == SCRATCH
        trained = [texts[place].text for place in train]
        reader: Any = ScratchEncoder.of(trained) if scratch else HubEncoder.of(find_encoder(encoder))
        words = TfidfModel.fit(trained, targets[train], len(labels)) if tfidf else None
        model = cls(labels, reader, words, {"encoder": encoder, "rows": len(train), "seed": seed})
        for parameter in reader.parameters() if frozen else ():
            parameter.requires_grad_(False)
        rate = learning_rate or (2e-3 if scratch else 1.5e-4)
        model._train(
            [texts[place] for place in train], targets[train], epochs or (10 if scratch else 3), rate, batch_size
        )
        model._calibrate([texts[place] for place in np.flatnonzero(held_out)], targets[held_out])
        return model

    def _train(self, texts: Sequence[Text], targets: np.ndarray, epochs: int, rate: float, size: int) -> None:
        """Train the attention head with cross-entropy, batches of similar length, and a linear schedule."""
        read = self.encoder.read([text.text for text in texts])
        rng = np.random.default_rng(self.about["seed"])
        encoder = [p for p in self.network["encoder"].parameters() if p.requires_grad]
        head_rate = rate if isinstance(self.encoder, ScratchEncoder) else 10 * rate
        groups = [{"params": encoder, "lr": rate}, {"params": [*self.head.parameters()], "lr": head_rate}]
        optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.01)
        steps = epochs * -(-len(texts) // size)
        warm = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))
        )
        self.network.train()
        progress, done = Progress("batches"), 0
        for _ in range(epochs):
            for batch in _batches([len(ids) for ids, _ in read], size, rng):
                logits, _ = self._forward([read[place] for place in batch])
                loss = functional.cross_entropy(logits, torch.as_tensor(targets[batch], device=logits.device))
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                done += 1
                progress(done, steps)
        self.network.eval()

    def _forward(self, read: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        device = next(self.head.parameters()).device
        width = max(len(ids) for ids, _ in read)
        ids = torch.zeros(len(read), width, dtype=torch.long)
        mask = torch.zeros(len(read), width, dtype=torch.long)
        for place, (row, _) in enumerate(read):
            ids[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1
        ids, mask = ids.to(device), mask.to(device)
        return self.head(self.encoder(ids, mask), mask)

    @torch.no_grad()
    def _log_probs(self, texts: Sequence[Text]) -> Tensor:
        """Compute the (B, H, E) log-probabilities of each head."""
        size = 256 if isinstance(self.encoder, ScratchEncoder) else 32  # a transformer loses more by padding
        read = self.encoder.read([text.text for text in texts])
        found = torch.zeros(len(texts), len(self.scale), len(self.labels))
        self.network.eval()
        order = sorted(range(len(texts)), key=lambda place: len(read[place][0]))
        for start in range(0, len(order), size):
            part = order[start : start + size]
            found[part, 0] = self._forward([read[place] for place in part])[0].log_softmax(-1).cpu()
        if self.tfidf is not None and texts:
            found[:, 1] = torch.from_numpy(self.tfidf.log_probs([text.text for text in texts])).float()
        return found

    def _calibrate(self, texts: Sequence[Text], targets: np.ndarray) -> None:
        """Fit the weights of the heads by likelihood on held-out rows (temperature scaling, Guo et al. 2017)."""
        log_probs, gold = self._log_probs(texts), torch.as_tensor(targets)
        log_scale = torch.zeros(len(self.scale), requires_grad=True)
        optimizer = torch.optim.LBFGS([log_scale], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            mixed = (log_probs * log_scale.exp()[:, None]).sum(1)
            value = functional.cross_entropy(mixed, gold)
            value.backward()
            return value

        optimizer.step(loss)
        self.scale = log_scale.detach().exp()
        self.about["calibrated_on"] = len(texts)

    def probabilities(self, texts: Sequence[Text], heads: Sequence[int] | None = None) -> np.ndarray:
        """Compute (B, E) probabilities; from some of the heads only, if `heads` names them."""
        return np.asarray(self._mixed(texts, heads).softmax(-1).numpy())

    def _mixed(self, texts: Sequence[Text], heads: Sequence[int] | None = None) -> Tensor:
        """Compute (B, E) scores, whose softmax is the probabilities."""
        chosen = list(range(len(self.scale))) if heads is None else list(heads)
        return (self._log_probs(texts)[:, chosen] * self.scale[chosen, None]).sum(1)

    @torch.no_grad()
    def word_weights(self, texts: Sequence[Text]) -> list[np.ndarray]:
        """Return, for each text, the attention weight of each word: the sum over its tokens and punctuation."""
        self.network.eval()
        weights = []
        for text, read in zip(texts, self.encoder.read([text.text for text in texts]), strict=True):
            attention = self._forward([read])[1][0].tolist()
            starts = np.array([start for start, *_ in text.words()])
            sums = np.zeros(len(starts))
            for value, (first, last) in zip(attention, read[1], strict=True):
                # By its last letter: many tokens begin with the space before their word.
                word = int(np.searchsorted(starts, last - 1, side="right")) - 1
                if last > first and word >= 0:
                    sums[word] += value
            weights.append(sums)
        return weights

    def occlusion(self, texts: Sequence[Text]) -> list[np.ndarray]:
        """Return, for each text, the log-odds that its likeliest emotion loses without each word; at least 0."""
        drops = []
        for text in texts:
            words = text.words()
            without = [
                Text(text.text[:start] + " " * len(word) + text.text[start + len(word) :], text.turns)
                for start, _, _, word in words
            ]
            scores = self._mixed([text, *without]).double()
            best = int(scores[0].argmax())
            others = [index for index in range(len(self.labels)) if index != best]
            odds = scores[:, best] - scores[:, others].logsumexp(-1)
            drops.append((odds[0] - odds[1:]).clamp(min=0).numpy())
        return drops

    def predict(self, rows: Sequence[Clip]) -> list[EmotionEvidence | None]:
        """Predict the probability of each emotion; None for rows without words."""
        dialogues = {index: dialogue for index, row in enumerate(rows) if (dialogue := dialogue_of(row)) is not None}
        texts = [read_text(dialogue.turns) for dialogue in dialogues.values()]
        evidence: list[EmotionEvidence | None] = [None] * len(rows)
        for index, values in zip(dialogues, self.probabilities(texts).tolist(), strict=True):
            total = sum(values)
            evidence[index] = EmotionEvidence(tuple(self.labels), tuple(value / total for value in values), True)
        return evidence

    def save(self, folder: Path) -> None:
        """Write the weights, the vocabulary or tokenizer, and the settings."""
        self.encoder.save(folder)
        tensors = {"scale": self.scale, **self.network.state_dict()}
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, folder / "model.safetensors")
        if self.tfidf is not None:
            self.tfidf.save(folder)
        (folder / "model.json").write_text(json.dumps({"labels": self.labels, "about": self.about}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a model that `save` wrote."""
        saved = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "model.safetensors")
        model = cls(saved["labels"], load_encoder(folder), TfidfModel.load(folder), saved["about"])
        model.scale = tensors.pop("scale")
        model.network.load_state_dict(tensors)
        model.network.eval()
        return model

    @classmethod
    def parameters(
        cls, encoder: str = MINILM, labels: int = len(EMOTIONS), words: int = 0, features: int = 0
    ) -> dict[str, int]:
        """Count the parameters of encoder and head, and of the linear model if its number of features is known.

        Args:
            encoder: 'minilm', 'scratch', or the folder or Hub id of a text encoder.
            labels: number of emotions.
            words: size of the vocabulary of an encoder from scratch, which the data determine.
            features: number of features of the linear model, which the data determine.
        """
        count, width = encoder_shape(encoder, words)
        parts = {"encoder": count, "head": head_parameters(width, labels)}
        return parts | ({"tfidf": labels * (features + 1)} if features else {})

    def sizes(self) -> dict[str, Any]:
        """Return the sizes that the data determined."""
        words = len(self.encoder.words) if isinstance(self.encoder, ScratchEncoder) else 0
        features = self.tfidf.weights.shape[1] - 1 if self.tfidf is not None else 0
        return {"encoder": self.about["encoder"], "labels": len(self.labels), "words": words, "features": features}

    def card(self) -> dict[str, Any]:
        """Return the training data and settings."""
        weights = {
            name: round(float(value), 3) for name, value in zip(("attention", "tfidf"), self.scale, strict=False)
        }
        return {**self.about, "labels": self.labels, "scale": weights}


def _held_out(groups: Sequence[str], seed: int) -> np.ndarray:
    """Return an (n,) mask of rows held out for calibration: whole conversations, about `HELD_OUT`, at least one."""
    names = sorted(set(groups))
    count = max(1, round(HELD_OUT * len(names)))
    kept = {names[place] for place in np.random.default_rng(seed).choice(len(names), count, replace=False)}
    return np.array([group in kept for group in groups])


def _batches(lengths: Sequence[int], size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield indices of rows in batches of similar length, in random order."""
    order = rng.permutation(len(lengths))
    window = 20 * size
    batches = []
    for start in range(0, len(order), window):
        part = np.array(sorted(order[start : start + window], key=lambda place: lengths[place]))
        batches += [part[first : first + size] for first in range(0, len(part), size)]
    for place in rng.permutation(len(batches)):
        yield batches[place]
