"""Answers of a model to rows: batched, greedy, in the order of the rows.

Shapes: B rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import torch
from transformers import GenerationConfig, PreTrainedModel

from affectgpt.clip import Clip
from affectgpt.reader import ClipReader, stack_features


class Prediction(TypedDict):
    """One answer: a line of a prediction file."""

    id: str
    task: str
    response: str
    status: str
    answer: object


@torch.no_grad()
def answer_rows(
    model: PreTrainedModel,
    reader: ClipReader,
    clips: Sequence[Clip],
    batch_size: int = 64,
    max_new_tokens: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Answer every row. `status` is 'ok', or 'truncated' where the answer did not end within `max_new_tokens`."""
    was_training = model.training
    model.eval()
    processor = reader.processor
    tokens = [reader.tokenise(clip).prompt_ids for clip in clips]
    # Rows of like length and like task end together; longest first shows at once whether memory suffices.
    order = sorted(range(len(clips)), key=lambda index: (clips[index].task, -len(tokens[index])))
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=processor.tokenizer.pad_token_id,
        eos_token_id=processor.tokenizer.eos_token_id,
    )
    answers: dict[int, Prediction] = {}
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        batch = processor.pad([tokens[index] for index in part], side="left")
        batch |= stack_features([reader.features(clips[index]) for index in part])
        batch = {name: value.to(model.device) for name, value in batch.items()}
        generate: Any = model.generate
        output = generate(**batch, generation_config=settings)[:, batch["input_ids"].shape[1] :]
        ended = (output == processor.tokenizer.eos_token_id).any(dim=1).tolist()
        texts = processor.tokenizer.batch_decode(output, skip_special_tokens=True)
        for index, text, whole in zip(part, texts, ended, strict=True):
            clip = clips[index]
            status = "ok" if whole else "truncated"
            answers[index] = Prediction(
                id=clip.id, task=clip.task, response=text.strip(), status=status, answer=clip.answer
            )
        if progress:
            progress(len(answers), len(order))
    model.train(was_training)
    return [answers[index] for index in range(len(clips))]
