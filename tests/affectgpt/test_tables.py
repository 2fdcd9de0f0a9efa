"""Tables and JSON: what is written is read back unchanged, and nothing is lost, merged or replaced without a word."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from affectgpt.problems import InputError, Problem
from affectgpt.tables import (
    half_characters,
    iterate_json,
    iterate_objects,
    load_json,
    mend_characters,
    parse_json,
    read_table,
)


def table(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def problems_of(path: Path, *wanted: str) -> list[str]:
    return [str(problem).removeprefix(f"{path}: ") for problem in read_table(path, wanted)[1]]


# Tables


@pytest.mark.parametrize(
    "content",
    [
        "file,emotion\na.mp4,joy\nb.mp4,sad\n",
        "\ufefffile,emotion\r\na.mp4,joy\r\nb.mp4,sad\r\n\r\n\r\n",
        "file,emotion\ra.mp4,joy\rb.mp4,sad",
        '"file","emotion"\n"a.mp4","joy"\n\nb.mp4,sad',
        ",file,emotion\n0,a.mp4,joy\n7,b.mp4,sad\n",
        "file,emotion,,\na.mp4,joy,,\nb.mp4,sad,, \n",
    ],
    ids=["plain", "BOM and CRLF", "CR", "quoted", "index of pandas", "empty columns behind"],
)
def test_tables_as_programs_write_them_are_read(tmp_path: Path, content: str) -> None:
    rows, problems = read_table(table(tmp_path / "a.csv", content), ["file", "emotion"])
    assert problems == []
    assert [cells for _, cells in rows] == [
        {"file": "a.mp4", "emotion": "joy"},
        {"file": "b.mp4", "emotion": "sad"},
    ]


def test_a_tsv_has_tabs_between_its_cells(tmp_path: Path) -> None:
    rows, problems = read_table(table(tmp_path / "a.tsv", "file\ttext\na.mp4\tWell, yes\n"), ["text"])
    assert (problems, rows[0].cells["text"]) == ([], "Well, yes")
    (problem,) = problems_of(table(tmp_path / "b.tsv", 'file\ttext\na.mp4\t"Well\nb.mp4\tno\n'))
    assert problem.startswith("line 2: expected a cell in quotation marks that ends")


def test_rows_tell_the_line_that_they_begin_on(tmp_path: Path) -> None:
    content = 'file,text\n\na.mp4,"Well,\nI never"\nb.mp4,no\n'
    rows, problems = read_table(table(tmp_path / "a.csv", content))
    assert problems == []
    assert [line for line, _ in rows] == [3, 5]
    assert rows[0].cells["text"] == "Well,\nI never"


OPEN = {
    "to the next quotation mark": (
        'file,emotion,subtitle\nc1.mp4,neutral,"Oh my God\nc2.mp4,joy,great\nc3.mp4,anger,so "get out"\nc4,joy,wow\n',
        "line 2: expected a cell in quotation marks that ends with \", and no more, got '\"Oh my God' and what follows"
        " up to line 4. Close the quotation mark",
    ),
    "to the end of the file": ('a,b\n1,"x\n2,y\n3,z\n', "line 2: expected a cell in quotation marks"),
    "in the last line": ('a,b\n1,x\n2,"y', "line 3: expected a cell in quotation marks"),
    "in the first line of the header": ('a,"b\n1,x\n', "line 1: expected a cell in quotation marks"),
    "behind a good quoted cell of two lines": ('a,b\n"x\ny","z\n1,2\n', "line 3: expected a cell in quotation marks"),
    "text behind the closing mark": ('a,b\n1,"x" y\n2,z\n', "line 2: expected a cell in quotation marks"),
    "more than a cell may hold": (f'a,b\n1,"x\n{"2,y" * 50_000}\n', "line 2: expected a cell in quotation marks"),
}


@pytest.mark.parametrize("name", OPEN)
def test_a_quotation_mark_that_is_never_closed_is_named_where_it_stands(tmp_path: Path, name: str) -> None:
    """Rows behind such a mark became text of a subtitle (huggingface/datasets#1763)."""
    content, words = OPEN[name]
    (problem,) = problems_of(table(tmp_path / "a.csv", content))
    assert problem.startswith(words)


SWALLOWED = {
    "last column": 'file,emotion,text\nc1,neutral,"Oh my God\nc2,joy,that is great"\nc3,sad,no\n',
    "last column, several rows": 'file,emotion,text\nc1,neutral,"Oh my God\nc2,joy,great\nc3,joy,well"\nc4,sad,no\n',
    "middle column": 'file,text,emotion\nc1,"Oh my God,neutral\nc2,that is great",joy\nc3,no,sad\n',
    "first column": 'text,file,emotion\n"Oh my God,c1,neutral\nthat is great",c2,joy\nno,c3,sad\n',
    "two columns": 'name,reason\ns1,"He smiles\ns2,She cries"\ns3,no\n',
    "two columns, text first": 'reason,name\n"He smiles,s1\nShe cries",s2\nno,s3\n',
    "quotes inside": 'file,emotion,text\nc1,neutral,"Oh\nc2,joy,he said ""get out"""\nc3,sad,no\n',
    "CRLF": 'file,emotion,text\r\nc1,neutral,"Oh my God\r\nc2,joy,that is great"\r\nc3,sad,no\r\n',
    "more commas": 'file,emotion,text\nc1,neutral,"Oh my God\nc2,joy,that, you see, is great"\nc3,sad,no\n',
}


@pytest.mark.parametrize("name", SWALLOWED)
def test_a_quoted_cell_that_holds_whole_rows_is_asked_about(tmp_path: Path, name: str) -> None:
    """Where marks happen to pair up, the table is a valid CSV with fewer rows (apple/turicreate#1692)."""
    (problem,) = problems_of(table(tmp_path / "a.csv", SWALLOWED[name]))
    assert problem.startswith("lines 2 to ")
    assert "a quoted cell that holds what looks like whole rows" in problem
    assert "Does the quotation mark in line 2 belong there?" in problem


@pytest.mark.parametrize(
    "cell",
    [
        "Well, I never,\nsaid she, and left",
        "one\ntwo\nthree",
        '"Really?", he asked,\n"Really!"',
        "嗯，好的，\n再见",
        "line one\n\nline three, the end",
        "joy,\nanger,\nsadness",
    ],
)
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_subtitle_of_several_lines_is_text(tmp_path: Path, cell: str, index: int) -> None:
    out = io.StringIO()
    row = ["c1.mp4", "joy"]
    row.insert(index, cell)
    csv.writer(out).writerows([["a", "b", "c"], row, ["c2.mp4", "sad", "no"]])
    rows, problems = read_table(table(tmp_path / "a.csv", out.getvalue()))
    assert problems == []
    assert list(rows[0].cells.values()) == row


def test_a_list_of_a_word_a_line_is_text(tmp_path: Path) -> None:
    rows, problems = read_table(table(tmp_path / "a.csv", 'name,reason\ns1,"joy,\nanger,\nsadness"\ns2,no\n'))
    assert problems == []
    assert rows[0].cells["reason"] == "joy,\nanger,\nsadness"


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=4)))
@example([["\x85\u2028\x1c", "\r", "\n"]])
@example([["", '"'], ["\ufeff", "\x00"]])
def test_what_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    path = tmp_path_factory.mktemp("tables") / "a.csv"
    columns = [f"column {number}" for number in range(len(rows[0]))]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    read, problems = read_table(path, columns)
    assert [list(row.cells.values()) for row in read] == rows
    assert all("what looks like whole rows" in problem.got for problem in problems)
    may_hold_rows = any("," in cell and {"\n", "\r"} & {*cell} for row in rows for cell in row)
    assert problems == [] or may_hold_rows


HEADERS = {
    "file,emotion,text,emotion": "the header: expected a name used once, got 'emotion' in columns 2 and 4",
    "emotion,file,file": "the header: expected a name used once, got 'file' in columns 2 and 3",
    "file,emotion, emotion": "the header: expected a name used once, got ' emotion' in columns 2 and 3",
    "file,emotion,emotion\u00a0": "the header: expected a name used once, got 'emotion\\xa0' in columns 2 and 3",
    "file,caf\u00e9,cafe\u0301": "the header: expected a name used once, got",
    '"file","emotion","file"': "the header: expected a name used once, got 'file' in columns 1 and 3",
    "name;label;text": "the header: expected columns with commas between them, got one column 'name;label;text'."
    " Its cells seem to be separated by ';'",
    "name\tlabel": "the header: expected columns with commas between them, got one column 'name\\tlabel'. Its cells"
    " seem to be separated by tabs. Call the file .tsv.",
    "name|label": "the header: expected columns with commas between them",
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_can_be_misread_is_refused(tmp_path: Path, header: str) -> None:
    """The last of two columns of a name won (python/cpython#61739)."""
    path = table(tmp_path / "a.csv", f"{header}\n{','.join('x' * (header.count(',') + 1))}\n")
    rows, problems = read_table(path)
    assert rows == []
    assert [str(problem).removeprefix(f"{path}: ").startswith(HEADERS[header]) for problem in problems] == [True]


@pytest.mark.parametrize(
    "content", ["file,,text\na,joy,b\n", ",file\nx,a\n", "file,label,\na,b,\nc,d,e\n", "a,,\n1,2,\n"]
)
def test_a_column_without_a_name_may_hold_nothing(tmp_path: Path, content: str) -> None:
    (problem,) = problems_of(table(tmp_path / "a.csv", content))
    assert problem.startswith("the header: expected a name for every column, got none for column")


def test_rows_with_other_cells_than_the_header_are_named_with_the_remedy(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", 'file,text\na,Well, yes\nb\nc, "Well, yes"\nd,fine\n')
    rows, problems = read_table(path)
    assert [cells["file"] for _, cells in rows] == ["d"]
    assert [problem.where for problem in problems] == ["line 2", "line 3", "line 4"]
    assert [problem.got.partition(":")[0] for problem in problems] == ["more", "fewer", "more"]
    assert "Put quotes" in problems[0].fix
    assert "Remove the space before the quotation mark" in problems[2].fix


ENCODED = [
    (
        "cp1252",
        "WINDOWS-1252",
        "file,text\na,I\u2019m fine\n",
        "line 2, byte 4: expected a CSV in UTF-8, got the byte 0x92",
    ),
    ("latin-1", "WINDOWS-1252", "file,text\na,b\nc,d\u00e9j\u00e0 vu\n", "line 3, byte 4: "),
    (
        "gbk",
        "GB18030",
        "file,text\na,高兴，生气\n",
        "line 2, byte 3: expected a CSV in UTF-8, got the byte 0xb8 after 'a,'",
    ),
    ("utf-16", "UTF-16", "file,text\na,b\n", "line 1, byte 1: expected a CSV in UTF-8, got UTF-16"),
    ("utf-16-le", "UTF-16LE", "file,text\na,高兴\n", "line 1, byte 1: "),
    ("utf-16-be", "UTF-16BE", "file,text\na,b\n", "line 1, byte 1: "),
    ("utf-32", "UTF-32", "file,text\na,b\n", "line 1, byte 1: "),
]


@pytest.mark.parametrize(("encoding", "name", "content", "words"), ENCODED, ids=[case[0] for case in ENCODED])
def test_another_encoding_is_named_with_line_byte_and_remedy(
    tmp_path: Path, encoding: str, name: str, content: str, words: str
) -> None:
    """A table of MELD came in Windows-1252 (declare-lab/MELD#28)."""
    (problem,) = problems_of(table(tmp_path / "a.csv", content.encode(encoding)))
    assert problem.startswith(words)
    assert (
        f"It may be in {name}. Save it as UTF-8: in a spreadsheet choose 'CSV UTF-8'; or run: iconv -f {name}"
        in problem
    )


def test_files_without_rows_or_columns(tmp_path: Path) -> None:
    assert "got an empty file" in problems_of(table(tmp_path / "a.csv", ""), "file")[0]
    assert "at least one row" in problems_of(table(tmp_path / "a.csv", "file,label\n"))[0]
    assert "at least one row" in problems_of(table(tmp_path / "a.csv", "\n\n"))[0]
    (problem,) = problems_of(table(tmp_path / "a.csv", "file, label\na,b\n"), "file", "label")
    assert "a column 'label', got the columns file,  label. Did you mean ' label'?" in problem


# JSON


def lines_of(path: Path) -> list[Any]:
    return [str(row) if isinstance(row, Problem) else row for _, row in iterate_json(path)]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(CELLS, VALUES, max_size=3), min_size=1, max_size=4), st.booleans(), st.booleans())
@example([{"text": "a\u2028b\u2029c\x85d\x1ce"}], False, True)
def test_json_lines_are_read_back_whatever_their_text(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], ascii: bool, crlf: bool
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    text = "".join(json.dumps(row, ensure_ascii=ascii) + ("\r\n" if crlf else "\n") for row in rows)
    path.write_bytes(b"\xef\xbb\xbf" * crlf + text.encode())
    assert lines_of(path) == rows
    path.write_text(json.dumps(rows, ensure_ascii=ascii), encoding="utf-8")
    assert [row for _, row in iterate_objects(path, [])] == rows
    assert load_json(path) == rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' twice in an object"),
        ('{"a": {"b": {"c": 1, "c": 1}}}', "the key 'c' twice in an object"),
        ('[{"a": 1}, {"\\u0061": 1, "a": 2}]', "the key 'a' twice in an object"),
        ('{"": 1, "": 2}', "the key '' twice in an object"),
        ("[" * 100_000, "too many brackets"),
    ],
)
def test_a_key_twice_and_endless_brackets_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(text)
    path = table(tmp_path / "a.json", text)
    with pytest.raises(InputError, match=words):
        load_json(path)
    (row,) = [row for _, row in iterate_objects(path, [])]
    assert words in str(row)


HALVES = [
    ('{"subtitle": "I am \\ud83d fine"}', "'subtitle'"),
    ('{"messages": [{"content": "x"}, {"content": "\\uDE00"}]}', "'messages[1].content'"),
    ('{"answer": ["joy", "\\udfff"]}', "'answer[1]'"),
    ('{"extra": {"a": {"b": "\\ude00\\ud83d"}}}', "'extra.a.b'"),
    ('{"\\ud83d": 1}', "''\\ud83d''"),
]


@pytest.mark.parametrize(("text", "field"), HALVES)
def test_half_a_character_is_named_by_row_and_field_or_mended_and_counted(
    tmp_path: Path, text: str, field: str
) -> None:
    """Nothing can encode it, a tokenizer neither (huggingface/transformers#8886)."""
    path = table(tmp_path / "a.jsonl", f'{{"a": "\\ud83d\\ude00"}}\n{text}\n')
    first, second = lines_of(path)
    assert first == {"a": "\U0001f600"}
    assert f"row 2, field {field}: expected whole characters, got half of one" in second
    mended: list[int] = []
    _, (number, row) = iterate_objects(path, mended)
    assert (number, mended) == (2, [2])
    assert row == mend_characters(json.loads(text))
    assert "\ufffd" in json.dumps(row, ensure_ascii=False)
    assert [*half_characters(row)] == []
    array = table(tmp_path / "a.json", f"[{text}]")
    assert [row] == [row for _, row in iterate_objects(array, [])]
    with pytest.raises(InputError, match="expected whole characters"):
        load_json(array)


def test_an_array_where_lines_are_expected_is_told_with_the_remedy(tmp_path: Path) -> None:
    for text in ('[{"a": 1}, {"a": 2}]', '[\n {"a": 1},\n {"a": 2}\n]\n', "\n\ufeff"[1:] + '[{"a": 1}]', "\n  [{}]"):
        (told,) = lines_of(table(tmp_path / "a.json", text))
        assert "expected one JSON object a line, got a JSON array. Write each object" in told
        assert "jq -c '.[]' a.json > rows.jsonl" in told


def test_a_line_that_is_no_object_leaves_the_others(tmp_path: Path) -> None:
    path = table(tmp_path / "a.jsonl", b'{"a": 1}\n\n{"a": "say "no""}\n[2]\n3\n{"a": "\xff"}\n{"a": 4}')
    rows = [*iterate_json(path)]
    assert [number for number, _ in rows] == [1, 3, 4, 5, 6, 7]
    assert [row["a"] for _, row in rows if isinstance(row, dict)] == [1, 4]
    assert "row 6, byte 8: expected one JSON object in UTF-8, got the byte 0xff" in str(rows[4][1])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_json_lines_of_another_encoding_are_one_problem(tmp_path: Path, encoding: str) -> None:
    path = table(tmp_path / "a.jsonl", ('{"a": 1}\n' * 3).encode(encoding))
    (told,) = lines_of(path)
    assert f"row 1, byte 1: expected one JSON object in UTF-8, got {encoding.upper()[:6]}" in told
