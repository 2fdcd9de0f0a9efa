"""Shared by the tests: a model of the real classes that is small enough to be built anew in every test."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tensors are tiny, and tests run side by side

TEXTS = [
    "What does this person feel? joy, anger, sadness, fear, surprise",
    'They say: "I did not expect that."',
    "a1 mouth: smiling\na2 brows: relaxed\ne1 smile <- a1\nm1 joy <- e1",
    "Explain step by step what this person feels.",
]


class TinyBuild:
    """A saved tiny model and its processor, and how to vary them."""

    def __init__(self, folder: Path) -> None:
        from transformers import ViTImageProcessor, WhisperFeatureExtractor

        from affectgpt.model import AffectGPTProcessor
        from affectgpt.model.processing import PLACEHOLDERS
        from train.base import CHATML, train_tokenizer

        tokenizer = train_tokenizer(TEXTS, 300)
        self.ids = {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in PLACEHOLDERS.items()}
        self.num_tokens = {"video": 2, "audio": 1, "multi": 3}
        self.processor = AffectGPTProcessor(
            image_processor=ViTImageProcessor(size={"height": 32, "width": 32}),
            feature_extractor=WhisperFeatureExtractor(feature_size=16, chunk_length=1),
            tokenizer=tokenizer,
            chat_template=CHATML,
            num_tokens=self.num_tokens,
            num_frames=3,
        )
        self.template = self.build()
        self.folder = folder
        self.template.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def config(self, **changes: object):  # type: ignore[no-untyped-def]
        """The configuration: Qwen3, ResNet and the encoder of Whisper, 3 frames, 4 spans of sound."""
        from transformers import Qwen3Config, ResNetConfig, WhisperConfig

        from affectgpt.model import AffectGPTConfig

        settings = {
            "text_config": Qwen3Config(
                vocab_size=min(self.ids.values()),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=16,
                intermediate_size=48,
                max_position_embeddings=512,
                tie_word_embeddings=True,
                initializer_range=0.1,
                bos_token_id=None,
                eos_token_id=self.processor.tokenizer.eos_token_id,
                pad_token_id=self.processor.tokenizer.pad_token_id,
            ),
            "vision_config": ResNetConfig(embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1], layer_type="basic"),
            "audio_config": WhisperConfig(
                num_mel_bins=16,
                max_source_positions=50,
                d_model=16,
                encoder_layers=1,
                encoder_attention_heads=2,
                encoder_ffn_dim=16,
            ),
            "num_frames": 3,
            "num_audio_windows": 4,
            **{f"num_{name}_tokens": count for name, count in self.num_tokens.items()},
            **{f"{name}_token_id": number for name, number in self.ids.items()},
        }
        return AffectGPTConfig(**(settings | changes))

    def build(self, seed: int = 0, **changes: object):  # type: ignore[no-untyped-def]
        """An untrained model in evaluation mode."""
        import torch

        from affectgpt.model import AffectGPTForConditionalGeneration

        torch.manual_seed(seed)
        model = AffectGPTForConditionalGeneration(self.config(**changes))
        model.generation_config.eos_token_id = self.processor.tokenizer.eos_token_id
        model.generation_config.pad_token_id = self.processor.tokenizer.pad_token_id
        return model.eval()

    def model(self):  # type: ignore[no-untyped-def]
        """A copy of the saved model."""
        return copy.deepcopy(self.template)

    def features(self, seed: int, video: bool = True, audio: bool = True) -> dict:
        """Features as the towers give them, drawn at random."""
        import torch

        rng = torch.Generator().manual_seed(seed)
        frames, sound = torch.randn(3, 24, generator=rng), torch.randn(4, 16, generator=rng)
        return ({"video_features": frames} if video else {}) | ({"audio_features": sound} if audio else {})

    def batch(self, rows: Sequence[tuple[str, str, dict]], side: str = "right") -> SimpleNamespace:
        """Rows (question, answer, features) as model inputs; `labels` see the answers, `lengths` counts real tokens."""
        import torch

        from affectgpt.reader import stack_features

        ids, labels = [], []
        for question, answer, features in rows:
            has = {name: f"{name}_features" in features for name in ("video", "audio")}
            turn = self.processor.tokenise([{"role": "user", "content": question}], answer, **has)
            target = turn.target_ids if answer else []
            ids.append([*turn.prompt_ids, *target])
            labels.append([-100] * len(turn.prompt_ids) + target)
        inputs = self.processor.pad(ids, side)
        inputs |= stack_features([features for *_, features in rows])
        seen = torch.full_like(inputs["input_ids"], -100)
        for index, row in enumerate(labels):
            place = slice(seen.shape[1] - len(row), None) if side == "left" else slice(len(row))
            seen[index, place] = torch.tensor(row)
        return SimpleNamespace(inputs=inputs, labels=seen, lengths=[len(row) for row in ids])


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyBuild:
    """The tiny model: `tiny.model()`, `tiny.processor`, `tiny.features(seed)`, `tiny.batch(rows)`, `tiny.folder`."""
    return TinyBuild(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def write_mp4() -> Callable[..., Path]:
    """`write_mp4(path, seed)`: a short MP4 with H.264 noise pictures and an AAC tone."""
    import numpy as np

    from data_recipes.synthetic.generate import SAMPLE_RATE, write_video

    def write(path: Path, seed: int = 0, seconds: float = 0.6) -> Path:
        rng = np.random.default_rng(seed)
        frames = rng.integers(0, 255, (int(25 * seconds), 32, 32, 3), np.uint8)
        wave = 0.3 * np.sin((200 + 50 * seed) * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)
        write_video(path, frames, wave.astype(np.float32))
        return path

    return write
