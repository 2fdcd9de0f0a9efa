"""Answers of a model to a batch: how they are drawn, where they end, and what is taken off them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from affectgpt.inference.generate import Answer, answer, end_tokens
from affectgpt.inputs.reader import EncodedRow

ROWS = [EncodedRow("short", [5], []), EncodedRow("long", [6, 7, 8], [])]


class Scripted(nn.Module):
    """Says what it is told to, and keeps how it was asked."""

    device = torch.device("cpu")

    def __init__(self, tokenizer: Any, said: list[str], ends: list[int] | int | None = None) -> None:
        super().__init__()
        self.generation_config = GenerationConfig(eos_token_id=ends)
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in said]
        width = max(map(len, ids))
        self.said = torch.tensor([[*row, *[tokenizer.pad_token_id] * (width - len(row))] for row in ids])

    def generate(self, input_ids: Tensor, attention_mask: Tensor, **settings: Any) -> Tensor:
        self.ids, self.mask, self.settings, self.was_training = input_ids, attention_mask, settings, self.training
        return torch.cat([input_ids, self.said], dim=1)


@pytest.fixture
def ask(tiny):
    """`ask(said, stop_strings, ends, **settings)`: the answers, and the model that gave them."""

    def call(
        said: list[str],
        stop_strings: list[str] | None = None,
        ends: Any = None,
        training: bool = False,
        **settings: Any,
    ) -> tuple[list[Answer], Scripted]:
        tokenizer = tiny.processor.tokenizer
        model = Scripted(tokenizer, said, ends).train(training)
        reader = SimpleNamespace(tokenizer=tokenizer, stop_strings=stop_strings or [])
        return answer(model, reader, ROWS, **settings), model  # type: ignore[arg-type]

    return call


def test_prompts_are_padded_on_the_left_and_taken_off_the_answers(tiny, ask):
    end = tiny.processor.tokenizer.eos_token
    said, model = ask([f" joy {end}", "What does this person feel?"])
    pad = tiny.processor.tokenizer.pad_token_id
    assert model.ids.tolist() == [[pad, pad, 5], [6, 7, 8]]
    assert model.mask.tolist() == [[0, 0, 1], [1, 1, 1]]
    assert said == [Answer("joy", True), Answer("What does this person feel?", False)]


def test_stop_strings_end_an_answer_and_are_no_part_of_it(ask):
    said, model = ask(["joy ###", "joy ### and more"], ["###"])
    assert said == [Answer("joy", True), Answer("joy ### and more", False)]
    assert model.settings["generation_config"].stop_strings == ["###"]
    assert model.settings["tokenizer"] is not None
    _, model = ask(["joy", "joy"])
    assert model.settings["generation_config"].stop_strings is None


def test_every_end_token_of_model_and_tokenizer_ends_an_answer(tiny, ask):
    tokenizer = tiny.processor.tokenizer
    other = tokenizer("?", add_special_tokens=False)["input_ids"][-1]
    said, model = ask(["joy", "joy?"], ends=[other, tokenizer.eos_token_id])
    assert [item.complete for item in said] == [False, True]
    assert model.settings["generation_config"].eos_token_id == [tokenizer.eos_token_id, other]
    assert end_tokens(model, tokenizer) == [tokenizer.eos_token_id, other]
    model.generation_config = GenerationConfig(eos_token_id=other)
    assert end_tokens(model, tokenizer) == [tokenizer.eos_token_id, other]
    model.generation_config = None
    assert end_tokens(model, tokenizer) == [tokenizer.eos_token_id]


def test_answers_are_drawn_as_they_are_asked_for(tiny, ask):
    _, model = ask(["joy", "fear"], max_new_tokens=7)
    settings = model.settings["generation_config"]
    assert (settings.max_new_tokens, settings.do_sample) == (7, False)
    assert settings.pad_token_id == tiny.processor.tokenizer.pad_token_id
    streamer = object()
    _, model = ask(["joy", "fear"], temperature=0.7, top_p=0.9, streamer=streamer)
    settings = model.settings["generation_config"]
    # No other limit on what is drawn: transformers would take the likeliest fifty by itself.
    assert (settings.do_sample, settings.temperature, settings.top_p, settings.top_k) == (True, 0.7, 0.9, 0)
    assert model.settings["streamer"] is streamer


@pytest.mark.parametrize("training", [True, False])
def test_a_model_answers_in_evaluation_mode_and_is_left_as_it_was(ask, training):
    _, model = ask(["joy", "fear"], training=training)
    assert not model.was_training
    assert model.training is training
