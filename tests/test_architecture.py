"""The floors of docs/architecture.md: arrows point down only."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "affectgpt": {"affectgpt"},
    "videmo": {"affectgpt", "videmo"},
    "eval": {"affectgpt", "videmo", "eval"},
    "data_recipes": {"affectgpt", "videmo", "data_recipes"},
    "train": {"affectgpt", "videmo", "eval", "data_recipes", "train"},
}
OURS = {*FLOORS, "tests", "scripts"}
MODULES = sorted(path.relative_to(ROOT) for package in FLOORS for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of all that the module imports, at its top or inside functions."""
    for node in ast.walk(ast.parse((ROOT / path).read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = path.parts[: len(path.parts) - node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_arrows_point_down(path):
    allowed = FLOORS[path.parts[0]]
    for line, name in imports(path):
        top = name.partition(".")[0]
        assert top not in OURS or top in allowed, f"{path}:{line} imports {name}, which is not below it"


@pytest.mark.parametrize("package", ["affectgpt.emotions", "affectgpt.media"])
def test_the_ground_stands_alone(package):
    for path in MODULES:
        if is_within(".".join(path.with_suffix("").parts), package):
            for line, name in imports(path):
                ours = name.partition(".")[0] in OURS
                assert not ours or is_within(name, package), f"{path}:{line} imports {name}"


def test_emotions_are_plain_python():
    for path in MODULES:
        if path.parts[:2] == ("affectgpt", "emotions"):
            assert not any(is_within(name, "torch") for _, name in imports(path)), path


def test_no_home_folder_is_written_down():
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    home = re.compile(rb"/(?:home|root|Users)/\w")
    assert [str(path) for path in paths if home.search(path.read_bytes())] == []
