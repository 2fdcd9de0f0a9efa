"""GRPO's losses against plain restatements on fixed rollouts, and twenty steps beside stock TRL."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from affectgpt.clip import Clip
from affectgpt.inputs.reader import EncodedRow
from train.stages.grpo_trainer import MediaGRPOTrainer
from train.stages.shared_prefix import share_prompts

WORDS, GENERATIONS, LENGTH = 40, 4, 6
PROMPTS = ["w3 w9 w4 w8", "w7 w5", "w11 w12 w13 w6 w20 w21"]


def tokenizer() -> PreTrainedTokenizerFast:
    words = {"<pad>": 1, "<end>": 2} | {f"w{index}": index for index in (0, *range(3, WORDS))}
    made = Tokenizer(models.WordLevel(words, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<end>", padding_side="left")


def model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=WORDS,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            intermediate_size=48,
            max_position_embeddings=64,
            initializer_range=0.2,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=1,
        )
    )


class Words:
    """Rows whose prompt is written in words."""

    def __init__(self) -> None:
        self.stop_strings: list[str] = []
        self.processor = self.tokenizer = tokenizer()

    def read(self, clips: list[Clip], hidden: object = None) -> list[EncodedRow]:
        prompts = [clip.prompt[0]["content"] for clip in clips]
        return [
            EncodedRow(clip.id, self.tokenizer(text)["input_ids"], [])
            for clip, text in zip(clips, prompts, strict=True)
        ]


def even(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def trainer(ours: bool, folder: Path, **settings: Any) -> GRPOTrainer:
    fixed = {
        "output_dir": str(folder),
        "per_device_train_batch_size": len(PROMPTS) * GENERATIONS,
        "num_generations": GENERATIONS,
        "max_completion_length": LENGTH,
        "shuffle_dataset": False,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "dataloader_pin_memory": False,
        "optim": "sgd",  # see tests/support/rounding.py
        "learning_rate": 0.1,
    }
    rows = Dataset.from_dict({"prompt": PROMPTS * 20, "row": [0, 1, 2] * 20})
    # TRL loads the reference from where the model came from.
    model().save_pretrained(folder / "model")
    common: dict[str, Any] = {
        "model": Qwen3ForCausalLM.from_pretrained(folder / "model"),
        "args": GRPOConfig(**(fixed | settings)),
        "reward_funcs": [even],
        "processing_class": tokenizer(),
        "train_dataset": rows,
    }
    if not ours:
        return GRPOTrainer(**common)
    clips = [
        Clip(id=text, messages=[{"role": "user", "content": text}, {"role": "assistant", "content": "w3"}], task="text")
        for text in PROMPTS
    ]
    return MediaGRPOTrainer(clips=clips, reader=Words(), **common)


@pytest.mark.parametrize("settings", [{"loss_type": "grpo"}, {"loss_type": "dapo", "beta": 0.05, "num_iterations": 2}])
def test_twenty_steps_are_those_of_trl(tmp_path, monkeypatch, settings):
    original = GRPOTrainer._generate_and_score_completions

    def reseeded(self: Any, inputs: Any) -> Any:  # rollouts are then drawn alike
        torch.manual_seed(1000 + self._step)
        return original(self, inputs)

    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", reseeded)
    logs = []
    for ours in (True, False):
        run = trainer(ours, tmp_path / str(ours), max_steps=20, **settings)
        run.train()
        logs.append(
            [(row["loss"], row.get("reward"), row["grad_norm"]) for row in run.state.log_history if "loss" in row]
        )
        if ours:
            assert run.shares_prompts
    assert len(logs[0]) == 20
    for (loss, reward, norm), (their_loss, their_reward, their_norm) in zip(*logs, strict=True):
        assert reward == their_reward
        assert loss == pytest.approx(their_loss, abs=1e-5)
        assert norm == pytest.approx(their_norm, rel=1e-3, abs=1e-5)


def rollouts() -> dict[str, Any]:
    """Two prompts of unequal length, completions of unequal length, an older policy and a reference apart from it."""
    rng = torch.Generator().manual_seed(3)
    rows = torch.tensor([0, 0, 0, 0, 2, 2, 2, 2])
    prompts = [torch.tensor(tokenizer()(PROMPTS[row])["input_ids"]) for row in rows]
    width = max(map(len, prompts))
    prompt_ids = torch.stack([torch.cat([torch.ones(width - len(ids), dtype=torch.long), ids]) for ids in prompts])
    prompt_mask = torch.stack([torch.cat([torch.zeros(width - len(ids)), torch.ones(len(ids))]) for ids in prompts])
    lengths = torch.tensor([6, 2, 4, 1, 5, 6, 3, 6])
    mask = (torch.arange(LENGTH) < lengths[:, None]).long()
    completions = torch.randint(3, WORDS, (8, LENGTH), generator=rng) * mask + (1 - mask)
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask.long(),
        "completion_ids": completions,
        "completion_mask": mask,
        "advantages": torch.randn(8, generator=rng),
        "num_items_in_batch": mask.sum(),
        "old_per_token_logps": -3.5 + 0.4 * torch.randn(8, LENGTH, generator=rng),
        "ref_per_token_logps": -3.5 + 0.4 * torch.randn(8, LENGTH, generator=rng),
        "row": rows,
    }


def log_probs(policy: Any, batch: dict[str, Any]) -> list[Tensor]:
    """Of each completion's tokens, one completion at a time, without padding."""
    scores = []
    for index in range(8):
        prompt = batch["prompt_ids"][index][batch["prompt_mask"][index].bool()]
        said = batch["completion_ids"][index][batch["completion_mask"][index].bool()]
        logits = policy(input_ids=torch.cat([prompt, said])[None]).logits[0, len(prompt) - 1 : -1]
        scores.append(logits.log_softmax(-1).gather(-1, said[:, None])[:, 0])
    return scores


def oracle(policy: Any, batch: dict[str, Any], loss_type: str, level: str, beta: float) -> Tensor:
    """The published losses, a token at a time: Shao et al. 2024, Liu et al. 2025 (Dr. GRPO), Yu et al. 2025 (DAPO),
    MiniMax 2025 (CISPO), Zheng et al. 2025 (GSPO). The KL term is weighed by the ratio, as TRL does by default
    (DeepSeek-V3.2)."""
    low, high = 0.2, 0.28
    sequences = []
    for index, scores in enumerate(log_probs(policy, batch)):
        count = len(scores)
        old, reference = (batch[f"{name}_per_token_logps"][index, :count] for name in ("old", "ref"))
        advantage = batch["advantages"][index]
        terms = []
        for place in range(count):
            ratio = torch.exp(scores[place] - old[place])
            if level == "sequence":
                ratio = torch.exp((scores - old).mean())
            if loss_type == "cispo":
                term = -ratio.detach().clamp(max=high) * advantage * scores[place]
            else:
                term = -torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)
            apart = reference[place] - scores[place]
            terms.append(term + beta * ratio * (torch.exp(apart) - apart - 1))
        sequences.append(torch.stack(terms))
    tokens = torch.cat(sequences)
    if loss_type == "grpo":
        return torch.stack([terms.mean() for terms in sequences]).mean()
    if loss_type == "dr_grpo":
        return tokens.sum() / (len(sequences) * LENGTH)
    return tokens.mean()  # bnpo; dapo and cispo with one micro-batch


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize(
    ("loss_type", "level"),
    [(name, "token") for name in ("grpo", "dr_grpo", "dapo", "bnpo", "cispo")]
    + [("grpo", "sequence"), ("dapo", "sequence")],
)
def test_losses_and_gradients_are_the_published_ones(tmp_path, loss_type, level, beta, shares):
    high = {"epsilon_high": 0.28}
    run = trainer(
        True,
        tmp_path,
        max_steps=1,
        loss_type=loss_type,
        beta=beta,
        importance_sampling_level=level,
        epsilon=0.2,
        **high,
    )
    run.current_gradient_accumulation_steps = 1
    run.shares_prompts = shares
    run.model.train()
    batch = rollouts()
    loss = run._compute_loss(run.model, dict(batch))
    loss.backward()
    found = {name: p.grad.clone() for name, p in run.model.named_parameters()}

    plain = model().train()
    plain.load_state_dict(run.model.state_dict())
    expected = oracle(plain, batch, loss_type, level, beta)
    expected.backward()
    torch.testing.assert_close(loss.detach(), expected.detach(), rtol=0, atol=1e-6)
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-5, msg=name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Any]:
    """The same policy, scored in each way."""
    made = {}
    for way in ("plain", "cache", "packed"):
        run: Any = trainer(True, tmp_path_factory.mktemp(way), max_steps=1, loss_type="dapo", beta=0.1)
        run.shares_prompts = way != "plain"
        if way == "packed":
            share_prompts(run.model, "packed")
        run.model.train()
        made[way] = run
    return made


def learnt(run: Any, batch: dict[str, Any], parts: list[list[int]]) -> tuple[float, Tensor]:
    """Loss and gradient of a batch that is learned from in micro-batches."""
    run.model.zero_grad()
    run.current_gradient_accumulation_steps = run.args.steps_per_generation = len(parts)
    total = 0.0
    for part in parts:
        chosen = {
            name: value[part] if isinstance(value, Tensor) and value.ndim else value for name, value in batch.items()
        }
        loss = run._compute_loss(run.model, chosen)
        loss.backward()
        total += float(loss.detach())
    return total, run.model.get_input_embeddings().weight.grad.clone()


def widened(batch: dict[str, Any], left: int, right: int) -> dict[str, Any]:
    """The batch with more padding before its prompts and behind its completions."""
    padded = dict(batch)
    for name in ("prompt_ids", "prompt_mask"):
        padded[name] = pad(batch[name], (left, 0), value=int(name == "prompt_ids"))
    for name in ("completion_ids", "completion_mask", "old_per_token_logps", "ref_per_token_logps"):
        padded[name] = pad(batch[name], (0, right), value=int(name == "completion_ids"))
    return padded


@given(
    order=st.permutations(range(8)),
    cuts=st.sets(st.integers(1, 7)),
    padding=st.tuples(st.integers(0, 5), st.integers(0, 4)),
    way=st.sampled_from(["plain", "cache", "packed"]),
)
@settings(max_examples=60)
def test_how_rollouts_are_batched_does_not_matter(runs, order, cuts, padding, way):
    batch = rollouts()
    loss, gradient = learnt(runs["plain"], batch, [[*range(8)]])
    bounds = [0, *sorted(cuts), 8]
    parts = [order[start:end] for start, end in pairwise(bounds)]
    found_loss, found = learnt(runs[way], widened(batch, *padding), parts)
    assert found_loss == pytest.approx(loss, abs=1e-5)
    torch.testing.assert_close(found, gradient, rtol=0, atol=1e-5)
