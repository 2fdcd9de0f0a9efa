"""Pooling and pre-fusion against restatements of their formulas, one clip, one token, one sum at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from affectgpt.model.fusion import (
    AttentionFusion,
    AttentionPooling,
    MeanPooling,
    PaperAttentionFusion,
    PaperAttentionPooling,
    SoftTokens,
)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def shaken(module: nn.Module) -> nn.Module:
    """Every parameter random: biases and norms start at values that hide mistakes."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def affine(layer: nn.Linear, x: Tensor) -> Tensor:
    return torch.stack([(row * x).sum() + bias for row, bias in zip(layer.weight, layer.bias, strict=True)])


def softmax(scores: list[Tensor]) -> list[Tensor]:
    total = sum(math.exp(score) for score in scores)
    return [torch.tensor(math.exp(score) / total) for score in scores]


def attention_pool(module: AttentionPooling, features: Tensor) -> list[Tensor]:
    """(T, D) to K vectors."""
    normal = []
    for z in features:
        spread = ((z - z.mean()) ** 2).mean() + module.norm.eps
        normal.append((z - z.mean()) / spread.sqrt() * module.norm.weight + module.norm.bias)
    tokens = []
    for weight, bias in zip(module.score.weight, module.score.bias, strict=True):
        shares = softmax([(weight * z).sum() + bias for z in normal])
        tokens.append(sum(share * z for share, z in zip(shares, normal, strict=True)))
    return tokens


def test_mean_pooling():
    features = torch.randn(2, 5, 7)
    expected = sum(features[:, step] for step in range(5)) / 5
    tokens = MeanPooling(7, 3)(features)
    assert tokens.shape == (2, 3, 7)
    for index in range(3):
        torch.testing.assert_close(tokens[:, index], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_tokens", [1, 3])
@torch.no_grad()
def test_attention_pooling(num_tokens):
    module = shaken(AttentionPooling(7, num_tokens))
    features = 3 + 2 * torch.randn(2, 5, 7)
    expected = torch.stack([torch.stack(attention_pool(module, clip)) for clip in features])
    torch.testing.assert_close(module(features), expected, rtol=0, atol=1e-6)
    if num_tokens > 1:
        assert not torch.allclose(expected[:, 0], expected[:, 1], atol=1e-3)


@torch.no_grad()
def test_attention_pooling_does_not_grow_with_time():
    module = shaken(AttentionPooling(7, 2))
    features = torch.randn(1, 5, 7)
    torch.testing.assert_close(module(features.repeat(1, 4, 1)), module(features), rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_tokens", [1, 3])
@torch.no_grad()
def test_paper_pooling(num_tokens):
    module = shaken(PaperAttentionPooling(7, num_tokens))
    features = torch.randn(2, 5, 7)
    tokens = module(features)
    assert tokens.shape == (2, num_tokens, 7)
    for clip, found in zip(features, tokens, strict=True):
        expected = sum(z * ((module.score.weight[0] * z).sum() + module.score.bias[0]) for z in clip)
        for token in found:
            torch.testing.assert_close(token, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("video_width", "audio_width"), [(7, 4), (4, 7)])
@pytest.mark.parametrize("num_tokens", [1, 3])
@torch.no_grad()
def test_attention_fusion(video_width, audio_width, num_tokens):
    module = shaken(AttentionFusion(video_width, audio_width, num_tokens))
    video, audio = torch.randn(2, 5, video_width), torch.randn(2, 3, audio_width)
    fused = module(video, audio)
    assert fused.shape == (2, num_tokens, 7)
    for clip in range(2):
        pooled_video = attention_pool(module.pool_video, video[clip])
        pooled_audio = attention_pool(module.pool_audio, audio[clip])
        for index in range(num_tokens):
            v = affine(module.project_video, pooled_video[index])
            a = affine(module.project_audio, pooled_audio[index])
            x = affine(module.mix, torch.cat([v, a]))
            h = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
            weight_v, weight_a = softmax(list(affine(module.weigh, h)))
            torch.testing.assert_close(fused[clip, index], weight_v * v + weight_a * a + h, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("video_width", "audio_width"), [(7, 4), (4, 7)])
@pytest.mark.parametrize("num_tokens", [1, 3])
@torch.no_grad()
def test_paper_fusion(video_width, audio_width, num_tokens):
    module = shaken(PaperAttentionFusion(video_width, audio_width, num_tokens))
    video, audio = torch.randn(2, 5, video_width), torch.randn(2, 3, audio_width)
    fused = module(video, audio)
    assert fused.shape == (2, num_tokens, 7)
    for clip in range(2):
        v = affine(module.project_video, sum(video[clip]) / 5)
        a = affine(module.project_audio, sum(audio[clip]) / 3)
        weights = affine(module.weigh, affine(module.mix, torch.cat([v, a])))
        for index in range(num_tokens):
            torch.testing.assert_close(fused[clip, index], weights[0] * v + weights[1] * a, rtol=0, atol=1e-6)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_of_the_paper():
    assert count(PaperAttentionPooling(768, 1)) == 769
    assert count(PaperAttentionPooling(1024, 1)) == 1025
    fusion = PaperAttentionFusion(768, 1024, 1)
    parts = {name: count(part) for name, part in fusion.named_children()}
    assert parts == {"project_video": 787456, "project_audio": 1049600, "mix": 2098176, "weigh": 2050}
    assert count(fusion) == 787456 + 1049600 + 2098176 + 2050


@pytest.mark.parametrize("fusion", ["none", "attention", "attention_paper"])
@pytest.mark.parametrize("pooling", ["mean", "attention", "attention_paper"])
def test_soft_tokens_have_the_width_of_the_language_model(pooling, fusion):
    counts = {"video": 2, "audio": 1, "multi": 3}
    module = SoftTokens(pooling, fusion, {"video": 7, "audio": 4}, counts, 11)
    tokens = module({"video": torch.randn(2, 5, 7), "audio": torch.randn(2, 3, 4)})
    names = ["video", "audio"] if fusion == "none" else ["video", "audio", "multi"]
    assert {name: value.shape for name, value in tokens.items()} == {name: (2, counts[name], 11) for name in names}
    # Each is its projection of its pooled or fused features, and of nothing else.
    expected = module.project["video"](module.pool["video"](torch.zeros(2, 5, 7)))
    silent = module({"video": torch.zeros(2, 5, 7), "audio": torch.randn(2, 3, 4)})
    torch.testing.assert_close(silent["video"], expected)
