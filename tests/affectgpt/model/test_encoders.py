"""Features of towers that give what they are told to: which positions and layers are averaged, what is padding."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from affectgpt.model.clip_encoder import ClipEncoder
from affectgpt.model.encoders import encode_pictures, encode_sound


class Tower:
    """Gives hidden states (layers, items, positions, D), of which the last is its output."""

    config = SimpleNamespace(model_type="any")

    def __init__(self, states: Tensor, pooled: Tensor | None = None) -> None:
        self.states, self.pooled = states, pooled

    def __call__(self, output_hidden_states: bool, **inputs: Tensor) -> SimpleNamespace:
        hidden = tuple(self.states) if output_hidden_states else None
        return SimpleNamespace(last_hidden_state=self.states[-1], hidden_states=hidden, pooler_output=self.pooled)


@pytest.fixture
def states() -> Tensor:
    return torch.randn(4, 2, 6, 3, generator=torch.Generator().manual_seed(0))


def test_sound_is_averaged_without_its_padding(states):
    tower = Tower(states)
    one, other = states[-1]
    found = encode_sound(tower, {}, [1.0, 0.5])
    torch.testing.assert_close(found, torch.stack([one.mean(0), other[:3].mean(0)]))
    spans = encode_sound(tower, {}, [1.0, 0.5], num_features=3)
    track = torch.cat([one, other[:3]])
    torch.testing.assert_close(spans, torch.stack([track[:3].mean(0), track[3:6].mean(0), track[6:].mean(0)]))
    torch.testing.assert_close(encode_sound(tower, {}, [1.0, 0.0])[1], other[0])  # never nothing at all


def test_layers_of_sound_are_averaged(states):
    found = encode_sound(Tower(states), {}, [1.0, 1.0], layers=[-3, -1])
    torch.testing.assert_close(found, ((states[1] + states[3]) / 2).mean(1))


def test_pictures_are_pooled_as_asked(states):
    pooled = torch.randn(2, 5, 1, 1)
    tower = Tower(states, pooled)
    assert torch.equal(encode_pictures(tower, {}), pooled[..., 0, 0])
    assert torch.equal(encode_pictures(Tower(states), {}), states[-1].mean(1))
    assert torch.equal(encode_pictures(tower, {}, pooling="cls"), states[-1][:, 0])
    assert torch.equal(encode_pictures(tower, {}, pooling="mean"), states[-1].mean(1))
    layers = (states[0] + states[2]) / 2
    torch.testing.assert_close(encode_pictures(tower, {}, [0, 2], "cls"), layers[:, 0])
    torch.testing.assert_close(encode_pictures(tower, {}, [0, 2]), layers.mean(1))


def test_videomae_gives_the_mean_over_the_patches_of_each_pair_of_pictures():
    tower = Tower(torch.randn(1, 1, 3 * 4, 5))
    tower.config = SimpleNamespace(model_type="videomae", image_size=32, patch_size=16)
    found = encode_pictures(tower, {})
    torch.testing.assert_close(found, tower.states[-1][0].reshape(3, 4, 5).mean(1))


def test_a_tower_of_another_precision_is_given_what_it_takes(tiny):
    rng = np.random.default_rng(0)
    media = {"face": rng.integers(0, 255, (3, 32, 32, 3), np.uint8), "audio": rng.normal(size=8000).astype(np.float32)}
    towers = {name: tower.bfloat16() for name, tower in tiny.towers().items()}
    found = ClipEncoder(tiny.encoder.config, tiny.processor, towers).encode(media)
    for name, value in tiny.encoder.encode(media).items():
        torch.testing.assert_close(found[name], value, rtol=0.05, atol=0.05)
