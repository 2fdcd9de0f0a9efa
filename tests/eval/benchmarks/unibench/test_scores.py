"""Scores of MER-UniBench: the published ones to the last digits, and every metric against a plain re-statement."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from affectgpt.emotions.matcher import VocabularyMatcher
from affectgpt.emotions.taxonomy import group_of
from affectgpt.emotions.wheels import EmotionWheels
from eval.benchmarks.unibench.files import load_wheels, parse_list, read_labels, read_predictions
from eval.benchmarks.unibench.overlap import Grouper, overlap_tallies
from eval.benchmarks.unibench.scores import Scored, score
from eval.benchmarks.unibench.sets import BENCHMARKS, Answer
from eval.benchmarks.unibench.table import build_table, find_runs
from eval.benchmarks.unibench.tasks import ALL_LABELS

SHARED = Path(os.environ.get("SHARED_DATA", ""), "unibench")
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="SHARED_DATA does not hold unibench/")
HIT, SENTIMENT, OPEN = BENCHMARKS["mer2023"], BENCHMARKS["cmumosi"], BENCHMARKS["ovmerdplus"]
MOODS = [["sad", "happy", "mad", None], ["low", "high", None, None]]
"""Two made-up wheels: groups that letters fall into by their number."""


def made_up_groups(word: str) -> list[str | None]:
    return [wheel[ord(word[0]) % len(wheel)] for wheel in MOODS]


def letters(rng: random.Random, least: int) -> list[str]:
    return [rng.choice("abcdefgh") for _ in range(rng.randint(least, 4))]


def made_up_wheels() -> EmotionWheels:
    """Two words each way and one that no wheel knows; `torn` lies on different sides of two wheels."""
    places = {"happy": ("joyful", "glad"), "sad": ("sad", "low"), "torn": ("sad", "low")}
    other = places | {"torn": ("joyful", "glad")}
    words = {word: frozenset([word]) for word in places}
    return EmotionWheels(words, words, (places, other, places, places, places))


def value(scored, metric):
    evaluation = scored.evaluation
    return (evaluation["primary"] if metric == evaluation["primary"]["name"] else evaluation["secondary"][metric])[
        "value"
    ]


@pytest.fixture(scope="module")
def official():
    """Data set -> checkpoint -> official scores of the published predictions."""
    wheels, found = load_wheels(SHARED / "wheels"), {}
    for name, files in find_runs(SHARED).items():
        labels = read_labels(SHARED / name / "labels.csv", BENCHMARKS[name])
        runs = {
            run: read_predictions(path, BENCHMARKS[name], labels, VocabularyMatcher()).answers
            for run, path in files.items()
        }
        found[name] = score(BENCHMARKS[name], list(labels.gold.values()), runs, "official", wheels, resamples=50)
    return found


@needs_data
def test_official_scores_of_all_checkpoints(official):
    published = json.loads((SHARED / "official_scores.json").read_text())
    assert sum(len(item["per_checkpoint"]) for item in published.values()) == 28
    for name, item in published.items():
        second = {"hit": "m_score", "waf": "accuracy"}[item["metric"]]
        assert official[name].keys() == item["per_checkpoint"].keys()
        for run, scored in official[name].items():
            assert scored.evaluation["n"] == item["n"]
            assert value(scored, item["metric"]) == pytest.approx(item["per_checkpoint"][run], rel=0, abs=1e-12)
            assert value(scored, second) == pytest.approx(item["secondary"][run], rel=0, abs=1e-12)


@needs_data
def test_cells_of_the_paper_are_the_best_checkpoint_of_each_set(official):
    table = build_table(official, "best-per-set", "official")
    cells = {name: round(100 * found["primary"]["value"], 2) for name, found in table["sets"].items()}
    assert cells == {"mer2023": 78.54, "iemocapfour": 60.54, "cmumosi": 81.30, "sims": 88.49}
    assert table["checkpoint"]["chosen"] == {"mer2023": "50", "iemocapfour": "35", "cmumosi": "40", "sims": "30"}


@needs_data
@pytest.mark.parametrize("number", range(3))
def test_official_set_level_scores(number):
    case = json.loads((SHARED / "ew_cases.json").read_text())[number]
    wheels = load_wheels(SHARED / "wheels")
    assert case["reference"].keys() == case["prediction"].keys()
    gold = [parse_list(words) for words in case["reference"].values()]
    answers = [Answer(parse_list(case["prediction"][name])) for name in case["reference"]]
    scored = score(OPEN, gold, {"": answers}, "official", wheels, resamples=20)[""]
    for level, suffix in (("level1", ""), ("level2", "_level2")):
        for metric, ours in (("f", "f_s"), ("precision", "p_s"), ("recall", "r_s")):
            assert value(scored, ours + suffix) == pytest.approx(case[level][metric], rel=0, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_overlap_is_what_its_definition_says(seed):
    rng = random.Random(seed)
    gold = [letters(rng, 0) for _ in range(40)]
    said = [letters(rng, 0) for _ in range(40)]
    labels = ["a", "b"]
    grouper = Grouper(made_up_groups, 2)
    found = overlap_tallies(grouper.masks(gold), grouper.masks(said), grouper.masks([labels])[0])
    wheels = []
    for wheel in range(2):
        sets = [[{made_up_groups(word)[wheel] for word in words} - {None} for words in side] for side in (gold, said)]
        closed = {made_up_groups(word)[wheel] for word in labels} - {None}
        pairs = [(truth, answer) for truth, answer in zip(*sets, strict=True) if truth]
        precision = np.mean([len(y & p) / len(p) if p else 0 for y, p in pairs])
        recall = np.mean([len(y & p) / len(y) for y, p in pairs])
        share = np.mean([len(y & p) / len(p & closed) if p & closed else 0 for y, p in pairs])
        wheels.append((precision, recall, 2 * precision * recall / (precision + recall), share))
    expected = dict(zip(("precision", "recall", "f1", "m_score"), np.mean(wheels, axis=0), strict=True))
    assert {name: tally.value for name, tally in found.items()} == pytest.approx(expected, abs=1e-12)


def test_overlap_without_any_agreement_or_any_word():
    grouper = Grouper(made_up_groups, 2)
    wrong = overlap_tallies(grouper.masks([["a"]]), grouper.masks([["b"]]))
    empty = overlap_tallies(grouper.masks([["a"]]), grouper.masks([[]]))
    assert [wrong["f1"].value, empty["f1"].value, empty["precision"].value] == [0, 0, 0]
    assert grouper.masks([]).shape == (0, 2)
    assert np.isnan(overlap_tallies(grouper.masks([[]]), grouper.masks([["a"]]))["recall"].value)


def test_words_that_are_none_are_not_looked_up():
    asked = []
    grouper = Grouper(lambda word: asked.append(word) or [None], 1)
    grouper.masks([["", "x" * 10_000, "happy", "happy"]])
    assert asked == ["happy"]


def random_sentiments(seed: int, count: int = 300):
    rng = random.Random(seed)
    gold = [rng.choice([-2.0, -0.4, 0.0, 1.2, 3.0]) for _ in range(count)]
    said = [rng.choice(["positive", "negative", "neutral", None]) for _ in range(count)]
    return gold, said, [Answer(polarity=polarity) for polarity in said]


def test_official_sentiment_is_scikit_learns_on_signed_clips_with_neutral_as_negative():
    gold, said, answers = random_sentiments(1)
    scored = score(SENTIMENT, gold, {"": answers}, "official", resamples=20)[""]
    pairs = [(truth > 0, answer == "positive") for truth, answer in zip(gold, said, strict=True) if truth]
    truth, answer = zip(*pairs, strict=True)
    assert value(scored, "waf") == pytest.approx(f1_score(truth, answer, average="weighted"), abs=1e-12)
    assert value(scored, "accuracy") == pytest.approx(accuracy_score(truth, answer), abs=1e-12)
    assert scored.evaluation["counts"]["gold_neutral"] == gold.count(0.0)


def test_clean_sentiment_is_scikit_learns_on_three_classes():
    gold, said, answers = random_sentiments(2)
    scored = score(SENTIMENT, gold, {"": answers}, resamples=20)[""]
    names = ["negative", "neutral", "positive"]
    truth = [names[int(np.sign(valence)) + 1] for valence in gold]
    answer = [polarity or "unread" for polarity in said]
    expected = f1_score(truth, answer, labels=names, average="weighted")
    assert value(scored, "waf") == pytest.approx(expected, abs=1e-12)
    assert value(scored, "accuracy") == pytest.approx(accuracy_score(truth, answer), abs=1e-12)
    signed = [index for index, valence in enumerate(gold) if valence]
    truth, answer = [truth[index] for index in signed], [answer[index] for index in signed]
    expected = f1_score(truth, answer, labels=["negative", "positive"], average="weighted")
    assert value(scored, "waf_signed") == pytest.approx(expected, abs=1e-12)
    assert value(scored, "accuracy_signed") == pytest.approx(accuracy_score(truth, answer), abs=1e-12)
    assert scored.evaluation["coverage"] == pytest.approx(1 - said.count(None) / len(said), abs=1e-6)


def test_clean_hit_rate_scores_neutral_and_has_precision_beside_it():
    rng = random.Random(3)
    vocabulary = ["joyful", "annoyed", "calm", "neutral", "nervous", "astonished", "grief", "table"]
    gold = [rng.choice(HIT.labels) for _ in range(200)]
    said = [tuple(rng.sample(vocabulary, rng.randint(0, 3))) for _ in gold]
    scored = score(HIT, [(label,) for label in gold], {"": [Answer(words) for words in said]}, resamples=20)[""]
    groups = [{group_of(word) for word in words} - {None} for words in said]
    hits = [group_of(label) in found for label, found in zip(gold, groups, strict=True)]
    assert value(scored, "hit") == pytest.approx(np.mean(hits), abs=1e-12)
    precision = np.mean([hit / len(found) if found else 0 for hit, found in zip(hits, groups, strict=True)])
    assert value(scored, "precision") == pytest.approx(precision, abs=1e-12)
    assert scored.evaluation["notes"] == ["95 % intervals by clip"]
    assert scored.evaluation["counts"]["words_without_group"] == sum(words.count("table") for words in said)


@pytest.mark.parametrize("name", [name for name, item in BENCHMARKS.items() if item.labels])
def test_every_label_of_a_closed_set_has_a_group_of_its_own_in_clean_mode(name):
    labels = BENCHMARKS[name].labels
    assert len({group_of(label) for label in labels} - {None}) == len(labels)


def test_naming_all_labels_hits_always_and_precision_tells():
    gold = [(label,) for label in HIT.labels]
    scored = score(HIT, gold, {"": [Answer(("happy",))] * len(gold)}, resamples=20)[""]
    everything = scored.evaluation["baselines"][ALL_LABELS]
    assert everything["hit"]["value"] == 1
    assert everything["precision"]["value"] == pytest.approx(1 / len(HIT.labels))


def test_best_constant_answer_stands_first_among_the_baselines():
    gold = [("happy",)] * 3 + [("sad",)]
    scored = score(HIT, gold, {"": [Answer()] * 4}, resamples=20)[""]
    name, found = next(iter(scored.evaluation["baselines"].items()))
    assert (name, found["hit"]["value"]) == ("always happy", 0.75)


def test_official_mode_leaves_out_what_no_wheel_knows_and_says_so():
    gold = [("happy",), ("neutral",), ("sad",), ("neutral",)]
    answers = [Answer(("happy",)), Answer(("sad",)), Answer(("torn",)), Answer()]
    scored = score(HIT, gold, {"": answers}, "official", made_up_wheels(), resamples=20)[""]
    assert value(scored, "hit") == pytest.approx((1 + 4 / 5) / 2)
    assert scored.evaluation["counts"]["gold_without_group"] == 2
    assert scored.evaluation["notes"][1:] == [
        "2 of 4 clips are not scored, their labels are not on any of the five wheels: neutral 2"
    ]


@pytest.mark.parametrize(("mode", "count", "hit"), [("official", 2, 0.5), ("clean", 3, 1 / 3)])
def test_missing_answers_are_left_out_officially_and_wrong_in_clean_mode(mode, count, hit):
    gold = [("happy",), ("happy",), ("sad",)]
    answers = [Answer(("happy",)), None, Answer(("happy",))]
    scored = score(HIT, gold, {"": answers}, mode, made_up_wheels(), resamples=20)[""]
    assert scored.evaluation["n"] == count
    assert scored.evaluation["counts"]["missing"] == 1
    assert value(scored, "hit") == pytest.approx(hit)


@pytest.mark.parametrize(("mode", "accuracy"), [("official", 0.5), ("clean", 1 / 3)])
def test_missing_sentiments(mode, accuracy):
    answers = [Answer(polarity="positive"), None, Answer(polarity="positive")]
    scored = score(SENTIMENT, [1.0, 1.0, -1.0], {"": answers}, mode, resamples=20)[""]
    assert value(scored, "accuracy") == pytest.approx(accuracy)


def test_clean_open_set_reports_gold_that_it_cannot_map():
    gold = [("happy", "moved to tears of gelatine"), ("gelatine",), ()]
    scored = score(OPEN, gold, {"": [Answer(("joyful",))] * 3}, resamples=20)[""]
    assert value(scored, "f_s") == 1
    assert scored.evaluation["notes"][1:] == [
        "2 of 3 clips are not scored, their labels are not on the wheel: gelatine 1, no label 1"
    ]


def test_fine_level_is_finer():
    scored = score(OPEN, [("worried",)], {"": [Answer(("terrified",))]}, resamples=20)[""]
    assert (value(scored, "f_s"), value(scored, "f_s_level2")) == (1, 0)


def test_nothing_to_score_has_no_value():
    scored = score(OPEN, [("gelatine",)], {"": [Answer()]}, resamples=20)[""]
    assert scored.evaluation["primary"] == {"name": "f_s", "value": None, "low": None, "high": None}
    assert score(HIT, [], {"": []}, resamples=20)[""].evaluation["coverage"] == 0


def test_a_checkpoint_scores_the_same_alone_and_beside_others():
    gold, _, answers = random_sentiments(4)
    other = random_sentiments(5)[2]
    alone = score(SENTIMENT, gold, {"1": answers}, resamples=100)["1"]
    beside = score(SENTIMENT, gold, {"0": other, "1": answers}, resamples=100)["1"]
    assert beside.evaluation == alone.evaluation
    assert np.array_equal(beside.drawn, alone.drawn)


def test_sets_of_a_mean_are_drawn_independently_of_each_other():
    gold = [(label,) for label in HIT.labels] * 20
    answers = [Answer(("happy",))] * len(gold)
    found = {name: score(BENCHMARKS[name], gold, {"1": answers}, resamples=4000) for name in ("mer2023", "mer2024")}
    table = build_table(found, "one", "clean")
    alone, mean = table["sets"]["mer2023"]["primary"], table["mean"]
    assert mean["value"] == alone["value"]
    assert (mean["high"] - mean["low"]) / (alone["high"] - alone["low"]) == pytest.approx(np.sqrt(0.5), abs=0.08)


def test_coverage_is_a_share_of_the_clips_that_count():
    gold = [("happy",)] * 4
    answers = [Answer(("happy",)), Answer(("table",)), None, None]
    shares = {
        mode: score(HIT, gold, {"": answers}, mode, made_up_wheels(), resamples=20)[""].evaluation["coverage"]
        for mode in ("official", "clean")
    }
    assert shares == {"official": 0.5, "clean": 0.25}


def test_interval_is_that_of_a_bootstrap_by_hand():
    gold, said, answers = random_sentiments(6, count=120)
    scored = score(SENTIMENT, gold, {"": answers}, resamples=2000)[""]
    right = np.array(
        [np.sign(v) == {"positive": 1, "neutral": 0, "negative": -1}.get(s, 9) for v, s in zip(gold, said, strict=True)]
    )
    rng = np.random.default_rng(1)
    drawn = right[rng.integers(len(right), size=(2000, len(right)))].mean(axis=1)
    found = scored.evaluation["secondary"]["accuracy"]
    assert [found["low"], found["high"]] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.015)


@pytest.mark.parametrize(
    ("name", "names", "groups"),
    [
        ("meld", ["dia0_utt1", "dia0_utt12", "dia11_utt1"], ["dia0", "dia0", "dia11"]),
        ("iemocapfour", ["Ses05F_impro01_F000", "Ses05M_script03_2_M045"], ["Ses05F_impro01", "Ses05M_script03_2"]),
        ("cmumosi", ["k5Y_838nuGo_1", "k5Y_838nuGo_12"], ["k5Y_838nuGo", "k5Y_838nuGo"]),
        ("sims", ["video_0003_0006", "video_0010_0038"], ["video_0003", "video_0010"]),
        ("simsv2", ["aqgy4_0004/00023"], ["aqgy4_0004"]),
        ("mer2023", ["sample_00001998"], None),
        ("meld", ["dia0_utt1", "another name"], None),
        ("meld", [], None),
    ],
)
def test_names_tell_the_dialogue_or_video(name: str, names: list[str], groups: list[str] | None) -> None:
    assert BENCHMARKS[name].groups(names) == groups


def test_clips_of_a_dialogue_that_are_all_alike_make_no_interval_narrower() -> None:
    def found(clips: int) -> Scored:
        gold, answers = [("happy",)] * 10 * clips, [Answer(("happy" if n % 3 else "sad",)) for n in range(10)]
        groups = [f"dialogue{n // clips}" for n in range(10 * clips)]
        return score(HIT, gold, {"": [item for item in answers for _ in range(clips)]}, groups=groups)[""]

    one, many = found(1).evaluation, found(8).evaluation
    assert one["primary"] == many["primary"]
    assert many["primary"]["groups"] == 10
    assert many["notes"][0] == "95 % intervals by group: 10 groups"
