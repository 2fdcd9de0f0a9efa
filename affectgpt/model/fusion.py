"""From encoder features to soft tokens: pooling of one stream, and the pre-fusion of two (AffectGPT, section 3).

Shapes: B clips, T features over time (Tv video, Ta audio), D feature width (Dv, Da), K soft tokens, E width of the
language model, H width of a Q-Former.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel


class MeanPooling(nn.Module):
    """Average over time; every one of the K tokens is that average."""

    def __init__(self, width: int, num_tokens: int) -> None:
        super().__init__()
        self.width, self.num_tokens = width, num_tokens

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, T, D) to (B, K, D)."""
        return features.mean(dim=1, keepdim=True).expand(-1, self.num_tokens, -1)


class AttentionPooling(nn.Module):
    """K weighted averages over time, with learned scores.

    Departs from the paper (`PaperAttentionPooling`) in two ways: the scores pass a softmax, so that the token's scale
    does not depend on the number of frames, and each of the K tokens has scores of its own. Features are normalised
    first, because towers differ in scale by orders of magnitude.
    """

    def __init__(self, width: int, num_tokens: int) -> None:
        super().__init__()
        self.width = width
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, num_tokens)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, T, D) to (B, K, D)."""
        features = self.norm(features)
        weights = self.score(features).softmax(dim=1)  # (B, T, K)
        return weights.transpose(1, 2) @ features


class PaperAttentionPooling(nn.Module):
    """The published formula to the letter: s = Z w + b, z = Z' s, without a softmax; one token, repeated K times."""

    def __init__(self, width: int, num_tokens: int) -> None:
        super().__init__()
        self.width, self.num_tokens = width, num_tokens
        self.score = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, T, D) to (B, K, D)."""
        token = self.score(features).transpose(1, 2) @ features
        return token.expand(-1, self.num_tokens, -1)


class QFormerPooling(nn.Module):
    """K learned queries that attend to the features: the two-layer Q-Former of the paper (BLIP-2's, cross-attention in
    every layer), with a learned position for every step of time.

    Args:
        positions: how many steps of time there may be (32 video and 8 audio features in the paper, 264 of both).
        hidden_size: H, 768 in the paper.
    """

    def __init__(self, width: int, num_tokens: int, positions: int, hidden_size: int) -> None:
        super().__init__()
        self.width = hidden_size
        self.position = nn.Embedding(positions, width)
        self.queries = nn.Parameter(torch.zeros(1, num_tokens, hidden_size))
        config = Blip2QFormerConfig(
            hidden_size=hidden_size,
            num_hidden_layers=2,
            num_attention_heads=max(1, hidden_size // 64),
            intermediate_size=4 * hidden_size,
            cross_attention_frequency=1,
            encoder_hidden_size=width,
        )
        self.qformer = Blip2QFormerModel(config)
        nn.init.normal_(self.queries, std=config.initializer_range)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, T, D) to (B, K, H)."""
        features = features + self.position(torch.arange(features.shape[1], device=features.device))
        queries = self.queries.expand(len(features), -1, -1)
        output = self.qformer(query_embeds=queries, encoder_hidden_states=features)
        return torch.as_tensor(output.last_hidden_state).to(features.dtype)


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
        """Map (B, Tv, Dv) and (B, Ta, Da) to (B, K, max(Dv, Da))."""
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
        """Map (B, Tv, Dv) and (B, Ta, Da) to (B, K, max(Dv, Da)); the one token is repeated K times."""
        pooled = torch.stack([self.project_video(video.mean(dim=1)), self.project_audio(audio.mean(dim=1))], dim=1)
        weights = self.weigh(self.mix(pooled.flatten(1)))  # (B, 2)
        return (weights[:, None] @ pooled).expand(-1, self.num_tokens, -1)


class QFormerFusion(nn.Module):
    """Pre-fusion by a Q-Former, as published: both streams are projected to a common width, laid one after the other
    in time, video first, and K queries attend to all of it."""

    def __init__(
        self, video_width: int, audio_width: int, num_tokens: int, positions: int = 264, hidden_size: int = 768
    ) -> None:
        super().__init__()
        common = max(video_width, audio_width)
        self.width = hidden_size
        self.project_video = nn.Linear(video_width, common)
        self.project_audio = nn.Linear(audio_width, common)
        self.pool = QFormerPooling(common, num_tokens, positions, hidden_size)

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        """Map (B, Tv, Dv) and (B, Ta, Da) to (B, K, H)."""
        return self.pool(torch.cat([self.project_video(video), self.project_audio(audio)], dim=1))


Pooling = MeanPooling | AttentionPooling | PaperAttentionPooling | QFormerPooling
POOLING: dict[str, type[MeanPooling | AttentionPooling | PaperAttentionPooling]] = {
    "mean": MeanPooling,
    "attention": AttentionPooling,
    "attention_paper": PaperAttentionPooling,
}
Fusion = AttentionFusion | PaperAttentionFusion | QFormerFusion
FUSION: dict[str, type[AttentionFusion | PaperAttentionFusion]] = {
    "attention": AttentionFusion,
    "attention_paper": PaperAttentionFusion,
}
POSITIONS = {"visual": 32, "audio": 8, "multi": 264}
"""Entries of a Q-Former's table of positions in the released models; ours is larger where a model needs it."""


class SoftTokens(nn.Module):
    """Pooling, pre-fusion and projection: features of clips to soft tokens of the language model's width.

    Args:
        pooling, fusion: names in `POOLING` and `FUSION`, or 'qformer'; fusion may be 'none'.
        widths: D of every stream: 'face', 'frame', 'audio'.
        num_tokens: K of every stream and of 'multi'.
        out_width: E.
        share_visual: one pooling and one projection for face and frame.
        lengths: T of every stream; a Q-Former's table of positions is at least that long.
        qformer_width: H.
    """

    def __init__(
        self,
        pooling: str,
        fusion: str,
        widths: dict[str, int],
        num_tokens: dict[str, int],
        out_width: int,
        share_visual: bool = True,
        lengths: dict[str, int] | None = None,
        qformer_width: int = 768,
    ) -> None:
        super().__init__()
        self.share_visual = share_visual
        lengths = lengths or {}
        self.pool, self.project = nn.ModuleDict(), nn.ModuleDict()
        for stream, width in widths.items():
            if (part := self.part_of(stream)) not in self.pool:
                if pooling == "qformer":
                    positions = max(POSITIONS["audio" if stream == "audio" else "visual"], lengths.get(stream, 0))
                    pool: Pooling = QFormerPooling(width, num_tokens[stream], positions, qformer_width)
                else:
                    pool = POOLING[pooling](width, num_tokens[stream])
                self.pool[part], self.project[part] = pool, nn.Linear(pool.width, out_width)
        self.fuse: Fusion | None = None
        if fusion != "none":  # the configuration drops fusion without two towers
            visual, audio = (widths[stream] for stream in self.fused_streams(widths))
            if fusion == "qformer":
                positions = max(POSITIONS["multi"], sum(lengths.values()))
                fuse: Fusion = QFormerFusion(visual, audio, num_tokens["multi"], positions, qformer_width)
            else:
                fuse = FUSION[fusion](visual, audio, num_tokens["multi"])
            self.fuse, self.project["multi"] = fuse, nn.Linear(fuse.width, out_width)

    def part_of(self, stream: str) -> str:
        """Return the name under which the modules of a stream are registered."""
        return "visual" if self.share_visual and stream != "audio" else stream

    @staticmethod
    def fused_streams(streams: Iterable[str]) -> tuple[str, str]:
        """Return the two streams that are pre-fused: faces where the model takes them, else frames, and audio."""
        return ("face" if "face" in streams else "frame"), "audio"

    def forward(self, features: dict[str, Tensor], pairs: Tensor) -> dict[str, Tensor]:
        """Compute the soft tokens of every stream, and the pre-fused ones.

        Args:
            features: stream -> (N, T, D), the clips that have it; every stream must be given.
            pairs: (M, 2) integers: which clip of the fused images and which of the audio belong together.

        Returns:
            stream -> (N, K, E), and with fusion 'multi' -> (M, K, E).
        """
        tokens = {
            stream: self.project[self.part_of(stream)](self.pool[self.part_of(stream)](value))
            for stream, value in features.items()
        }
        if self.fuse is not None:
            video, audio = (features[stream] for stream in self.fused_streams(features))
            tokens["multi"] = self.project["multi"](self.fuse(video[pairs[:, 0]], audio[pairs[:, 1]]))
        return tokens
