"""Tables of labelled clips: labels, names and encodings that would change data without a word, and parts by speaker."""

from __future__ import annotations

import json
import os
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from affectgpt.clip import Clip, read_clips
from affectgpt.problems import InputError
from data_recipes.imports.command import from_csv_main
from data_recipes.imports.divide import divide, read_shares
from data_recipes.imports.tables import from_csv

NAMES = [f"c{number}.mp4" for number in range(1, 9)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).write_text(name)
    return tmp_path


def write(folder: Path, *cells: str, head: str = "file,emotion") -> Path:
    path = folder / "clips.csv"
    rows = [f"{name},{cell}\n" for name, cell in zip(NAMES, cells, strict=False)]
    path.write_text(f"{head}\n{''.join(rows)}", encoding="utf-8")
    return path


def problems_of(path: Path, **settings: object) -> list[str]:
    with pytest.raises(InputError) as caught:
        from_csv(path, "emotion", **settings)  # type: ignore[arg-type]
    return [str(problem).removeprefix(f"{path}: ") for problem in caught.value.problems]


# Labels


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["Happy", "happy", "sad"], "'Happy' in line 2; 'happy' in line 3"),
        (["HAPPY ", "happy", "sad", "happy"], "'HAPPY' in line 2; 'happy' in lines 3, 5"),
        (["at ease", "at  ease", "sad"], "'at  ease' in line 3; 'at ease' in line 2"),
        (["at ease", "at\u00a0ease", "sad"], "'at ease' in line 2; 'at\\xa0ease' in line 3"),
        (["caf\u00e9", "cafe\u0301", "sad"], "'cafe\\u0301' in line 3; 'caf\\xe9' in line 2"),
        (["生气（怒）", "生气(怒)", "sad"], "\\uff08\\u6012\\uff09' in line 2"),
        (["joy", "joy\u200b", "sad"], "'joy' in line 2; 'joy\\u200b' in line 3"),
        (["straße", "STRASSE", "sad"], "'STRASSE' in line 3; 'straße' in line 2"),
        (["very-happy", "very_happy", "sad", "very happy"], "'very happy' in line 5; 'very-happy' in line 2; 'very_ha"),
        (["joy", "joy.", "sad"], "'joy' in line 2; 'joy.' in line 3"),
        (["joy", "'joy'", "sad"], "\"'joy'\" in line 3; 'joy' in line 2"),
    ],
)
def test_labels_that_look_the_same_are_one_or_an_error(folder: Path, cells: list[str], words: str) -> None:
    """Each was a class of its own (geatpy-dev/geatpy#139)."""
    (problem,) = problems_of(write(folder, *cells))
    assert problem.startswith("column 'emotion': expected one spelling of a label, got ")
    assert words in problem
    assert "Write the same in all rows" in problem


def test_the_sign_of_a_number_is_no_hyphen(folder: Path) -> None:
    assert from_csv(write(folder, "-1", "1", "0"), "emotion")[0].options == ["-1", "0", "1"]


def test_a_label_in_quotation_marks_behind_a_space_is_named(folder: Path) -> None:
    (problem,) = problems_of(write(folder, ' "joy"', ' "sad"'))
    assert problem.startswith("line 2, column 'emotion': expected a label without quotation marks")
    assert problem.endswith("Remove the space before the quotation mark.")


@pytest.mark.parametrize("head", ["Subtitle,Group", "subtitle ,group ", "SUBTITLE\u200b,\ufeffgroup", "subtitle,group"])
def test_columns_that_are_looked_for_are_found_however_they_are_spelt(folder: Path, head: str) -> None:
    """Subtitles and speakers were left out without a word."""
    clips = from_csv(write(folder, "joy,Hi,ann", "sad,Bye,bob", head=f"file,emotion,{head}"), "emotion")
    assert [(clip.subtitle, clip.group) for clip in clips] == [("Hi", "ann"), ("Bye", "bob")]


def test_rows_of_empty_cells_as_spreadsheets_write_them_are_none(folder: Path) -> None:
    path = write(folder, "joy", "sad")
    path.write_text(path.read_text() + ",\n,\n")
    assert len(from_csv(path, "emotion")) == 2


def test_every_set_of_spellings_is_named(folder: Path) -> None:
    problems = problems_of(write(folder, "Happy", "happy", "HAPPY ", "sad", "Sad"))
    assert len(problems) == 2
    assert "'HAPPY' in line 4; 'Happy' in line 2; 'happy' in line 3" in problems[0]
    assert "'Sad' in line 6; 'sad' in line 5" in problems[1]


@pytest.mark.parametrize(
    "cell", ["nan", "NaN", "None", "N/A", "null", "-", "?", "", "NA", "#N/A", " ", "<NA>", "#VALUE!", "(null)"]
)
def test_a_label_that_is_missing_is_named_and_can_be_left_out_or_allowed(folder: Path, cell: str) -> None:
    """Pandas writes such cells for clips without a label (rkosti/emotic#13)."""
    path = write(folder, "joy", cell, "sad", cell)
    (problem,) = problems_of(path)
    got = repr(cell.strip()) if cell.strip() else "nothing"
    assert problem.startswith(f"lines 3, 5, column 'emotion': expected a label, got {got}. Leave these rows out")
    left_out: list[int] = []
    clips = from_csv(path, "emotion", unlabelled=left_out)
    assert ([clip.answer for clip in clips], left_out) == (["joy", "sad"], [3, 5])
    assert clips[0].options == ["joy", "sad"]
    if cell.strip():
        clips = from_csv(path, "emotion", labels=["joy", "sad", cell])
        assert [clip.answer for clip in clips] == ["joy", cell, "sad", cell]


@pytest.mark.parametrize("column", ["subtitle", "group"])
@pytest.mark.parametrize("cell", ["nan", "NaN", "<NA>"])
def test_what_pandas_writes_for_nothing_is_no_text_and_no_speaker(folder: Path, column: str, cell: str) -> None:
    """Clips without a speaker would share one that is called nan."""
    path = write(folder, "joy,x", f"sad,{cell}", "joy,None", head=f"file,emotion,{column}")
    words = f"line 3, column '{column}': expected text, or an empty cell, got '{cell}'. Pandas writes it for an empty"
    assert [problem.startswith(words) for problem in problems_of(path)] == [True]


def test_labels_of_iemocap_and_numbers_stay_as_they_are(folder: Path) -> None:
    """Nothing is dropped or merged (lixiangucas01/GLAM#2)."""
    for cells in (["xxx", "oth", "hap", "exc"], ["0", "1", "2"], ["1", "01", "1.0"]):
        clips = from_csv(write(folder, *cells), "emotion")
        assert [clip.answer for clip in clips] == cells
        assert clips[0].options == sorted(cells)


def test_a_closed_set_that_is_given_is_that_of_every_row(folder: Path) -> None:
    path = write(folder, "joy", "sad")
    clips = from_csv(path, "emotion", labels=["sad", "joy", "fear"])
    assert [clip.options for clip in clips] == [["sad", "joy", "fear"]] * 2
    (one,) = from_csv(write(folder, "joy"), "emotion", labels=["sad", "joy"])
    assert one.options == ["sad", "joy"]


def test_labels_outside_the_closed_set_are_named(folder: Path) -> None:
    path = write(folder, "joy", "Joy", "angre", "surprise", "surprise", "cafe\u0301", "N/A")
    problems = problems_of(path, labels=["joy", "anger", "caf\u00e9"])
    assert [problem.split(",")[0] for problem in problems] == ["line 8", "line 3", "line 4", "lines 5", "line 7"]
    expected = "expected a label that --labels names, got "
    assert f"{expected}'Joy'. Did you mean 'joy'?" in problems[1]
    assert f"{expected}'angre'. Did you mean 'anger'?" in problems[2]
    assert f"lines 5, 6, column 'emotion': {expected}'surprise'. Known: joy, anger, café." in problems[3]
    assert f"{expected}'cafe\\u0301'. Did you mean 'caf\\xe9'?" in problems[4]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["joy", "Joy", "sad"], "--labels: its labels: expected distinct ones, got 'joy' beside another spelling"),
        (
            ["caf\u00e9", "cafe\u0301", "joy", "sad"],
            "--labels: its labels: expected distinct ones, got 'caf\\xe9' beside",
        ),
        (["joy"], "--labels: its labels: expected at least two, got joy"),
        ([], "--labels: its labels: expected at least two, got none"),
    ],
)
def test_a_closed_set_that_is_none_is_refused(folder: Path, labels: list[str], words: str) -> None:
    assert problems_of(write(folder, "joy", "joy"), labels=labels)[0].startswith(words)


# Files


def test_a_name_in_another_unicode_form_is_told_with_both(folder: Path) -> None:
    """macOS writes an accent as a character of its own (ArcReel/ArcReel#1578)."""
    decomposed = unicodedata.normalize("NFD", "née.mp4")
    (folder / "é").mkdir()
    (folder / "é" / decomposed).touch()
    path = write(folder, "joy", "sad")
    path.write_text(path.read_text() + "é/née.mp4,joy\n", encoding="utf-8")
    (problem,) = problems_of(path)
    assert "line 4, column 'file': expected a file, got é/née.mp4, which is not there." in problem
    assert (
        "The name is spelt 'ne\\u0301e.mp4' on disk and 'n\\xe9e.mp4' here. Write it as on disk, or rename" in problem
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("C1.MP4", "The name is spelt 'c1.mp4' on disk and 'C1.MP4' here."),
        ("SUB/x.mp4", "The name is spelt 'sub' on disk and 'SUB' here."),
        ("Sub/X.mp4", "The name is spelt 'sub/x.mp4' on disk and 'Sub/X.mp4' here."),
        ("sub/x .mp4", "The name is spelt 'x.mp4' on disk and 'x .mp4' here."),
        ("sub\\x.mp4", "Write sub/x.mp4."),
        ("dia110_utt7.mp4", "; --media-root names another folder."),
        ("a" * 400 + ".mp4", "Looked in "),
    ],
)
def test_a_file_that_is_not_there_is_looked_for(folder: Path, name: str, words: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "x.mp4").touch()
    path = write(folder, "joy", "sad")
    path.write_text(f"{path.read_text()}{name},joy\n", encoding="utf-8")
    (problem,) = problems_of(path)
    assert problem.startswith("line 4, column 'file': expected a file, got ")
    assert "which is not there" in problem
    assert words in problem


def test_a_pointer_of_git_lfs_is_no_clip(folder: Path) -> None:
    """(CheyneyComputerScience/CREMA-D#8)"""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (folder / "c2.mp4").write_text(pointer)
    (problem,) = problems_of(write(folder, "joy", "sad"))
    assert "line 3, column 'file': expected a file, got c2.mp4, a pointer of Git LFS. Fetch" in problem
    assert "git lfs pull" in problem


def test_ids_are_relative_to_the_media_whatever_the_table_writes(folder: Path) -> None:
    path = folder / "clips.csv"
    path.write_text(f"file,emotion\n{folder / 'c1.mp4'},joy\nc2.mp4,sad\n./c3.mp4,joy\n")
    assert [clip.id for clip in from_csv(path, "emotion")] == ["c1.mp4", "c2.mp4", "./c3.mp4"]
    assert [clip.id for clip in from_csv(path, "emotion", media_root=folder)] == ["c1.mp4", "c2.mp4", "./c3.mp4"]
    other = folder / "tables" / "clips.csv"
    other.parent.mkdir()
    other.write_text(f"file,emotion\n{folder / 'c1.mp4'},joy\n../c2.mp4,sad\n")
    assert [clip.id for clip in from_csv(other, "emotion")] == ["../c1.mp4", "../c2.mp4"]
    path.write_text(f"file,emotion\n{folder / 'c1.mp4'},joy\nc1.mp4,sad\n")
    assert "a file named once, got c1.mp4, also in line 2" in problems_of(path)[0]


# Tables


def test_rows_with_absolute_paths_line_breaks_and_columns_in_another_case(folder: Path) -> None:
    path = folder / "clips.csv"
    path.write_text(f'file,Emotion,subtitle\n{folder / "c1.mp4"},joy,"one\ntwo"\nc2.mp4,sad,x\n')
    clips = from_csv(path, "Emotion")
    assert [clip.subtitle for clip in clips] == ["one\ntwo", "x"]
    assert "Did you mean 'Emotion'?" in problems_of(path)[0]


REPORTED = {
    "bomcrlf": None,
    "iemocap": None,
    "ints": None,
    "trailing": None,
    "unbalanced": 'line 2: expected a cell in quotation marks that ends with "',
    "unbalanced2": 'line 2: expected a cell in quotation marks that ends with "',
    "dupcol": "the header: expected a name used once, got 'emotion' in columns 2 and 4",
    "case": "expected one spelling of a label",
    "nan": "lines 2, 4, 5, column 'emotion': expected a label, got 'nan', 'None', 'N/A'",
    "cp1252": "line 2, byte 20: expected a CSV in UTF-8, got the byte 0x92",
    "utf16": "line 1, byte 1: expected a CSV in UTF-8, got UTF-16",
    "semicolon": "Its cells seem to be separated by ';'",
    "tabs": "Call the file .tsv.",
    "spacehead": "Did you mean ' emotion'?",
    "c1": None,
}


@pytest.mark.parametrize("name", REPORTED)
def test_reported_tables(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "SHARED_DATA" not in os.environ:
        pytest.skip("needs the shared data")
    table = Path(os.environ["SHARED_DATA"], "reported", "csv", f"{name}.csv")
    out = tmp_path / "rows.jsonl"
    command = [str(table), "--label", "emotion", "--out", str(out), "--media-root", str(table.parent)]
    words = REPORTED[name]
    if words is None:
        assert from_csv_main(command) == 0
        assert len(read_clips(out, table.parent)) >= 2
        assert ("control characters" in capsys.readouterr().err) == (name == "c1")
        return
    with pytest.raises(InputError) as caught:
        from_csv_main(command)
    assert words in str(caught.value)
    assert not out.exists()


def test_lost_signs_of_windows_are_told_and_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MELD's tables were Windows-1252 read as Latin-1 (declare-lab/MELD#28)."""
    path = write(folder, "joy,I\x92m fine\x85", "sad,I am", "joy,That\x92s", head="file,emotion,subtitle")
    out = folder / "rows.jsonl"
    assert from_csv_main([str(path), "--label", "emotion", "--out", str(out)]) == 0
    err = capsys.readouterr().err
    assert "2 rows hold control characters where signs of Windows-1252 were, such as row c1.mp4: 'I\\x92m fine" in err
    assert read_clips(out)[0].subtitle == "I\x92m fine\x85"


# The command


def test_labels_and_missing_ones_on_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write(folder, "joy", "nan", "sad"), folder / "rows.jsonl"
    command = [str(path), "--label", "emotion", "--out", str(out)]
    with pytest.raises(InputError, match="--drop-unlabelled"):
        from_csv_main(command)
    assert from_csv_main([*command, "--labels", "sad, joy,fear", "--drop-unlabelled"]) == 0
    assert f"{path}: 1 rows without a label were left out." in capsys.readouterr().err
    assert [(clip.answer, clip.options) for clip in read_clips(out)] == [
        ("joy", ["sad", "joy", "fear"]),
        ("sad", ["sad", "joy", "fear"]),
    ]


def test_parts_share_no_speaker_and_have_the_same_options(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [f"{'joy' if number % 2 else 'sad'},{'abcd'[number // 2]}" for number in range(8)]
    path, out = write(folder, *cells, head="file,emotion,speaker"), folder / "rows.jsonl"
    command = [str(path), "--label", "emotion", "--group", "speaker", "--out", str(out), "--json"]
    assert from_csv_main([*command, "--split", "train=0.75,test=0.25"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert (report["rows"], [*report["parts"]]) == (8, ["train", "test"])
    train, test = (read_clips(folder / f"rows-{part}.jsonl") for part in ("train", "test"))
    assert report["parts"]["test"] == {
        "rows": 2,
        "groups": 1,
        "labels": {"sad": 1, "joy": 1},
        "out": str(folder / "rows-test.jsonl"),
    }
    assert {clip.group for clip in train}.isdisjoint(clip.group for clip in test)
    assert sorted(clip.id for clip in [*train, *test]) == NAMES
    assert {tuple(clip.options or ()) for clip in [*train, *test]} == {("joy", "sad")}
    assert "of 3 groups; joy 3, sad 3" in printed.err
    assert not out.exists()


def test_parts_without_speakers_are_made_and_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(folder, *["joy", "sad"] * 4)
    command = [str(path), "--label", "emotion", "--out", str(folder / "rows.jsonl"), "--split", "train=0.5,test=0.5"]
    assert from_csv_main(command) == 0
    assert "No --group names the speakers: the same person may be in several parts." in capsys.readouterr().err
    assert [clip.answer for clip in read_clips(folder / "rows-test.jsonl")].count("joy") == 2


# Division


def rows(counts: dict[str, dict[str, int]]) -> list[Clip]:
    return [
        Clip(id=f"{group}-{label}-{index}", task="emotion_label", answer=label, group=group)
        for group, labels in counts.items()
        for label, count in labels.items()
        for index in range(count)
    ]


def test_every_part_gets_its_share_of_every_label() -> None:
    clips = rows({f"s{number:02}": {"joy": 6, "sad": 3, "fear": 1} for number in range(20)})
    parts = divide(clips, {"train": 0.7, "dev": 0.1, "test": 0.2})
    counts = {part: Counter(clip.answer for clip in of) for part, of in parts.items()}
    assert counts == {
        "train": {"joy": 84, "sad": 42, "fear": 14},
        "dev": {"joy": 12, "sad": 6, "fear": 2},
        "test": {"joy": 24, "sad": 12, "fear": 4},
    }
    assert sum(map(len, parts.values())) == len(clips)


def test_rare_labels_of_few_speakers_reach_every_part() -> None:
    counts = {f"s{number}": {"joy": 10, **({"fear": 2} if number < 2 else {})} for number in range(10)}
    for seed in range(5):
        parts = divide(rows(counts), {"train": 0.8, "test": 0.2}, seed)
        assert {clip.answer for clip in parts["train"]} == {clip.answer for clip in parts["test"]} == {"joy", "fear"}


def test_a_seed_decides_and_no_part_is_empty() -> None:
    clips = rows({f"s{number}": {"joy": 2, "sad": 2} for number in range(12)})
    tests = [{clip.group for clip in divide(clips, {"train": 0.75, "test": 0.25}, seed)["test"]} for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]
    lopsided = rows({"big": {"joy": 100}, "small": {"joy": 1}})
    assert [len(part) for part in divide(lopsided, {"train": 0.99, "test": 0.01}).values()] == [100, 1]


@pytest.mark.parametrize(
    "text",
    [
        "train",
        "train=0.8",
        "train=0.8,test=0.3",
        "train=1,test=0",
        "train=0.5,train=0.5",
        "a/b=0.5,c=0.5",
        "train=x,b=1",
        "",
    ],
)
def test_shares_that_make_no_parts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected parts whose shares add up to 1, such as"):
        read_shares(text)
    assert read_shares(" train = 0.8, test=0.2") == {"train": 0.8, "test": 0.2}


def test_groups_that_could_be_one_person_are_refused() -> None:
    shares = {"train": 0.5, "test": 0.5}
    with pytest.raises(InputError, match="expected one spelling of a group, got 'Ann', 'ann'"):
        divide(rows({"Ann": {"joy": 1}, "ann": {"joy": 1}, "bob": {"joy": 1}}), shares)
    clips = rows({"a": {"joy": 2}, "b": {"joy": 2}})
    lost = [*clips, Clip(id="x", task="emotion_label", answer="joy")]
    with pytest.raises(InputError, match="expected a group in every row, got none in x"):
        divide(lost, shares)
    with pytest.raises(InputError, match="expected at least 2 groups, one for each part, got 1"):
        divide(rows({"a": {"joy": 5}}), shares)
