"""Configuration of an AffectGPT model: a language model, a vision tower, an audio tower, and how they are joined.

The towers are frozen, so they are no part of the trained model: it takes their features, and `ClipEncoder` makes those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

Stream = Literal["face", "frame", "audio"]
Pooling = Literal["mean", "attention", "attention_paper", "qformer"]
Fusion = Literal["none", "attention", "attention_paper", "qformer"]

STREAMS: tuple[Stream, ...] = ("face", "frame", "audio")
"""What a clip can be encoded as: crops of the face, whole frames, sound."""


class AffectGPTConfig(PreTrainedConfig):
    """Configuration of `AffectGPTForConditionalGeneration`.

    Args:
        text_config, vision_config, audio_config: configurations of the parts, of any suitable `model_type`; a missing
            tower leaves its modality out.
        visual: which pictures the model is given: crops of the 'face', the whole 'frame', or 'both'.
        share_visual: one pooling and one projection for face and frame, as in the paper; matters with 'both' alone.
        pooling: how the features of one stream become its soft tokens, see `fusion.py`.
        fusion: how audio and pictures (faces, or else frames) become pre-fused soft tokens before the language model;
            'none' for no such tokens.
        num_tokens: soft tokens per clip of 'face', 'frame', 'audio' and the pre-fused 'multi'; 1 each unless given, as
            in the paper.
        qformer_hidden_size: width of the Q-Formers, where `pooling` or `fusion` asks for them.
        num_frames: pictures per clip given to the vision tower.
        vision_layers: hidden layers of the vision tower whose mean is its output, such as [-1]; the tower's own output
            when None.
        vision_pooling: how a picture's positions become one vector: 'pooled' as the tower does it (for CLIP with its
            projection), 'cls' its first position, 'mean' over all.
        num_audio_windows: audio features per clip.
        audio_layers: hidden layers of the audio tower whose mean is its output; its last when None.
        audio_sampling: 'spans' encodes the whole sound and averages within equal spans; 'windows' encodes that many
            windows of `audio_window_s` seconds, spread evenly, each averaged, as in the paper.
        audio_window_s: length of a window in seconds.
        token_ids: placeholder ids of 'face', 'frame', 'audio' and 'multi'. They never reach the embedding, so they may
            lie beyond the language model's vocabulary.
        sources: part ('llm', 'vision', 'audio') -> where it came from: 'id' (a Hub id or folder) and 'revision', and
            of a tower the 'hash' of its weights, under which its features are kept.
    """

    model_type = "affectgpt"
    # TRL reads it of every class that is not in transformers itself, to find what loads GRPO's reference model.
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
        """The streams that the model is given, in the order of `STREAMS`."""
        pictures = {"face": ("face",), "frame": ("frame",), "both": ("face", "frame")}[self.visual]
        given = (*(pictures if self.vision_config else ()), *(("audio",) if self.audio_config else ()))
        return tuple(name for name in STREAMS if name in given)

    @property
    def fused(self) -> tuple[str, ...]:
        """('multi',) where audio and pictures are pre-fused, else nothing."""
        return () if self.fusion == "none" else ("multi",)

    @property
    def image_token_id(self) -> int | None:
        """TRL keeps generation from sampling this, its only name for a placeholder."""
        return next((self.token_ids[name] for name in self.streams if name in self.token_ids), None)


def _sub_config(value: dict[str, Any] | PreTrainedConfig | None) -> PreTrainedConfig | None:
    if not isinstance(value, dict):
        return value
    return CONFIG_MAPPING[value["model_type"]](**value)
