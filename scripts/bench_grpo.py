"""Times GRPO beside stock `trl.GRPOTrainer`, on text: same model, prompts, lengths of completions and rewards.

python scripts/bench_grpo.py [--quick] [--rounds N] [--peer trl]

- `update_P300_C64_G8`, `update_P1000_C128_G8`: loss and backward of one group of G completions of C tokens to a prompt
  of P, milliseconds. Reading the prompt once instead of G times can at best give (G * (P + C)) / (P + G * C): 3.6 and
  4.5.
- `step_P1000_C64_G8`: a whole step: rollout, reward, advantage, loss, backward, optimiser.
- `update_peak_memory`: growth of the process during the larger update, each side in its own process.
- `encoder_share`: share of a step spent on reading media, for rows of the synthetic clips with stored features.

A Qwen3 of 6 layers, 256 wide, 4,096 words, random weights; medians of alternating rounds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from _bench import alternate, compare, report
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from affectgpt.clip import Clip
from affectgpt.inputs.reader import EncodedRow
from train.libraries import quiet_libraries
from train.stages.grpo_trainer import MediaGRPOTrainer

VOCABULARY, GENERATIONS = 4096, 8


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Build a tokenizer with a token for each word w0, w1, ..., so that a prompt has as many tokens as words."""
    words = {"<pad>": 1, "<end>": 2} | {f"w{index}": index for index in (0, *range(3, VOCABULARY))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", padding_side="left"
    )


def small_model() -> Qwen3ForCausalLM:
    """Build a Qwen3 of six layers, 256 wide."""
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=256,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=32,
            intermediate_size=768,
            max_position_embeddings=4096,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=1,
        )
    )


class WordRows:
    """Reader of rows whose prompts consist of words."""

    stop_strings: list[str] = []  # noqa: RUF012

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.processor = self.tokenizer = tokenizer

    def lengths(self, clips: Sequence[Clip]) -> list[int]:
        """Count the tokens of each prompt."""
        return [len(row.prompt_ids) for row in self.read(clips)]

    def read(self, clips: Sequence[Clip], hidden: Sequence[Collection[str]] | None = None) -> list[EncodedRow]:
        """Tokenise the prompts."""
        prompts = [clip.prompt[0]["content"] for clip in clips]
        return [
            EncodedRow(clip.id, self.tokenizer(text)["input_ids"], [])
            for clip, text in zip(clips, prompts, strict=True)
        ]


def prompt_of(length: int, seed: int = 0) -> str:
    """Draw that many random words."""
    rng = torch.Generator().manual_seed(seed)
    return " ".join(f"w{index}" for index in torch.randint(3, VOCABULARY, (length,), generator=rng).tolist())


def make_trainer(side: str, prompt_length: int, completion_length: int, folder: str) -> GRPOTrainer:
    """Build a trainer of 'ours' or the 'peer' over one prompt; completions always reach their full length."""
    tokenizer = word_tokenizer()
    text = prompt_of(prompt_length)
    settings = GRPOConfig(
        output_dir=folder,
        max_steps=1,
        per_device_train_batch_size=GENERATIONS,
        num_generations=GENERATIONS,
        max_completion_length=completion_length,
        generation_kwargs={"min_new_tokens": completion_length},
        loss_type="grpo",
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=10_000,
        dataloader_pin_memory=False,
    )
    common: dict[str, Any] = {
        "model": small_model(),
        "args": settings,
        "reward_funcs": [even_words],
        "processing_class": tokenizer,
    }
    rows = {"prompt": [text], "row": [0]}
    if side == "peer":
        trainer = GRPOTrainer(train_dataset=Dataset.from_dict(rows), **common)
    else:
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "w3"}]
        clips = [Clip(id="0", messages=turns, task="text")]
        trainer = MediaGRPOTrainer(
            train_dataset=Dataset.from_dict(rows), clips=clips, reader=WordRows(tokenizer), **common
        )
        trainer.read = {0: trainer.reader.read(clips)[0]}
    trainer.create_optimizer_and_scheduler(1)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def even_words(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Return the share of even token ids, a reward that differs between completions."""
    return [sum(token % 2 == 0 for token in ids) / max(1, len(ids)) for ids in completion_ids]


def rollouts(trainer: GRPOTrainer, prompt_length: int, completion_length: int) -> dict[str, Any]:
    """Build a batch for the loss, with completions drawn at random."""
    rng = torch.Generator().manual_seed(1)
    prompt = torch.tensor(trainer.processing_class(prompt_of(prompt_length))["input_ids"])
    completions = torch.randint(3, VOCABULARY, (GENERATIONS, completion_length), generator=rng)
    ones = torch.ones(GENERATIONS, prompt_length + completion_length, dtype=torch.long)
    return {
        "prompt_ids": prompt.expand(GENERATIONS, -1),
        "prompt_mask": ones[:, :prompt_length],
        "completion_ids": completions,
        "completion_mask": ones[:, prompt_length:],
        "advantages": torch.linspace(-1, 1, GENERATIONS),
        "num_items_in_batch": torch.tensor(float(completions.numel())),
        "row": torch.zeros(GENERATIONS, dtype=torch.long),
    }


def update(trainer: GRPOTrainer, batch: dict[str, Any]) -> None:
    """Compute loss and backward."""
    trainer._compute_loss(trainer.model, dict(batch)).backward()
    trainer.model.zero_grad(set_to_none=True)


def step(trainer: GRPOTrainer) -> None:
    """Run a whole step: rollout, reward, advantage, loss, backward, optimiser."""
    prompt = trainer.train_dataset[0]["prompt"]
    batch = trainer._generate_and_score_completions([{"prompt": prompt, "row": 0}] * GENERATIONS)
    trainer._compute_loss(trainer.model, batch).backward()
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()


def peak_memory(side: str, prompt_length: int, completion_length: int) -> float:
    """Measure in MB how much this process grows during one update; run it in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(side, prompt_length, completion_length, folder)
        if side == "ours":
            trainer.shares_prompts = True  # the comparison with the plain forward is not part of an update
        batch = rollouts(trainer, prompt_length, completion_length)
        before = psutil.Process().memory_info().rss
        update(trainer, batch)
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024 - before / 2**20


def encoder_share() -> float:
    """Measure the share of the demo's GRPO step that reading media takes: stored features joined to batches."""
    from affectgpt.features.store import FeatureStore
    from affectgpt.inputs.batch import join_inputs

    with tempfile.TemporaryDirectory() as folder, FeatureStore(Path(folder)) as store:
        keys = [f"{index:064x}" for index in range(8)]
        for key in keys:
            store.put(key, {"face_features": torch.randn(8, 128).half(), "audio_features": torch.randn(8, 96).half()})
        trainer = make_trainer("ours", 60, 64, folder)
        begin = time.perf_counter()
        for _ in range(3):
            step(trainer)
        whole = (time.perf_counter() - begin) / 3
        begin = time.perf_counter()
        for _ in range(20):
            stored = [{name: value.float()[None] for name, value in store.get(key).items()} for key in keys]
            join_inputs([EncodedRow(key, [], [], features) for key, features in zip(keys, stored, strict=True)])
        return (time.perf_counter() - begin) / 20 / whole


def main() -> None:
    """Run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run fewer rounds: about a minute")
    parser.add_argument("--rounds", type=int, default=0, help="number of alternating rounds (7; 2 with --quick)")
    parser.add_argument("--peer", choices=["trl"], default="trl", help="trainer to compare with (trl)")
    parser.add_argument("--memory", choices=["ours", "peer"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    quiet_libraries()
    if options.memory:
        print(peak_memory(options.memory, 1000, 128))
        return
    rounds = options.rounds or (2 if options.quick else 7)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for prompt, completion in ((300, 64), (1000, 128)):
            sides = {side: make_trainer(side, prompt, completion, folder) for side in ("ours", "peer")}
            runs = {
                side: partial(update, trainer, rollouts(trainer, prompt, completion)) for side, trainer in sides.items()
            }
            seconds = alternate(runs["ours"], {"peer": runs["peer"]}, rounds)
            name = f"update_P{prompt}_C{completion}_G{GENERATIONS}"
            results.append(compare(name, "ms", 1000 * seconds["ours"], 1000 * seconds["peer"]))
        sides = {side: make_trainer(side, 1000, 64, folder) for side in ("ours", "peer")}
        seconds = alternate(partial(step, sides["ours"]), {"peer": partial(step, sides["peer"])}, rounds)
        results.append(compare(f"step_P1000_C64_G{GENERATIONS}", "ms", 1000 * seconds["ours"], 1000 * seconds["peer"]))
    grown = [
        float(
            subprocess.run(
                [sys.executable, __file__, "--memory", side], capture_output=True, check=True
            ).stdout.split()[-1]
        )
        for side in ("ours", "peer")
    ]
    results.append(compare("update_peak_memory", "MB", *grown))
    results.append(compare("encoder_share", "share", encoder_share()))
    report(results, rounds, ["torch", "transformers", "trl", "accelerate"])


if __name__ == "__main__":
    sys.exit(main())
