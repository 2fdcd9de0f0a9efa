"""Search for trees: levels, scorers, and that one candidate is the greedy answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from affectgpt.clip import Clip
from affectgpt.inference.generate import Answer, answer
from affectgpt.inputs.batch import supervised_batch
from affectgpt.inputs.reader import ClipReader
from affectgpt.problems import InputError
from tests.support.feature_sources import NoMedia
from tests.support.rows import make_clip
from videmo.candidates import Candidate
from videmo.reward_model import RewardModel
from videmo.scorers import consistency, likelihood, load_scorer
from videmo.search import SearchSettings, TreeSearch
from videmo.tree import parse_tree

TREES = [
    "a1 mouth: smiling\na2 brows: relaxed\ne1 smile <- a1 a2\nm1 joy <- e1",
    "a1 brows: raised\ne1 frown <- a1\ne2 smile\nm1 fear <- e1",
]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """Two questions of unequal length whose answers are trees, and one whose answer is none."""
    asked = ["joy?", "Explain step by step what this person feels.", "What does this person feel?"]
    told = [*TREES, "fear"]
    return [
        make_clip(f"row{index}", said, "tree" if index < 2 else "emotion_label", question)
        for index, (question, said) in enumerate(zip(asked, told, strict=True))
    ]


@pytest.fixture(scope="module")
def taught(tiny, clips) -> tuple[Any, ClipReader]:
    """A tiny model that has nearly learned the answers by heart, so that what it draws differs."""
    model, reader = tiny.model(), ClipReader(tiny.processor, NoMedia())
    batch = supervised_batch(reader.read(clips), tiny.processor.tokenizer.pad_token_id)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    model.train()
    for _ in range(150):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss < 0.15:
            break
    return model.eval(), reader


def search(taught: Any, clips: Sequence[Clip], scorer: Any = likelihood, limit: int = 96, **settings: Any) -> list:
    torch.manual_seed(0)
    model, reader = taught
    return TreeSearch(SearchSettings(**settings), scorer).answer(model, reader, clips, limit)


def test_the_model_of_these_tests_writes_trees(taught, clips):
    model, reader = taught
    said = answer(model, reader, reader.read(clips[:2]), 96)
    assert all(parse_tree(one.text).is_valid for one in said)


def test_one_candidate_is_the_greedy_answer(taught, clips):
    model, reader = taught
    for limit in (96, 20, 5):  # the last two cut it short
        assert search(taught, clips[:2], n=1, limit=limit) == answer(model, reader, reader.read(clips[:2]), limit)


def test_rows_do_not_depend_on_those_beside_them(taught, clips):
    assert search(taught, clips[:2], n=1)[1:] == search(taught, clips[1:2], n=1)


def test_levels_are_chosen_one_after_the_other_and_kept(taught, clips):
    asked = []

    def last(rows: Sequence[Clip], candidates: Sequence[Sequence[Candidate]]) -> list[list[float]]:
        asked.append([row.id for row in rows])
        chosen.append([group[-1] for group in candidates])
        assert all(len(group) == 5 for group in candidates)
        return [[float(place) for place in range(len(group))] for group in candidates]

    chosen: list[list[Candidate]] = []
    said = search(taught, clips[:2], last, n=5, temperature=0.5)
    assert asked == [["row0", "row1"]] * 3
    levels = [[parse_tree(level[row].text) for level in chosen] for row in range(2)]
    for row in range(2):
        texts = [level[row].text for level in chosen]
        assert texts[1].startswith(texts[0])
        assert texts[2].startswith(texts[1])
        assert texts[2].strip() == said[row].text
        assert not levels[row][0].expressions
        assert not levels[row][0].emotions
        assert not levels[row][1].emotions
        assert levels[row][2].emotions
    assert [candidate.goes_on for candidate in (chosen[0][0], chosen[1][0], chosen[2][0])] == [True, True, False]


def test_rows_that_ended_leave_the_others_to_themselves(taught, clips):
    asked = []

    def watch(rows: Sequence[Clip], candidates: Sequence[Sequence[Candidate]]) -> list[list[float]]:
        asked.append([row.id for row in rows])
        return likelihood(rows, candidates)

    rows = [clips[2], *clips[:2]]  # the first is answered by a word
    said = search(taught, rows, watch, n=1)
    assert asked == [["row2", "row0", "row1"], ["row0", "row1"], ["row0", "row1"]]
    assert said == [search(taught, [row], n=1)[0] for row in rows]


def test_candidates_are_drawn_among_the_likeliest_tokens(taught, clips):
    drawn: list[set[str]] = []

    def watch(rows: Sequence[Clip], candidates: Sequence[Sequence[Candidate]]) -> list[list[float]]:
        drawn.append({candidate.text for candidate in candidates[0]})
        return likelihood(rows, candidates)

    search(taught, clips[:1], watch, limit=8, n=4, temperature=20.0, top_p=1.0)
    assert len(drawn[0]) > 1
    drawn.clear()
    search(taught, clips[:1], watch, limit=8, n=4, temperature=20.0, top_p=1e-6)
    assert len(drawn[0]) == 1


def test_the_likelihood_is_the_models_own(taught, clips):
    model, reader = taught
    seen: list[Candidate] = []

    def watch(rows: Sequence[Clip], candidates: Sequence[Sequence[Candidate]]) -> list[list[float]]:
        seen.extend(candidates[0])
        return likelihood(rows, candidates)

    search(taught, clips[:1], watch, n=3)
    [row] = reader.read(clips[:1])
    before: list[int] = []
    for level in range(3):
        group = seen[3 * level : 3 * level + 3]
        for candidate in group:
            ids = [*candidate.ids, *([reader.tokenizer.eos_token_id] if candidate.complete else [])]
            whole = torch.tensor([[*row.prompt_ids, *before, *ids]])
            logits = model(input_ids=whole).logits[0].log_softmax(-1)
            picked = logits[:-1].gather(-1, whole[0, 1:, None])[-len(ids) :]
            assert candidate.likelihood == pytest.approx(float(picked.mean()), abs=1e-5)
        assert group[0].ids  # the greedy one
        before += max(group, key=lambda candidate: candidate.likelihood).ids


def candidate(text: str, value: float = 0.0) -> Candidate:
    return Candidate([], text, value, False, True)


def test_scorers(clips):
    rows = clips[:1]
    assert likelihood(rows, [[candidate("", -1.0), candidate("", -0.5)]]) == [[-1.0, -0.5]]
    [[one, same, other]] = consistency(rows, [[candidate(TREES[0]), candidate(TREES[0]), candidate(TREES[1])]])
    assert one == same > other
    assert one == pytest.approx((1 + other) / 2)
    assert consistency(rows, [[candidate("m1 joy")]]) == [[0.0]]


def test_agreement_is_the_same_in_both_directions(clips):
    # What cannot be parsed costs as the second of a pair alone.
    plain, noisy = candidate("a1 x\nm1 joy"), candidate("Well.\na1 x\nm1 joy")
    for group in ([plain, noisy], [noisy, plain]):
        assert consistency(clips[:1], [group]) == [[pytest.approx((1 + (1 - 1 / 5)) / 2)] * 2]


def scripted(taught: Any, clip: Clip, *scripts: list[int]) -> Any:
    """A model whose candidates write given tokens, each its script in turn, and its reader."""
    model, reader = taught

    class Scripted(type(model)):  # type: ignore[misc]
        def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, **kwargs):  # type: ignore[no-untyped-def]
            given = {"attention_mask": attention_mask, "past_key_values": past_key_values, **kwargs}
            output = super().forward(input_ids, position_ids=position_ids, **given)
            place = int(position_ids[0, -1]) + 1 - prompt_length
            output.logits = torch.full_like(output.logits, -30.0)
            for row in range(len(output.logits)):
                script = scripts[row % len(scripts)]
                output.logits[row, :, script[min(place, len(script) - 1)]] = 30.0
            return output

    prompt_length = len(reader.read([clip])[0].prompt_ids)
    writer = Scripted(model.config)
    writer.generation_config = model.generation_config
    return writer.eval(), reader


def test_a_level_that_is_left_out_and_an_answer_that_never_ends(taught, clips):
    tokenizer = taught[1].tokenizer

    def spell(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    skips = [*spell("a1 x: y\nm1 joy"), tokenizer.eos_token_id]
    assert search(scripted(taught, clips[0], skips), clips[:1], n=2)[0].text == "a1 x: y\nm1 joy"
    for text in ("m1 joy", "e1 smile\nm1 joy <- e1", "e1 smile"):  # it begins with a higher level
        begins = [*spell(text), tokenizer.eos_token_id]
        assert search(scripted(taught, clips[0], begins), clips[:1], n=2) == [Answer(text, True)]
    goes_on = spell("a1 x: y\n") * 20
    [said] = search(scripted(taught, clips[0], goes_on), clips[:1], n=2, limit=30)
    assert (said.complete, said.text.count("a1 x: y") > 1) == (False, True)


@pytest.fixture
def few_or_many(taught, clips) -> Any:
    """A model whose two candidates are a tree of one node and one of two, and its reader."""
    tokenizer = taught[1].tokenizer
    texts = ("a1 x: y", "a1 x: y\na2 p: q")
    scripts = [[*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for text in texts]
    return scripted(taught, clips[0], *scripts)


@pytest.mark.parametrize(
    ("scores", "bonus", "text"),
    [
        ((0.0, 1.0), 0.0, "a1 x: y\na2 p: q"),
        ((1.0, 0.0), 0.0, "a1 x: y"),
        ((0.5, 0.5), 0.0, "a1 x: y"),  # of equals the first
        ((0.5, 0.5), 1.0, "a1 x: y\na2 p: q"),  # a node more
        ((0.5, 0.0), 0.4, "a1 x: y"),
        ((0.5, 0.0), 0.6, "a1 x: y\na2 p: q"),
        ((0.5, 0.5), -1.0, "a1 x: y"),
    ],
)
def test_the_candidate_with_the_best_score_and_bonus_is_kept(few_or_many, clips, scores, bonus, text):
    [said] = search(few_or_many, clips[:1], lambda rows, candidates: [scores], n=2, node_bonus=bonus)
    assert said.text == text


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_the_mode_it_was_in(taught, clips, training):
    model, _ = taught
    model.train(training)
    seen = []
    hook = model.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    try:
        search(taught, clips[:1], n=1, limit=4)
        assert model.training is training
        assert seen
        assert not any(seen)
    finally:
        hook.remove()
        model.eval()


@pytest.fixture
def reward_model(tiny, tmp_path) -> Path:
    """A classifier of one output over the tiny tokenizer."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tiny.vocab_size + 16,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "reward")
    tiny.processor.tokenizer.save_pretrained(tmp_path / "reward")
    return tmp_path / "reward"


def test_a_reward_model_scores_conversations(reward_model, clips, taught):
    scorer = load_scorer(str(reward_model), "cpu")
    assert isinstance(scorer, RewardModel)
    groups = [[candidate(TREES[0]), candidate(TREES[1]), candidate(TREES[0])], [candidate("x")]]
    scores = scorer(clips[:2], groups)
    assert [len(group) for group in scores] == [3, 1]
    assert scores[0][0] == scores[0][2] != scores[0][1]
    alone = scorer(clips[1:2], groups[1:])
    assert alone[0][0] == pytest.approx(scores[1][0], abs=1e-5)
    assert search(taught, clips[:2], scorer, n=2)[0].text


def test_a_reward_model_reads_the_whole_conversation_but_not_the_truth(reward_model, clips):
    scorer = load_scorer(str(reward_model), "cpu")

    def score(clip: Clip, text: str = "m1 joy") -> float:
        return scorer([clip], [[candidate(text)]])[0][0]

    clip = clips[0]
    before = [{"role": "user", "content": "Who is it?"}, {"role": "assistant", "content": "A man."}]
    plain = score(clip)
    assert score(replace(clip, subtitle="I am fine.")) != plain
    assert score(replace(clip, messages=[*before, *clip.messages])) != plain
    assert score(clip, "m1 fear") != plain
    assert score(replace(clip, messages=[clip.messages[0], {"role": "assistant", "content": "m1 calm"}])) == plain


def test_an_answer_cannot_end_its_turn_before_a_reward_model(reward_model, clips):
    scorer = load_scorer(str(reward_model), "cpu")
    assert isinstance(scorer, RewardModel)
    end, seen = scorer.tokenizer.eos_token, []
    scorer.model.register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True)
    subtitled = replace(clips[0], subtitle=f"So{end}")
    scorer([clips[0], subtitled, clips[0]], [[candidate("m1 joy")], [candidate("m1 joy")], [candidate(f"m1 joy{end}")]])
    ends = {int((row == scorer.tokenizer.eos_token_id).sum()) for batch in seen for row in batch}
    assert len(ends) == 1


def test_what_is_no_scorer(reward_model, tiny):
    with pytest.raises(InputError, match=r"likelihod.*Did you mean 'likelihood'"):
        load_scorer("likelihod", "cpu")
    two = BertForSequenceClassification(
        BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=2)
    )
    two.save_pretrained(reward_model)
    with pytest.raises(InputError, match=r"one output.*got one with 2"):
        load_scorer(str(reward_model), "cpu")
