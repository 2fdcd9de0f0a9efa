"""Tables: what is written is read back unchanged, and nothing is lost, merged or replaced without a word."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from affectgpt.tables import is_missing, read_table


def table(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def problems_of(path: Path, *wanted: str) -> list[str]:
    return [str(problem).removeprefix(f"{path}: ") for problem in read_table(path, wanted)[1]]


@pytest.mark.parametrize(
    "content",
    [
        "file,emotion\na.mp4,joy\nb.mp4,sad\n",
        "\ufefffile,emotion\r\na.mp4,joy\r\nb.mp4,sad\r\n\r\n\r\n",
        "file,emotion\ra.mp4,joy\rb.mp4,sad",
        '"file","emotion"\n"a.mp4","joy"\n\nb.mp4,sad',
        ",file,emotion\n0,a.mp4,joy\n7,b.mp4,sad\n",
        "file,emotion,,\na.mp4,joy,,\nb.mp4,sad,, \n",
        "\ufeff\ufefffile,emotion\na.mp4,joy\n,\nb.mp4,sad\n,\n \t,\n",
    ],
    ids=["plain", "BOM and CRLF", "CR", "quoted", "index of pandas", "empty columns behind", "two BOMs and empty rows"],
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
    "more than a cell may hold": (
        f'a,b\n1,"x\n{"2,y" * 50_000}\n',
        "line 2: expected a cell of at most 131,072 characters",
    ),
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
    "two columns, names with spaces": 'name,reason\nclip one,"He smiles\nclip two,She cries"\nclip three,no\n',
    "two columns, Chinese": 'name,reason\ns1,"他笑了\ns2,她哭了"\ns3,no\n',
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
        "I paid 1,000\nand then 2,000,000 more",
        "1\n00:00:01,000 --> 00:00:02,500\nHello\n\n2\n00:00:03,000 --> 00:00:04,000\nBye",
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


@pytest.mark.parametrize(
    "text", ["joy,\nanger,\nsadness", "他笑了,很高兴\n然后,他走了", "Yes, she said,\nand left, at last"]
)
def test_lines_with_a_comma_each_are_text_beside_a_name(tmp_path: Path, text: str) -> None:
    rows, problems = read_table(table(tmp_path / "a.csv", f'name,reason\ns1,"{text}"\ns2,no\n'))
    assert problems == []
    assert rows[0].cells["reason"] == text


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
    assert [list(row.cells.values()) for row in read] == [row for row in rows if any(cell.strip() for cell in row)]
    assert all("what looks like whole rows" in problem.got or problem.got == "none" for problem in problems)
    may_hold_rows = any("," in cell and {"\n", "\r"} & {*cell} for row in rows for cell in row)
    says_nothing = not any(cell.strip() for row in rows for cell in row)
    assert problems == [] or may_hold_rows or says_nothing


HEADERS = {
    "file,emotion,text,emotion": "the header: expected a name used once, got 'emotion' in columns 2 and 4",
    "emotion,file,file": "the header: expected a name used once, got 'file' in columns 2 and 3",
    "file,emotion, emotion": "the header: expected a name used once, got ' emotion' and 'emotion', which look alike, in"
    " columns 2 and 3",
    "file,emotion,Emotion": "the header: expected a name used once, got 'Emotion' and 'emotion', which look alike",
    "\ufefffile,emotion,\ufefffile": "the header: expected a name used once, got '\\ufefffile' and 'file'",
    "file,emotion,emotion\u200b": "the header: expected a name used once, got 'emotion\\u200b' and 'emotion'",
    'file,emotion,text"': "the header: expected names without a quotation mark, got 'text\"'. Remove it",
    '"file,emotion,text"': "the header: expected columns with commas between them, got one column",
    "file\uff0cemotion": "the header: expected columns with commas between them",
    "file,emotion,emotion\u00a0": "the header: expected a name used once, got 'emotion\\xa0' and 'emotion'",
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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"PK\x03\x04\x14\x00",
            "got a ZIP archive, as an .xlsx is. Unpack it, or save the spreadsheet as CSV in UTF-8.",
        ),
        (b"\xd0\xcf\x11\xe0\xa1", "got a workbook of Excel. Save it as CSV"),
        (b"\x1f\x8b\x08\x00", "got a file that gzip packed. Unpack it"),
        (b"PAR1\x15\x04", "got a Parquet file. Write it as CSV or JSONL"),
        (b"a,b\n1,x\xed\xa0\xbd\n", "got half of a character after '1,x'. Its writer spells emoji as two halves"),
    ],
)
def test_what_is_no_table_is_told_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    (problem,) = problems_of(table(tmp_path / "a.csv", content))
    assert words in problem


def test_a_comma_at_the_end_is_no_empty_cell(tmp_path: Path) -> None:
    (problem,) = problems_of(table(tmp_path / "a.csv", "file,text,notes\na,Well, I never,\n"))
    assert problem.startswith("line 2: expected 3 cells, got more")


@pytest.mark.parametrize(
    "cell", ["", " nan ", "'NaN'", "#VALUE!", "(null)", "\\N", "none\u200b", "\u2014", "[]", "1.#QNAN"]
)
def test_cells_that_say_nothing(cell: str) -> None:
    assert is_missing(cell)


@pytest.mark.parametrize("cell", ["0", "xxx", "unknown", "Nan is here", "neutral", "...", "no"])
def test_cells_that_say_something(cell: str) -> None:
    assert not is_missing(cell)
