"""Trains the two small towers of the embedded default on still images and voices drawn here (no codec, no video files).

    python -m data_recipes.synthetic.towers vision audio      # or: make towers; about ten minutes on two cores

They learn to name the attributes of `world.ASPECTS` on a generator seed and actors that occur nowhere else. Only the
towers are kept, in half precision, not the heads that named the attributes: their users must learn again what the
features mean. `WEIGHTS/manifest.json` holds recipe, accuracies and hashes.

Shapes: B images or voices, H = W = CROP_SIZE, T spectrogram frames, M mel bands.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, ResNetConfig, ResNetModel, WhisperConfig, WhisperFeatureExtractor
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from data_recipes.synthetic.face import CROP_SIZE, Pose, crop_face, draw_frame, draw_jitter, pose_of
from data_recipes.synthetic.voice import SAMPLE_RATE, speak
from data_recipes.synthetic.world import (
    FACE_ASPECTS,
    FACES,
    LOOK_ASPECTS,
    VOICE_ASPECTS,
    VOICES,
    Scene,
    draw_actor,
    pick,
    stream,
)

WEIGHTS = Path(__file__).parent / "weights"
SEED = 770_001
FIRST_ACTOR, NUM_ACTORS = 1_000_000, 400
WINDOW_S = 4
VISION_HEADS = {**FACE_ASPECTS, **LOOK_ASPECTS}
RECIPE = {
    "vision": {"samples": 24_000, "epochs": 14, "batch": 128, "lr": 2e-3},
    "audio": {"samples": 12_000, "epochs": 14, "batch": 64, "lr": 1.5e-3},
}


def _draw_still(index: int) -> tuple[np.ndarray, list[int]]:
    rng = stream(SEED, "still", index)
    actor = draw_actor(SEED, FIRST_ACTOR + int(rng.integers(NUM_ACTORS)))
    # Half of the faces show an expression, half a random mixture of parts.
    values = {aspect: pick(rng, choices) for aspect, choices in FACE_ASPECTS.items()}
    if rng.random() < 0.5:
        values.update({aspect: choices[0] for aspect, choices in FACE_ASPECTS.items() if rng.random() < 0.7})
        values.update(FACES[pick(rng, list(FACES))])
    side = 1.0 if rng.random() < 0.5 else -1.0
    pose = pose_of(values, actor, float(rng.uniform(0.55, 1.0)), side)
    parts = {field.name: getattr(pose, field.name) for field in fields(Pose)}
    parts["mouth_open"] += 0.09 * rng.random() * (rng.random() < 0.7)
    canvas = cv2.convertScaleAbs(draw_frame(actor, Pose(**parts)), alpha=rng.uniform(0.88, 1.12))
    labels = [VISION_HEADS[aspect].index({**values, **actor.look}[aspect]) for aspect in VISION_HEADS]
    return crop_face(canvas, (0.0, 0.0), draw_jitter(rng)), labels


def _draw_voice(index: int) -> tuple[np.ndarray, list[int]]:
    rng = stream(SEED, "voice", index)
    actor = draw_actor(SEED, FIRST_ACTOR + int(rng.integers(NUM_ACTORS)))
    values = {aspect: pick(rng, choices) for aspect, choices in VOICE_ASPECTS.items()}
    if rng.random() < 0.5:
        values = {aspect: choices[0] for aspect, choices in VOICE_ASPECTS.items()}
        values.update(VOICES[pick(rng, list(VOICES))])
    seconds = float(rng.uniform(2.0, 3.2))
    scene = Scene(actor, "", "", "", "", "", values, float(rng.uniform(0.65, 1.0)), seconds)
    wave = np.zeros(WINDOW_S * SAMPLE_RATE, np.float32)
    spoken = speak(scene, rng)
    wave[: len(spoken)] = spoken
    mel = audio_processor()(wave, sampling_rate=SAMPLE_RATE, return_tensors="np").input_features[0]
    return mel.astype(np.float16), [VOICE_ASPECTS[aspect].index(values[aspect]) for aspect in VOICE_ASPECTS]


def _draw_all(draw: Callable[[int], tuple[np.ndarray, list[int]]], count: int) -> tuple[Tensor, Tensor]:
    """Draw `count` samples and their labels (count, heads)."""
    with ProcessPoolExecutor() as pool:
        samples = list(pool.map(draw, range(count), chunksize=64))
    inputs, labels = zip(*samples, strict=True)
    return torch.from_numpy(np.stack(inputs)), torch.tensor(labels)


def image_processor() -> ViTImageProcessorPil:
    """Build the processor of crops to (B, 3, CROP_SIZE, CROP_SIZE) between -1 and 1."""
    return ViTImageProcessorPil(
        size={"height": CROP_SIZE, "width": CROP_SIZE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )


def audio_processor() -> WhisperFeatureExtractor:
    """Build the processor of waveforms to log-mel spectrograms (B, M, T) of one window."""
    return WhisperFeatureExtractor(feature_size=64, sampling_rate=SAMPLE_RATE, hop_length=160, chunk_length=WINDOW_S)


def vision_tower() -> PreTrainedModel:
    """Build an untrained ResNet for crops; its pooled output is 128 wide."""
    return ResNetModel(
        ResNetConfig(
            embedding_size=24, hidden_sizes=[32, 64, 96, 128], depths=[1, 1, 1, 1], layer_type="basic",
            downsample_in_first_stage=False,
        )
    )  # fmt: skip


def audio_tower() -> PreTrainedModel:
    """Build an untrained Whisper encoder for windows of WINDOW_S seconds; its output is 96 wide."""
    return WhisperEncoder(
        WhisperConfig(
            num_mel_bins=64, d_model=96, encoder_layers=3, encoder_attention_heads=4, encoder_ffn_dim=256,
            decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=256, vocab_size=64, pad_token_id=0,
            bos_token_id=0, eos_token_id=0, decoder_start_token_id=0, suppress_tokens=None,
            begin_suppress_tokens=None, max_source_positions=WINDOW_S * 50, max_target_positions=8,
        )
    )  # fmt: skip


def _pool_vision(tower: nn.Module, crops: Tensor) -> Tensor:
    pixels = crops.permute(0, 3, 1, 2).float() / 127.5 - 1
    return torch.flatten(tower(pixels).pooler_output, 1)


def _pool_audio(tower: nn.Module, mel: Tensor) -> Tensor:
    return tower(mel.float()).last_hidden_state.mean(dim=1)


def train_tower(kind: str) -> dict[str, float]:
    """Train and save one tower, 'vision' or 'audio'; return the held-out accuracy by aspect."""
    torch.manual_seed(SEED)
    recipe = RECIPE[kind]
    vision = kind == "vision"
    heads = VISION_HEADS if vision else VOICE_ASPECTS
    tower, pool = (vision_tower(), _pool_vision) if vision else (audio_tower(), _pool_audio)
    start = time.monotonic()
    inputs, labels = _draw_all(_draw_still if vision else _draw_voice, int(recipe["samples"]))
    print(f"{kind}: drew {len(inputs)} in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    held_out = len(inputs) // 12
    width = 128 if vision else 96
    layers = nn.ModuleList([nn.Linear(width, len(choices)) for choices in heads.values()])
    parameters = [*tower.parameters(), *layers.parameters()]
    batch, epochs = int(recipe["batch"]), int(recipe["epochs"])
    steps = epochs * ((len(inputs) - held_out) // batch)
    optimiser = torch.optim.AdamW(parameters, lr=recipe["lr"], weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe["lr"], total_steps=steps, pct_start=0.1)
    accuracy: dict[str, float] = {}
    for epoch in range(epochs):
        tower.train()
        order = held_out + torch.randperm(len(inputs) - held_out)
        for rows in order.split(batch):
            if len(rows) < batch:
                continue
            hidden = pool(tower, inputs[rows])
            # A probe on top must be linear, so only linear heads are trained here.
            loss = sum(
                nn.functional.cross_entropy(head(hidden), labels[rows, index]) for index, head in enumerate(layers)
            )
            assert isinstance(loss, Tensor)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
        accuracy = _held_out_accuracy(tower, pool, layers, heads, inputs[:held_out], labels[:held_out])
        shown = " ".join(f"{name}={value:.3f}" for name, value in accuracy.items())
        print(
            f"{kind}: epoch {epoch + 1}/{epochs} {time.monotonic() - start:.0f} s {shown}", file=sys.stderr, flush=True
        )
    folder = WEIGHTS / kind
    tower.half().save_pretrained(folder)
    (image_processor() if vision else audio_processor()).save_pretrained(folder)
    return accuracy


@torch.no_grad()
def _held_out_accuracy(
    tower: nn.Module,
    pool: Callable[[nn.Module, Tensor], Tensor],
    layers: nn.ModuleList,
    heads: dict[str, tuple[str, ...]],
    inputs: Tensor,
    labels: Tensor,
) -> dict[str, float]:
    tower.eval()
    hidden = torch.cat([pool(tower, part) for part in inputs.split(256)])
    return {
        name: round((layers[index](hidden).argmax(-1) == labels[:, index]).float().mean().item(), 4)
        for index, name in enumerate(heads)
    }


def write_manifest(accuracy: dict[str, dict[str, float]]) -> None:
    """Record recipe, accuracy and hash of the weights; towers that were not trained now keep their entries."""
    path = WEIGHTS / "manifest.json"
    manifest = json.loads(path.read_text()) if path.is_file() else {"recipe": "data_recipes/synthetic/towers.py"}
    manifest["seed"] = SEED
    for kind, values in accuracy.items():
        sha256 = hashlib.sha256((WEIGHTS / kind / "model.safetensors").read_bytes()).hexdigest()
        manifest[kind] = {**RECIPE[kind], "held_out_accuracy": values, "sha256": sha256}
    path.write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    write_manifest({kind: train_tower(kind) for kind in sys.argv[1:] or list(RECIPE)})
