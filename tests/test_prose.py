"""Docstrings begin as the style guide says: a function's with an imperative verb, a class's and an attribute's with a
noun that says what it is.

A list of words stands for the grammar: articles, relative words, prepositions and numerals begin no instruction, and a
third person (`Returns`) is none either.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DONE = (
    "affectgpt/__main__.py",
    "affectgpt/answers",
    "affectgpt/chat",
    "affectgpt/clip.py",
    "affectgpt/command_line.py",
    "affectgpt/emotions",
    "affectgpt/empathy",
    "affectgpt/encoding.py",
    "affectgpt/evidence",
    "affectgpt/features",
    "affectgpt/inference",
    "affectgpt/inputs",
    "affectgpt/json_files.py",
    "affectgpt/llm",
    "affectgpt/media",
    "affectgpt/model",
    "affectgpt/plugins",
    "affectgpt/problems.py",
    "affectgpt/progress.py",
    "affectgpt/prompt_safety.py",
    "affectgpt/prompts.py",
    "affectgpt/redaction.py",
    "affectgpt/registered.py",
    "affectgpt/settings.py",
    "affectgpt/tables.py",
    "affectgpt/tasks.py",
    "affectgpt/weights",
    "data_recipes/check",
    "data_recipes/empathetic_dialogues",
    "data_recipes/imports",
    "data_recipes/synthetic",
    "data_recipes/transcribe",
    "data_recipes/unibench",
    "eval/answers",
    "eval/benchmarks",
    "eval/compare",
    "eval/metrics",
    "eval/plugins",
    "eval/predict",
    "eval/report",
    "scripts",
    "train",
    "videmo",
)
"""Folders and files whose prose is held to the rule."""


def words(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


RELATIVE = words("How Is Are Was Were Does Has What Whatever When Where Whether Which Who Whom Whose Why")
PREPOSITIONS = words(
    "About After Along As At Before Below Beside Between By For From In Into Of On Over To Under With Without"
)
NO_VERBS = words(
    """
    A All Alone An And Another Any Both Each Either Every Everything Few First He His If It Its Last Least Many Most
    Neither No None Nor Not Nothing One Other Others Our Same Several She So Some Somebody Something That The Their Them
    Then There These They Things This Those Three Thus Two Us We You Your
    """
)


def first_word(docstring: str) -> str:
    """Return the first word of a docstring without the punctuation around it; "" if it begins with something else."""
    word = docstring.strip().partition("\n")[0].split(" ")[0].strip(".,:;")
    return word if word.replace("-", "").isalpha() else ""


def flaw_of_function(docstring: str) -> str | None:
    """Return why a docstring does not begin with an imperative; None if it may."""
    word = first_word(docstring)
    if not word or not word[0].isupper():
        return "begins with no word in upper case"
    if word in RELATIVE | PREPOSITIONS | NO_VERBS:
        return f"begins with '{word}', which is no verb"
    if word.endswith("s") and not word.endswith("ss"):
        return f"begins with '{word}', which is no imperative"
    return None


def flaw_of_noun(docstring: str) -> str | None:
    """Return why the docstring of a class or an attribute says not what it is; None if it may."""
    word = first_word(docstring)
    return f"begins with '{word}', which is no noun" if word in RELATIVE | PREPOSITIONS else None


def flaw_of_attribute(docstring: str) -> str | None:
    """Return the same for an attribute, where `Whether` begins a phrase for a truth value."""
    return None if first_word(docstring) == "Whether" else flaw_of_noun(docstring)


def decorators(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return the last names of a function's decorators: `property` for `@property`, `setter` for `@name.setter`."""
    nodes = [node.func if isinstance(node, ast.Call) else node for node in function.decorator_list]
    return {node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "") for node in nodes}


def flaws(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and flaw of every docstring that breaks the rule.

    The docstring of a property names a value, that of a chart is the text shown in its stead: both are nouns.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            is_named = decorators(node) & {"property", "cached_property", "chart"}
            if docstring is not None and not is_named and (flaw := flaw_of_function(docstring)):
                yield node.body[0].lineno, f"function {node.name} {flaw}"
        elif isinstance(node, ast.ClassDef):
            docstring = ast.get_docstring(node)
            if docstring is not None and (flaw := flaw_of_noun(docstring)):
                yield node.body[0].lineno, f"class {node.name} {flaw}"
        if isinstance(node, ast.ClassDef | ast.Module):
            for above, statement in zip(node.body, node.body[1:], strict=False):
                if isinstance(above, ast.Assign | ast.AnnAssign) and isinstance(statement, ast.Expr):
                    text = statement.value.value if isinstance(statement.value, ast.Constant) else None
                    if isinstance(text, str) and (flaw := flaw_of_attribute(text)):
                        yield statement.lineno, f"attribute {ast.unparse(above).partition('=')[0].strip()} {flaw}"


def files_of(entry: str) -> list[Path]:
    """Return the Python files of an entry of `DONE`."""
    path = ROOT / entry
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("entry", DONE)
def test_docstrings_begin_as_they_should(entry: str) -> None:
    files = files_of(entry)
    assert files, f"{entry} is gone: remove it from DONE"
    found = [
        f"{file.relative_to(ROOT)}:{line}: {flaw}"
        for file in files
        for line, flaw in flaws(file.read_text(encoding="utf-8"))
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('def f():\n    """The mean."""', "function f begins with 'The', which is no verb"),
        ('def f():\n    """Whether it holds."""', "function f begins with 'Whether', which is no verb"),
        ('def f():\n    """Returns the mean."""', "function f begins with 'Returns', which is no imperative"),
        ('async def f():\n    """(n,) means."""', "function f begins with no word in upper case"),
        ('class C:\n    """What is written."""', "class C begins with 'What', which is no noun"),
        ('class C:\n    @cached\n    def f(self):\n        """Each mean."""', "function f begins with 'Each'"),
        ('class C:\n    rate: float\n    """Of AdamW."""', "attribute rate: float begins with 'Of', which is no noun"),
        ('MOST = 3\n"""In a message."""', "attribute MOST begins with 'In', which is no noun"),
    ],
)
def test_what_breaks_the_rule_is_named(source: str, expected: str) -> None:
    [(line, flaw)] = flaws(source)
    assert flaw.startswith(expected)
    assert '"""' in source.splitlines()[line - 1]


@pytest.mark.parametrize(
    "source",
    [
        'def f():\n    """Return the mean."""',
        'def f():\n    """Pass a token."""',
        "def f():\n    return 1",
        'class C:\n    """Mean of a sample."""\n\n    @property\n    def f(self):\n        """The mean."""',
        'class C:\n    @functools.cached_property\n    def f(self):\n        """Mean of all."""',
        '@chart\ndef f():\n    """Loss of each stage."""',
        'class C:\n    ready: bool\n    """Whether it may start."""',
        'print("x")\n"""Of no attribute."""',
    ],
)
def test_what_keeps_the_rule_passes(source: str) -> None:
    assert not list(flaws(source))
