"""AffectGPT as a transformers model: features in, soft tokens spliced into the prompt, a language model out.

Shapes: B rows, L tokens, E width of the language model, V vocabulary, F frames, T features over time, D their width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, Cache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from affectgpt.model.configuration import AffectGPTConfig
from affectgpt.model.encoders import build_tower, encode_frames, encode_voice, feature_width
from affectgpt.model.fusion import SoftTokens


class AffectGPTPreTrainedModel(PreTrainedModel):
    """What the backbone and the model with its head share."""

    config_class = AffectGPTConfig
    base_model_prefix = "model"
    input_modalities = ["video", "audio", "text"]  # noqa: RUF012
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012


class AffectGPTModel(AffectGPTPreTrainedModel):
    """The backbone: towers, soft tokens and language model without its head.

    The towers are frozen and stay in evaluation mode whatever `train()` is called with; batch statistics, dropout and
    masking would otherwise return.
    """

    def __init__(self, config: AffectGPTConfig) -> None:
        super().__init__(config)
        self.vision_tower = build_tower(config.vision_config) if config.vision_config else None
        self.audio_tower = build_tower(config.audio_config) if config.audio_config else None
        parts = {"video": config.vision_config, "audio": config.audio_config}
        self.feature_widths = {name: feature_width(part) for name, part in parts.items() if part is not None}
        self.soft_tokens = SoftTokens(
            config.pooling,
            config.fusion,
            self.feature_widths,
            {"video": config.num_video_tokens, "audio": config.num_audio_tokens, "multi": config.num_multi_tokens},
            config.text_config.hidden_size,
        )
        self.language_model = AutoModel.from_config(config.text_config)
        self.placeholders = {
            name: getattr(config, f"{name}_token_id") for name in ("video", "audio", "multi")
        }  # name -> id
        self.post_init()
        for tower in self.towers():
            tower.requires_grad_(False)
            tower.eval()

    def towers(self) -> list[PreTrainedModel]:
        """The towers that there are."""
        return [tower for tower in (self.vision_tower, self.audio_tower) if tower is not None]

    def train(self, mode: bool = True) -> AffectGPTModel:
        """Training mode for everything but the towers."""
        super().train(mode)
        for tower in self.towers():
            tower.eval()
            tower.requires_grad_(False)  # from_pretrained makes new parameters, and calls this afterwards
        return self

    def get_input_embeddings(self) -> nn.Module:
        """The language model's embedding."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's embedding."""
        self.language_model.set_input_embeddings(value)

    @torch.no_grad()
    def encode(
        self, pixel_values: Tensor | None = None, input_features: Tensor | None = None, num_audio_frames: int = 0
    ) -> dict[str, Tensor]:
        """Features of one clip; the one place where the towers run.

        Args:
            pixel_values: (F, 3, H, W).
            input_features: (W, M, T) spectrogram windows, of which `num_audio_frames` frames are sound.

        Returns:
            'video_features' (F, Dv) and 'audio_features' (Ta, Da) for what was given, in float32.
        """
        features: dict[str, Tensor] = {}
        if pixel_values is not None:
            assert self.vision_tower is not None
            features["video_features"] = encode_frames(self.vision_tower, pixel_values.to(self.vision_tower.dtype))
        if input_features is not None:
            assert self.audio_tower is not None
            mel = input_features.to(self.audio_tower.dtype)
            windows = self.config.num_audio_windows
            features["audio_features"] = encode_voice(self.audio_tower, mel, num_audio_frames, windows)
        return {name: value.float() for name, value in features.items()}

    def splice(
        self, input_ids: Tensor, video_features: Tensor | None = None, audio_features: Tensor | None = None
    ) -> Tensor:
        """Embed (B, L) ids, soft tokens in the places of their placeholders; returns (B, L, E).

        Rows without a modality have no placeholder of it, whatever stands in their rows of `*_features`. One that
        is absent from the whole batch passes zeros through the same modules with weight zero, so that every rank
        runs the same collectives.

        Raises:
            ValueError: a row's placeholders are not as many as its soft tokens.
        """
        is_text = torch.ones_like(input_ids, dtype=torch.bool)
        for token_id in self.placeholders.values():
            if token_id is not None:
                is_text &= input_ids != token_id
        embeds = self.get_input_embeddings()(input_ids.masked_fill(~is_text, 0))
        given = {"video": video_features, "audio": audio_features}
        features = {
            name: embeds.new_zeros(input_ids.shape[0], 1, width)
            if (value := given[name]) is None
            else value.to(embeds.device, embeds.dtype)
            for name, width in self.feature_widths.items()
        }
        for name, tokens in self.soft_tokens(features).items():
            mask = input_ids == self.placeholders[name]
            counts = mask.sum(dim=1)
            used = counts > 0
            wrong = used & (counts != tokens.shape[1])
            absent = name in given and given[name] is None
            if wrong.any() or (absent and used.any()):
                row = int((wrong | (used & absent)).nonzero()[0])
                found = "no features" if absent else f"{tokens.shape[1]} soft tokens"
                raise ValueError(f"row {row} of the batch: {int(counts[row])} placeholders of {name}, but {found}")
            embeds = embeds.masked_scatter(mask[..., None], tokens[used]) + 0.0 * tokens.sum()
        return embeds

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        video_features: Tensor | None = None,
        audio_features: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Run the backbone.

        Args:
            input_ids: (B, L), with placeholders; or `inputs_embeds` (B, L, E), already spliced.
            video_features, audio_features: (B, T, D), needed where `input_ids` holds placeholders: at prefill only.
        """
        if inputs_embeds is None:
            assert input_ids is not None
            decoding = past_key_values is not None and past_key_values.get_seq_length() > 0
            if decoding and video_features is None and audio_features is None:
                inputs_embeds = self.get_input_embeddings()(input_ids)
            else:
                inputs_embeds = self.splice(input_ids, video_features, audio_features)
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )


class AffectGPTForConditionalGeneration(AffectGPTPreTrainedModel, GenerationMixin):
    """AffectGPT with its language-model head: what is trained, saved, and generates."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: AffectGPTConfig) -> None:
        super().__init__(config)
        self.model = AffectGPTModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The language model's embedding."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's embedding."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.lm_head

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        video_features: Tensor | None = None,
        audio_features: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, L, V), and with `labels` (B, L), -100 where not scored, the mean cross-entropy per token.

        `num_items_in_batch` among the keyword arguments replaces the number of tokens that the loss is divided by, so
        that gradient accumulation does not depend on how tokens fall into micro-batches.
        """
        loss_kwargs = {"num_items_in_batch": kwargs.pop("num_items_in_batch", None)}
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            video_features=video_features,
            audio_features=audio_features,
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep])
        loss = None
        if labels is not None:
            vocab_size = self.config.text_config.vocab_size
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=vocab_size, **loss_kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def prepare_inputs_for_generation(self, input_ids: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Media enter at prefill only."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)  # type: ignore[misc]
        cache = inputs.get("past_key_values")
        if cache is not None and cache.get_seq_length() > 0:
            inputs["video_features"] = inputs["audio_features"] = None
        return inputs
