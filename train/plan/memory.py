"""Memory that a stage needs on each GPU, by formulas. Bytes throughout.

States follow ZeRO (Rajbhandari et al. 2020, section 3.1): of each trained parameter, 2 bytes of weight and 2 of
gradient in bfloat16, and 12 of float32 master weight and AdamW's two moments. Without DeepSpeed the trained weights are
float32 themselves: 4 + 4 + 8.

Activations are counted as by Korthikanti et al. 2022 (Reducing activation recomputation in large transformer models,
section 4.1), over what a decoder of transformers keeps for its backward pass: RMSNorm in float32, rotary positions,
grouped queries, a gated MLP, and attention that keeps no scores (flash, SDPA).

Shapes: T tokens of a micro-batch, h width, q and k widths of queries and keys, i inner width of the MLP, r of LoRA, V
vocabulary, N processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from train.config.model import LoraSettings

GB = 1e9
BUCKET = 50_000_000
"""Number of gradients that are reduced together: reduce_bucket_size in deepspeed_configs/zero1.json and zero2.json."""
LIVE = 1e9
"""Maximum parameters that ZeRO-3 gathers at a time: DeepSpeed's stage3_max_live_parameters."""
TILE_TOKENS, TILE_WORDS = 4096, 32768
"""Size of the tiles in which TRL scores completions, instead of holding all logits."""
LOGIT_BYTES = 14
"""Bytes for each of the T x V logits at the peak of a supervised step: the logit in bfloat16 (2), its log-softmax (4),
and the gradients of both sides of it (4 + 4)."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """Way to spread the states of training over processes."""

    title: str
    config: str | None = None
    """DeepSpeed configuration of the strategy."""
    zero: int = 0
    offload: bool = False
    """Whether weights and optimiser states are kept in the memory of the host."""


STRATEGIES = (
    Strategy("no ZeRO"),
    *(Strategy(f"ZeRO-{stage}", f"deepspeed_configs/zero{stage}.json", stage) for stage in (1, 2, 3)),
    Strategy("ZeRO-3 + CPU", "deepspeed_configs/zero3_offload.json", 3, True),
)
"""All strategies, the fastest first."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """Sizes of a language model."""

    layers: int
    width: int
    queries: int
    keys: int
    inner: int
    heads: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Decoder:
        """Read the sizes from a configuration; of a mixture of experts, the inner width of those of one token."""
        heads = config.num_attention_heads
        head = getattr(config, "head_dim", None) or config.hidden_size // heads
        inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        if experts := getattr(config, "num_experts_per_tok", None):
            inner = experts * (getattr(config, "moe_intermediate_size", None) or inner)
        return cls(
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            queries=heads * head,
            keys=(getattr(config, "num_key_value_heads", None) or heads) * head,
            inner=inner,
            heads=heads,
            vocabulary=config.vocab_size,
        )


@dataclass(frozen=True, slots=True)
class Weights:
    """Parameters that a process holds, as a run without DeepSpeed loads them."""

    trained: int
    """Number of trained parameters, which are float32."""
    frozen: int
    frozen_bytes: float

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, nn.Parameter]], frozen_size: float, packed: float = 0.0) -> Weights:
        """Count named parameters.

        Args:
            frozen_size: bytes of a frozen parameter.
            packed: bytes of a parameter of a frozen matrix, if those are quantised.
        """
        trained = frozen = 0
        frozen_bytes = 0.0
        for name, parameter in parameters:
            if parameter.requires_grad:
                trained += parameter.numel()
                continue
            frozen += parameter.numel()
            quantised = packed and name.endswith("base_layer.weight")
            frozen_bytes += parameter.numel() * (packed if quantised else frozen_size)
        return cls(trained, frozen, frozen_bytes)


@dataclass(frozen=True, slots=True)
class Batch:
    """Batch that a process works on at a time.

    Args:
        rows: rows of a micro-batch.
        prompt, completion: tokens of a row; a supervised row is all prompt.
        rollouts: completions that are generated together; 0 in a supervised stage.
    """

    rows: int
    prompt: int
    completion: int = 0
    rollouts: int = 0


@dataclass(frozen=True, slots=True)
class Training:
    """Trained and frozen parts of a model, and the way they are trained."""

    decoder: Decoder
    weights: Weights
    lora: LoraSettings | None
    in_full: bool
    """Whether the language model's own weights are trained."""
    trained_head: int
    """Number of trained parameters that give logits."""
    cast: int
    """Number of parameters of which autocast keeps a copy in bfloat16 until the backward pass."""
    checkpointing: bool
    eager: bool
    """Whether attention keeps its scores."""
    reference: bool
    """Whether GRPO compares with a frozen copy."""


def memory_of(job: Training, batch: Batch, strategy: Strategy, processes: int, towers: float = 0.0) -> dict[str, float]:
    """Return the memory of one GPU by purpose, in bytes. 'peak' is what stays resident plus the largest transient.

    Args:
        towers: bytes of frozen towers that run beside the model.
    """
    items = states(job, strategy, processes) | {"towers": towers}
    items["activations"] = activations(job, batch, strategy)
    items["logits"] = logits(job, batch)
    # The step itself wants its share of the gradients in float32.
    step = 4 * job.weights.trained / processes if strategy.zero and not strategy.offload else 0.0
    items["rollout"] = rollout(job, batch, strategy) if batch.rollouts else 0.0
    stay = sum(items[name] for name in ("weights", "optimiser", "reference", "towers"))
    backward = sum(items[name] for name in ("gradients", "buffers", "activations", "logits"))
    return items | {"peak": stay + max(backward, items["gradients"] + step, items["rollout"])}


def states(job: Training, strategy: Strategy, processes: int) -> dict[str, float]:
    """Return the bytes of weights, gradients, optimiser states and the buffers in which gradients are exchanged."""
    trained, frozen = job.weights.trained, job.weights.frozen
    copied: float
    if strategy.zero == 0:
        copied = trained if job.lora else trained + frozen
        return {
            "weights": 4 * trained + job.weights.frozen_bytes,
            "gradients": 4 * trained,
            "optimiser": 8 * trained,
            "buffers": 4 * trained if processes > 1 else 0,
            "reference": 4 * copied if job.reference else 0,
        }
    weights = 2.0 * trained + min(2 * frozen, job.weights.frozen_bytes)
    copied = 2.0 * trained if job.lora else weights
    buffers = {1: 2 * BUCKET, 2: 2 * 2 * BUCKET, 3: 2 * job.decoder.width**2}[strategy.zero]
    on_gpu = 0 if strategy.offload else 1
    if strategy.zero == 3:
        gathered = min(weights, 2 * LIVE)
        weights, copied = gathered + on_gpu * weights / processes, on_gpu * copied / processes
    return {
        "weights": weights,
        "gradients": on_gpu * 2 * trained / (processes if strategy.zero > 1 else 1),
        "optimiser": on_gpu * 12 * trained / processes,
        "buffers": buffers,
        "reference": copied if job.reference else 0,
    }


def host_memory(job: Training, strategy: Strategy, processes: int, per_node: int) -> float:
    """Return the bytes of host memory of a node: weights while they are loaded, and offloaded states, which stay there.

    Every process loads all weights; under ZeRO-3 all of a node share the pages of the files, and cut weight by weight.
    """
    cut = strategy.zero == 3 and (job.lora is None or job.lora.bits is None)
    loaded = (1 if cut else per_node) * (4 * job.weights.trained + job.weights.frozen_bytes)
    if not strategy.offload:
        return loaded
    whole = 2 * (job.weights.trained + job.weights.frozen) + 16 * job.weights.trained
    return max(loaded, per_node / processes * whole)


def activations(job: Training, batch: Batch, strategy: Strategy) -> float:
    """Return the bytes that T tokens keep for the backward pass; with checkpointing, layer inputs and one layer."""
    decoder, tokens = job.decoder, batch.rows * (batch.prompt + batch.completion)
    autocast = strategy.zero == 0
    stream = 4 if autocast and job.lora is None else 2
    layer = layer_bytes(job, autocast, batch.prompt + batch.completion)
    kept = decoder.layers * stream * decoder.width + layer if job.checkpointing else decoder.layers * layer
    end = 4 + (
        stream + 2 if job.in_full else 0
    )  # the last norm, and where they are trained, its weight's and the head's
    total = tokens * (kept + end * decoder.width)
    return total + (2 * job.cast if autocast else 0)


def layer_bytes(job: Training, autocast: bool, length: int) -> float:
    """Return the bytes that one layer keeps of each token.

    Args:
        autocast: whether weights are float32 and computation is in bfloat16; else weights are bfloat16.
        length: tokens of a row; only the scores of attention depend on it.
    """
    decoder = job.decoder
    h, q, k, i = decoder.width, decoder.queries, decoder.keys, decoder.inner
    kept = 2 * 4 * h + (4 * q + 4 * k) + 6 * i  # both norms; queries, keys, values and what attention gives; the MLP
    if job.eager:
        kept += (2 + 4) * decoder.heads * length
    if job.in_full:
        kept += 2 * (4 if autocast else 2) * h  # what the norms' own weights are multiplied with
        kept += 2 * (5 * h + i if autocast else 2 * h + i)  # inputs of the matrices; autocast casts for each anew
    elif job.lora:
        each = 5 * h + q + i  # inputs of all seven matrices
        if job.lora.dropout:
            kept += (2 + 1) * each
        else:
            kept += 2 * (each if autocast else 2 * h + i)
        kept += 2 * 7 * job.lora.r
    return kept


def logits(job: Training, batch: Batch) -> float:
    """Return the bytes that the loss holds beyond the layers."""
    if not batch.rollouts:
        return LOGIT_BYTES * batch.rows * batch.prompt * job.decoder.vocabulary
    tokens = batch.rows * batch.completion
    tile = 2 * min(tokens, TILE_TOKENS) * min(job.decoder.vocabulary, TILE_WORDS)
    return tile + 4 * tokens * job.decoder.width + 4 * job.trained_head


def rollout(job: Training, batch: Batch, strategy: Strategy) -> float:
    """Return the bytes of the key-value cache of all completions and of the widest layer while prompts are read."""
    decoder = job.decoder
    cache = 2 * 2 * decoder.layers * decoder.keys * batch.rollouts * (batch.prompt + batch.completion)
    prefill = batch.rollouts * batch.prompt * (6 * decoder.inner + 12 * decoder.width)
    # TRL gathers a model that ZeRO-3 has split before it generates.
    gathered = 2 * (job.weights.trained + job.weights.frozen) if strategy.zero == 3 else 0
    return cache + prefill + gathered
