"""Recipe files: what YAML takes without a word and reads otherwise than it looks is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectgpt.problems import InputError
from train.recipe_file import RECIPES, load_recipe

GOOD = """\
output: runs/x
seed: 0
data:
  train: rows.jsonl
model:
  tiny: {}
  num_tokens: {face: 2, audio: 2, multi: 2}
stages:
  - name: one
    kind: sft
    steps: 3
    batch_size: 4
    learning_rate: 1.0e-3
    mixture: {tree: 1}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.yaml"


def problems_of(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_recipe(path, overrides)
    return [str(problem).removeprefix(f"{path}: ") for problem in caught.value.problems]


TWICE = {
    "at the top": ("seed: 0", "seed: 0\nseed: 1", "line 3, 'seed': expected a key used once, got one that line 2 has"),
    "quoted": ("seed: 0", 'seed: 0\n"seed": 1', "line 3, 'seed': expected a key used once"),
    "in a section": ("  train: rows", "  train: a\n  train: rows", "line 5, 'data.train': expected a key used once"),
    "in a stage": ("    steps: 3", "    steps: 3\n    steps: 2", "line 12, 'stages.0.steps': expected a key used once"),
    "on one line": ("{face: 2, audio: 2", "{face: 2, face: 2", "line 7, 'model.num_tokens.face': expected a key used"),
    "a whole section": ("model:\n", "model:\n  tiny: {}\nmodel:\n", "line 7, 'model': expected a key used once"),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_key_twice_is_named_with_both_lines(path: Path, name: str) -> None:
    """The last won (yaml/pyyaml#165)."""
    before, after, words = TWICE[name]
    assert before in GOOD
    path.write_text(GOOD.replace(before, after, 1), encoding="utf-8")
    problems = problems_of(path)
    assert len(problems) == 1
    assert problems[0].startswith(words)


def test_every_key_twice_is_named(path: Path) -> None:
    path.write_text(GOOD.replace("seed: 0", "seed: 0\nseed: 0") + "output: y\n", encoding="utf-8")
    assert [problem.split(":")[0] for problem in problems_of(path)] == ["line 3, 'seed'", "line 16, 'output'"]


@pytest.mark.parametrize(
    ("number", "read"), [("010", "8"), ("-0100", "-64"), ("12:30", "750"), ("1:30.5", "90.5"), ("0_7", "7")]
)
def test_numbers_that_yaml_reads_otherwise_are_refused(path: Path, number: str, read: str) -> None:
    path.write_text(GOOD.replace("seed: 0", f"seed: {number}"), encoding="utf-8")
    words = (
        f"line 2, 'seed': expected a number in decimals, or a text in quotes, got {number}, which YAML reads as {read}"
    )
    assert problems_of(path) == [words]
    assert f"got {number}, which YAML reads as {read}" in problems_of(RECIPES / "demo.yaml", f"seed={number}")[0]


def test_numbers_as_people_write_them_are_taken(path: Path) -> None:
    path.write_text(GOOD.replace("learning_rate: 1.0e-3", "learning_rate: 1e-3").replace("seed: 0", "seed: 1_0"))
    assert load_recipe(path).seed == 10
    assert load_recipe(path).stages[0].learning_rate == 1e-3
    assert load_recipe(path, ["seed=0"]).seed == 0


@pytest.mark.parametrize("word", ["no", "on", "off", "yes", "true"])
def test_a_word_that_is_no_word_to_yaml_is_told_with_the_remedy(path: Path, word: str) -> None:
    path.write_text(GOOD.replace("- name: one", f"- name: {word}"), encoding="utf-8")
    (problem,) = problems_of(path)
    assert problem.startswith("line 9, 'stages.0.name': expected a valid string, got ")
    assert "YAML reads no, off, on and yes so: put the word in quotes." in problem
    path.write_text(GOOD.replace("- name: one", f"- name: '{word}'"), encoding="utf-8")
    assert load_recipe(path).stages[0].name == word


def test_a_path_that_is_no_path_to_yaml(path: Path) -> None:
    path.write_text(GOOD.replace("train: rows.jsonl", "train: yes"))
    (problem,) = problems_of(path)
    assert problem.startswith("line 4, 'data.train': expected a path, got True. YAML reads no, off, on and yes so")


def test_keys_twice_in_a_value_of_the_command_line() -> None:
    (problem,) = problems_of(RECIPES / "demo.yaml", "model.num_tokens={face: 2, face: 3}")
    assert problem.startswith(
        "override 'model.num_tokens={face: 2, face: 3}': line 1, 'face': expected a key used once"
    )


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_recipe_of_another_encoding_is_told_with_the_remedy(path: Path, encoding: str) -> None:
    path.write_bytes(f"title: \u00c9motions\n{GOOD}".encode(encoding))
    (problem,) = problems_of(path)
    assert "Save it as UTF-8: run: iconv -f " in problem


@pytest.mark.parametrize("start", ["\ufeff", ""])
def test_a_byte_order_mark_and_crlf_change_nothing(path: Path, start: str) -> None:
    path.write_bytes((start + GOOD).replace("\n", "\r\n").encode())
    loaded = load_recipe(path)
    path.write_text(GOOD)
    assert loaded == load_recipe(path)


@pytest.mark.parametrize("key", ["1", "0x10", "~", "2024-01-01", "1.5", "? [a, b]\n"])
def test_a_key_that_is_no_name_is_refused(path: Path, key: str) -> None:
    path.write_text(f"{GOOD}{key}: 2\n")
    (problem,) = problems_of(path)
    assert problem.startswith("line 15: expected a name as key, got ")


def test_half_a_character_is_refused(path: Path) -> None:
    path.write_text(GOOD.replace("runs/x", '"runs/x\\ud83d"'))
    (problem,) = problems_of(path)
    assert problem.startswith("line 1, 'output': expected whole characters")


def test_an_override_of_stages_that_are_none_is_refused(path: Path) -> None:
    path.write_text("output: x\nstages: [a, b]\n")
    (problem,) = problems_of(path, "stages.a.steps=1")
    assert problem == "override 'stages.a.steps=1': no stage 'a'. Known: 0, 1."


def test_anchors_and_merged_sections_are_read(path: Path) -> None:
    path.write_text(
        GOOD.replace("    steps: 3", "    <<: &more {steps: 9, batch_size: 4}\n    steps: 3").replace(
            "    batch_size: 4\n", ""
        )
    )
    stage = load_recipe(path).stages[0]
    assert (stage.steps, stage.batch_size) == (3, 4)


def test_of_an_override_given_twice_the_last_counts(path: Path) -> None:
    """Scripts append what their caller says to overrides of their own."""
    path.write_text(GOOD)
    assert load_recipe(path, ["seed=1", "seed=2"]).seed == 2
