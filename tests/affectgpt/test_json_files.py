"""JSON: what is written is read back unchanged, and what would change data without a word is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from affectgpt.encoding import half_characters, mend_characters
from affectgpt.json_files import iterate_json, iterate_objects, load_json, parse_json
from affectgpt.problems import InputError, Problem

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines_of(path: Path) -> list[Any]:
    return [str(row) if isinstance(row, Problem) else row for _, row in iterate_json(path)]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), min_size=1, max_size=4), st.booleans(), st.booleans())
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
    path = write(tmp_path / "a.json", text)
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
    path = write(tmp_path / "a.jsonl", f'{{"a": "\\ud83d\\ude00"}}\n{text}\n')
    first, second = lines_of(path)
    assert first == {"a": "\U0001f600"}
    assert f"row 2, field {field}: expected whole characters, got half of one" in second
    mended: list[int] = []
    _, (number, row) = iterate_objects(path, mended)
    assert (number, mended) == (2, [2])
    assert row == mend_characters(json.loads(text))
    assert "\ufffd" in json.dumps(row, ensure_ascii=False)
    assert [*half_characters(row)] == []
    array = write(tmp_path / "a.json", f"[{text}]")
    assert [row] == [row for _, row in iterate_objects(array, [])]
    with pytest.raises(InputError, match="expected whole characters"):
        load_json(array)


def test_files_that_were_joined_with_their_byte_order_marks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '\ufeff{"a": 1}\n\ufeff{"a": "\ufeff"}\n')
    assert lines_of(path) == [{"a": 1}, {"a": "\ufeff"}]


def test_an_array_where_lines_are_expected_is_told_with_the_remedy(tmp_path: Path) -> None:
    for text in ('[{"a": 1}, {"a": 2}]', '[\n {"a": 1},\n {"a": 2}\n]\n', "\n\ufeff"[1:] + '[{"a": 1}]', "\n  [{}]"):
        (told,) = lines_of(write(tmp_path / "a.json", text))
        assert "expected one JSON object a line, got a JSON array. Write each object" in told
        assert "jq -c '.[]' a.json > rows.jsonl" in told


def test_an_object_over_several_lines_is_one_problem(tmp_path: Path) -> None:
    text = json.dumps({"data": [{"a": 1}], "b": 2}, indent=2)
    (told,) = lines_of(write(tmp_path / "a.json", text))
    assert "row 1: expected one JSON object a line, got an object over several lines. Write it on one: jq -c ." in told


def test_a_line_that_is_no_object_leaves_the_others(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'{"a": 1}\n\n{"a": "say "no""}\n[2]\n3\n{"a": "\xff"}\n{"a": 4}')
    rows = [*iterate_json(path)]
    assert [number for number, _ in rows] == [1, 3, 4, 5, 6, 7]
    assert [row["a"] for _, row in rows if isinstance(row, dict)] == [1, 4]
    assert "row 6, byte 8: expected one JSON object in UTF-8, got the byte 0xff" in str(rows[4][1])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_json_lines_of_another_encoding_are_one_problem(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.jsonl", ('{"a": 1}\n' * 3).encode(encoding))
    (told,) = lines_of(path)
    assert f"row 1, byte 1: expected one JSON object in UTF-8, got {encoding.upper()[:6]}" in told


STEPS = {
    '{"a": 1},': "Remove the comma behind the object.",
    '{"a": 1}{"a": 2}': "Write each object on its own line.",
    '{"a": 1,}': "Remove the comma before it.",
    '{"a": [1,]}': "Remove the comma before it.",
    "{'a': 1}": "Python prints objects so; json.dumps writes them as JSON.",
    '{"a": "x\ty"}': "Write a line break inside a text as \\n, a tab as \\t.",
    '{"a": "x': "It is cut off here, or lacks the quotation mark at the end of a text.",
    '{"a": "he said "no" to me"}': 'Inside a text a quotation mark is written \\".',
    '{"a": 1, "a": 2}': "Remove one of the two.",
}


@pytest.mark.parametrize("text", STEPS)
def test_what_is_no_json_is_told_with_the_next_step(tmp_path: Path, text: str) -> None:
    ((_, problem),) = iterate_json(write(tmp_path / "a.jsonl", text))
    assert isinstance(problem, Problem)
    assert problem.fix == STEPS[text]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n", "\r\r\n"])
def test_lines_end_in_any_way(tmp_path: Path, end: str) -> None:
    lines = ['{"a": "x\u2028y\u0085"}', "", '\ufeff\ufeff{"a": 2}', '{"a": 3}']
    read = [row for _, row in iterate_json(write(tmp_path / "a.jsonl", end.join(lines)))]
    assert read == [{"a": "x\u2028y\u0085"}, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08", b"PK\x03\x04", b"PAR1"])
def test_a_packed_file_is_one_problem(tmp_path: Path, start: bytes) -> None:
    ((_, problem),) = iterate_json(write(tmp_path / "a.jsonl", start + b"\xff\n\xfe\n\xfd\n"))
    assert isinstance(problem, Problem)
    assert problem.where == "the file"
