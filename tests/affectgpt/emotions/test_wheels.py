"""The official wheel tables: the published rule on tables made here, and on the benchmark's own where they are."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from openpyxl import Workbook, load_workbook

from affectgpt.emotions import wheels as module
from affectgpt.emotions.wheels import WHEELS, EmotionWheels, WheelTableError, read_wheels

SHARED = Path(os.environ.get("SHARED_DATA", ""), "unibench")
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="SHARED_DATA does not hold unibench/")

WHEEL = [
    ("level1", "level2", "level3"),
    ("Mad", "Hurt", "Jealous"),
    (None, " Angry ", "Furious"),
    (None, None, "Torn"),
    ("Joyful", "Proud", "Bold"),
    (None, "Content", "Torn"),
]


def write_sheet(path: Path, rows: list[tuple[str | None, ...]]) -> None:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    for name in WHEELS:
        write_sheet(tmp_path / f"{name}.xlsx", WHEEL)
    write_sheet(tmp_path / "wheel5.xlsx", [*WHEEL[:2], ("Scared", "Weak", "Small")])
    header = tuple(f"{kind}_run{run}" for run in range(1, 9) for kind in ("word", "synonym"))
    runs = [("Furious", "enraged, Livid"), ("Bold", "livid, brave"), ("Mad", None), (None, None)] + [(None, None)] * 4
    write_sheet(tmp_path / "synonym.xlsx", [header, sum(runs, ())])
    forms = 'name,format\nlivid,"livid,lividly"\nmad,"mad,madly,maddest"\nbrave,"brave,madly"\nunknown,"table"\n'
    (tmp_path / "format.csv").write_text(forms)
    return tmp_path


def test_first_word_in_alphabetical_order_that_lies_on_the_wheel_decides(tables):
    wheels = read_wheels(tables, published_only=False)
    assert wheels.groups("lividly") == ("joyful",) * 4 + (None,)  # bold before furious; neither is on the fifth
    assert wheels.groups("lividly", level=2) == ("proud",) * 4 + (None,)


def test_of_many_words_the_first_decides_whatever_the_order_they_are_kept_in():
    words = [f"word {place:02}" for place in range(40)]
    wheels = EmotionWheels(
        {"form": frozenset({"base"})}, {"base": frozenset(words)}, ({word: (word, word) for word in words[1:]},)
    )
    assert wheels.groups("form") == ("word 01",)


def test_each_level_has_its_own_groups_in_whatever_order_they_are_asked_for(tables):
    wheels = read_wheels(tables, published_only=False)
    for _ in range(2):
        assert wheels.groups("livid", level=2) == ("proud",) * 4 + (None,)
        assert wheels.groups("livid", level=1) == ("joyful",) * 4 + (None,)


def test_several_bases_reach_words_together(tables):
    wheels = read_wheels(tables, published_only=False)
    assert wheels.groups("madly") == ("joyful",) * 4 + ("mad",)  # mad, and bold by brave


def test_word_of_level_1_has_the_first_of_its_level_2_groups(tables):
    wheels = read_wheels(tables, published_only=False)
    assert wheels.groups("maddest", level=2) == ("angry",) * 4 + ("hurt",)


def test_word_in_two_places_belongs_to_the_last(tables):
    wheels = read_wheels(tables, published_only=False)
    assert wheels.tables[0]["torn"] == ("joyful", "content")


@pytest.mark.parametrize("word", ["", "table", "Livid", "enraged", "neutral", "x" * 10_000])
def test_word_that_leads_nowhere_has_no_group(tables, word):
    assert read_wheels(tables, published_only=False).groups(word) == (None,) * 5


def test_all_faults_are_named_at_once(tables):
    (tables / "wheel1.xlsx").unlink()
    (tables / "wheel2.xlsx").write_bytes(b"no workbook")
    write_sheet(tables / "wheel3.xlsx", [("level1", "level2"), ("a", "b")])
    write_sheet(tables / "wheel4.xlsx", [*WHEEL, ("Sad", None, "Low"), (None, "Lost", None)])
    (tables / "format.csv").write_text("name,format\nlivid\n")
    with pytest.raises(WheelTableError) as caught:
        read_wheels(tables, published_only=False)
    found = [(Path(fault.file).name, fault.where) for fault in caught.value.faults]
    assert found == [
        ("wheel1.xlsx", "the table"),
        ("wheel2.xlsx", "the table"),
        ("wheel3.xlsx", "row 1"),
        ("wheel4.xlsx", "row 7"),
        ("wheel4.xlsx", "row 8"),
        ("format.csv", "row 2"),
    ]


def test_tables_that_are_not_the_published_ones_are_refused(tables):
    with pytest.raises(WheelTableError, match=r"wheel1\.xlsx.*format\.csv"):
        read_wheels(tables)


def test_fingerprint_is_of_the_cells(tables, monkeypatch):
    prints = {name: module.fingerprint(module._read(tables / name)) for name in module.PUBLISHED}
    monkeypatch.setattr(module, "PUBLISHED", prints)
    write_sheet(tables / "wheel1.xlsx", WHEEL)  # saved anew: other bytes, same cells
    assert read_wheels(tables).groups("livid")[0] == "joyful"
    write_sheet(tables / "wheel1.xlsx", [*WHEEL[:-1], (None, "Content", "Tired")])
    with pytest.raises(WheelTableError) as caught:
        read_wheels(tables)
    assert [Path(fault.file).name for fault in caught.value.faults] == ["wheel1.xlsx"]


@needs_data
def test_published_tables_have_the_published_sizes():
    wheels = read_wheels(SHARED / "wheels")
    assert len(wheels.forms) == 7386
    assert len(wheels.synonyms) == 1255
    assert len(set().union(*wheels.tables)) == 253
    level1 = [{outer for outer, _ in places.values()} for places in wheels.tables]
    assert list(map(len, level1)) == [6, 7, 6, 6, 6]
    covered = [sum(wheels.groups(form)[wheel] is not None for form in wheels.forms) for wheel in range(5)]
    assert covered == [4053, 4400, 3240, 4074, 3055]


@needs_data
def test_groups_of_single_words_are_the_official_ones():
    wheels = read_wheels(SHARED / "wheels")
    cases = json.loads((SHARED / "word_groups.json").read_text())
    for word, official in cases.items():
        ours = {
            f"{wheel}_level{level}": group or ""
            for level in (1, 2)
            for wheel, group in zip(WHEELS, wheels.groups(word, level), strict=True)
        }
        assert ours == official, word


@needs_data
@pytest.mark.parametrize(
    ("word", "groups"),
    [
        ("fear", ("scared", "happy", "joyful", "genius", "joyful")),
        ("surprise", ("surprised", "surprised", "powerful", "fear", None)),
        ("frustrated", ("sad", "sad", "mad", "sad", "mad")),
        ("neutral", (None,) * 5),
        ("disgust", ("disgusted", "disgusted", None, "disgust", None)),
    ],
)
def test_documented_oddities(word, groups):
    assert read_wheels(SHARED / "wheels").groups(word) == groups


@needs_data
def test_one_changed_cell_of_a_published_table_is_found(tmp_path):
    for path in (SHARED / "wheels").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    book = load_workbook(tmp_path / "synonym.xlsx")
    book.active["B2"] = "something else"
    book.save(tmp_path / "synonym.xlsx")
    with pytest.raises(WheelTableError) as caught:
        read_wheels(tmp_path)
    (fault,) = caught.value.faults
    assert (Path(fault.file).name, fault.where) == ("synonym.xlsx", "its cells")
