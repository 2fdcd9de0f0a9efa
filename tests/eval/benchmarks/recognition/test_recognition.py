"""Recognition metrics against scikit-learn, scipy and plain re-statements, and the command that prints them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, pearsonr, spearmanr
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    recall_score,
)

from affectgpt.problems import InputError
from eval.benchmarks.recognition.command import main
from eval.metrics.recognition import (
    au_f1,
    average_precision,
    ccc,
    confusion,
    encode_labels,
    example_f1,
    js_divergence,
    kl_divergence,
    label_tallies,
    macro_f1,
    mae,
    pearson,
    set_tallies,
    spearman,
    uar,
    war,
    weighted_f1,
)

LABELS = ["anger", "fear", "joy", "calm"]


def draw(seed: int) -> tuple[list[str], list[str]]:
    """Truth and answers, unevenly spread; some classes never occur, some answers are no labels."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 60))
    present = LABELS[: int(rng.integers(1, len(LABELS) + 1))]
    truth = rng.choice(present, count, p=rng.dirichlet(np.ones(len(present))))
    said = np.where(rng.random(count) < 0.5, truth, rng.choice([*LABELS, "", "glee"], count))
    return truth.tolist(), said.tolist()


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("seed", range(60))
def test_figures_equal_those_of_scikit_learn(seed: int) -> None:
    names, answers = draw(seed)
    truth, said = encode_labels(names, answers, LABELS)
    assert war(truth, said) == pytest.approx(accuracy_score(names, answers))
    assert uar(truth, said) == pytest.approx(balanced_accuracy_score(names, answers))
    macro = recall_score(names, answers, labels=sorted(set(names)), average="macro", zero_division=0)
    assert uar(truth, said) == pytest.approx(macro)
    whole = confusion_matrix(truth, said, labels=range(len(LABELS) + 1))
    counts = confusion(truth, said, len(LABELS))
    assert counts.tolist() == whole[:-1].tolist()
    assert counts.sum() == len(names)


def test_codes_follow_the_list_of_labels() -> None:
    truth, said = encode_labels(["joy", "anger"], ["joy", "glee"], LABELS)
    assert (truth.tolist(), said.tolist()) == ([2, 0], [2, 4])
    with pytest.raises(KeyError):
        encode_labels(["glee"], ["joy"], LABELS)


def test_figures_by_hand_where_classes_are_uneven() -> None:
    truth, said = encode_labels(["joy"] * 8 + ["fear"] * 2, ["joy"] * 8 + ["joy", "fear"], LABELS)
    assert war(truth, said) == pytest.approx(0.9)
    assert uar(truth, said) == pytest.approx(0.75)


def test_an_answer_that_is_no_label_is_wrong_and_stands_in_the_last_column() -> None:
    truth, said = encode_labels(["joy", "joy"], ["", "glee"], LABELS)
    assert war(truth, said) == uar(truth, said) == 0
    assert confusion(truth, said, 4)[2].tolist() == [0, 0, 0, 0, 2]


def test_of_nothing_there_are_no_figures() -> None:
    truth, said = encode_labels([], [], LABELS)
    assert math.isnan(war(truth, said))
    assert math.isnan(uar(truth, said))
    assert confusion(truth, said, 4).tolist() == [[0] * 5] * 4


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("seed", range(40))
def test_tallies_equal_scikit_learn(seed: int) -> None:
    names, answers = draw(seed)
    truth, said = encode_labels(names, answers, LABELS)
    found = {name: tally.value for name, tally in label_tallies(truth, said, len(LABELS)).items()}
    occurring = sorted({*truth, *said} - {len(LABELS)})
    assert found["war"] == pytest.approx(accuracy_score(names, answers))
    assert found["uar"] == pytest.approx(balanced_accuracy_score(names, answers))
    macro = f1_score(truth, said, labels=occurring, average="macro", zero_division=0)
    assert found["macro_f1"] == macro_f1(truth, said, len(LABELS)) == pytest.approx(macro)
    weighted = f1_score(truth, said, average="weighted", zero_division=0)
    assert found["weighted_f1"] == weighted_f1(truth, said, len(LABELS)) == pytest.approx(weighted)
    recalls = recall_score(truth, said, labels=range(len(LABELS)), average=None, zero_division=np.nan)
    assert [found[f"recall/{code}"] for code in range(len(LABELS))] == pytest.approx(list(recalls), nan_ok=True)


def plain_ccc(x: np.ndarray, y: np.ndarray, ddof: int) -> float:
    covariance = np.cov(x, y, ddof=ddof)
    return float(2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (x.mean() - y.mean()) ** 2))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_numbers_equal_scipy(seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=int(rng.integers(3, 60))) + offset
    y = np.round(0.5 * x + rng.normal(size=len(x)), 1) + offset / 2
    assert pearson(x, y) == pytest.approx(pearsonr(x, y)[0])
    assert spearman(x, y) == pytest.approx(spearmanr(x, y)[0])
    assert mae(x, y) == pytest.approx(np.mean(np.abs(x - y)))
    assert ccc(x, y) == pytest.approx(plain_ccc(x, y, 0))
    assert ccc(x, y, unbiased=True) == pytest.approx(plain_ccc(x, y, 1))


def test_large_numbers_that_differ_by_little_keep_their_figures() -> None:
    rng = np.random.default_rng(0)
    x, y = 1e-3 * rng.normal(size=(2, 50)) + 1e6
    assert pearson(x, y) == pytest.approx(pearsonr(x - 1e6, y - 1e6)[0], abs=1e-5)
    assert ccc(x, y) == pytest.approx(plain_ccc(x - 1e6, y - 1e6, 0), abs=1e-5)


def test_the_two_kinds_of_ccc_differ_by_the_moments() -> None:
    x, y = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 5.0])
    assert ccc(x, y) == pytest.approx(2 * (5 / 3) / (14 / 9 + 2 + (2 / 3) ** 2))
    assert ccc(x, y, unbiased=True) == pytest.approx(2 * (5 / 2) / (7 / 3 + 3 + (2 / 3) ** 2))


def test_constants_and_nan_are_defined() -> None:
    same, other, varied = np.full(4, 0.1), np.full(4, 0.3), np.array([0.1, 0.2, 0.3, 0.7])
    assert ccc(same, varied) == ccc(varied, same) == ccc(same, other) == 0
    for undefined in (ccc(same, same), pearson(same, varied), pearson(varied, same), spearman(varied, same)):
        assert math.isnan(undefined)
    broken = np.array([0.1, np.nan, 0.3, 0.7])
    for metric in (ccc, pearson, spearman, mae):
        assert math.isnan(metric(broken, varied))
        assert math.isnan(metric(varied, broken))
        assert math.isnan(metric(np.array([]), np.array([])))
    assert math.isnan(ccc(np.array([1.0]), np.array([2.0]), unbiased=True))
    assert all(math.isnan(tally.value) for tally in label_tallies(np.array([], int), np.array([], int), 3).values())


@pytest.mark.parametrize("seed", range(20))
def test_sets_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, said = (rng.random((2, 30, 5)) < rng.random(5)).astype(int)
    truth[:, 4] = said[:, 4] = 0  # a unit that never occurs
    macro = f1_score(truth, said, average="macro", zero_division=np.nan)
    assert au_f1(truth, said) == pytest.approx(macro)
    micro = f1_score(truth, said, average="micro", zero_division=np.nan)
    assert set_tallies(truth, said)["micro_f1"].value == pytest.approx(micro)
    samples = f1_score(truth, said, average="samples", zero_division=1.0)
    assert example_f1(truth, said) == pytest.approx(samples)


def test_units_that_are_not_annotated_do_not_count() -> None:
    truth, said = np.array([[1, -1], [0, 1], [-1, -1]]), np.array([[1, 1], [0, 1], [1, 1]])
    assert au_f1(truth, said) == 1
    assert example_f1(truth, said) == 1
    assert au_f1(np.array([[1, 0], [1, 0]]), np.array([[1, 1], [0, 0]])) == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("seed", range(10))
def test_average_precision_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, scores = rng.integers(2, size=30), rng.random(30).round(1)
    assert average_precision(truth, scores) == pytest.approx(average_precision_score(truth, scores))
    assert math.isnan(average_precision(np.zeros(3), np.ones(3)))
    assert math.isnan(average_precision(np.ones(3), np.array([1, np.nan, 0])))


def test_divergences_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.dirichlet(np.ones(5), 20), rng.dirichlet(np.ones(5), 20)
    assert js_divergence(truth, 3 * said) == pytest.approx(jensenshannon(truth, said, axis=1) ** 2)
    assert kl_divergence(truth, said, floor=0) == pytest.approx(entropy(truth, said, axis=1))
    assert kl_divergence(truth, said) == pytest.approx(entropy(truth, said, axis=1), abs=1e-6)
    certain = np.array([[1.0, 0.0]])
    assert js_divergence(certain, 1 - certain) == pytest.approx(math.log(2))
    assert kl_divergence(certain, 1 - certain, floor=0) == math.inf
    assert kl_divergence(certain, 1 - certain) == pytest.approx(-math.log(1e-10))
    for row in ([np.nan, 1.0], [0.0, 0.0], [-1.0, 2.0]):
        assert math.isnan(js_divergence(certain, np.array([row]))[0])
        assert math.isnan(kl_divergence(certain, np.array([row]))[0])


def write(path: Path, rows: list[Any]) -> str:
    """A CSV of the rows' texts, or JSONL of objects."""
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return str(path)


def run(capsys: pytest.CaptureFixture[str], truth: str, said: str, *options: str) -> dict[str, Any]:
    assert main(["--truth", truth, "--predictions", said, "--json", "--resamples", "50", *options]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(found) == {"dataset", "mode", "n", "coverage", "primary", "secondary", "baselines", "notes"}
    assert set(found["primary"]) - {"groups"} == {"name", "value", "low", "high"}
    return found


def test_labels_are_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write(tmp_path / "set.csv", ["name,label", "a,joy", "b,joy", "c,fear", "d,joy"])
    answers = ["She is <b>joyful</b>, I mean joy.", "", "[[[[", "not joy but fear"]
    said = write(tmp_path / "p.jsonl", [{"id": n, "response": r} for n, r in zip("abcd", answers, strict=True)])
    found = run(capsys, truth, said)
    assert (found["dataset"], found["mode"], found["n"], found["coverage"]) == ("set", "labels", 4, 0.5)
    assert (found["primary"]["name"], found["primary"]["value"]) == ("uar", pytest.approx(1 / 6, abs=1e-6))
    assert found["secondary"]["war"]["value"] == 0.25
    assert found["secondary"]["give_up_rate"]["value"] == 0.5
    assert found["baselines"]["always joy"]["war"]["value"] == 0.75
    assert any("line 3: expected one of fear, joy" in note for note in found["notes"])
    assert main(["--truth", truth, "--predictions", said]) == 0
    assert "uar" in capsys.readouterr().out


def test_intervals_are_clustered_where_the_truth_names_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"c{number},{'joy' if number % 2 else 'fear'},{number // 10}" for number in range(40)]
    truth = write(tmp_path / "t.csv", ["name,label,group", *rows])
    said = write(tmp_path / "p.csv", ["name,label", *(f"c{n},{'joy' if n < 20 else 'fear'}" for n in range(40))])
    found = run(capsys, truth, said)
    assert found["secondary"]["war"] == {"value": 0.5, "low": 0.5, "high": 0.5, "n": 40, "groups": 4}
    assert found["primary"]["groups"] == 4
    assert found["notes"][0] == "95 % intervals by group: 4 groups"
    assert "Only 4 groups" in found["notes"][1]
    assert main(["--truth", truth, "--predictions", said]) == 0
    assert "Only 4 groups" in capsys.readouterr().out


def speakers(kind: str, clips: int, grouped: bool) -> tuple[list[Any], list[Any]]:
    """Truth of eight speakers, the clips of each all alike, and answers; those to the last speaker are missing."""
    rng = np.random.default_rng(3)
    true: list[Any] = []
    said: list[Any] = []
    for speaker in range(8):
        values: dict[str, tuple[Any, Any]] = {
            "labels": (LABELS[speaker % 3], ["anger", "fear", "", "no idea"][speaker % 4]),
            "numbers": tuple(rng.normal(size=2).round(2).tolist()),
            "sets": (["x", "yz"[speaker % 2]], ["x"] if speaker % 3 else ["y", "z"]),
            "distributions": tuple({"x": one, "y": 1 - one} for one in rng.random(2).round(2)),
        }
        right, answer = values[kind]
        for name in [f"{speaker}.{number}" for number in range(clips)]:
            true.append({"id": name, "label": right, **({"group": f"speaker {speaker}"} if grouped else {})})
            said += [{"id": name, "label": answer}] if speaker < 7 else []
    return true, said


@pytest.mark.parametrize("kind", ["labels", "numbers", "sets", "distributions"])
def test_clips_of_a_group_that_are_all_alike_make_no_interval_narrower(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(clips: int, grouped: bool) -> dict[str, Any]:
        true, said = speakers(kind, clips, grouped)
        files = write(tmp_path / "t.jsonl", true), write(tmp_path / "p.jsonl", said)
        scores = run(capsys, *files, "--allow-missing", "--kind", kind)
        metrics = {"primary": scores["primary"], **scores["secondary"], **next(iter(scores["baselines"].values()))}
        return {name: [metric[part] for part in ("value", "low", "high")] for name, metric in metrics.items()}

    one, many = found(1, False), found(6, True)
    assert one.keys() == many.keys()
    unlike = {"ccc_unbiased"}  # the only one that knows how many clips there are
    for name in one.keys() - unlike:
        assert many[name] == pytest.approx(one[name], abs=1e-5), name


def test_clips_without_prediction_have_empty_sets_and_no_distribution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write(tmp_path / "t.jsonl", [{"id": "a", "label": ["x"]}, {"id": "b", "label": ["y"]}])
    found = run(capsys, truth, write(tmp_path / "p.jsonl", [{"id": "a", "label": ["x"]}]), "--allow-missing")
    assert (found["coverage"], found["secondary"]["example_f1"]["value"]) == (0.5, 0.5)
    assert found["secondary"]["micro_f1"]["value"] == pytest.approx(2 / 3, abs=1e-6)

    certain = {"x": 1, "y": 0}
    truth = write(tmp_path / "t.jsonl", [{"id": name, "label": certain} for name in "ab"])
    found = run(capsys, truth, write(tmp_path / "p.jsonl", [{"id": "a", "label": certain}]), "--allow-missing")
    assert (found["coverage"], found["secondary"]["top_1"]["value"], found["primary"]["value"]) == (0.5, 0.5, 0)


def test_the_constant_answer_knows_the_truth_and_not_what_was_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write(tmp_path / "t.csv", ["name,label", "a,1", "b,2", "c,6"])
    found = run(capsys, truth, write(tmp_path / "p.csv", ["name,label", "a,5", "b,7", "c,9"]))
    assert found["baselines"]["always 2"]["mae"]["value"] == pytest.approx(5 / 3, abs=1e-6)


def test_numbers_sets_and_distributions_are_told_by_their_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write(tmp_path / "t.csv", ["name,label", "a,0.5", "b,-1", "c,2"])
    said = write(tmp_path / "p.csv", ["name,label", "c,1.5", "a,0.4", "b,-0.2"])
    found = run(capsys, truth, said)
    expected = plain_ccc(np.array([0.5, -1, 2]), np.array([0.4, -0.2, 1.5]), 0)
    assert (found["mode"], found["primary"]["value"]) == ("numbers", pytest.approx(expected, abs=1e-6))
    assert found["secondary"]["spearman"]["value"] == 1
    assert found["baselines"]["always 0.5"]["ccc"]["value"] == 0

    truth = write(tmp_path / "t.jsonl", [{"id": "a", "labels": ["AU1", "AU4"]}, {"id": "b", "labels": []}])
    said = write(tmp_path / "p.jsonl", [{"id": "a", "label": "AU1, AU99"}, {"id": "b", "label": ["AU4"]}])
    found = run(capsys, truth, said)
    assert (found["mode"], found["primary"]["name"], found["primary"]["value"]) == ("sets", "macro_f1", 0.5)
    assert "AU99" in found["notes"][1]

    truth = write(
        tmp_path / "t.jsonl", [{"id": "a", "label": {"x": 1, "y": 3}}, {"id": "b", "label": {"x": 1, "y": 0}}]
    )
    said = write(tmp_path / "p.jsonl", [{"id": "b", "label": {"x": 1}}, {"id": "a", "label": {"x": 0.25, "y": 0.75}}])
    found = run(capsys, truth, said)
    assert (found["mode"], found["primary"]["name"], found["primary"]["value"]) == ("distributions", "js", 0)
    assert found["secondary"]["mean_ap"]["value"] == found["secondary"]["top_1"]["value"] == 1


def test_missing_predictions_count_as_wrong_only_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write(tmp_path / "t.csv", ["name,label", "a,joy", "b,fear"])
    said = write(tmp_path / "p.csv", ["name,label", "a,joy"])
    with pytest.raises(InputError, match=r"t\.csv: line 3: expected a clip that .*p\.csv has too, got 'b'\s.*--allow"):
        main(["--truth", truth, "--predictions", said])
    found = run(capsys, truth, said, "--allow-missing")
    assert (found["coverage"], found["secondary"]["war"]["value"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("truth", "said", "options", "message"),
    [
        (["name,label", "a,joy"], ["name,label", "b,joy"], [], r"p\.csv: line 2: expected a clip that .*got 'b'"),
        (
            ["name,label", "a,joy", "a,fear"],
            ["name,label", "a,joy"],
            [],
            "line 3: .*once, got 'a', also in line 2",
        ),
        (
            ["name,label", "a,joi"],
            ["name,label", "a,joy"],
            ["--labels", "joy,fear"],
            "line 2: .*Did you mean 'joy'",
        ),
        (["name,label", "a,0.5"], ["name,label", "a,nan"], [], r"p\.csv: line 2: expected a finite number, got 'nan'"),
        (["name,label", "a,NaN"], ["name,label", "a,1"], [], r"t\.csv: line 2: expected a finite number"),
        (["name,label", "a,inf"], ["name,label", "a,1"], [], r"t\.csv: line 2: expected a finite number"),
        (["name,emotion", "a,joy"], ["name,label", "a,joy"], [], r"t\.csv: line 2: expected the field 'label'"),
        (["name,label", "a"], ["name,label", "a,joy"], [], r"t\.csv: line 2: expected 2 cells"),
        (["name,label", "a,"], ["name,label", "a,joy"], [], r"t\.csv: line 2: expected a label"),
        (
            ["name,label", "a,joy", "b,NaN"],
            ["name,label", "a,joy", "b,joy"],
            [],
            r"line 3: expected a label, got 'NaN'",
        ),
        (
            ["name,label", "a,joy"],
            ["name,label", "a,glee"],
            [],
            "all rows: expected answers that hold one of joy",
        ),
        (["name,label"], ["name,label", "a,joy"], [], r"t\.csv: the file: expected at least one row"),
    ],
)
def test_bad_input_is_named(
    tmp_path: Path, truth: list[Any], said: list[Any], options: list[str], message: str
) -> None:
    files = write(tmp_path / "t.csv", truth), write(tmp_path / "p.csv", said)
    with pytest.raises(InputError, match=message):
        main(["--truth", files[0], "--predictions", files[1], *options])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"name": "a", "label": ', "line 1|row 1"),
        ('{"label": "joy"}', "line 1: expected the field 'name'"),
        ('{"name": "a", "label": {"joy": -1}}', "line 1: expected shares of"),
        ('{"name": "a", "label": {"joy": NaN}}', "line 1: expected shares of"),
        ('{"name": "a", "label": {"glee": 1}}', "line 1: expected shares of"),
        ('{"name": "a", "label": "joy"}', "line 1: expected shares of"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, row: str, message: str) -> None:
    truth = write(tmp_path / "t.jsonl", [{"name": "a", "label": {"joy": 1, "fear": 1}}])
    with pytest.raises(InputError, match=message):
        main(["--truth", truth, "--predictions", write(tmp_path / "p.jsonl", [row])])


def test_nothing_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing there"):
        main(["--truth", str(tmp_path / "t.csv"), "--predictions", str(tmp_path / "p.csv")])
