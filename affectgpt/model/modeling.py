"""AffectGPT as a transformers model: features in, soft tokens spliced into the prompt, a language model out.

Shapes: B rows, L tokens, E width of the language model, V vocabulary, N clips that have a stream, T features
over time, D their width, K soft tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    Cache,
    GenerationConfig,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from affectgpt.model.configuration import STREAMS, AffectGPTConfig
from affectgpt.model.encoders import feature_width
from affectgpt.model.fusion import SoftTokens
from affectgpt.problems import InputError

SOFT_TOKENS = "soft_tokens.safetensors"
"""File of a folder of parts with the soft tokens; `AffectGPTConfig.sources` says where the other weights are."""

LLM_ARGUMENTS = ("dtype", "attn_implementation", "quantization_config", "device_map")
"""Arguments of `from_pretrained` that are passed on to the language model of a folder of parts."""

FEATURES = tuple(f"{stream}_features" for stream in STREAMS)
"""Argument names of the features of each stream."""


def feature_widths(config: AffectGPTConfig) -> dict[str, int]:
    """Return D of every stream."""
    widths: dict[str, int] = {}
    for stream in config.streams:
        if stream == "audio":
            assert config.audio_config is not None
            widths[stream] = feature_width(config.audio_config, config.audio_layers, "mean")
        else:
            assert config.vision_config is not None
            known = config.vision_width
            widths[stream] = known or feature_width(config.vision_config, config.vision_layers, config.vision_pooling)
    return widths


def build_soft_tokens(config: AffectGPTConfig) -> SoftTokens:
    """Build untrained soft tokens."""
    lengths: dict[str, int] = dict.fromkeys(config.streams, config.num_frames)
    if "audio" in lengths:
        lengths["audio"] = config.num_audio_windows
    return SoftTokens(
        config.pooling,
        config.fusion,
        feature_widths(config),
        config.num_tokens,
        config.text_config.hidden_size,
        config.share_visual,
        lengths,
        config.qformer_hidden_size,
    )


class AffectGPTPreTrainedModel(PreTrainedModel):
    """Base class of the backbone and of the model with its head."""

    config_class = AffectGPTConfig
    base_model_prefix = "model"
    input_modalities = ["video", "audio", "text"]  # noqa: RUF012
    adapter_modules_to_save = ["soft_tokens"]  # noqa: RUF012
    """Modules that are trained in full beside a LoRA adapter."""
    _keep_in_fp32_modules_strict = ["soft_tokens"]  # noqa: RUF012
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the language model, as a saved configuration names it; soft tokens are always float32."""
        return self.get_decoder().dtype


class AffectGPTModel(AffectGPTPreTrainedModel):
    """Backbone: soft tokens and language model without its head. Features come from a `ClipEncoder`."""

    def __init__(self, config: AffectGPTConfig) -> None:
        super().__init__(config)
        self.feature_widths = feature_widths(config)
        self.soft_tokens = build_soft_tokens(config)
        self.language_model = AutoModel.from_config(config.text_config, trust_remote_code=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the language model's embedding."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's embedding."""
        self.language_model.set_input_embeddings(value)

    def splice(self, input_ids: Tensor, **features: Tensor | None) -> Tensor:
        """Embed (B, L) ids, with soft tokens in place of their placeholders; returns (B, L, E).

        Features of a stream belong to the clips that have it, in the order of their placeholders, row by row; a row
        may hold no clip, one or, if packed, several. A clip's pre-fused tokens precede its others, so that a run of
        'multi' belongs to the images and the audio that come next. An absent stream passes zeros through the same
        modules with weight zero, so that every rank runs the same collectives.

        Args:
            features: 'face_features', 'frame_features', 'audio_features' (N, T, D); None or left out if there are none.

        Raises:
            ValueError: placeholders and features do not match.
        """
        masks = {name: input_ids == token_id for name, token_id in self.config.token_ids.items()}
        is_media = torch.zeros_like(input_ids, dtype=torch.bool)
        for mask in masks.values():
            is_media |= mask
        embeds = self.get_input_embeddings()(input_ids.masked_fill(is_media, 0))
        given = {stream: features.get(f"{stream}_features") for stream in self.feature_widths}
        for stream, value in given.items():
            self._require_match(stream, int(masks[stream].sum()) if stream in masks else 0, value)
        if not given:
            return embeds
        dtype = next(self.soft_tokens.parameters()).dtype
        filled = {
            stream: embeds.new_zeros(1, 1, self.feature_widths[stream], dtype=dtype)
            if value is None
            else value.to(embeds.device, dtype)
            for stream, value in given.items()
        }
        for name, value in self.soft_tokens(filled, self._pairs(masks, filled)).items():
            tokens = value.to(embeds.dtype)
            if given.get(name) is not None or (name in self.config.fused and masks[name].any()):
                embeds = embeds.masked_scatter(masks[name][..., None], tokens)
            embeds = embeds + 0.0 * tokens.sum()
        return embeds

    def _require_match(self, stream: str, placeholders: int, value: Tensor | None) -> None:
        """Check that features have this model's width and match the number of placeholders."""
        width, each = self.feature_widths[stream], self.config.num_tokens[stream]
        if value is not None and (value.ndim != 3 or value.shape[-1] != width):
            raise ValueError(f"{stream}_features of shape {tuple(value.shape)}: expected (clips, time, {width})")
        clips = 0 if value is None else len(value)
        if placeholders != clips * each:
            raise ValueError(
                f"{placeholders} placeholders of {stream}, but features of {clips} clips with {each} soft tokens each"
            )

    def _pairs(self, masks: dict[str, Tensor], features: dict[str, Tensor]) -> Tensor:
        """Return (M, 2): for each run of pre-fused placeholders, the indices of the clips' images and audio.

        Without such a run it returns one pair, which nobody reads.

        Raises:
            ValueError: a run is not followed by a clip.
        """
        device = next(iter(features.values())).device
        starts = torch.zeros(0, dtype=torch.long, device=device)
        if self.config.fused:
            starts = masks["multi"].flatten().nonzero()[:: self.config.num_tokens["multi"], 0]
        if not len(starts):
            return torch.zeros(1, 2, dtype=torch.long, device=device)
        pairs = []
        for stream in SoftTokens.fused_streams(features):
            passed = masks[stream].flatten().cumsum(0)[starts] // self.config.num_tokens[stream]
            if int(passed.max()) >= len(features[stream]):
                raise ValueError(f"a placeholder of multi is not followed by the {stream} of its clip")
            pairs.append(passed)
        return torch.stack(pairs, dim=1)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        face_features: Tensor | None = None,
        frame_features: Tensor | None = None,
        audio_features: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Run the backbone.

        Args:
            input_ids: (B, L), with placeholders; or `inputs_embeds` (B, L, E), already spliced.
            face_features, frame_features, audio_features: (N, T, D) of the clips that have them, in the order of their
                placeholders, at prefill only.
        """
        if inputs_embeds is None:
            assert input_ids is not None
            features = (face_features, frame_features, audio_features)
            decoding = past_key_values is not None and past_key_values.get_seq_length() > 0
            if decoding and all(value is None for value in features):
                inputs_embeds = self.get_input_embeddings()(input_ids)
            else:
                inputs_embeds = self.splice(input_ids, **dict(zip(FEATURES, features, strict=True)))
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )


class AffectGPTForConditionalGeneration(AffectGPTPreTrainedModel, GenerationMixin):
    """AffectGPT with its language-model head: the class that is trained, saved, and generates."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: AffectGPTConfig) -> None:
        super().__init__(config)
        self.model = AffectGPTModel(config)
        self.lm_head = build_head(config.text_config)
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a saved model, or the language model and soft tokens that a folder of parts (`assemble`) names."""
        parts = Path(str(pretrained_model_name_or_path), SOFT_TOKENS)
        if not parts.is_file():
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        info = kwargs.pop("output_loading_info", False)
        config = kwargs.pop("config", None) or AffectGPTConfig.from_pretrained(parts.parent)
        model = cls._from_parts(config, parts, **kwargs)
        nothing: dict[str, set[str]] = {key: set() for key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
        return (model, nothing) if info else model

    @classmethod
    def _from_parts(cls, config: AffectGPTConfig, parts: Path, **kwargs: Any) -> AffectGPTForConditionalGeneration:
        source = config.sources["llm"]
        # The Auto classes hand the attention on in the configuration.
        wanted = {"attn_implementation": config._attn_implementation}
        wanted |= {name: value for name, value in kwargs.items() if name in LLM_ARGUMENTS}
        llm = AutoModelForCausalLM.from_pretrained(
            source["id"], revision=source["revision"], **wanted, trust_remote_code=False
        )
        with torch.device("meta"):
            model = cls(config)
        soft_tokens = build_soft_tokens(config)
        soft_tokens.load_state_dict(load_file(parts))
        model.model.soft_tokens = soft_tokens.to(llm.device)
        model.model.language_model, model.lm_head = llm.base_model, llm.get_output_embeddings()
        model.config.text_config = llm.config
        model.name_or_path = str(parts.parent)
        if getattr(llm, "is_quantized", False):
            for name in ("is_quantized", "hf_quantizer", "is_loaded_in_4bit", "quantization_method"):
                setattr(model, name, getattr(llm, name, None))
        model.generation_config = GenerationConfig.from_pretrained(parts.parent)
        model.eval()
        model._require_same_logits(llm)
        return model

    @torch.no_grad()
    def _require_same_logits(self, llm: PreTrainedModel) -> None:
        """Refuse a language model that does more between embedding and logits than this class reproduces."""
        ids = torch.arange(1, 9, device=llm.device)[None] % self.config.text_config.vocab_size
        ours, theirs = self(input_ids=ids).logits, llm(input_ids=ids).logits
        if not torch.equal(ours, theirs):
            raise InputError(
                f"{self.config.sources['llm']['id']}: a {llm.config.model_type} computes logits from hidden states in "
                "its own way; expected a plain head, at most with Gemma's cap. Name another language model."
            )

    def get_decoder(self) -> PreTrainedModel:
        """Return the language model without its head."""
        return self.model.language_model

    def get_input_embeddings(self) -> nn.Module:
        """Return the language model's embedding."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's embedding."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Return the head."""
        return self.lm_head

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        face_features: Tensor | None = None,
        frame_features: Tensor | None = None,
        audio_features: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Compute logits (B, L, V) and, with `labels` (B, L), -100 where not scored, the mean cross-entropy per token.

        `num_items_in_batch` among the keyword arguments replaces the number of tokens that the loss is divided by, so
        that gradient accumulation does not depend on how tokens are distributed over micro-batches.
        """
        loss_kwargs = {"num_items_in_batch": kwargs.pop("num_items_in_batch", None)}
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            face_features=face_features,
            frame_features=frame_features,
            audio_features=audio_features,
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = cap(self.lm_head(outputs.last_hidden_state[:, keep]), self.config.text_config)
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
        """Drop the features after prefill, the only step that takes them."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)  # type: ignore[misc]
        cache = inputs.get("past_key_values")
        if cache is not None and cache.get_seq_length() > 0:
            inputs |= dict.fromkeys(FEATURES)
        return inputs


def build_head(config: PreTrainedConfig) -> nn.Linear:
    """Build an untrained head as the language model's own class does (Phi's has a bias)."""
    with torch.device("meta"):
        own: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False).get_output_embeddings()
    return nn.Linear(own.in_features, own.out_features, bias=own.bias is not None)


def cap(logits: Tensor, config: PreTrainedConfig) -> Tensor:
    """Cap logits (..., V) as Gemma does; those of other language models stay as they are."""
    limit = getattr(config, "final_logit_softcapping", None)
    return logits if limit is None else limit * torch.tanh(logits / limit)
