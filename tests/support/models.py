"""A model of the real classes that is small enough to be built anew in every test."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

TINY = {"tiny": {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 48, "vocab_size": 320}}
"""The model of a recipe that trains one of its own."""
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
        from affectgpt.model.assemble import add_placeholders
        from affectgpt.model.clip_encoder import ClipEncoder, weights_hash
        from train.tiny_model import CHATML, train_tokenizer

        tokenizer = train_tokenizer(TEXTS, 300)
        self.vocab_size = len(tokenizer)
        self.num_tokens = {"face": 2, "frame": 2, "audio": 1, "multi": 3}
        self.ids = add_placeholders(tokenizer, SimpleNamespace(num_tokens=self.num_tokens))
        self.processor = AffectGPTProcessor(
            image_processor=ViTImageProcessor(size={"height": 32, "width": 32}),
            feature_extractor=WhisperFeatureExtractor(feature_size=16, chunk_length=1),
            tokenizer=tokenizer,
            chat_template=CHATML,
            num_tokens={name: count for name, count in self.num_tokens.items() if name != "frame"},
        )
        self.sources: dict = {}
        self.sources = {part: {"hash": weights_hash(tower)} for part, tower in self.towers().items()}
        self.template = self.build()
        self.folder = folder
        self.template.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        self.encoder = ClipEncoder(self.template.config, self.processor, self.towers())
        self.encoder.save_pretrained(folder)

    def config(self, **changes: object):  # type: ignore[no-untyped-def]
        """The configuration: Qwen3, ResNet and the encoder of Whisper, 3 frames, 4 spans of sound."""
        from transformers import Qwen3Config, ResNetConfig, WhisperConfig

        from affectgpt.model import AffectGPTConfig

        settings = {
            "text_config": Qwen3Config(
                vocab_size=self.vocab_size,
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
            "token_ids": self.ids,
            "sources": self.sources,
        }
        config = AffectGPTConfig(**(settings | changes | {"num_tokens": self.num_tokens}))
        config.num_tokens = {name: self.num_tokens[name] for name in (*config.streams, *config.fused)}
        config.token_ids = {name: self.ids[name] for name in config.num_tokens}
        return config

    def towers(self, seed: int = 0) -> dict:
        """Untrained towers of the configuration."""
        import torch
        from transformers import ResNetModel
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        torch.manual_seed(seed)
        config = self.config()
        return {
            "vision": ResNetModel(config.vision_config).eval(),
            "audio": WhisperEncoder(config.audio_config).eval(),
        }

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

    def features(self, seed: int, face: bool = True, audio: bool = True) -> dict:
        """Features as the towers give them, drawn at random."""
        import torch

        rng = torch.Generator().manual_seed(seed)
        frames, sound = torch.randn(3, 24, generator=rng), torch.randn(4, 16, generator=rng)
        return ({"face_features": frames} if face else {}) | ({"audio_features": sound} if audio else {})

    def row(self, question: str, answer: str, features: dict, name: str = "row"):  # type: ignore[no-untyped-def]
        """A row (question, answer, features) for a batch."""
        from affectgpt.inputs.reader import EncodedRow

        streams = [name.removesuffix("_features") for name in features]
        ids = self.processor.tokenise([{"role": "user", "content": question}], answer, streams)
        inputs = {name: value[None] for name, value in features.items()}
        return EncodedRow(name, ids.prompt_ids, ids.target_ids if answer else [], inputs)

    def batch(self, rows: Sequence[tuple[str, str, dict]], side: str = "right") -> SimpleNamespace:
        """Rows (question, answer, features) as model inputs; `labels` see the answers, `lengths` counts real tokens."""
        from affectgpt.inputs.batch import IGNORED, join_inputs, pad

        made = [self.row(*row) for row in rows]
        ids = [[*row.prompt_ids, *row.target_ids] for row in made]
        labels = [[IGNORED] * len(row.prompt_ids) + row.target_ids for row in made]
        inputs = {
            "input_ids": pad(ids, self.processor.tokenizer.pad_token_id, side),
            "attention_mask": pad([[1] * len(row) for row in ids], 0, side),
            **join_inputs(made),
        }
        return SimpleNamespace(
            inputs=inputs, labels=pad(labels, IGNORED, side), lengths=[len(row) for row in ids], rows=made
        )
