"""Generation of answers to rows, and whether each answer is complete.

Shapes: B rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation.streamers import BaseStreamer

from affectgpt.clip import Clip
from affectgpt.inputs.batch import prompt_batch
from affectgpt.inputs.message_reader import MessageRow
from affectgpt.inputs.reader import EncodedRow, Reader, read_ahead
from affectgpt.llm.endpoint import ChatEndpoint


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of a model, without its end token or stop string."""

    text: str
    complete: bool
    """Whether the model ended the answer itself, within the token limit."""


@torch.no_grad()
def answer(
    model: PreTrainedModel | ChatEndpoint,
    reader: Reader,
    rows: Sequence[EncodedRow],
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    top_p: float = 1.0,
    streamer: BaseStreamer | None = None,
) -> list[Answer]:
    """Answer rows in one batch; the answers keep their order.

    Args:
        temperature: 0 takes the likeliest token each time; above 0, tokens are sampled.
        top_p: tokens are sampled among the likeliest that together have this probability.
        streamer: receives the tokens of a single row as they are generated; not of a model behind a URL.
    """
    if isinstance(model, ChatEndpoint):
        return _ask(model, reader, rows, max_new_tokens, temperature, top_p)
    tokenizer = reader.tokenizer
    ends = end_tokens(model, tokenizer)
    drawing = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends,
        stop_strings=reader.stop_strings or None,
        **(drawing if temperature else {"do_sample": False}),
    )
    batch = {name: value.to(model.device) for name, value in prompt_batch(rows, tokenizer.pad_token_id).items()}
    was_training = model.training
    model.eval()
    generate: Any = model.generate
    output = generate(**batch, generation_config=settings, tokenizer=tokenizer, streamer=streamer)
    model.train(was_training)
    tokens = output[:, batch["input_ids"].shape[1] :]
    texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return [
        _answer(text.strip(), ids, ends, reader.stop_strings) for text, ids in zip(texts, tokens.tolist(), strict=True)
    ]


def _ask(
    model: ChatEndpoint,
    reader: Reader,
    rows: Sequence[EncodedRow],
    max_new_tokens: int,
    temperature: float,
    top_p: float,
) -> list[Answer]:
    """Answer rows by a model behind a URL; answers that have been begun are continued, without its chat template."""
    read = [row for row in rows if isinstance(row, MessageRow)]
    assert len(read) == len(rows), "rows of another reader"
    if any(row.begun for row in read):
        replies = model.continuations([row.transcript for row in read], max_new_tokens, reader.stop_strings)
    else:
        replies = model.chat([row.turns for row in read], max_new_tokens, temperature, top_p)
    return [Answer(after_thinking(reply.text), reply.complete) for reply in replies]


def after_thinking(text: str) -> str:
    """Return an answer without the thoughts that some servers leave before it."""
    thoughts, mark, rest = text.partition("</think>")
    return (rest if mark and thoughts.lstrip().startswith("<think>") else text).strip()


def answer_in_batches(
    reader: Reader,
    clips: Sequence[Clip],
    batch_size: int,
    answer_batch: Callable[[Sequence[Clip]], list[Answer]],
    progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Answer any number of rows, in their order; rows of the same task and similar length share a batch.

    The longest rows of a task come first, which shows at once whether memory suffices.

    Args:
        batch_size: rows of a batch.
        answer_batch: function that answers the rows of a batch, in their order.
        progress: callback with the number of rows answered and their total.
    """
    lengths = reader.lengths(clips)
    order = sorted(range(len(clips)), key=lambda index: (clips[index].task, -lengths[index]))
    answers: dict[int, Answer] = {}
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        # The media of the next batch are decoded while this one is answered.
        read_ahead(reader, [clips[index] for index in order[start : start + 2 * batch_size]])
        answers |= zip(part, answer_batch([clips[index] for index in part]), strict=True)
        if progress:
            progress(len(answers), len(clips))
    return [answers[index] for index in range(len(clips))]


def _answer(text: str, ids: list[int], ends: list[int], stop_strings: Sequence[str]) -> Answer:
    stop = next((stop for stop in stop_strings if text.endswith(stop)), "")
    return Answer(text.removesuffix(stop).strip(), bool(stop) or not set(ends).isdisjoint(ids))


def end_tokens(model: PreTrainedModel, tokenizer: Any) -> list[int]:
    """Return every token that ends an answer: the tokenizer's, and those of the model's generation configuration."""
    own = model.generation_config.eos_token_id if model.generation_config is not None else None
    ends = own if isinstance(own, list) else [own]
    return [*dict.fromkeys(end for end in [tokenizer.eos_token_id, *ends] if end is not None)]
