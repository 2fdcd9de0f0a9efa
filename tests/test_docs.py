"""Pages and READMEs: their links lead somewhere, the indexes are complete, and the commands that they name exist."""

import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OUTSIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
PACKAGES = ("affectgpt", "videmo", "eval", "data_recipes", "train")
PAGES = [
    *(ROOT / name for name in OUTSIDE),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.md")),
]
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n?)+", re.MULTILINE)
INLINE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?<!from )(?<![\w./-])affectgpt((?: [a-z][a-z-]+)+)")

each_page = pytest.mark.parametrize("page", PAGES, ids=[path.relative_to(ROOT).as_posix() for path in PAGES])


def without_code(text: str) -> str:
    return INLINE.sub("", INDENTED.sub("", FENCED.sub("", text)))


def anchors(page: Path) -> set[str]:
    """Names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Every link of a page to a file of ours: as written, the file, the anchor."""
    for link in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", link):
            name, _, anchor = link.partition("#")
            yield link, (page.parent / name).resolve() if name else page, anchor


def commands() -> set[tuple[str, ...]]:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options.entry_points"]["affectgpt.commands"].strip().splitlines()
    return {tuple(line.partition("=")[0].strip().split(".")) for line in lines}


@each_page
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link, path, anchor in links(page):
        assert path.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(path), f"{page.name} links to {link}, which has no such heading"


def test_every_page_is_in_the_index():
    index = ROOT / "docs/README.md"
    listed = {path for _, path, _ in links(index)}
    assert {path for path in (ROOT / "docs").glob("*.md") if path != index} - listed == set()
    assert index in {path for _, path, _ in links(ROOT / "README.md")}


@pytest.mark.parametrize("room", ["eval/benchmarks", "data_recipes"])
def test_every_benchmark_and_every_recipe_has_a_readme_that_the_rooms_own_lists(room):
    expected = {folder.parent / "README.md" for folder in (ROOT / room).glob("*/__init__.py")}
    assert expected
    assert expected <= {path for _, path, _ in links(ROOT / room / "README.md")}


def named(text: str) -> list[tuple[str, ...]]:
    """The words that follow `affectgpt` in every piece of code of a page, arguments in lower case included."""
    codes = [code for pattern in (FENCED, INDENTED, INLINE) for code in pattern.findall(text)]
    return [tuple(typed.split()) for code in codes for typed in COMMAND.findall(code)]


@each_page
def test_every_command_that_a_page_names_exists(page):
    known = commands()
    for words in named(page.read_text(encoding="utf-8")):
        called = any(words[:count] in known for count in range(1, len(words) + 1))
        is_group = any(command[: len(words)] == words for command in known)
        assert called or is_group, f"{page.name} names `affectgpt {' '.join(words)}`"


def test_commands_are_read_from_code_alone():
    text = "Say affectgpt anything, or `affectgpt data check ROWS`.\n\n    torchrun -m affectgpt predict x.jsonl\n"
    text += "```python\nfrom affectgpt import assistant\n```\n```\n$ affectgpt eval faces *.jsonl\n```\n"
    assert named(text) == [("eval", "faces"), ("predict",), ("data", "check")]


def test_the_glossary_is_in_alphabetical_order_and_names_each_word_once():
    terms = re.findall(r"^- \*\*(.+?)\*\*", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^a-z]", "", term.lower()) for term in terms]
    assert plain == sorted(set(plain))
