import json
import multiprocessing
import subprocess
import sys

import pytest

from affectgpt.emotions.extract import extractor_names, load_extractor
from affectgpt.emotions.matcher import VocabularyMatcher
from affectgpt.emotions.written import LONGEST, WrittenLabels
from affectgpt.llm.answer_cache import CachedExtractor


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a1 mouth: smiling\ne1 forced smile <- a1\nm1 masked distress <- e1\nm2 Grief", ["masked distress", "grief"]),
        ("  m1 calm <- e1 e2  \n", ["calm"]),
        ("<answer>happy, sad</answer>", ["happy", "sad"]),
        ("<answer>x</answer> no: <ANSWER>[happy]</ANSWER>", ["happy"]),
        ("<answer>happy", ["happy"]),
        ("<think>sad, sad</think>happy, worried", ["happy", "worried"]),
        ("<answer>m1 fear <- e1</answer>", ["fear"]),
        ("The character's emotional state is happy, zorblish.", ["happy", "zorblish"]),
        ("['Happy', 'lack_of_interest']", ["happy", "lack of interest"]),
        ("very happy; happy", ["happy"]),
        ("The man walks along the street with a dog that he has had since he was a child", []),
        ("", []),
        (None, []),
        ("m0 calm", ["m0 calm"]),
    ],
)
def test_what_is_written_down_as_labels(text, found):
    assert WrittenLabels().extract([text]) == [found]


def test_only_so_much_is_read():
    assert WrittenLabels().extract(["x " * LONGEST + "\nm1 calm"]) == [[]]
    assert WrittenLabels().extract(["happy, " * 10**6]) == [[]]


def test_extractors_are_found_by_name():
    assert {"llm", "vocabulary", "written"} <= set(extractor_names())
    assert load_extractor("vocabulary", keep_neutral=False).settings == {"keep_neutral": False}
    assert load_extractor("written").extract(["happy"]) == [["happy"]]
    with pytest.raises(LookupError, match=r"'vocabulry': expected one of .*vocabulary"):
        load_extractor("vocabulry")


def test_looking_for_extractors_imports_no_torch():
    code = (
        "import sys; from affectgpt.emotions.extract import load_extractor; load_extractor('vocabulary').extract('x');"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Counting:
    name, version = "counting", "1"

    def __init__(self, **settings):
        self.settings = settings
        self.seen = []

    def extract(self, texts):
        self.seen += texts
        return [None if text == "?" else [text[:3], "é"] for text in texts]


@pytest.mark.parametrize("in_memory", [True, False])
def test_no_text_is_extracted_twice(tmp_path, in_memory):
    inner = Counting()
    cached = CachedExtractor(inner, None if in_memory else tmp_path / "new folder" / "labels.db", batch_size=2)
    texts = ["one", "two", "one", "three", "two", ""]
    assert cached.extract(texts) == [["one", "é"], ["two", "é"], ["one", "é"], ["thr", "é"], ["two", "é"], ["", "é"]]
    assert inner.seen == ["one", "two", "three", ""]
    assert cached.extract(["two", "four"]) == [["two", "é"], ["fou", "é"]]
    assert inner.seen[4:] == ["four"]


def test_the_file_outlives_the_process(tmp_path):
    first = CachedExtractor(Counting(), tmp_path / "labels.db")
    first.extract(["one", "\ud800"])
    first.close()
    inner = Counting()
    assert CachedExtractor(inner, tmp_path / "labels.db").extract(["one", "\ud800"])[0] == ["one", "é"]
    assert inner.seen == []


def test_every_change_of_the_extractor_is_another_key(tmp_path):
    def seen(inner):
        CachedExtractor(inner, tmp_path / "labels.db").extract(["one"])
        return inner.seen

    assert seen(Counting(a=1, b=[2])) == ["one"]
    assert seen(Counting(b=[2], a=1)) == []
    assert seen(Counting(a=2, b=[2])) == ["one"]
    newer = Counting(a=1, b=[2])
    newer.version = "2"
    assert seen(newer) == ["one"]
    other = Counting(a=1, b=[2])
    other.name = "other"
    assert seen(other) == ["one"]


def test_what_was_given_up_on_is_tried_again(tmp_path):
    inner = Counting()
    cached = CachedExtractor(inner, tmp_path / "labels.db")
    assert cached.extract(["?", "?"]) == [None, None]
    assert cached.extract(["?"]) == [None]
    assert inner.seen == ["?", "?"]


def test_a_batch_is_kept_before_the_next_one_fails(tmp_path):
    class Failing(Counting):
        def extract(self, texts):
            if "bad" in texts:
                raise RuntimeError("stopped")
            return super().extract(texts)

    with pytest.raises(RuntimeError, match="stopped"):
        CachedExtractor(Failing(), tmp_path / "labels.db", batch_size=1).extract(["good", "bad"])
    inner = Counting()
    CachedExtractor(inner, tmp_path / "labels.db").extract(["good", "bad"])
    assert inner.seen == ["bad"]


def test_changing_what_came_back_changes_no_cache():
    cached = CachedExtractor(VocabularyMatcher())
    cached.extract(["happy"])[0].append("sad")
    assert cached.extract(["happy", "happy"]) == [["happy"], ["happy"]]
    assert (cached.name, cached.version, cached.settings) == ("vocabulary", "2", {"keep_neutral": True})


def test_an_extractor_that_loses_texts_is_an_error(tmp_path):
    class Losing(Counting):
        def extract(self, texts):
            return super().extract(texts)[1:]

    with pytest.raises(ValueError, match="zip"):
        CachedExtractor(Losing()).extract(["one", "two"])


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "labels.db"
    path.write_text(json.dumps({"labels": []}) * 1000)
    with pytest.raises(ValueError, match=r"labels\.db: expected a cache of labels, got .*Delete it or name another"):
        CachedExtractor(Counting(), path)


def _fill(path, start):
    CachedExtractor(Counting(), path, batch_size=5).extract([f"{number:03}" for number in range(start, start + 100)])


def test_processes_may_share_a_file(tmp_path):
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        pool.starmap(_fill, [(tmp_path / "labels.db", start) for start in (0, 50, 0, 50)])
    inner = Counting()
    CachedExtractor(inner, tmp_path / "labels.db").extract([f"{number:03}" for number in range(150)])
    assert inner.seen == []
