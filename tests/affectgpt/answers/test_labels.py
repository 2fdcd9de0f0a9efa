"""Labels in every Unicode form and script, labels spelt alike, and sets of labels however they are written."""

from __future__ import annotations

import unicodedata

import pytest

from affectgpt.answers.reading import (
    normalise,
    one_spelling,
    read_label,
    read_members,
    read_set,
    read_units,
    spelling_note,
)

CHINESE = ["高兴", "悲伤", "愤怒", "不满"]


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("这个人很高兴。", "高兴"),
        ("答案：悲伤", "悲伤"),
        ("他看起来愤怒，因为声音很大。", "愤怒"),
        ("他非常高兴", "高兴"),
        ("他特别悲伤", "悲伤"),
        ("毫无疑问是悲伤", "悲伤"),
        ("他很不满", "不满"),
        ("不是高兴，而是悲伤", "悲伤"),
        ("他不高兴，很悲伤", "悲伤"),
        ("既不高兴也不悲伤，而是愤怒", "愤怒"),
        ("选项有高兴、悲伤。答案是悲伤。", "悲伤"),
        ("不高兴", None),
        ("没有愤怒", None),
        ("他没有表现出高兴", None),
        ("并不悲伤", None),
        ("高兴不明显", None),
        ("是高兴还是悲伤？", None),
        ("他是否高兴", None),
        ("高兴和悲伤", None),
        ("难以说是高兴", None),
        ("假装高兴", None),
        ("愤怒的可能性很小", None),
        ("毫不掩饰的愤怒", "愤怒"),
        ("掩饰不住的高兴", "高兴"),
        ("他愤怒不已", "愤怒"),
    ],
)
def test_chinese_labels_are_found_in_running_text(answer: str, label: str | None) -> None:
    assert read_label(answer, CHINESE) == label


@pytest.mark.parametrize(
    ("labels", "answer", "label"),
    [
        (["喜び", "悲しみ"], "この人は喜びを感じています", "喜び"),
        (["喜び", "悲しみ"], "喜びではない", None),
        (["喜び", "悲しみ"], "喜びではなく、悲しみです", "悲しみ"),
        (["喜び", "悲しみ"], "喜びは見られない", None),
        (["喜び", "悲しみ"], "喜びが感じられません", None),
        (["喜び", "悲しみ"], "喜びよりも悲しみ", "悲しみ"),
        (["喜び", "悲しみ"], "喜びを隠せない", "喜び"),
        (["행복", "슬픔"], "슬픔을 느끼지 않는다", None),
        (["행복", "슬픔"], "행복해 보이지 않는다", None),
        (["행복", "슬픔"], "행복보다는 슬픔", "슬픔"),
        (["행복", "슬픔"], "그는 행복합니다.", "행복"),
        (["행복", "슬픔"], "행복하지 않다", None),
        (["행복", "슬픔"], "행복이 아니라 슬픔", "슬픔"),
        (["สุข", "เศร้า"], "เขาดูเศร้ามาก", "เศร้า"),
        (["สุข", "เศร้า"], "เขาไม่เศร้า", None),
        (["happy", "sad"], "他很happy。", "happy"),
        (["爱", "恨"], "他很可爱", None),
        (["怒", "喜"], "他很怒。", "怒"),
        (["sad", "happy"], "unhappy", None),
    ],
)
def test_labels_of_scripts_without_spaces(labels: list[str], answer: str, label: str | None) -> None:
    assert read_label(answer, labels) == label


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("label", ["colère", "愤怒（生气）", "Überraschung", "ﬁne", "Ｊｏｙ", "が楽しい", "행복"])
def test_a_label_reads_as_itself_in_every_unicode_form(label: str, form: str) -> None:
    """lmms-eval#1415: labels that were stored in another form than answers were never right."""
    other = "joie"
    written = unicodedata.normalize(form, label)
    assert read_label(written, [label, other]) == label
    assert read_label(label, [written, other]) == written
    assert read_label(f"L'émotion est {written}.", [label, other]) == label


@pytest.mark.parametrize(
    ("label", "answer"),
    [
        ("Spaß", "SPASS"),
        ("kızgın", "KIZGIN"),
        ("KIZGIN", "kızgın"),
        ("İyi", "iyi"),
        ("ΧΑΡΆ", "χαρά"),
        ("joy", "ＪＯＹ"),
    ],
)
def test_case_does_not_count_in_any_alphabet(label: str, answer: str) -> None:
    assert read_label(answer, [label, "other"]) == label
    assert read_label(f"x {answer} y", [label, "other"]) == label


@pytest.mark.parametrize("answer", ["-1", "−1", "－1", "The answer is -1.", '"-1"'])
def test_a_minus_is_part_of_a_label(answer: str) -> None:
    assert read_label(answer, ["-1", "0", "1"]) == "-1"
    assert read_label("1", ["-1", "0", "1"]) == "1"
    assert read_label("0.1", ["-1", "0", "1"]) is None
    assert normalise("-1") != normalise("1")


def test_labels_spelt_alike_read_as_written_and_count_as_one() -> None:
    for alike in (
        ["Happy", "happy"],
        ["weakly-positive", "weakly positive"],
        ["joy", "ｊｏｙ"],
        ["lack_of", "lack of"],
    ):
        labels = [*alike, "sad"]
        assert [read_label(label, labels) for label in labels] == labels
        assert one_spelling(labels) == {alike[0]: alike[0], alike[1]: alike[0], "sad": "sad"}
        note = spelling_note(labels)
        assert note is not None
        assert repr(alike[1]) in note
        assert "sad" not in note
    assert read_label("HAPPY", ["Happy", "happy", "sad"]) is None
    assert spelling_note(["-1", "0", "1", "C", "C++"]) is None


SETS = {
    "happy，sad": "happy sad",
    "happy、sad": "happy sad",
    "happy；sad": "happy sad",
    "happy|sad": "happy sad",
    "happy/sad": "happy sad",
    "- happy\n- sad": "happy sad",
    "1. **happy**\n2. *sad*.": "happy sad",
    "happy and sad": "happy sad",
    "高兴和悲伤": "高兴 悲伤",
    "高兴，悲伤。": "高兴 悲伤",
    "['happy', 'sad']": "happy sad",
    '["happy", "sad"]': "happy sad",
    '{"labels": ["happy", "sad"]}': "happy sad",
    "happy, not sad": "happy",
    '{"happy": true, "sad": false}': "happy",
    '{"happy": 1, "sad": 0}': "happy",
    "happy: 1, sad: 0": "happy",
    "| happy | yes |\n| sad | no |": "happy",
    "happy & sad": "happy sad",
    "happy und sad": "happy sad",
    "There are none.": "",
    "No labels are present.": "",
    "[]": "",
    "keine": "",
    "**None.**": "",
    "无": "",
}


@pytest.mark.parametrize(("answer", "labels"), SETS.items())
def test_sets_of_labels_are_read_with_any_comma_and_markdown(answer: str, labels: str) -> None:
    assert read_set(answer, ["happy", "sad", "高兴", "悲伤"]) == frozenset(labels.split())


@pytest.mark.parametrize("answer", ["zorblish", "", "not happy", "happy or sad?", None, 3, "<think>happy, sad"])
def test_a_set_without_a_known_label_is_unread(answer: object) -> None:
    assert read_set(answer, ["happy", "sad"]) is None


UNITS = {
    "AU6，AU12": "6 12", "**AU6**, **AU12**": "6 12", "AU4.": "4", "1. AU1\n2. AU2": "1 2", "AU1、AU2": "1 2",
    "AU6+12": "6 12", "AUs 6 and 12": "6 12", "action units 6, 12": "6 12", "AU6, not AU12": "6",
    "AU6 和 AU12": "6 12", "包括AU6和AU12": "6 12", "AU 06": "6", "AU6; AU12|AU1": "1 6 12", "AU6/AU12": "6 12",
    "AU6 & AU12": "6 12", "AU6&12": "6 12", "AU6AU12": "6 12", "AU6: 1\nAU12: 0": "6", "AU6=1, AU12=0": "6",
    "AU6: present; AU12: not present": "6", "AU6: active\nAU12: inactive": "6", "No AUs.": "", "no AU is active": "",
    "There are no active action units.": "", "没有动作单元": "", "| AU6 | yes |\n| AU12 | no |": "6",
    "none": "", "无": "", "- AU1\n- AU2": "1 2", "AU1，2": "1", "action unit 12": "12",
}  # fmt: skip


@pytest.mark.parametrize(("answer", "numbers"), UNITS.items())
def test_action_units_are_read(answer: str, numbers: str) -> None:
    units = {f"AU{number}" for number in numbers.split()}
    assert read_units(answer) == units
    assert read_members(answer, ["AU06", "au12", "AU1", "AU2", "AU4"]) == {
        {"AU6": "AU06", "AU12": "au12"}.get(unit, unit) for unit in units
    }


@pytest.mark.parametrize("answer", ["6, 12", "AU12?", "no AU4", "AU4 is absent", "a smile", "", "<think>AU4", "AU123"])
def test_no_action_unit_is_read_where_none_is_asserted(answer: str) -> None:
    assert read_units(answer) is None
    assert read_members(answer, ["AU4", "AU12"]) is None


def test_lists_of_labels_are_sets_too() -> None:
    assert read_members(["AU6", "AU 12"], ["AU6", "AU12"]) == {"AU6", "AU12"}
    assert read_members(["happy", "zorb"], ["happy", "sad"]) == {"happy"}
    assert read_members([], ["happy"]) == frozenset()
    assert read_members(["zorb"], ["happy"]) is None
    assert read_members("AU99", ["AU6", "AU12"]) is None
