"""Attention pooling, as in ESCM's emotion head (EMNLP Findings 2023): its weights show which tokens it used."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionHead(nn.Module):
    """a = softmax(v . tanh(W h)), x = sum a h, logits = W2 tanh(W1 x)."""

    def __init__(self, width: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.project, self.score = nn.Linear(width, width), nn.Linear(width, 1, bias=False)
        self.hidden, self.out = nn.Linear(width, width), nn.Linear(width, labels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Compute (B, E) logits and (B, L) weights from (B, L, D) states and a (B, L) mask."""
        scores = self.score(torch.tanh(self.project(states)))[..., 0]
        weights = scores.masked_fill(mask == 0, -torch.inf).softmax(-1)
        pooled = (weights[..., None] * states).sum(1)
        return self.out(self.dropout(torch.tanh(self.hidden(pooled)))), weights


def head_parameters(width: int, labels: int) -> int:
    """Count the parameters of a head, from shapes alone."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in AttentionHead(width, labels, 0.0).parameters())
