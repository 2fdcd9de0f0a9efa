"""Configuration of an AffectGPT model: a language model, a vision tower, an audio tower, and how they are joined.

The towers are frozen and no part of the trained model: the model takes their features, which `ClipEncoder` computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

Stream = Literal["face", "frame", "audio"]
Pooling = Literal["mean", "attention", "attention_paper", "qformer"]
Fusion = Literal["none", "attention", "attention_paper", "qformer"]

STREAMS: tuple[Stream, ...] = ("face", "frame", "audio")
"""Streams that a clip can be encoded as: face crops, whole frames, audio."""


class AffectGPTConfig(PreTrainedConfig):
    """Configuration of `AffectGPTForConditionalGeneration`.

    Args:
        text_config, vision_config, audio_config: configurations of the parts, of any suitable `model_type`; a modality
            without a tower is left out.
        visual: images that the model takes: crops of the 'face', the whole 'frame', or 'both'.
        share_visual: one pooling and one projection for face and frame, as in the paper; only matters with 'both'.
        pooling: pooling of the features of one stream into its soft tokens, see `fusion.py`.
        fusion: pre-fusion of audio and images (faces, or else frames) into soft tokens before the language model;
            'none' for no such tokens.
        num_tokens: soft tokens per clip of 'face', 'frame', 'audio' and the pre-fused 'multi'; 1 each unless given, as
            in the paper.
        qformer_hidden_size: width of the Q-Formers, if `pooling` or `fusion` uses them.
        num_frames: images per clip given to the vision tower.
        vision_layers: hidden layers of the vision tower whose mean is its output, such as [-1]; None for the tower's
            own output.
        vision_pooling: pooling of the positions of an image into one vector: 'pooled' as the tower does it (with CLIP's
            projection), 'cls' takes the first position, 'mean' averages all.
        vision_width: width of the features of the vision tower, where its own configuration does not tell it.
        num_audio_windows: audio features per clip.
        audio_layers: hidden layers of the audio tower whose mean is its output; None for its last.
        audio_sampling: 'spans' encodes the whole audio and averages within equal spans; 'windows' encodes that many
            windows of `audio_window_s` seconds, spread evenly, and averages each, as in the paper.
        audio_window_s: length of a window in seconds.
        token_ids: placeholder ids of 'face', 'frame', 'audio' and 'multi'. They never reach the embedding, so they may
            lie beyond the language model's vocabulary.
        sources: part ('llm', 'vision', 'audio') -> its origin: 'id' (a Hub id or folder), 'revision' and, for towers,
            the 'hash' of their weights, under which features are stored.
    """

    model_type = "affectgpt"
    # TRL reads it from every class that is not in transformers itself, to find the loader of GRPO's reference model.
    auto_map: ClassVar[dict[str, str]] = {}
    sub_configs: ClassVar[dict[str, Any]] = {
        "text_config": AutoConfig,
        "vision_config": AutoConfig,
        "audio_config": AutoConfig,
    }

    def __init__(
        self,
        text_config: dict[str, Any] | PreTrainedConfig | None = None,
        vision_config: dict[str, Any] | PreTrainedConfig | None = None,
        audio_config: dict[str, Any] | PreTrainedConfig | None = None,
        visual: Literal["face", "frame", "both"] = "face",
        share_visual: bool = True,
        pooling: Pooling = "attention",
        fusion: Fusion = "attention",
        num_tokens: dict[str, int] | None = None,
        qformer_hidden_size: int = 768,
        num_frames: int = 8,
        vision_layers: Sequence[int] | None = None,
        vision_pooling: Literal["pooled", "cls", "mean"] = "pooled",
        vision_width: int | None = None,
        num_audio_windows: int = 8,
        audio_layers: Sequence[int] | None = None,
        audio_sampling: Literal["spans", "windows"] = "spans",
        audio_window_s: float = 2.0,
        token_ids: dict[str, int] | None = None,
        sources: dict[str, dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.text_config = _sub_config(text_config) or CONFIG_MAPPING["qwen3"]()
        self.vision_config = _sub_config(vision_config)
        self.audio_config = _sub_config(audio_config)
        self.visual = visual
        self.share_visual = share_visual
        self.pooling = pooling
        self.fusion = fusion if self.vision_config and self.audio_config else "none"
        self.num_tokens = dict.fromkeys((*self.streams, *self.fused), 1) | (num_tokens or {})
        self.qformer_hidden_size = qformer_hidden_size
        self.num_frames = num_frames
        self.vision_layers = list(vision_layers) if vision_layers else None
        self.vision_pooling = vision_pooling
        self.vision_width = vision_width
        self.num_audio_windows = num_audio_windows
        self.audio_layers = list(audio_layers) if audio_layers else None
        self.audio_sampling = audio_sampling
        self.audio_window_s = audio_window_s
        self.token_ids = token_ids or {}
        self.sources = sources or {}
        if visual == "both" and share_visual and self.num_tokens.get("face") != self.num_tokens.get("frame"):
            raise ValueError(f"face and frame share their pooling, so num_tokens must agree, got {self.num_tokens}")
        if min(self.num_tokens.values(), default=1) < 1:
            raise ValueError(f"num_tokens must be 1 or more, got {self.num_tokens}")
        # The head is tied where the language model ties it.
        kwargs.setdefault("tie_word_embeddings", self.text_config.tie_word_embeddings)
        super().__init__(**kwargs)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Streams that the model takes, in the order of `STREAMS`."""
        images = {"face": ("face",), "frame": ("frame",), "both": ("face", "frame")}[self.visual]
        given = (*(images if self.vision_config else ()), *(("audio",) if self.audio_config else ()))
        return tuple(name for name in STREAMS if name in given)

    @property
    def fused(self) -> tuple[str, ...]:
        """('multi',) if audio and images are pre-fused, else ()."""
        return () if self.fusion == "none" else ("multi",)

    @property
    def image_token_id(self) -> int | None:
        """Id of a placeholder, which TRL keeps generation from sampling; it knows no other name for one."""
        return next((self.token_ids[name] for name in self.streams if name in self.token_ids), None)


def _sub_config(value: dict[str, Any] | PreTrainedConfig | None) -> PreTrainedConfig | None:
    if not isinstance(value, dict):
        return value
    return CONFIG_MAPPING[value["model_type"]](**value)
