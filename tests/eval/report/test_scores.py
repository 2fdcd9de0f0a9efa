"""The figures of a report, from predictions made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from affectgpt.clip import Clip
from eval.predict.answers import Prediction
from eval.report.scores import answers, constant_baseline, details, differences, ordered_tasks, score, score_tasks
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
        low = 0.409744 if name == "emotion_uar" else 0.438503  # Wilson's of 3 clips, and of 2² / (1 + 1/2)
        assert scores.metrics[name] == {"value": 1.0, "low": low, "high": 1.0, "n": 3, "groups": 3}
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
    assert scores.metrics["expression_accuracy"] == {"value": 1.0, "low": None, "high": None, "n": 1, "groups": 1}
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
    assert score(clips, answers).metrics["attribute_accuracy"] == {
        "value": 0.5,
        "low": 0.0,
        "high": 1.0,
        "n": 8,
        "groups": 2,
    }
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
        assert metrics[name] == {"value": 0.5, "low": 0.0, "high": 1.0, "n": 8, "groups": 2}, name


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


OPTIONS = ["anger", "fear", "joy", "sadness"]


def labels(*pairs: tuple[str, str], groups: str = "") -> tuple[list[Clip], list[Prediction]]:
    """Rows of one closed set with the answers given to them; `groups` names the speaker of each by a letter."""
    speakers = groups or "a" * len(pairs)
    clips = [
        make_clip(f"c{index}", gold, options=OPTIONS, group=speaker)
        for index, ((gold, _), speaker) in enumerate(zip(pairs, speakers, strict=True))
    ]
    return clips, [said(row, text) for row, (_, text) in zip(clips, pairs, strict=True)]


def test_a_closed_set_has_headlines_confusion_classes_and_speakers() -> None:
    pairs = [("joy", "joy"), ("joy", "fear"), ("fear", "It is fear."), ("anger", "no idea"), ("joy", "joy")]
    scores = score(*labels(*pairs, groups="aabbb"), resamples=50)
    assert scores.metrics["emotion_label_accuracy"]["value"] == 0.6
    assert scores.metrics["emotion_label_uar"]["value"] == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-6)
    assert scores.labels == OPTIONS
    assert scores.confusion == [[0, 0, 0, 0, 1], [0, 1, 0, 0, 0], [0, 1, 2, 0, 0], [0, 0, 0, 0, 0]]
    found: dict[str, Any] = details(scores.tasks, 50)["emotion_label"]
    assert found["confusion"] == {"labels": OPTIONS, "counts": scores.confusion}
    assert list(found["classes"]) == ["anger", "fear", "joy"]  # of sadness there is neither clip nor answer
    joy, fear = found["classes"]["joy"], found["classes"]["fear"]
    assert (joy["gold"], joy["answered"], joy["precision"], joy["f1"]) == (3, 2, 1.0, 0.8)
    assert joy["recall"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert (fear["gold"], fear["answered"], fear["precision"]) == (1, 2, 0.5)
    assert found["speakers"] == {"a": {"n": 2, "value": 0.5}, "b": {"n": 3, "value": 0.666667}}
    assert found["readable"]["value"] == 0.8
    assert found["best_constant"] == {"answer": "joy", "scores": {"accuracy": 0.6, "uar": 0.333333}}


def test_a_class_that_is_answered_and_never_gold_has_no_recall() -> None:
    found = details(score_tasks(*labels(("joy", "fear"), ("joy", "joy"))), 20)["emotion_label"]["classes"]["fear"]
    assert found == {"gold": 0, "answered": 1, "recall": None, "precision": 0.0, "f1": 0.0}


def test_questions_with_options_of_their_own_have_no_confusion() -> None:
    clips = [make_clip(name, gold, options=[gold, "none"]) for name, gold in (("a", "joy"), ("b", "fear"))]
    scores = score(clips, [said(row, "none") for row in clips], resamples=20)
    assert (scores.labels, scores.confusion) == ([], [])
    assert "classes" not in details(scores.tasks, 20)["emotion_label"]
    assert scores.metrics["emotion_label_accuracy"]["value"] == 0


def test_rows_without_a_speaker_have_no_table_of_speakers() -> None:
    clips = [make_clip(name, "joy", options=OPTIONS) for name in "ab"]
    assert details(score_tasks(clips, [said(row, "joy") for row in clips]), 20)["emotion_label"]["speakers"] == {}


def numbers(*pairs: tuple[float, str]) -> tuple[list[Clip], list[Prediction]]:
    clips = [make_clip(f"v{index}", "x", "valence") for index in range(len(pairs))]
    for row, (gold, _) in zip(clips, pairs, strict=True):
        object.__setattr__(row, "answer", gold)
    return clips, [said(row, text) for row, (_, text) in zip(clips, pairs, strict=True)]


def test_numbers_are_scored_and_unread_ones_left_out() -> None:
    clips, texts = numbers(
        (-0.5, "-0.5"), (0.5, "Valence: 0.25"), (1, "\N{MINUS SIGN}1"), (0, "no idea"), (0.2, "1e999")
    )
    scores = score(clips, texts, resamples=50)
    assert scores.metrics["valence_mae"]["value"] == pytest.approx((0 + 0.25 + 2) / 3, abs=1e-6)
    found = details(scores.tasks, 50)["valence"]
    assert found["readable"]["value"] == 0.6
    assert found["primary"] == "ccc"
    assert found["scores"]["ccc"]["value"] == pytest.approx(ccc([-0.5, 0.5, 1], [-0.5, 0.25, -1]), abs=1e-6)
    assert found["best_constant"]["scores"]["ccc"] == 0  # a constant tells nothing, whatever it is
    perfect = score(*numbers((-0.5, "-0.5"), (0.5, "0.5"), (1, "It is 1.")), resamples=20).metrics
    assert (perfect["valence_ccc"]["value"], perfect["valence_mae"]["value"]) == (1.0, 0.0)


def ccc(gold: list[float], predicted: list[float]) -> float:
    x, y = np.array(gold), np.array(predicted)
    return float(2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


@pytest.mark.parametrize("text", ["2 out of 5", "between 0.2 and 0.4", "40 %", "AU12", "", "0.2 or 0.3"])
def test_a_number_that_is_not_sure_is_left_out_of_the_scores(text: str) -> None:
    metrics = score(
        *numbers((-0.5, "-0.5"), (0.5, text), (1, "1 on a scale from -1 to 1"), (0, "0")), resamples=20
    ).metrics
    assert metrics["valence_mae"]["value"] == 0


def test_a_hit_names_a_gold_label_whatever_else_it_names() -> None:
    clips = [make_clip(str(index), "x", "emotion_open") for index in range(4)]
    for row, gold in zip(clips, (["joy", "relief"], ["joy"], ["anger"], ["relief"]), strict=True):
        object.__setattr__(row, "answer", gold)
    texts = ["joy, anger", "relief", "anger", "nothing of these"]
    metrics = score(clips, [said(row, text) for row, text in zip(clips, texts, strict=True)], resamples=20).metrics
    assert metrics["emotion_open_hit_rate"]["value"] == 0.5
    assert metrics["emotion_open_example_f1"]["value"] == pytest.approx((0.5 + 0 + 1 + 0) / 4)


def test_answers_are_listed_the_worst_first_with_what_was_read() -> None:
    listed = answers(score_tasks(*labels(("joy", "joy"), ("joy", "I say: fear!"), ("fear", "?"))))["emotion_label"]
    assert [(row["id"], row["right"], row["read"]) for row in listed] == [
        ("c1", False, "fear"),
        ("c2", False, None),
        ("c0", True, "joy"),
    ]
    assert listed[0]["response"] == "I say: fear!"
    clips, texts = trees(("joy", TREE.format("fear")), ("joy", TREE.format("joy")))
    wrong, right = answers(score_tasks(clips, texts))["tree"]
    assert (wrong["gold"], wrong["response"], right["response"]) == ("joy", "fear", "joy")  # not whole trees
    off = answers(score_tasks(*numbers((0, "0.1"), (0, "0.5"), (0, "?"))))["valence"]
    assert [row["quality"] for row in off] == [None, -0.5, -0.1]


def test_at_most_two_hundred_answers_of_a_task_are_listed() -> None:
    pairs = [("joy", "joy")] * 250 + [("joy", "fear")] * 10
    listed = answers(score_tasks(*labels(*pairs)))["emotion_label"]
    assert len(listed) == 200
    assert not any(row["right"] for row in listed[:10])


def test_two_sets_of_answers_are_compared_clip_by_clip() -> None:
    clips, first = labels(*[("joy", "fear")] * 12, groups="abcdefghijkl")
    second = [said(row, "joy" if index < 9 else "fear") for index, row in enumerate(clips)]
    found = differences(score_tasks(clips, first), score_tasks(clips, second), 200)
    assert list(found) == ["emotion_label_accuracy"]
    assert found["emotion_label_accuracy"]["value"] == 0.75
    assert found["emotion_label_accuracy"]["low"] > 0  # type: ignore[operator]
    clips, texts = trees(("joy", TREE.format("joy")), ("fear", TREE.format("joy")))
    same = differences(score_tasks(clips, texts), score_tasks(clips, texts), 20)
    assert list(same) == ["emotion_uar", "tree_similarity"]


def test_tasks_come_in_the_order_of_what_they_say() -> None:
    tasks = ["caption", "attribute_closed", "valence", "expression_single", "emotion_open", "tree"]
    assert ordered_tasks(tasks) == [
        "tree",
        "emotion_open",
        "expression_single",
        "attribute_closed",
        "valence",
        "caption",
    ]
