"""The AffectGPT model as native transformers classes, registered with the Auto classes on import."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
)

from affectgpt.model.configuration import AffectGPTConfig
from affectgpt.model.modeling import AffectGPTForConditionalGeneration, AffectGPTModel
from affectgpt.model.processing import AffectGPTProcessor

AutoConfig.register(AffectGPTConfig.model_type, AffectGPTConfig)
AutoModel.register(AffectGPTConfig, AffectGPTModel)
AutoModelForCausalLM.register(AffectGPTConfig, AffectGPTForConditionalGeneration)
AutoModelForMultimodalLM.register(AffectGPTConfig, AffectGPTForConditionalGeneration)
AutoModelForImageTextToText.register(AffectGPTConfig, AffectGPTForConditionalGeneration)
AutoProcessor.register(AffectGPTConfig, AffectGPTProcessor)

__all__ = ["AffectGPTConfig", "AffectGPTForConditionalGeneration", "AffectGPTModel", "AffectGPTProcessor"]
