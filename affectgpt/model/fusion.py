"""From encoder features to soft tokens: pooling of one modality, and the pre-fusion of two (AffectGPT, section 3).

Shapes: B clips, T features over time (Tv video, Ta audio), D feature width (Dv, Da), K soft tokens, E width of the
language model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MeanPooling(nn.Module):
    """Average over time; every one of the K tokens is that average."""

    def __init__(self, width: int, num_tokens: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, D) to (B, K, D)."""
        return features.mean(dim=1, keepdim=True).expand(-1, self.num_tokens, -1)


class AttentionPooling(nn.Module):
    """K weighted averages over time, with learned scores.

    Departs from the paper (`PaperAttentionPooling`) in two ways: the scores pass a softmax, so that the token's scale
    does not depend on the number of frames, and each of the K tokens has scores of its own. Features are normalised
    first, because towers differ in scale by orders of magnitude.
    """

    def __init__(self, width: int, num_tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, num_tokens)

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, D) to (B, K, D)."""
        features = self.norm(features)
        weights = self.score(features).softmax(dim=1)  # (B, T, K)
        return weights.transpose(1, 2) @ features


class PaperAttentionPooling(nn.Module):
    """The published formula to the letter: s = Z w + b, z = Z' s, without a softmax; one token, repeated K times."""

    def __init__(self, width: int, num_tokens: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)
        self.num_tokens = num_tokens

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, D) to (B, K, D)."""
        token = self.score(features).transpose(1, 2) @ features
        return token.expand(-1, self.num_tokens, -1)


class AttentionFusion(nn.Module):
    """Pre-fusion: audio and video features become K shared tokens before the language model sees either.

        v' = Lv(pool(Zv)), a' = La(pool(Za)), h = gelu(L([v'; a'])), (wv, wa) = softmax(Lw(h)), z = wv v' + wa a' + h

    Departs from the paper (`PaperAttentionFusion`): the weights are normalised, so that z stays between v' and a'; h
    passes a nonlinearity and is added, because without one the whole of it is a linear map, which cannot tell whether
    face and voice agree; and the modalities are pooled with attention instead of averaged.
    """

    def __init__(self, video_width: int, audio_width: int, num_tokens: int) -> None:
        super().__init__()
        width = max(video_width, audio_width)
        self.width = width
        self.pool_video = AttentionPooling(video_width, num_tokens)
        self.pool_audio = AttentionPooling(audio_width, num_tokens)
        self.project_video = nn.Linear(video_width, width)
        self.project_audio = nn.Linear(audio_width, width)
        self.mix = nn.Linear(2 * width, width)
        self.weigh = nn.Linear(width, 2)

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        """(B, Tv, Dv) and (B, Ta, Da) to (B, K, max(Dv, Da))."""
        video = self.project_video(self.pool_video(video))  # (B, K, D)
        audio = self.project_audio(self.pool_audio(audio))  # (B, K, D)
        mixed = nn.functional.gelu(self.mix(torch.cat([video, audio], dim=-1)))
        weights = self.weigh(mixed).softmax(dim=-1)  # (B, K, 2)
        return weights[..., :1] * video + weights[..., 1:] * audio + mixed


class PaperAttentionFusion(nn.Module):
    """The published pre-fusion to the letter: averages over time, two linear maps to two weights, no softmax."""

    def __init__(self, video_width: int, audio_width: int, num_tokens: int) -> None:
        super().__init__()
        width = max(video_width, audio_width)
        self.width, self.num_tokens = width, num_tokens
        self.project_video = nn.Linear(video_width, width)
        self.project_audio = nn.Linear(audio_width, width)
        self.mix = nn.Linear(2 * width, width)
        self.weigh = nn.Linear(width, 2)

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        """(B, Tv, Dv) and (B, Ta, Da) to (B, K, max(Dv, Da)); the one token is repeated K times."""
        pooled = torch.stack([self.project_video(video.mean(dim=1)), self.project_audio(audio.mean(dim=1))], dim=1)
        weights = self.weigh(self.mix(pooled.flatten(1)))  # (B, 2)
        return (weights[:, None] @ pooled).expand(-1, self.num_tokens, -1)


POOLING = {"mean": MeanPooling, "attention": AttentionPooling, "attention_paper": PaperAttentionPooling}
FUSION = {"attention": AttentionFusion, "attention_paper": PaperAttentionFusion}


class SoftTokens(nn.Module):
    """Pooling, pre-fusion and projection: features of a batch to soft tokens of the language model's width.

    Args:
        pooling, fusion: names in `POOLING` and `FUSION`; fusion may be 'none'.
        widths: D of the 'video' and 'audio' towers; without a tower its modality is left out.
        num_tokens: K of 'video', 'audio' and 'multi'.
        out_width: E.
    """

    def __init__(
        self, pooling: str, fusion: str, widths: dict[str, int], num_tokens: dict[str, int], out_width: int
    ) -> None:
        super().__init__()
        self.pool = nn.ModuleDict({name: POOLING[pooling](width, num_tokens[name]) for name, width in widths.items()})
        self.project = nn.ModuleDict({name: nn.Linear(width, out_width) for name, width in widths.items()})
        self.fuse: nn.Module | None = None
        if fusion != "none":
            # The configuration drops fusion without two towers.
            self.fuse = FUSION[fusion](widths["video"], widths["audio"], num_tokens["multi"])
            self.project["multi"] = nn.Linear(max(widths.values()), out_width)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """{'video': (B, Tv, Dv), 'audio': (B, Ta, Da)} to {name: (B, K, E)} for video, audio and, fused, multi.

        Every modality must be given; rows that lack one carry zeros, and nobody reads their tokens.
        """
        tokens = {name: self.project[name](pool(features[name])) for name, pool in self.pool.items()}
        if self.fuse is not None:
            tokens["multi"] = self.project["multi"](self.fuse(features["video"], features["audio"]))
        return tokens
