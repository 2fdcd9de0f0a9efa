"""Intervals and comparisons: how often they hold the truth, what they do with nothing and with NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm, permutation_test

from eval.metrics.recognition import label_tallies, number_tallies, uar
from eval.metrics.stats import (
    Metric,
    Tally,
    best_constant,
    bootstrap,
    compare,
    divide,
    interval,
    intervals,
    mean_tally,
    resample,
    warn_of_groups,
    weighted_mean,
)

DATA_SETS, ACTORS, CLIPS = 300, 40, 4


def coverage(clustered: bool) -> float:
    """Share of simulated data sets whose interval holds the true mean 0; clips of an actor vary together."""
    rng = np.random.default_rng(0)
    actors = np.repeat(np.arange(ACTORS), CLIPS)
    names = [f"actor{actor}" for actor in actors] if clustered else None
    hits = 0
    for seed in range(DATA_SETS):
        values = rng.normal(size=ACTORS)[actors] + 0.5 * rng.normal(size=ACTORS * CLIPS)
        found = bootstrap(lambda index, x=values: float(x[index].mean()), len(values), names, resamples=150, seed=seed)
        assert found["low"] is not None
        assert found["high"] is not None
        hits += found["low"] <= 0 <= found["high"]
    return hits / DATA_SETS


def test_a_clustered_interval_holds_the_truth_in_95_percent() -> None:
    assert coverage(clustered=True) == pytest.approx(0.95, abs=0.04)


def test_without_clusters_dependent_clips_make_it_too_narrow() -> None:
    assert coverage(clustered=False) < 0.85


def bootstrapped(values: object, clusters: list[str] | None = None, **how: int) -> Metric:
    array = np.asarray(values, float)
    return bootstrap(lambda index: float(array[index].mean()), len(array), clusters, **how)


def test_without_clusters_the_interval_is_that_of_the_normal_mean() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    found, half = bootstrapped(values, resamples=2000), 1.96 * values.std() / 20
    assert found["value"] == round(float(values.mean()), 6)
    assert found["low"] == pytest.approx(values.mean() - half, abs=0.03)
    assert found["high"] == pytest.approx(values.mean() + half, abs=0.03)
    assert found["n"] == 400


def test_a_cluster_is_drawn_with_all_its_clips() -> None:
    clusters = ["b", "a", "b", "c", "a", "b"]
    drawn: list[np.ndarray] = []

    def record(index: np.ndarray) -> float:
        drawn.append(index)
        return 0.0

    bootstrap(record, 6, clusters, resamples=50)
    members = {"a": {1, 4}, "b": {0, 2, 5}, "c": {3}}
    for index in drawn:
        counts = np.bincount(index, minlength=6)
        for clips in members.values():
            assert len({counts[clip] for clip in clips}) == 1
        assert sum(counts[min(clips)] for clips in members.values()) == 3
    assert len({tuple(sorted(index)) for index in drawn}) > 5
    assert list(drawn[-1]) == list(range(6))  # the figure itself is of all clips


def test_one_cluster_has_no_interval() -> None:
    found = {"value": 1.5, "low": None, "high": None, "n": 4, "groups": 1}
    assert bootstrapped([0, 1, 2, 3], ["a"] * 4) == found
    assert interval(mean_tally([0, 1, 2, 3]), ["a"] * 4) == found
    apart = compare(mean_tally(np.zeros(4)), mean_tally(np.ones(4)), ["a"] * 4)
    assert apart == {"value": 1.0, "low": None, "high": None, "n": 4, "groups": 1, "p": 1.0, "least_p": 1.0}


def test_each_clip_its_own_cluster_is_no_clusters() -> None:
    values = [0.0, 1.0, 5.0, 2.0]
    assert bootstrapped(values, ["a", "b", "c", "d"]) == {**bootstrapped(values), "groups": 4}


def test_nothing_has_no_figure() -> None:
    def never(index: np.ndarray) -> float:
        raise AssertionError

    assert bootstrap(never, 0) == {"value": None, "low": None, "high": None, "n": 0}
    assert bootstrap(never, 0, []) == {"value": None, "low": None, "high": None, "n": 0}


def test_a_figure_that_is_not_defined_is_none_and_keeps_its_count() -> None:
    assert bootstrap(lambda index: float("nan"), 5) == {"value": None, "low": None, "high": None, "n": 5}


def test_resamples_without_figure_are_left_out() -> None:
    # Defined only where clip 0 was drawn, as a recall whose class is missing is not.
    found = bootstrap(lambda index: float(np.mean(index)) if 0 in index else float("nan"), 4)
    drawn = bootstrap(lambda index: float(np.mean(index)), 4)
    assert found["value"] == 1.5
    assert found["low"] is not None
    assert found["high"] is not None
    assert drawn["high"] is not None
    assert found["low"] < found["high"] < drawn["high"]


def test_the_interval_depends_on_the_seed_only() -> None:
    values = np.random.default_rng(2).normal(size=50)
    first = bootstrapped(values, seed=1)
    np.random.seed(9)  # what others do with the global state must not matter
    assert bootstrapped(values, seed=1) == first
    assert bootstrapped(values, seed=2) != first
    assert bootstrapped(values, seed=2)["value"] == first["value"]


def covered(draw: object, truth: float, clustered: bool = True, sets: int = DATA_SETS) -> float:
    """Share of simulated data sets whose fast interval holds the truth. `draw(rng)` gives a tally and its clusters."""
    rng = np.random.default_rng(7)
    hits = 0
    for seed in range(sets):
        tally, clusters = draw(rng)  # type: ignore[operator]
        found = interval(tally, clusters if clustered else None, resamples=300, seed=seed)
        assert found["low"] is not None
        assert found["high"] is not None
        hits += found["low"] <= truth <= found["high"]
    return hits / sets


def independent_mean(rng: np.random.Generator) -> tuple[Tally, None]:
    return mean_tally(rng.exponential(size=120)), None


def uneven_uar(rng: np.random.Generator) -> tuple[Tally, None]:
    """Recalls 0.8, 0.6 and 0.4 of classes that are unevenly frequent: the true UAR is 0.6."""
    truth = rng.choice(3, 240, p=[0.6, 0.3, 0.1])
    right = rng.random(240) < np.array([0.8, 0.6, 0.4])[truth]
    return label_tallies(truth, np.where(right, truth, (truth + rng.integers(1, 3, 240)) % 3), 3)["uar"], None


def correlated(rng: np.random.Generator) -> tuple[Tally, None]:
    """Equal means and variances, correlation 0.6: the true CCC is 0.6."""
    x = rng.normal(size=200)
    return number_tallies(x, 0.6 * x + 0.8 * rng.normal(size=200))["ccc"], None


def speakers(rng: np.random.Generator) -> tuple[Tally, list[str]]:
    """40 speakers with 4 to 12 clips, some easy and some hard to read: the true accuracy is 0.7."""
    ease = norm.cdf(0.524400513 * np.sqrt(2) + rng.normal(size=40))
    who = np.repeat(np.arange(40), rng.integers(4, 13, 40))
    return mean_tally(rng.random(len(who)) < ease[who]), [f"speaker{number}" for number in who]


@pytest.mark.parametrize(("draw", "truth"), [(independent_mean, 1.0), (uneven_uar, 0.6), (correlated, 0.6)])
def test_intervals_hold_the_truth_in_95_percent(draw: object, truth: float) -> None:
    assert 0.92 <= covered(draw, truth, sets=500) <= 0.98


def test_clustered_intervals_hold_where_naive_ones_fail() -> None:
    assert 0.92 <= covered(speakers, 0.7, sets=500) <= 0.98
    assert covered(speakers, 0.7, clustered=False, sets=200) < 0.8


@pytest.mark.parametrize("clusters", [None, [f"a{index % 7}" for index in range(60)]])
def test_the_fast_interval_is_that_of_the_plain_bootstrap(clusters: list[str] | None) -> None:
    values = np.random.default_rng(3).normal(size=60)
    assert interval(mean_tally(values), clusters) == bootstrapped(values, clusters)
    truth, said = np.random.default_rng(4).integers(4, size=(2, 60))
    plain = bootstrap(lambda index: uar(truth[index], said[index]), 60, clusters)
    assert interval(label_tallies(truth, said, 4)["uar"], clusters) == plain


def test_resamples_of_more_clips_than_a_block_holds_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = mean_tally(np.random.default_rng(5).normal(size=50))
    whole = resample({"": tally})[""]
    monkeypatch.setattr("eval.metrics.stats._BLOCK", 170)
    assert resample({"": tally})[""] == pytest.approx(whole)


def test_scores_together_have_the_intervals_that_they_have_alone() -> None:
    first, second = (mean_tally(np.random.default_rng(seed).normal(size=30)) for seed in (1, 2))
    assert intervals({"a": first, "b": second}) == {"a": interval(first), "b": interval(second)}


def test_clips_without_a_value_are_left_out_of_a_mean() -> None:
    assert interval(mean_tally([1.0, float("nan"), 3.0]))["value"] == 2.0
    assert interval(mean_tally([float("nan")])) == {"value": None, "low": None, "high": None, "n": 1}
    assert interval(mean_tally([])) == {"value": None, "low": None, "high": None, "n": 0}
    nothing = {"value": None, "low": None, "high": None, "p": None, "n": 0, "least_p": 1.0}
    assert compare(mean_tally([]), mean_tally([])) == nothing


def test_a_difference_has_the_interval_of_the_mean_difference() -> None:
    rng = np.random.default_rng(6)
    first = rng.normal(size=80)
    second = first + rng.normal(0.2, 0.5, size=80)
    found = compare(mean_tally(first), mean_tally(second))
    assert {name: value for name, value in found.items() if name not in ("p", "least_p")} == interval(
        mean_tally(second - first)
    )


def test_the_p_value_is_that_of_scipy() -> None:
    rng = np.random.default_rng(8)
    first = rng.integers(2, size=60).astype(float)
    second = np.where(rng.random(60) < 0.25, 1.0, first)
    found = compare(mean_tally(first), mean_tally(second))

    def apart(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    theirs = permutation_test(
        (second, first), apart, permutation_type="samples", vectorized=True, n_resamples=10_000, rng=1
    )
    assert found["p"] == pytest.approx(theirs.pvalue, rel=0.25, abs=0.002)


def test_p_values_are_even_where_nothing_differs() -> None:
    """Under the hypothesis a p below 0.05 comes in 5 of 100, with clusters too."""
    rng = np.random.default_rng(9)
    low = 0
    for seed in range(400):
        speaker = np.repeat(rng.normal(size=15), 6)
        first, second = (np.repeat(rng.normal(size=15), 6) + speaker + rng.normal(size=90) for _ in range(2))
        names = [str(number) for number in np.repeat(np.arange(15), 6)]
        found = compare(mean_tally(first), mean_tally(second), names, resamples=20, permutations=300, seed=seed)
        assert found["p"] is not None
        low += found["p"] < 0.05
    assert 0.02 <= low / 400 <= 0.08


def test_differences_that_are_equal_but_for_rounding_count_as_equally_far() -> None:
    for seed in range(12):  # rounding loses some ties of about every third
        first = np.random.default_rng(seed).random(10)
        second = first + np.where(np.arange(10) < 7, 0.1, -0.1)
        found = compare(mean_tally(first), mean_tally(second), resamples=1, permutations=3000)
        assert found["p"] == pytest.approx(2 * binom.sf(6, 10, 0.5), abs=0.04)  # 7 or more of 10 on one side


def test_permutations_depend_on_the_seed_only() -> None:
    first, second = (mean_tally(values) for values in np.random.default_rng(14).normal(size=(2, 40)))
    assert compare(first, second, seed=1) == compare(first, second, seed=1)
    assert compare(first, second, seed=1)["p"] != compare(first, second, seed=2)["p"]


def test_a_p_value_is_never_below_what_its_permutations_can_show() -> None:
    assert compare(mean_tally(np.zeros(60)), mean_tally(np.ones(60)), permutations=9)["p"] == 0.1


def test_permutations_without_a_figure_do_not_count() -> None:
    # The ratio of each model has no figure where its two clips lie on the other side: in half of the permutations.
    def ratio(parts: list[list[float]]) -> Tally:
        return Tally(np.array(parts), lambda sums: divide(sums[..., 0], sums[..., 1]))

    first, second = ratio([[0.0, 1.0], [0.0, 0.0]]), ratio([[0.0, 0.0], [1.0, 1.0]])
    found = compare(first, second)
    assert (found["value"], found["p"]) == (1.0, 1.0)


def test_equal_answers_differ_by_nothing() -> None:
    tally = mean_tally(np.arange(9.0))
    assert compare(tally, tally) == {"value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "n": 9, "least_p": 0.003906}


def test_a_weighted_mean_resamples_each_of_its_scores() -> None:
    rng = np.random.default_rng(10)
    first, second = rng.normal(1, 1, 400), rng.normal(3, 2, 100)
    found = weighted_mean([mean_tally(first), mean_tally(second)], [3, 1], resamples=4000)
    value = 0.75 * first.mean() + 0.25 * second.mean()
    half = 1.96 * np.sqrt((0.75 * first.std() / 20) ** 2 + (0.25 * second.std() / 10) ** 2)
    assert found["value"] == pytest.approx(value, abs=1e-6)
    assert (found["low"], found["high"]) == pytest.approx((value - half, value + half), abs=0.02)
    assert found["n"] == 500


def width(found: Metric) -> float:
    assert found["low"] is not None
    assert found["high"] is not None
    return found["high"] - found["low"]


def test_scores_of_a_mean_are_drawn_independently_of_each_other() -> None:
    tally = mean_tally(np.random.default_rng(12).normal(size=100))
    alone, both = interval(tally, resamples=4000), weighted_mean([tally, tally], [1, 1], resamples=4000)
    assert both["value"] == alone["value"]
    assert width(both) / width(alone) == pytest.approx(math.sqrt(0.5), abs=0.05)


def test_a_weighted_mean_draws_clusters() -> None:
    values = np.random.default_rng(13).normal(size=20)
    clusters = [f"speaker{number // 10:02}" for number in range(200)]
    one = weighted_mean([mean_tally(values)] * 2, [1, 2])
    many = weighted_mean([mean_tally(np.repeat(values, 10))] * 2, [1, 2], [clusters, clusters])
    assert many == {**one, "n": 400, "groups": 20}


def test_a_mean_counts_the_groups_of_the_score_with_the_fewest() -> None:
    few, many = mean_tally([0.2, 0.4, 0.9]), mean_tally([0.5, 0.6, 0.7, 0.8])
    assert weighted_mean([few, many], [1, 1], [["a", "b", "b"], ["a", "b", "c", "d"]]).get("groups") == 2
    assert "groups" not in weighted_mean([few, many], [1, 1], [["a", "b", "b"], None])


@pytest.mark.parametrize(("right", "count"), [(0, 1), (0, 84), (84, 84), (7, 7)])
def test_a_share_of_none_or_all_has_wilsons_interval(right: int, count: int) -> None:
    found = interval(mean_tally(np.arange(count) < right))
    theirs = binomtest(right, count).proportion_ci(0.95, "wilson")
    assert (found["low"], found["high"]) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


@pytest.mark.parametrize("groups", [2, 12, 84])
def test_a_share_of_all_tells_no_more_than_its_groups(groups: int) -> None:
    found = interval(mean_tally(np.ones(84)), [str(number % groups) for number in range(84)])
    low = pytest.approx(groups / (groups + 3.841459), abs=1e-5)
    assert found == {"value": 1.0, "low": low, "high": 1.0, "n": 84, "groups": groups}


def test_the_mean_of_recalls_is_as_uncertain_as_its_smallest_classes_make_it() -> None:
    gold = np.array([0] * 90 + [1] * 10)
    tallies = label_tallies(gold, gold, 2)
    low = {name: interval(tally)["low"] for name, tally in tallies.items()}
    assert low["recall/1"] == pytest.approx(10 / 13.841459, abs=1e-5)
    assert low["recall/0"] == pytest.approx(90 / 93.841459, abs=1e-5)
    assert low["uar"] == pytest.approx(36 / 39.841459, abs=1e-5)  # 2² / (1/90 + 1/10)
    assert low["war"] == low["weighted_f1"] == pytest.approx(100 / 103.841459, abs=1e-5)


def test_the_mean_of_recalls_rests_on_no_more_groups_than_there_are() -> None:
    gold, names = np.arange(48) % 4, [str(number // 4) for number in range(48)]  # 12 speakers, each in all 4 classes
    tallies = label_tallies(gold, gold, 4)
    lows = {name: interval(tallies[name], names)["low"] for name in ("uar", "war", "macro_f1", "recall/2")}
    assert all(low == pytest.approx(12 / 15.841459, abs=1e-5) for low in lows.values())


def test_a_mean_that_is_no_share_keeps_the_interval_of_its_resamples() -> None:
    assert interval(mean_tally(np.zeros(9), share=False)) == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 9}
    assert interval(number_tallies(np.arange(9.0), np.arange(9.0))["mae"])["high"] == 0.0


def test_the_difference_of_never_and_always_right_has_an_interval() -> None:
    never, always = mean_tally(np.zeros(10)), mean_tally(np.ones(10))
    low = pytest.approx(10 / 13.841459, abs=1e-5)
    assert compare(never, always) | {"p": 0, "least_p": 0} == {
        **{"value": 1.0, "low": low, "high": 1.0, "p": 0, "n": 10, "least_p": 0}
    }
    other = compare(always, never)
    assert (other["value"], other["low"]) == (-1.0, -1.0)
    assert other["high"] is not None
    assert -other["high"] == low


def test_two_models_that_are_right_everywhere_may_still_differ() -> None:
    always, never = mean_tally(np.ones(10)), mean_tally(np.zeros(10))
    width = pytest.approx(1 - 10 / 13.841459, abs=1e-5)
    for both in (always, never):
        found = compare(both, both)
        assert (found["value"], found["p"]) == (0.0, 1.0)
        assert found["high"] == width
        assert found["low"] == -found["high"]


def test_a_single_clip_has_no_interval_unless_it_is_a_share() -> None:
    assert interval(mean_tally([0.3], share=False)) == {"value": 0.3, "low": None, "high": None, "n": 1}
    assert interval(mean_tally([1.0]))["low"] == pytest.approx(0.206549, abs=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 5, 12])
def test_no_p_is_below_what_the_groups_can_show(groups: int) -> None:
    names = [str(number % groups) for number in range(60)]
    found = compare(mean_tally(np.zeros(60)), mean_tally(np.ones(60)), names)
    assert found["p"] is not None
    assert found["least_p"] == pytest.approx(2 / 2**groups, abs=1e-6)
    assert found["p"] == pytest.approx(found["least_p"], rel=0.25, abs=6e-4)


def test_few_groups_are_warned_of() -> None:
    assert warn_of_groups(None) == warn_of_groups(10) == ""
    assert "9 groups" in warn_of_groups(9)
    assert "one group" in warn_of_groups(1)


def test_intervals_of_all_right_hold_the_truth_with_few_groups() -> None:
    """The share of right answers varies by actor; where all are right the bootstrap's interval never holds the mean."""
    rng = np.random.default_rng(3)
    held = found_all = 0
    for _ in range(2000):
        answers = rng.random((5, 4)) < rng.beta(18, 2, size=5)[:, None]
        if answers.all():
            found_all += 1
            found = interval(mean_tally(answers.ravel()), [str(actor) for actor in np.repeat(range(5), 4)], resamples=2)
            assert found["low"] is not None
            held += found["low"] <= 0.9
    assert found_all > 100
    assert held / found_all > 0.95


def test_a_constant_answer_without_a_score_is_not_the_best() -> None:
    tallies = {"none": mean_tally([float("nan")]), "some": mean_tally([0.1])}
    assert best_constant(tallies, lambda name: tallies[name])[0] == "some"


def test_the_best_constant_is_the_first_of_the_best() -> None:
    truth = np.array([0, 1, 1, 2, 2])
    always = {name: np.full(5, code) for code, name in enumerate("xyz")}
    answer, tally = best_constant(always, lambda name: label_tallies(truth, always[name], 3)["war"])
    assert (answer, tally.value) == ("y", pytest.approx(0.4))
