"""Configuration of an AffectGPT model: a language model, a vision tower, an audio tower, and how they are joined."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

Pooling = Literal["mean", "attention", "attention_paper"]
Fusion = Literal["none", "attention", "attention_paper"]


class AffectGPTConfig(PreTrainedConfig):
    """Configuration of `AffectGPTForConditionalGeneration`.

    Args:
        text_config, vision_config, audio_config: configurations of the parts, of any suitable `model_type`; a missing
            tower leaves its modality out.
        pooling: how the features of one modality become its soft tokens, see `fusion.py`.
        fusion: how audio and video features become pre-fused soft tokens before the language model; 'none' for no such
            tokens.
        num_video_tokens, num_audio_tokens, num_multi_tokens: soft tokens per clip (1 each in the paper).
        num_frames: pictures per clip given to the vision tower.
        num_audio_windows: audio features per clip; the audio tower's output is averaged within that many equal spans.
        video_token_id, audio_token_id, multi_token_id: placeholder ids. They never reach the embedding, so they may lie
            beyond the language model's vocabulary.
    """

    model_type = "affectgpt"
    # TRL keeps generation from sampling `image_token_id`, its only name for a placeholder.
    attribute_map: ClassVar[dict[str, str]] = {"image_token_id": "video_token_id"}
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
        pooling: Pooling = "attention",
        fusion: Fusion = "attention",
        num_video_tokens: int = 1,
        num_audio_tokens: int = 1,
        num_multi_tokens: int = 1,
        num_frames: int = 8,
        num_audio_windows: int = 8,
        video_token_id: int | None = None,
        audio_token_id: int | None = None,
        multi_token_id: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.text_config = _sub_config(text_config) or CONFIG_MAPPING["qwen3"]()
        self.vision_config = _sub_config(vision_config)
        self.audio_config = _sub_config(audio_config)
        self.pooling = pooling
        self.fusion = fusion if self.vision_config and self.audio_config else "none"
        self.num_video_tokens = num_video_tokens
        self.num_audio_tokens = num_audio_tokens
        self.num_multi_tokens = num_multi_tokens
        self.num_frames = num_frames
        self.num_audio_windows = num_audio_windows
        self.video_token_id = video_token_id
        self.audio_token_id = audio_token_id
        self.multi_token_id = multi_token_id
        # The head is tied where the language model ties it.
        kwargs.setdefault("tie_word_embeddings", self.text_config.tie_word_embeddings)
        super().__init__(**kwargs)


def _sub_config(value: dict[str, Any] | PreTrainedConfig | None) -> PreTrainedConfig | None:
    if not isinstance(value, dict):
        return value
    return CONFIG_MAPPING[value["model_type"]](**value)
