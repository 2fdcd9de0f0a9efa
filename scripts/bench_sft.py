"""Times supervised stages: rows packed beside rows padded, and ours beside `trl.SFTTrainer` on the same tokens.

python scripts/bench_sft.py [--quick] [--rounds N] [--large]

- `packing_vs_random_batches`: useful tokens a second, packs beside padded batches in random order, on log-normal
  lengths as in instruction data. `packing_vs_batches_by_length`: beside our own padded batches of rows of similar
  length. `packing_useful_tokens`: share of tokens in the packs that are not padding.
- `text_rows_vs_trl`: tokens a second of a whole training run on text rows, with the same batches and model.
- `memory_drift_5000`: growth of the process while 5,000 rows are read and joined to batches.
- `--large`, on a GPU: a LoRA stage of a 7B language model with random weights on stored features of clips, tokens a
  second and share of the card's peak performance.

All use the same small Qwen3 with random weights; medians of alternating rounds.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import torch
from _bench import alternate, compare, report
from datasets import Dataset
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import SFTConfig, SFTTrainer

from affectgpt.clip import Clip
from affectgpt.inputs.reader import EncodedRow
from train.config.model import ModelConfig
from train.libraries import quiet_libraries
from train.monitor import Console
from train.run_folder import RunFolder
from train.stages.context import StageContext
from train.stages.curriculum import batch_by_length
from train.stages.dataset import StageDataset, SupervisedCollator
from train.stages.packing import pack
from train.stages.sft import SftStage
from train.stages.sft_trainer import run_sft
from train.tiny_model import train_tokenizer

VOCABULARY = 4096
CAPACITY, ROWS_PER_BATCH = 768, 8


class RandomRows:
    """Reader of rows of random tokens, half prompt and half target; their clip's `extra` gives the number."""

    def __init__(self) -> None:
        self.tokenizer = SimpleNamespace(pad_token_id=0)
        self.processor = None
        self.stop_strings: list[str] = []

    def lengths(self, clips: Sequence[Clip]) -> list[int]:
        """Return the number of tokens of each row."""
        return [clip.extra["length"] for clip in clips]

    def read(self, clips: Sequence[Clip], hidden: Sequence[Collection[str]] | None = None) -> list[EncodedRow]:
        """Return the rows, the same at every call."""
        rows = []
        for clip in clips:
            ids = np.random.default_rng(clip.extra["seed"]).integers(3, VOCABULARY, clip.extra["length"]).tolist()
            half = len(ids) // 2
            rows.append(EncodedRow(clip.id, ids[:half], ids[half:]))
        return rows


def text_rows(count: int) -> list[Clip]:
    """Make rows with log-normal lengths: a median of 74 tokens, one in twenty beyond 275."""
    lengths = np.clip(np.random.default_rng(0).lognormal(4.3, 0.8, count), 8, CAPACITY).astype(int)
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    return [
        Clip(id=str(row), messages=turns, task="text", extra={"length": int(length), "seed": row})
        for row, length in enumerate(lengths)
    ]


def small_model() -> Qwen3ForCausalLM:
    """Build a Qwen3 of four layers, 256 wide."""
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=256,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=32,
            intermediate_size=768,
            max_position_embeddings=CAPACITY,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    )


def train_ours(items: list[list[int]], clips: list[Clip], batch: int, packing: int | None) -> None:
    """Train a supervised stage over those items, from the same untrained model."""
    stage = SftStage(
        name="bench",
        kind="sft",
        steps=len(items) // batch,
        batch_size=batch,
        learning_rate=1e-4,
        mixture={"text": 1.0},
        packing=packing,
        log_steps=10_000,
        save_steps=10_000,
    )
    with tempfile.TemporaryDirectory() as folder:
        data = StageDataset(clips, items, RandomRows())
        context = StageContext(
            folder=RunFolder(Path(folder)),
            model=ModelConfig(path="x"),
            rows={},
            reader=data.reader,
            console=Console({}),
        )
        run_sft(context, stage, small_model(), data, Path(folder), [])


def train_trl(order: list[int], clips: list[Clip], tokenizer: PreTrainedTokenizerFast) -> None:
    """Train `trl.SFTTrainer` over the same rows in the same order and batches."""
    rows = RandomRows().read([clips[row] for row in order])
    data = Dataset.from_dict(
        {
            "input_ids": [[*row.prompt_ids, *row.target_ids] for row in rows],
            "labels": [[-100] * len(row.prompt_ids) + row.target_ids for row in rows],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder,
            max_steps=len(order) // ROWS_PER_BATCH,
            per_device_train_batch_size=ROWS_PER_BATCH,
            learning_rate=1e-4,
            max_length=None,
            shuffle_dataset=False,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=not torch.cuda.is_available(),
            logging_steps=10_000,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataset_kwargs={"skip_prepare_dataset": True},
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        trainer = InOrder(model=small_model(), args=settings, train_dataset=data, processing_class=tokenizer)
        trainer.train()


class InOrder(SFTTrainer):
    """TRL's trainer reading rows in the order of the data set, as ours does."""

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def memory_drift(count: int) -> float:
    """Measure in MB how much the process grows while rows are read and joined, after the first tenth."""
    clips = text_rows(count)
    data = StageDataset(clips, [[row] for row in range(count)], RandomRows())
    collate = SupervisedCollator(data.reader)
    process, before = psutil.Process(), 0
    for start in range(0, count, ROWS_PER_BATCH):
        if start >= count // 10 and not before:
            before = process.memory_info().rss
        collate(data.__getitems__(range(start, min(start + ROWS_PER_BATCH, count))))
    return (process.memory_info().rss - before) / 1e6


def large(rounds: int) -> list[dict[str, Any]]:
    """Time a LoRA step of Qwen2.5-7B's shape on packs of rows with stored features; needs a GPU."""
    from transformers import CLIPVisionConfig, HubertConfig, Qwen2Config

    from affectgpt.model import AffectGPTConfig, AffectGPTForConditionalGeneration
    from train.config.model import LoraSettings
    from train.model_setup import add_adapter, freeze_encoders

    config = AffectGPTConfig(
        text_config=Qwen2Config(
            hidden_size=3584,
            intermediate_size=18944,
            num_hidden_layers=28,
            num_attention_heads=28,
            num_key_value_heads=4,
            vocab_size=152064,
            tie_word_embeddings=False,
        ),
        vision_config=CLIPVisionConfig(hidden_size=1024, num_attention_heads=16, projection_dim=768),
        audio_config=HubertConfig(hidden_size=1024, num_attention_heads=16),
        token_ids={"face": 151665, "audio": 151666, "multi": 151667},
    )
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model: Any = AffectGPTForConditionalGeneration(config)
        torch.set_default_dtype(torch.float32)
    model = add_adapter(model, LoraSettings())
    freeze_encoders(model)
    model.train()
    rows = []
    for index in range(64):
        ids = torch.randint(0, 150_000, (120,)).tolist()
        ids[5:8] = [151667, 151666, 151665]
        features = {"face_features": torch.randn(1, 8, 768), "audio_features": torch.randn(1, 8, 1024)}
        rows.append(EncodedRow(str(index), ids[:80], ids[80:], features))
    collate = SupervisedCollator(RandomRows(), packing=True)
    batch = {
        name: value.cuda() if isinstance(value, torch.Tensor) else value
        for name, value in collate([rows[:32], rows[32:]]).items()
    }
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()

    seconds = alternate(step, {}, rounds)["ours"]
    tokens = batch["input_ids"].numel()
    frozen = sum(p.numel() for p in model.parameters())
    # Forward, and backward through activations; frozen weights have no gradient of their own.
    share = 4 * frozen * tokens / seconds / 989e12
    return [
        compare("lora_7b_tokens", "tokens/s", tokens / seconds),
        compare("lora_7b_share_of_989_tflops", "share", share),
        compare("lora_7b_peak_memory", "MB", torch.cuda.max_memory_allocated() / 1e6),
    ]


def main() -> None:
    """Run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run fewer rows and rounds: under a minute")
    parser.add_argument("--rounds", type=int, default=0, help="number of alternating rounds (5; 2 with --quick)")
    parser.add_argument("--large", action="store_true", help="also run the 7B stage; needs a GPU with 40 GB")
    options = parser.parse_args()
    quiet_libraries()
    rounds = options.rounds or (2 if options.quick else 5)
    count = 96 if options.quick else 256
    clips = text_rows(count)
    lengths = {row: clip.extra["length"] for row, clip in enumerate(clips)}
    tokens = sum(lengths.values())
    packs = pack(range(count), lengths, CAPACITY, 0)
    by_length = [[row] for row in batch_by_length(range(count), lengths, ROWS_PER_BATCH, 0)]
    in_order = [[row] for row in range(count)]
    times = alternate(
        partial(train_ours, packs, clips, 1, CAPACITY),
        {
            "random": partial(train_ours, in_order, clips, ROWS_PER_BATCH, None),
            "by_length": partial(train_ours, by_length, clips, ROWS_PER_BATCH, None),
        },
        rounds,
    )
    speed = {name: tokens / seconds for name, seconds in times.items()}
    many = text_rows(20_000)
    filled = pack(range(len(many)), {row: clip.extra["length"] for row, clip in enumerate(many)}, CAPACITY, 0)
    useful = sum(clip.extra["length"] for clip in many) / (len(filled) * CAPACITY)
    random_share = tokens / sum(
        max(lengths[row] for row in range(start, start + ROWS_PER_BATCH)) * ROWS_PER_BATCH
        for start in range(0, count, ROWS_PER_BATCH)
    )
    tokenizer = copy.deepcopy(train_tokenizer(["?!"], 300))
    trl = alternate(
        partial(train_ours, in_order, clips, ROWS_PER_BATCH, None),
        {"trl": partial(train_trl, list(range(count)), clips, tokenizer)},
        rounds,
    )
    more = partial(compare, more_is_better=True)
    results = [
        more("packing_vs_random_batches", "useful tokens/s", speed["ours"], speed["random"]),
        more("packing_vs_batches_by_length", "useful tokens/s", speed["ours"], speed["by_length"]),
        more("packing_useful_tokens", "share", useful, random_share),
        more("text_rows_vs_trl", "tokens/s", tokens / trl["ours"], tokens / trl["trl"]),
        compare("memory_drift_5000", "MB", memory_drift(1000 if options.quick else 5000)),
    ]
    if options.large:
        results += large(rounds)
    report(results, rounds, ["torch", "transformers", "trl", "accelerate", "numpy"])


if __name__ == "__main__":
    sys.exit(main())
