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
    QFormerFusion,
    QFormerPooling,
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


def layer_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / ((centred**2).mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def attend(weights: dict[str, Tensor], prefix: str, queries: Tensor, keys: Tensor, heads: int) -> Tensor:
    """BERT's attention block, one head and one query at a time: (K, H) attending to (T, D), then add and normalise."""

    def project(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{prefix}.attention.{name}.weight"].T + weights[f"{prefix}.attention.{name}.bias"]

    q, k, v = project("query", queries), project("key", keys), project("value", keys)
    size = q.shape[-1] // heads
    context = torch.zeros_like(q)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for index in range(len(q)):
            scores = [(q[index, part] * k[step, part]).sum() / math.sqrt(size) for step in range(len(k))]
            shares = softmax(scores)
            context[index, part] = sum(share * v[step, part] for step, share in enumerate(shares))
    out = context @ weights[f"{prefix}.output.dense.weight"].T + weights[f"{prefix}.output.dense.bias"]
    return normalise(weights, f"{prefix}.output.LayerNorm", out + queries)


def normalise(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    norm = nn.LayerNorm(x.shape[-1], eps=1e-12)
    norm.weight.data, norm.bias.data = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return layer_norm(norm, x)


def q_former(module: QFormerPooling, features: Tensor, heads: int) -> Tensor:
    """(T, D) to (K, H): two layers of self-attention, cross-attention and a feed-forward block, as in BLIP-2."""
    weights = dict(module.qformer.named_parameters())
    keys = torch.stack([z + module.position.weight[step] for step, z in enumerate(features)])
    x = normalise(weights, "layernorm", module.queries[0])
    for layer in range(2):
        prefix = f"encoder.layer.{layer}"
        x = attend(weights, f"{prefix}.attention", x, x, heads)
        x = attend(weights, f"{prefix}.crossattention", x, keys, heads)
        inner = x @ weights[f"{prefix}.intermediate_query.dense.weight"].T
        inner = inner + weights[f"{prefix}.intermediate_query.dense.bias"]
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        outer = inner @ weights[f"{prefix}.output_query.dense.weight"].T
        outer = outer + weights[f"{prefix}.output_query.dense.bias"]
        x = normalise(weights, f"{prefix}.output_query.LayerNorm", outer + x)
    return x


@pytest.mark.parametrize(("hidden_size", "heads"), [(16, 1), (128, 2)])
@torch.no_grad()
def test_q_former_pooling(hidden_size, heads):
    module = shaken(QFormerPooling(7, 3, positions=6, hidden_size=hidden_size)).eval()
    for parameter in module.parameters():
        parameter *= 0.3
    features = torch.randn(2, 5, 7)
    tokens = module(features)
    assert tokens.shape == (2, 3, hidden_size)
    for clip, found in zip(features, tokens, strict=True):
        torch.testing.assert_close(found, q_former(module, clip, heads), rtol=0, atol=1e-6)
    assert not torch.allclose(module(features.flip(1)), tokens, atol=1e-3)  # it knows what came first


@torch.no_grad()
def test_q_former_fusion():
    module = shaken(QFormerFusion(7, 4, 2, positions=9, hidden_size=16)).eval()
    video, audio = torch.randn(2, 5, 7), torch.randn(2, 3, 4)
    fused = module(video, audio)
    assert fused.shape == (2, 2, 16)
    for clip in range(2):
        both = [affine(module.project_video, z) for z in video[clip]]
        both += [affine(module.project_audio, z) for z in audio[clip]]
        torch.testing.assert_close(fused[clip], q_former(module.pool, torch.stack(both), 1), rtol=0, atol=1e-6)


def test_parameter_counts_of_the_published_q_former():
    video = QFormerPooling(768, 32, positions=32, hidden_size=768)
    assert video.position.weight.numel() == 32 * 768
    assert video.queries.numel() == 32 * 768
    # Each layer: self-attention, cross-attention to 768, two feed-forward maps, four norms counting one per block.
    attention = 4 * (768 * 768 + 768) + 2 * 768
    feed_forward = 2 * 768 * 3072 + 3072 + 768 + 2 * 768
    assert count(video.qformer) == 2 * (2 * attention + feed_forward) + 2 * 768


@pytest.mark.parametrize("fusion", ["none", "attention", "attention_paper", "qformer"])
@pytest.mark.parametrize("pooling", ["mean", "attention", "attention_paper", "qformer"])
def test_soft_tokens_have_the_width_of_the_language_model(pooling, fusion):
    counts = {"face": 2, "audio": 1, "multi": 3}
    module = SoftTokens(pooling, fusion, {"face": 7, "audio": 4}, counts, 11, qformer_width=16).eval()
    first = torch.tensor([[0, 0], [1, 1]])
    tokens = module({"face": torch.randn(2, 5, 7), "audio": torch.randn(2, 3, 4)}, first)
    names = ["face", "audio"] if fusion == "none" else ["face", "audio", "multi"]
    assert {name: value.shape for name, value in tokens.items()} == {name: (2, counts[name], 11) for name in names}
    # Each is its projection of its pooled or fused features, and of nothing else.
    expected = module.project["visual"](module.pool["visual"](torch.zeros(2, 5, 7)))
    silent = module({"face": torch.zeros(2, 5, 7), "audio": torch.randn(2, 3, 4)}, first)
    torch.testing.assert_close(silent["face"], expected)


@torch.no_grad()
def test_clips_are_fused_in_pairs():
    module = shaken(SoftTokens("mean", "attention", {"face": 7, "audio": 4}, {"face": 1, "audio": 1, "multi": 2}, 11))
    video, audio = torch.randn(3, 5, 7), torch.randn(2, 3, 4)
    fused = module({"face": video, "audio": audio}, torch.tensor([[2, 0], [0, 1]]))["multi"]
    for index, (one, other) in enumerate([(2, 0), (0, 1)]):
        alone = module.project["multi"](module.fuse(video[one : one + 1], audio[other : other + 1]))
        torch.testing.assert_close(fused[index], alone[0])


def test_faces_are_fused_where_there_are_any():
    assert SoftTokens.fused_streams(("frame", "face", "audio")) == ("face", "audio")
    assert SoftTokens.fused_streams(("frame", "audio")) == ("frame", "audio")


def test_a_q_former_holds_a_position_for_every_feature():
    lengths = {"face": 40, "audio": 12}
    module = SoftTokens("qformer", "qformer", {"face": 7, "audio": 4}, dict.fromkeys(("face", "audio", "multi"), 1), 11,
                        lengths=lengths, qformer_width=16)  # fmt: skip
    assert module.pool["visual"].position.num_embeddings == 40
    assert module.pool["audio"].position.num_embeddings == 12
    assert module.fuse.pool.position.num_embeddings == 264
    assert {part.queries.shape[-1] for part in (*module.pool.values(), module.fuse.pool)} == {16}
    more = SoftTokens("mean", "qformer", {"face": 7, "audio": 4}, dict.fromkeys(("face", "audio", "multi"), 1), 11,
                      lengths={"face": 300, "audio": 12}, qformer_width=16)  # fmt: skip
    assert more.fuse.pool.position.num_embeddings == 312
