"""Labels and predictions as files: what is refused, with the place and the remedy, and what is read all the same."""

from __future__ import annotations

import json

import pytest

from affectgpt.emotions.matcher import VocabularyMatcher
from affectgpt.problems import InputError
from eval.answers.labelled_file import SHOWN
from eval.benchmarks.unibench.files import load_wheels, parse_list, read_labels, read_predictions
from eval.benchmarks.unibench.sets import BENCHMARKS, Answer
from tests.support.limits import cpu_seconds

HIT, SENTIMENT, OPEN = BENCHMARKS["meld"], BENCHMARKS["sims"], BENCHMARKS["ovmerdplus"]


@pytest.fixture
def labels(tmp_path):
    def write(text: str, benchmark=HIT):
        path = tmp_path / "labels.csv"
        path.write_text(f"name,label\n{text}", encoding="utf-8")
        return read_labels(path, benchmark)

    return write


@pytest.fixture
def predictions(tmp_path, labels):
    def read(*rows: object, benchmark=HIT, gold: str = "a,joy\nb,fear\n", **options):
        path = tmp_path / "p.jsonl"
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return read_predictions(path, benchmark, labels(gold, benchmark), VocabularyMatcher(), **options)

    return read


def problem(error: pytest.ExceptionInfo[InputError]) -> str:
    return str(error.value)


def said(name: str, *words: str) -> dict[str, object]:
    return {"name": name, "openset": f"[{', '.join(words)}]"}


def test_labels_of_each_kind(labels):
    assert labels("a, Joy \nb,fear\n").gold == {"a": ("joy",), "b": ("fear",)}
    assert labels("a,-0.4\nb,1\n", SENTIMENT).gold == {"a": -0.4, "b": 1.0}
    assert labels('a,"[sad, at ease]"\nb,[]\n', OPEN).gold == {"a": ("sad", "at ease"), "b": ()}


@pytest.mark.parametrize("value", ["nan", "inf", "1.5", "joy", ""])
def test_valences_that_are_none_are_named_with_their_line(labels, value):
    with pytest.raises(InputError) as caught:
        labels(f"a,0.2\nb,{value}\n", SENTIMENT)
    assert "labels.csv: line 3, b: expected a valence from -1 to 1, got" in problem(caught)


def test_labels_outside_the_set_are_all_named(labels):
    with pytest.raises(InputError) as caught:
        labels("a,joy\nb,worried\nc,0.5\n")
    assert [item.where for item in caught.value.problems] == ["line 3, b", "line 4, c"]
    assert "expected one of anger, joy" in problem(caught)
    assert "does the file belong to another data set?" in problem(caught)


def test_name_twice_in_labels_is_refused(labels):
    with pytest.raises(InputError, match=r"line 4.*line 2"):
        labels("a,joy\nb,joy\na,fear\n")


def test_many_problems_are_cut_short(labels):
    with pytest.raises(InputError, match=rf"\.\.\. and {50 - SHOWN} more\."):
        labels("".join(f"{number},odd{number}\n" for number in range(50)))


def test_a_problem_of_many_lines_is_told_once(labels):
    with pytest.raises(InputError) as caught:
        labels("".join(f"{number},odd\n" for number in range(50)))
    assert len(caught.value.problems) == 1
    assert "labels.csv: line 2, 0; line 3, 1; line 4, 2 and 47 more: expected one of anger" in problem(caught)


def test_answers_come_in_the_order_of_the_labels(predictions):
    read = predictions(said("b", "scared"), {"id": "a", "openset": ["Happy", "at ease"]})
    assert read.answers == [Answer(("happy", "at ease")), Answer(("scared",))]


def test_a_response_without_list_is_read_here_and_counted(predictions):
    read = predictions({"name": "a", "response": "The emotional state is happy, calm."}, said("b", "scared"))
    assert read.answers[0] == Answer(("happy", "calm"))
    assert read.extracted == 1


def test_an_empty_list_is_read_again_only_if_asked(predictions):
    rows = [{"name": "a", "response": "She is neutral.", "openset": "[]"}, said("b", "scared")]
    assert predictions(*rows).answers[0] == Answer(())
    again = predictions(*rows, reread="empty")
    assert (again.answers[0], again.answers[1], again.extracted) == (Answer(("neutral",)), Answer(("scared",)), 1)


def test_rereading_all_goes_by_the_responses_alone(predictions):
    row = {"response": "He feels angry.", "openset": "[happy]", "sentiment": "positive"}
    read = predictions({"name": "a", **row}, benchmark=SENTIMENT, gold="a,1\n", reread="all")
    assert read.answers == [Answer(("angry",), "negative")]


@pytest.mark.parametrize(
    ("given", "polarity"),
    [("Negative", "negative"), ("neutral", "neutral"), ("mixed", None), ("", "positive"), (None, "positive")],
)
def test_sentiment_as_given_else_by_the_words(predictions, given, polarity):
    row = {"name": "a", "openset": "[happy]", "sentiment": given}
    assert predictions(row, benchmark=SENTIMENT, gold="a,1\n").answers[0].polarity == polarity


@pytest.mark.parametrize(
    "written",
    [
        "[happy，excited]",
        "happy、excited",
        "['happy'，'excited']",
        "[happy；excited]",
        "“happy”，“excited”",
        ["happy，excited"],
    ],
)
def test_lists_with_chinese_commas_hold_several_words_unless_officially(predictions, written):
    row = {"name": "a", "openset": written}
    assert predictions(row, gold="a,joy\n").answers == [Answer(("happy", "excited"))]
    officially = predictions(row, gold="a,joy\n", mode="official").answers[0].words
    assert officially != ("happy", "excited")


def test_gold_lists_with_chinese_commas_too(labels, tmp_path):
    assert labels('a,"[sad，at ease]"\n', OPEN).gold == {"a": ("sad", "at ease")}
    assert read_labels(tmp_path / "labels.csv", OPEN, mode="official").gold == {"a": ("sad，at ease",)}


@pytest.mark.parametrize(
    ("row", "foreign"),
    [
        ({"response": "这个人物的情绪状态是高兴、愉快。"}, 1),
        ({"openset": ["生气", "不满"]}, 1),
        ({"response": "Он злится."}, 1),
        ({"response": "彼は happy です"}, 0),
        ({"response": "He is happy（高兴）"}, 0),
        ({"response": "I cannot tell."}, 0),
        ({"response": "?!"}, 0),
        ({"response": "colère"}, 0),
        ({"openset": "[happy，excited]"}, 0),
        ({"response": ""}, 0),
    ],
)
def test_answers_in_scripts_that_the_wheel_does_not_know_are_counted(predictions, row, foreign):
    assert predictions({"name": "a", **row}, gold="a,joy\n").foreign == foreign


def test_a_sentiment_in_another_script_is_counted_unless_it_is_given_in_english(predictions):
    rows = [{"name": "a", "sentiment": "中性"}, {"name": "b", "sentiment": "Negative", "response": "消极"}]
    assert predictions(*rows, benchmark=SENTIMENT, gold="a,0\nb,-1\n").foreign == 1


def test_missing_and_extra_names_are_refused_unless_allowed(predictions):
    rows = [said("b", "scared"), said("c", "sad")]
    with pytest.raises(InputError) as caught:
        predictions(*rows)
    assert "labels.csv: line 2" in problem(caught)
    assert "p.jsonl: line 2" in problem(caught)
    assert "--allow-missing" in problem(caught)
    read = predictions(*rows, allow_missing=True)
    assert (read.answers, read.extra) == ([None, Answer(("scared",))], 1)


def test_bad_rows_are_all_named_with_their_lines(predictions):
    rows = [said("a", "sad"), "{torn", {"response": "x"}, {"name": "b"}, {"name": "b", "openset": 7}, said("a"), "[1]"]
    with pytest.raises(InputError) as caught:
        predictions(*rows)
    assert len(caught.value.problems) == 6
    text = problem(caught)
    for place in ("row 2", "line 3: expected the field 'name'", "line 4: expected one of", "line 5, openset", "line 6"):
        assert place in text


def test_empty_and_absent_files(predictions, labels, tmp_path):
    with pytest.raises(InputError, match="expected at least one row"):
        predictions()
    with pytest.raises(InputError, match=r"absent\.jsonl"):
        read_predictions(tmp_path / "absent.jsonl", HIT, labels("a,joy\n"), VocabularyMatcher())


HOSTILE = {
    "empty": "",
    "spaces": "  \n\t ",
    "null": None,
    "other language": "他看起来很生气。",
    "html": "<div><b>happy</b><script>alert(1)</script>" * 50,
    "brackets": "[" * 5000 + "]" * 3000 + "{(<" * 1000,
    "quotes": "'\"" * 5000,
    "marks": ". , ; : ! ? … — ¿ \u0000 \ud800",
    "10 MB of words": "not happy but sad, " * 530_000,
    "10 MB of one word": "x" * 10_000_000,
    "10 MB of brackets": "[]" * 5_000_000,
}


@pytest.mark.parametrize("field", ["response", "openset"])
@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_model_wrote_is_read_in_a_moment(predictions, name, field):
    from eval.benchmarks.unibench.scores import score

    with cpu_seconds(60):
        read = predictions({"name": "a", "response": None, field: HOSTILE[name]}, gold="a,joy\n", reread="empty")
        scored = score(HIT, [("joy",)], {"": read.answers}, resamples=10)[""]
    assert 0 <= scored.evaluation["primary"]["value"] <= 1


@pytest.mark.parametrize(
    ("written", "items"),
    [
        ("[happy, sad]", ("happy", "sad")),
        (" ['At Ease', \"sad\"] ", ("at ease", "sad")),
        ("[]", ()),
        ("", ()),
        ("happy", ("happy",)),
        ("[[sad]]", ("[sad]",)),
        ("[sad,, ,]", ("sad",)),
        ("[didn't like it]", ("didn", "t like it")),
        (["Sad", "calm"], ("sad", "calm")),
    ],
)
def test_lists_are_parsed_as_the_benchmark_does(written, items):
    assert parse_list(written) == items


def test_wheel_folder_without_tables_is_explained(tmp_path):
    with pytest.raises(InputError) as caught:
        load_wheels(tmp_path)
    assert len(caught.value.problems) == 7
    assert str(tmp_path / "synonym.xlsx") in problem(caught)
    assert "emotion_wheel" in problem(caught)
