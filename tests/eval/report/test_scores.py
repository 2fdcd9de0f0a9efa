"""The figures of a report, from predictions made by hand."""

from __future__ import annotations

import pytest

from affectgpt.clip import Clip
from eval.predict.answers import Prediction
from eval.report.scores import constant_baseline, score
from tests.support.rows import make_clip

TREE = "a1 mouth: smiling\ne1 open smile <- a1\nm1 {}"
NOTHING = {"value": None, "low": None, "high": None, "n": 0}


def clip(name: str, task: str, answer: str, question: str = "What?", group: str | None = None) -> Clip:
    return make_clip(name, answer, task, question, group=group)


def said(row: Clip, response: str) -> Prediction:
    return Prediction(id=row.id, task=row.task, response=response, status="ok", answer=row.answer)


def trees(*pairs: tuple[str, str]) -> tuple[list[Clip], list[Prediction]]:
    """Tree rows whose true emotion is the first of each pair, and what was written of them."""
    clips = [clip(f"{index}", "tree", TREE.format(emotion)) for index, (emotion, _) in enumerate(pairs)]
    return clips, [said(row, text) for row, (_, text) in zip(clips, pairs, strict=True)]


def test_right_answers_score_one() -> None:
    clips, answers = trees(*((emotion, TREE.format(emotion)) for emotion in ("joy", "fear", "joy")))
    scores = score(clips, answers, resamples=20)
    for name in ("emotion_war", "emotion_uar", "tree_similarity", "parse_rate"):
        assert scores.metrics[name] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 3}
    assert scores.labels == ["fear", "joy"]
    assert scores.confusion == [[1, 0, 0], [0, 2, 0]]


def test_figures_of_trees_by_hand() -> None:
    clips, answers = trees(
        ("joy", TREE.format("joy")),
        ("joy", TREE.format("joy")),
        ("joy", TREE.format("fear")),  # 1 of 6 nodes
        ("fear", "Well: \n" + TREE.format("fear")),  # right, with a line too many: 1 of 7
        ("calm", "no tree at all"),  # 3 nodes missing, 1 line too many
    )
    scores = score(clips, answers, resamples=20)
    values = {name: metric["value"] for name, metric in scores.metrics.items()}
    assert values["emotion_war"] == pytest.approx(3 / 5)
    assert values["emotion_uar"] == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-6)
    assert values["tree_similarity"] == pytest.approx((1 + 1 + 5 / 6 + 6 / 7 + 0) / 5, abs=1e-6)
    assert values["parse_rate"] == pytest.approx(3 / 5)
    assert scores.labels == ["calm", "fear", "joy"]
    assert scores.confusion == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 1, 2, 0]]


def test_closed_questions_count_towards_their_level_only() -> None:
    clips = [
        clip("a", "attribute_closed", "smiling"),
        clip("b", "attribute_closed", "open"),
        clip("c", "expression_single", "scowl"),
        clip("d", "emotion_label", "joy"),
        clip("e", "caption", "A smile."),
    ]
    answers = [said(row, text) for row, text in zip(clips, ["smiling", "Shut", "scowl", "fear", "x"], strict=True)]
    scores = score(clips, answers, resamples=20)
    assert scores.metrics["attribute_accuracy"]["value"] == 0.5
    assert scores.metrics["attribute_accuracy"]["n"] == 2
    assert scores.metrics["expression_accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 1}
    for name in ("emotion_war", "emotion_uar", "tree_similarity", "parse_rate"):
        assert scores.metrics[name] == NOTHING
    assert (scores.labels, scores.confusion) == (["joy"], [[0, 1]])  # of the label, where no tree is asked for


def test_every_name_of_the_contract_is_there_even_for_no_rows() -> None:
    metrics = score([], []).metrics
    contract = "attribute_accuracy expression_accuracy emotion_war emotion_uar tree_similarity parse_rate"
    assert set(metrics) == set(contract.split())
    assert all(metric == NOTHING for metric in metrics.values())


def test_intervals_are_clustered_by_actor() -> None:
    # Four clips of one actor right, four of another wrong: only the draw of actors varies.
    clips = [clip(f"{index}", "attribute_closed", "x", group="ab"[index // 4]) for index in range(8)]
    answers = [said(row, "x" if row.group == "a" else "y") for row in clips]
    assert score(clips, answers).metrics["attribute_accuracy"] == {"value": 0.5, "low": 0.0, "high": 1.0, "n": 8}
    alone = [clip(row.id, row.task, row.answer) for row in clips]
    narrow = score(alone, answers).metrics["attribute_accuracy"]
    assert narrow["low"] is not None
    assert narrow["low"] > 0


def test_intervals_of_trees_and_of_other_tasks_are_clustered_by_actor() -> None:
    emotions = ("joy", "fear")
    clips, answers = [], []
    for index in range(8):
        name, actor = f"{index}", "ab"[index // 4]
        tree = TREE.format(emotions[index % 2])
        rows = [clip(f"t{name}", "tree", tree, group=actor), clip(f"c{name}", "caption", "A smile.", group=actor)]
        clips += rows
        answers += [said(row, str(row.answer) if actor == "a" else "") for row in rows]
    metrics = score(clips, answers).metrics
    for name in ("emotion_war", "emotion_uar", "tree_similarity", "parse_rate", "caption_word_f1"):
        assert metrics[name] == {"value": 0.5, "low": 0.0, "high": 1.0, "n": 8}, name


def test_answers_in_another_order_are_refused() -> None:
    clips, answers = trees(("joy", "m1 joy"), ("fear", "m1 fear"))
    with pytest.raises(AssertionError):
        score(clips, answers[::-1], resamples=1)


def test_the_constant_baseline_gives_each_question_its_most_frequent_answer() -> None:
    train = [clip(f"m{index}", "attribute_closed", "smiling", "Which mouth?") for index in range(3)]
    train += [clip("m3", "attribute_closed", "pressed", "Which mouth?")]
    train += [clip("b0", "attribute_closed", "raised", "Which brows?")]
    train += [Clip(id="mute", task="clip")]  # nothing is asked
    train += [clip("s0", "expression_single", "scowl", "Which mouth?")]  # another task, whatever the question
    train += [clip(f"t{index}", "tree", TREE.format(name)) for index, name in enumerate(["joy", "joy", "fear"])]
    test = [
        clip("1", "attribute_closed", "smiling", "Which mouth?"),
        clip("2", "attribute_closed", "pressed", "Which mouth?"),
        clip("3", "attribute_closed", "raised", "Which brows?"),
        clip("4", "attribute_closed", "open", "Which eyes?"),  # never asked in training: no answer
        clip("5", "expression_single", "scowl", "Which mouth?"),
        clip("6", "tree", TREE.format("joy")),
        clip("7", "tree", TREE.format("fear")),
        clip("8", "tree", TREE.format("calm")),
    ]
    values = {name: metric["value"] for name, metric in constant_baseline(train, test, resamples=20).items()}
    assert values["attribute_accuracy"] == 0.5
    assert values["expression_accuracy"] == 1
    assert values["emotion_war"] == values["emotion_uar"] == pytest.approx(1 / 3, abs=1e-6)
    assert values["parse_rate"] == 1
    assert values["tree_similarity"] == pytest.approx((1 + 5 / 6 + 5 / 6) / 3, abs=1e-6)


def test_ties_of_the_constant_baseline_do_not_depend_on_the_order() -> None:
    train = [clip("a", "attribute_closed", "x"), clip("b", "attribute_closed", "y")]
    test = [clip("c", "attribute_closed", "x")]
    assert constant_baseline(train, test, 20) == constant_baseline(train[::-1], test, 20)


def test_other_tasks_have_their_headline_scores() -> None:
    clips = [
        Clip(id=str(index), task="emotion_open", answer=["joy", "relief"], messages=clip("x", "text", "y").messages)
        for index in range(2)
    ]
    clips += [clip("2", "caption", "She smiles at somebody.")]
    texts = ["joy, relief", "anger", "She smiles at somebody."]
    metrics = score(clips, [said(*pair) for pair in zip(clips, texts, strict=True)], resamples=20).metrics
    found = {name: metrics[name]["value"] for name in metrics if name.startswith(("emotion_open", "caption"))}
    assert found == {
        "emotion_open_example_f1": pytest.approx(0.5),
        "emotion_open_hit_rate": pytest.approx(0.5),
        "caption_word_f1": pytest.approx(1.0),
    }
    assert metrics["emotion_uar"]["value"] is None
