"""The `model` of a recipe: what is trained, and what it is given."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from affectgpt.model.configuration import Fusion, Pooling
from affectgpt.model.loading import Attention, Precision
from train.config.section import Section

Modality = Literal["video", "audio", "text"]


class LoraSettings(Section):
    """LoRA adapter on every linear layer of the language model; all stages train the same adapter."""

    r: int = Field(default=16, ge=1)
    """Rank."""
    alpha: int = Field(default=32, ge=1)
    """Scale: the update is multiplied by alpha / r."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Share of the adapter's inputs that is dropped in training."""
    dora: bool = False
    """Whether the adapter is weight-decomposed (DoRA)."""
    bits: Literal[4, 8] | None = None
    """Bits to which the language model under the adapter is quantised (QLoRA); needs bitsandbytes and a GPU."""


class TinyConfig(Section):
    """The language model of the embedded default: a small Qwen3, trained from scratch."""

    hidden_size: int = Field(default=192, ge=16)
    """Width of the model."""
    num_layers: int = Field(default=4, ge=1)
    """Layers."""
    num_heads: int = Field(default=6, ge=1)
    """Attention heads of a layer; a third as many of keys and values."""
    intermediate_size: int = Field(default=576, ge=16)
    """Width inside a layer's feed-forward part."""
    vocab_size: int = Field(default=1024, ge=300)
    """Tokens at most, learned from the rows' texts."""


class PartsConfig(Section):
    """Model made of parts: folders or Hub ids of a language model and of frozen towers, joined by new soft tokens."""

    llm: str
    """Folder or Hub id of the language model."""
    vision: str | None = None
    """Folder or Hub id of the tower of pictures; without it there are none."""
    audio: str | None = None
    """Folder or Hub id of the tower of sound; without it there is none."""
    revisions: dict[Literal["llm", "vision", "audio"], str] = Field(default_factory=dict)
    """Revisions of the parts that are Hub ids."""
    configs: dict[Literal["llm", "vision", "audio"], dict[str, Any]] = Field(default_factory=dict)
    """Configurations of the parts, for `affectgpt plan` where the Hub cannot be reached."""


class FusionSettings(Section):
    """Way from pictures and sound to soft tokens; every field is one of `AffectGPTConfig`, which explains it."""

    visual: Literal["face", "frame", "both"] = "face"
    """Pictures that the model sees: crops of the face, whole frames, or both."""
    share_visual: bool = True
    """Whether faces and frames share pooling and projection."""
    pooling: Pooling = "attention"
    """Way from a stream's features to its soft tokens; `attention_paper` is the released one."""
    fusion: Fusion = "attention"
    """Pre-fusion of pictures and sound into soft tokens before the language model; `none` for no such tokens."""
    num_tokens: dict[Literal["face", "frame", "audio", "multi"], int] = Field(default_factory=dict)
    """Soft tokens per clip and stream; 1 by default."""
    qformer_hidden_size: int = Field(default=768, ge=8)
    """Width of the Q-Formers, where `pooling` or `fusion` uses them."""
    num_frames: int = Field(default=8, ge=1)
    """Pictures of a clip."""
    vision_layers: tuple[int, ...] | None = None
    """Hidden layers of the tower of pictures whose mean is its output, such as [-1]; by default its own output."""
    vision_pooling: Literal["pooled", "cls", "mean"] = "pooled"
    """Pooling of the positions of a picture: the tower's own, the first position, or their mean."""
    num_audio_windows: int = Field(default=8, ge=1)
    """Features of sound of a clip."""
    audio_layers: tuple[int, ...] | None = None
    """Hidden layers of the tower of sound whose mean is its output; its last by default."""
    audio_sampling: Literal["spans", "windows"] = "spans"
    """Encoding of sound: as a whole, averaged within equal spans; or in windows of `audio_window_s`, as published."""
    audio_window_s: float = Field(default=2.0, gt=0)
    """Seconds of a window."""


class ModelConfig(FusionSettings):
    """Model to train: a model folder or Hub id, a model made of `parts`, or the `tiny` default that is built here."""

    path: str | None = None
    """Folder or Hub id: a saved AffectGPT, or a video-language model (Qwen2.5-VL, Qwen3-VL, Qwen2.5-Omni, ...)."""
    config: dict[str, Any] | None = None
    """Configuration of `path`, for `affectgpt plan` where the Hub cannot be reached."""
    parts: PartsConfig | None = None
    """Model made of parts; see `model.parts`."""
    tiny: TinyConfig | None = None
    """Small model from scratch, such as `{}`; see `model.tiny`."""
    inputs: tuple[Modality, ...] = ("video", "audio", "text")
    """Modalities that the model is given, in training and in evaluation."""
    prompt_style: Literal["chat", "paper"] = "chat"
    """Prompt: the tokenizer's chat template, or AffectGPT's plain prompt."""
    fps: float | None = Field(default=None, gt=0)
    """Frames per second, at most `num_frames`; for a video-language model."""
    max_pixels: int | None = Field(default=None, ge=784)
    """Maximum pixels of a frame, for a video-language model; the model's own limit by default."""
    lora: LoraSettings | None = None
    """LoRA adapter; None trains the language model in full."""
    dtype: Precision = "auto"
    """Precision of a language model not trained in full; 'auto' is bfloat16 on a GPU that has it, else float32."""
    attention: Attention = "auto"
    """Attention; 'auto' is flash attention where it is installed and the GPU supports it, else PyTorch's own."""

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        given = [name for name in ("path", "parts", "tiny") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of 'path', 'parts' and 'tiny' (found {' and '.join(given) or 'none'})")
        if self.config is not None and self.path is None:
            raise ValueError("'config' describes what 'path' names, found without it")
        if not self.inputs:
            raise ValueError("'inputs' must name at least one modality")
        # Defaults may be spelt out: a saved recipe does.
        set_in_vain = sorted(
            name
            for name, field in FusionSettings.model_fields.items()
            if name != "num_frames" and getattr(self, name) != field.get_default(call_default_factory=True)
        )
        if self.path is not None and set_in_vain:
            raise ValueError(f"{', '.join(set_in_vain)}: a saved model has its own; leave out what 'path' decides")
        return self

    def fusion_settings(self) -> dict[str, Any]:
        """Return the arguments of `AffectGPTConfig`."""
        return self.model_dump(include=set(FusionSettings.model_fields))
