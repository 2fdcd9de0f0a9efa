"""Warnings of `affectgpt data check`: what is valid and may yet be wrong, found in rows and refused in none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from affectgpt.clip import Clip, write_clips
from data_recipes.check.command import main
from data_recipes.check.warnings import EXAMPLES, Warning, warnings_of
from tests.support.rows import make_clip, make_turns

REPORTED = Path(os.environ.get("SHARED_DATA", "")) / "reported"


def warned(*clips: Clip) -> dict[str, Warning]:
    """Return the warnings about rows of one file by kind."""
    numbered = [Clip(**{**{n: getattr(c, n) for n in c.__slots__}, "line": i}) for i, c in enumerate(clips, 1)]
    return {warning.kind: warning for warning in warnings_of([(Path("rows.jsonl"), numbered)], [{}])}


def details(*clips: Clip) -> dict[str, list[tuple[str, str]]]:
    """Return the examples of every kind of warning: id and detail."""
    return {kind: [(e.id, e.detail) for e in warning.examples] for kind, warning in warned(*clips).items()}


def test_right_rows_are_not_warned_about() -> None:
    clips = [
        make_clip(str(number), ("joy", "fear", "self-confident")[number % 3], question=f"What, {number}?", group="Ann")
        for number in range(12)
    ]
    fine = "I said “no” – naïve, déjà vu; 愤怒（生气）, ¡olé! 😀\n\tNone of it."
    clips += [make_clip(f"t{number}", "joy", question="Q" * number, subtitle=fine) for number in range(1, 4)]
    assert warned(*clips) == {}


@pytest.mark.parametrize("label", ["nan", "NaN", "None", "N/A", "null", "<NA>", " nan ", "-", "#N/A", "?"])
def test_labels_that_stand_for_missing_values(label: str) -> None:
    assert details(make_clip("a", label))["missing_value"] == [("a", f"answer {label!r}")]
    several = make_clip("b", task="emotion_open", answer=["joy", label])
    assert details(several)["missing_value"] == [("b", f"answer {label!r}")]


def test_subtitles_and_groups_may_be_missing_values_too() -> None:
    found = details(make_clip("a", subtitle="nan"), make_clip("b", question="?", group="None"))
    assert found["missing_value"] == [("a", "subtitle 'nan'"), ("b", "group 'None'")]
    assert "missing_value" not in details(make_clip("c", subtitle="None of them came."))
    assert "missing_value" not in details(make_clip("c", "none", task="attribute_closed", options=["none", "a few"]))
    assert "missing_value" in details(make_clip("c", "none", options=["none", "joy"]))


@pytest.mark.parametrize(
    "other",
    ["Happy", "HAPPY", "happy ", " happy", "ｈａｐｐｙ", "happy.", "hap\u200bpy", "\ufeffhappy", "happy\u00a0"],
)
def test_two_spellings_of_a_label(other: str) -> None:
    usual = [make_clip(str(number), "happy", question=f"{number}?") for number in range(3)]
    assert details(*usual, make_clip("x", other))["label_spelling"] == [("x", f"{other!r}, elsewhere 'happy'")]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("colère", "cole\u0300re"),
        ("very happy", "very  happy"),
        ("very_happy", "very happy"),
        ("self-love", "self love"),
    ],
)
def test_spellings_of_compound_and_accented_labels(one: str, two: str) -> None:
    usual = [make_clip(str(number), one, question=f"{number}?") for number in range(2)]
    found = details(*usual, make_clip("x", task="emotion_open", answer=["joy", two]))
    assert found["label_spelling"] == [("x", f"{two!r}, elsewhere {one!r}")]


def test_spellings_in_options_space_around_a_label_and_spellings_of_a_group() -> None:
    offered = make_clip("o", "joy", options=["joy", "Joy", "fear"], group="S1")
    assert details(offered)["label_spelling"] == [("o", "its options 'joy', 'Joy'")]
    assert details(make_clip("s", "joy "))["label_spelling"] == [("s", "'joy ', with space around it")]
    rows = [offered, make_clip("p", question="?", group="S1"), make_clip("q", question="??", group="s1")]
    assert details(*rows)["group_spelling"] == [("q", "'s1', elsewhere 'S1'")]


@pytest.mark.parametrize(
    ("sign", "said"),
    [
        ("\x92", "U+0092 (’ in Windows-1252)"),
        ("\x85", "U+0085 (… in Windows-1252)"),
        ("\x81", "U+0081"),
        ("\x00", "U+0000"),
        ("\x1b", "U+001B"),
        ("\x7f", "U+007F"),
    ],
)
def test_control_characters_in_any_text(sign: str, said: str) -> None:
    text = f"I{sign}m fine"
    rows: list[tuple[str, dict[str, Any]]] = [
        ("subtitle", {"subtitle": text}),
        ("situation", {"situation": text}),
        ("group", {"group": text}),
        ("messages[0]", {"question": text}),
        ("options", {"options": ["joy", text]}),
    ]
    for name, fields in rows:
        assert details(make_clip("a", **fields))["control_character"] == [("a", f"{name}: {said} in {text!r}")]
    assert details(make_clip("a", text))["control_character"][0][1].endswith(f"{said} in {text!r}")
    assert "control_character" not in details(make_clip("a", subtitle="two\nlines\tand a tab\r\n"))


@pytest.mark.parametrize("text", ["I’m fine", "café", "happy – no", "愤怒", "naïve", "😀 yes", "Über"])
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_text_in_the_wrong_encoding(text: str, encoding: str) -> None:
    try:
        garbled = text.encode().decode(encoding)
    except UnicodeDecodeError:
        pytest.skip("Windows-1252 has no such byte")
    ((name, detail),) = details(make_clip("a", subtitle=garbled))["garbled_text"]
    assert name == "a"
    assert detail.endswith(f"probably {text!r}")
    assert "garbled_text" not in details(make_clip("a", subtitle=text))


def test_characters_that_were_lost() -> None:
    assert "U+FFFD" in details(make_clip("a", subtitle="I\ufffdm fine"))["garbled_text"][0][1]


def test_a_subtitle_that_is_the_label() -> None:
    assert details(make_clip("a", "joy", subtitle="Joy."))["told_label"] == [("a", "subtitle 'Joy.'")]
    assert "told_label" not in details(make_clip("a", "joy", subtitle="What a joy."))


def test_a_label_that_occurs_once_among_many_rows() -> None:
    many = [make_clip(str(number), ("joy", "fear")[number % 2], question=f"{number}?") for number in range(20)]
    assert details(*many, make_clip("x", "joyy"))["rare_label"] == [("x", "'joyy'. Did you mean 'joy'?")]
    assert details(*many, make_clip("x", "contempt"))["rare_label"] == [("x", "'contempt'")]
    assert "rare_label" not in details(*many[:4], make_clip("x", "joyy")), "of a few rows, labels occur once"
    seldom = [make_clip(str(number), f"label {number // 2}", question=f"{number}?") for number in range(40)]
    assert "rare_label" not in details(*seldom, make_clip("x", "joyy")), "so do many labels"


def test_rows_that_ask_the_same_of_the_same_clip() -> None:
    film, other = Path("/d/a.mp4"), Path("/d/b.mp4")
    rows = [
        make_clip("a", "joy", video=film),
        make_clip("b", "joy", video=film),
        make_clip("c", "fear", video=film),
        make_clip("d", "Joy", video=film),
        make_clip("e", "fear", video=other),
        make_clip("f", "fear", video=film, start=1.0),
        make_clip("g", "fear", video=film, question="And now?"),
        Clip(id="h", messages=make_turns("Why?", "As"), task="caption", answer="As", video=film),
        Clip(id="i", messages=make_turns("Why?", "So"), task="caption", answer="So", video=film),
    ]
    found = details(*rows)
    assert found["repeated_row"] == [("b", "as row 1 (a)")]
    assert found["contradiction"] == [("c", "'fear', in row 1 (a) 'joy'")]


def test_what_files_share() -> None:
    one = [make_clip("a", video=Path("/d/a.mp4"), group="Ann"), make_clip("b", video=Path("/d/b.mp4"), group="Bo")]
    two = [
        make_clip("a", video=Path("/d/a.mp4"), group="Cy", start=3.0),
        make_clip("c", video=Path("/d/c.mp4"), group="Bo"),
        make_clip("d", video=Path("/d/d.mp4"), audio=Path("/d/b.mp4"), group="Ann"),
        make_clip("e", video=Path("/d/e.mp4"), group="Dee"),
    ]
    warnings = warnings_of([(Path("train.jsonl"), one), (Path("test.jsonl"), two)], [{}, {}])
    found = {w.kind: [(e.file, e.id, e.detail) for e in w.examples] for w in warnings}
    assert found == {
        "shared_clip": [
            ("test.jsonl", "a", "a.mp4, also in train.jsonl"),
            ("test.jsonl", "d", "b.mp4, also in train.jsonl"),
        ],
        "shared_group": [
            ("test.jsonl", "c", "Bo, also in train.jsonl"),
            ("test.jsonl", "d", "Ann, also in train.jsonl"),
        ],
    }
    assert "train.jsonl" not in warnings[0].describe(with_files=False).replace("also in train.jsonl", "")
    assert "test.jsonl row 0 (a): a.mp4" in warnings[0].describe(with_files=True)


def test_rows_are_counted_and_the_first_named() -> None:
    found = warned(*(make_clip(str(number), "nan", question=f"{number}?", subtitle="nan") for number in range(50)))
    assert found["missing_value"].count == 50, "a row counts once"
    assert [example.row for example in found["missing_value"].examples] == [*range(1, EXAMPLES + 1)]


def test_the_command_says_it_and_refuses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    write_clips(train, [make_clip("a", "Joy", group="Ann"), make_clip("b", "joy", question="?", subtitle="I\x92m")])
    write_clips(test, [make_clip("c\x1b[2J", "nan", group="Ann")])
    assert main([str(train), "--no-decode", str(test), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], report["problems"]) == (3, [])
    kinds = {item["kind"]: item for item in report["warnings"]}
    assert kinds.keys() == {"missing_value", "label_spelling", "control_character", "shared_group"}
    assert kinds["control_character"]["examples"] == [
        {"file": str(train), "row": 2, "id": "b", "detail": "subtitle: U+0092 (’ in Windows-1252) in 'I\\x92m'"}
    ]
    assert main([str(train), str(test), "--no-decode"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"shared_group, 1 row: {kinds['shared_group']['meaning']}" in printed.err
    assert "\x1b" not in printed.err
    assert printed.err.endswith(f"{test}: 1 row, no problems.\n")


@pytest.mark.skipif(not REPORTED.is_dir(), reason="SHARED_DATA is unset: the reported inputs are not there")
def test_reported_files(capsys: pytest.CaptureFixture[str]) -> None:
    """Labels, texts, times and silent media that users of other systems were not warned about."""
    names = ["csv/out_case", "csv/out_nan", "csv/c1", "imp/rows_end", "imp/rows_neg", "imp/rows_ids", "media/dull"]
    expected = {
        "csv/out_case": {"label_spelling"},
        "csv/out_nan": {"missing_value"},
        "csv/c1": {"control_character"},
        "imp/rows_end": {"end_behind_file"},
        "imp/rows_neg": {"end_behind_file"},
        "imp/rows_ids": set(),
        "media/dull": {"silence", "blank_picture"},
    }
    assert main([*(str(REPORTED / f"{name}.jsonl") for name in names), "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    found: dict[str, set[str]] = {name: set() for name in names}
    for warning in report["warnings"]:
        for example in warning["examples"]:
            if warning["kind"] not in ("shared_clip", "repeated_row"):
                found[example["file"].removeprefix(f"{REPORTED}/").removesuffix(".jsonl")].add(warning["kind"])
    assert found == expected
    refused = {(Path(item["file"]).name, item["where"]) for item in report["problems"]}
    assert refused >= {
        ("rows_neg.jsonl", "row 1, field 'start'"),
        ("rows_neg.jsonl", "row 2, field 'end'"),
        ("rows_neg.jsonl", "row 4 (d)"),
        ("rows_neg.jsonl", "row 5, field 'end'"),
        ("rows_neg.jsonl", "row 6, field 'start'"),
        ("rows_ids.jsonl", "row 1, field 'id'"),
        ("rows_ids.jsonl", "row 3, field 'id'"),
    }
