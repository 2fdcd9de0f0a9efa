"""Messages about bad input: bounded, and nothing in them that a terminal would obey."""

from __future__ import annotations

import json

import pytest

from affectgpt.problems import LONGEST, MOST, InputError, Problem, RunError
from data_recipes.check.command import main as check


def test_a_message_lists_some_problems_and_counts_the_others():
    problems = [Problem("rows.jsonl", f"row {number}", "a task", "'tsk'") for number in range(1, 145)]
    error = InputError(problems, "See docs/data.md.")
    lines = str(error).splitlines()
    assert error.problems == problems
    assert lines[0] == "144 problems:"
    assert len(lines) == MOST + 3
    assert lines[-3:] == [f"  {problems[MOST - 1]}", "  and 124 more", "See docs/data.md."]
    assert "more" not in str(InputError(problems[:MOST]))
    assert len(str(InputError(problems, most=None)).splitlines()) == 145


def test_data_check_lists_them_all(tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"id": str(number)}) + "\n" for number in range(40)))
    with pytest.raises(InputError) as caught:
        check([str(rows), "--no-decode"])
    assert len(str(caught.value).splitlines()) == 1 + len(caught.value.problems)
    assert len(caught.value.problems) >= 80


def test_what_a_row_quotes_is_cut(tmp_path, capsys):
    huge = "x" * 10**6
    text = str(
        InputError([Problem("rows.jsonl", huge, huge, huge), huge, Problem("rows.jsonl", "row 2", "a task", "none")])
    )
    assert len(text) < 10 * LONGEST
    assert text.endswith("rows.jsonl: row 2: expected a task, got none")
    assert len(str(RunError(huge))) < 6 * LONGEST
    rows = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "joy"}]
    row = {"id": "a", "task": "emotion_label", "messages": turns, "answer": huge, "options": ["joy", huge + "y"]}
    rows.write_text(json.dumps(row) + "\n" + json.dumps({**row, "id": "b", "video": huge}) + "\n")
    assert check([str(rows), "--no-decode", "--json"]) == 2
    assert len(capsys.readouterr().out) < 20 * LONGEST


@pytest.mark.parametrize("hostile", ["\x1b]0;title\x07", "\x1b[2J", "a\rb", "\x9b31m", "\x00", "\x08\x08"])
def test_a_terminal_obeys_nothing_of_a_row(hostile):
    for said in (
        str(Problem("f", "row 1", "a label", f"joy{hostile}")),
        str(InputError(hostile)),
        str(RunError(hostile)),
    ):
        assert said.isprintable(), said
