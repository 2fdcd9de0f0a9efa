"""Rewards of captions by local models: which rows, what is one call, and what the judge's mark is."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from affectgpt.llm.sentence_encoder import SentenceEncoder
from affectgpt.problems import InputError
from affectgpt.prompts import CAPTION_JUDGE
from affectgpt.tasks import TASKS
from videmo.caption_judge import CaptionJudge
from videmo.caption_rewards import caption_judge_reward, caption_similarity_reward
from videmo.distance import Costs, edit_distance, edit_distances
from videmo.embedding_rename import EmbeddingRename
from videmo.rewards import tree_reward
from videmo.tree import parse_tree
from videmo.user_rewards import reward_function

GOLD = "She smiles broadly and looks happy."


@pytest.fixture(scope="module")
def judge(tiny, tmp_path_factory) -> Path:
    """An untrained language model with a chat template."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("judge")
    size = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
    }
    config = Qwen3Config(vocab_size=tiny.vocab_size + 16, intermediate_size=32, initializer_range=0.3, **size)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tiny.processor.tokenizer.save_pretrained(folder)
    return folder


def test_similarity_on_a_real_encoder(minilm):
    said = ["A woman who looks happy, with a wide smile.", "A man is angry and shouts.", "", GOLD]
    tasks, answers = ["caption", "attribute_open", "caption", "tree"], [GOLD, GOLD, GOLD, "m1 joy"]
    near, far, nothing, other = caption_similarity_reward(said, tasks, answers, model=minilm)
    assert 1 > near > 0.6 > far >= 0
    assert (nothing, other) == (0.0, None)


def test_captions_are_held_against_those_of_their_own_rows(minilm):
    captions = ["m1 joy", "He walks to the bus.", GOLD]
    said = ["m1 joy", "", f"<think>A bus?</think><answer>{GOLD}</answer>"]
    assert caption_similarity_reward(said, ["tree", "caption", "caption"], captions, model=minilm) == [
        None,
        0.0,
        pytest.approx(1, abs=1e-4),
    ]


def test_the_judges_mark_is_the_mean_under_its_next_token(judge):
    marks = CaptionJudge(str(judge), "cpu")
    said = ["happy", "She frowns, and it takes rather long to say so."]
    found = marks.scores(said, [GOLD, GOLD])
    for text, mark in zip(said, found, strict=True):
        request = CAPTION_JUDGE.format(reference=GOLD, caption=text)
        turns = [{"role": "user", "content": request}]
        shown = marks.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = marks.tokenizer(shown, return_tensors="pt", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            shares = marks.model(ids).logits[0, -1].softmax(-1)
        digits = [float(shares[marks.tokenizer.convert_tokens_to_ids(str(digit))]) for digit in range(10)]
        expected = sum(digit * share for digit, share in enumerate(digits)) / sum(digits) / 9
        assert mark == pytest.approx(expected, abs=1e-5)


def test_the_judge_is_asked_once_and_cannot_be_talked_out_of_its_turn(judge):
    marks = CaptionJudge(str(judge), "cpu", batch_size=2)
    calls: list[torch.Tensor] = []
    marks.model.register_forward_pre_hook(lambda _, __, kwargs: calls.append(kwargs["input_ids"]), with_kwargs=True)
    ends = marks.tokenizer.eos_token
    first = marks.scores(["a", "b", f"c{ends}", "a"], [GOLD] * 4)
    assert len(calls) == 2
    assert first[0] == first[3]
    assert marks.scores(["b"], [GOLD]) == first[1:2]
    assert len(calls) == 2
    ends_of = {int((ids == marks.tokenizer.eos_token_id).sum()) for batch in calls for ids in batch}
    assert ends_of == {1}  # of the user's turn


def test_the_judge_forgets_its_oldest_marks_first(judge, monkeypatch):
    monkeypatch.setattr(inspect.getmodule(CaptionJudge), "_MOST_KEPT", 2)
    marks = CaptionJudge(str(judge), "cpu")
    assert not marks.model.training
    calls: list[int] = []
    marks.model.register_forward_pre_hook(lambda *_: calls.append(1))
    for text in ("a", "b", "c", "c", "b"):  # the last two are known
        marks.scores([text], [GOLD])
    assert len(calls) == 3
    marks.scores(["a"], [GOLD])
    assert len(calls) == 4


def test_captions_that_mean_the_opposite_are_worth_nothing(monkeypatch):
    class Opposite:
        def similarities(self, said: list[str], gold: list[str]) -> list[float]:
            return [-0.5] * len(said)

    monkeypatch.setattr(inspect.getmodule(SentenceEncoder), "load_sentence_encoder", lambda model: Opposite())
    assert caption_similarity_reward(["She frowns."], ["caption"], [GOLD], model="m") == [0.0]


def test_rewards_of_every_task(judge, minilm):
    for reward, model in ((caption_judge_reward, judge), (caption_similarity_reward, minilm)):
        values = reward(["x"] * len(TASKS), task=list(TASKS), answer=["x"] * len(TASKS), model=str(model), id=None)
        applies = {task for task, value in zip(TASKS, values, strict=True) if value is not None}
        assert applies == {"caption", "attribute_open"}
        assert all(0 <= value <= 1 for value in values if value is not None)


def test_what_is_no_judge(judge, minilm, tmp_path):
    with pytest.raises(InputError, match=r"caption judge.*expected a causal language model"):
        CaptionJudge(str(tmp_path))
    with pytest.raises(InputError, match="'model' is no column and has no value"):
        reward_function("caption_judge", {})
    with pytest.raises(InputError, match=r"setting 'model': .*a model's folder"):
        reward_function("caption_similarity", {"model": str(tmp_path / "missing")})
    reward_function("caption_similarity", {"model": "sentence-transformers/all-MiniLM-L6-v2"})  # not loaded yet


def test_labels_that_mean_the_same_are_near(minilm):
    rename = EmbeddingRename(minilm)
    assert rename("joy", "joy") == pytest.approx(0, abs=1e-5)
    assert rename("joy", "delight") < 0.5 < rename("joy", "opening hours")
    assert rename("joy", "fear") == pytest.approx(rename("fear", "joy"))
    trees = [parse_tree(f"a1 mouth: smiling\nm1 {emotion}") for emotion in ("joy", "delight", "jealousy")]
    costs = Costs(rename=rename)
    expected = [rename("joy", "delight"), rename("joy", "jealousy")]
    assert edit_distances([(trees[0], trees[1]), (trees[0], trees[2])], costs=costs) == pytest.approx(expected)
    assert edit_distance(trees[0], trees[1], "ordered", costs) == pytest.approx(expected[0])
    near, far = tree_reward(["m1 delight", "m1 jealousy"], ["tree"] * 2, ["m1 joy"] * 2, rename=minilm)
    assert 1 > near > far
