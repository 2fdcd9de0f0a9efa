"""The floors and rooms of docs/architecture.md: arrows point down only, and nothing goes in a circle."""

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
ROOMS: dict[str, list[set[str]]] = {
    "affectgpt": [
        {"emotions", "media"},
        {"."},
        {"model"},
        {"llm"},
        {"features", "evidence", "answers"},
        {"plugins", "inputs"},
        {"inference", "interpret"},
        {"empathy", "weights"},
        {"chat"},
    ],
    "eval": [{"answers"}, {"metrics"}, {"predict"}, {"benchmarks", "plugins"}, {"compare"}, {"report"}, {"web"}],
    "train": [
        {"config"},
        {"run_folder", "fingerprint", "libraries", "fault_tolerance", "tiny_model", "model_setup", "sharding"},
        {"monitor"},
        {"stages"},
        {"recipe"},
        {"recipe_file"},
        {"prepare"},
        {"results", "hub", "plan"},
        {"pipeline", "ablate", "doctor"},
        {"run", "demo"},
    ],
}
"""Rooms of a package from the ground; a room imports what stands below it. "." are loose files, which all may use."""
FORWARDS = {
    "affectgpt/__init__.py",
    "affectgpt/assistant.py",
    "affectgpt/empathy/plugins.py",
    "train/config/__init__.py",
}
"""Documented places of names that live elsewhere."""
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


def file_of(name: str) -> Path | None:
    """The file of ours that a dotted name lies in, be it a module or something that a module defines."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        stem = ROOT.joinpath(*parts[:count])
        for path in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
            if path.is_file():
                return path.relative_to(ROOT)
    return None


def room_of(path: Path) -> str:
    """The room of a file within its package: its folder, or what a loose file is called."""
    if len(path.parts) > 2:
        return path.parts[1]
    return "." if path.parts[0] == "affectgpt" else path.stem


ARROWS: dict[Path, list[tuple[int, Path]]] = {
    path: [
        (line, target)
        for line, name in imports(path)
        if name.partition(".")[0] in FLOORS and (target := file_of(name)) is not None and target != path
    ]
    for path in MODULES
}
"""What each file imports of ours, lazy and type-only imports included."""


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_arrows_point_down(path):
    allowed = FLOORS[path.parts[0]]
    for line, name in imports(path):
        top = name.partition(".")[0]
        assert top not in OURS or top in allowed, f"{path}:{line} imports {name}, which is not below it"


@pytest.mark.parametrize("package", sorted(ROOMS))
def test_rooms_import_lower_rooms_only(package):
    level = {room: number for number, rooms in enumerate(ROOMS[package]) for room in rooms}
    upward = []
    for path in MODULES:
        if path.parts[0] != package or str(path) in FORWARDS or (path.name == "__init__.py" and len(path.parts) == 2):
            continue
        own = room_of(path)
        assert own in level or path.stem == "__main__", f"{path}: a room that no floor plan names"
        for line, target in ARROWS[path]:
            other = room_of(target)
            if target.parts[0] != package or other == own or path.stem == "__main__":
                continue
            loose = other == "." and package == "affectgpt"
            if not loose and level.get(other, -1) >= level[own]:
                upward.append(f"{path}:{line} -> {target}")
    assert upward == []


def test_nothing_goes_in_a_circle():
    graph = {path: {target for _, target in arrows} for path, arrows in ARROWS.items() if str(path) not in FORWARDS}
    while True:  # what imports nothing that is left cannot be part of a circle
        free = {path for path, targets in graph.items() if not targets & graph.keys()}
        if not free:
            break
        graph = {path: targets for path, targets in graph.items() if path not in free}
    assert {
        str(path): sorted(str(target) for target in targets & graph.keys()) for path, targets in graph.items()
    } == {}


def test_nobody_imports_a_command():
    found = [
        f"{path}:{line} -> {target}"
        for path, arrows in ARROWS.items()
        for line, target in arrows
        if target.name in ("command.py", "__main__.py")
    ]
    assert [text for text in found if not text.startswith("train/doctor/__main__.py")] == []


@pytest.mark.parametrize("folder", ["affectgpt/plugins", "eval/benchmarks", "data_recipes"])
def test_neighbours_do_not_know_each_other(folder):
    """Plugins, benchmarks and data recipes import nothing of their neighbours; of shared rooms all may."""
    shared = {"parts", "annotation"}
    base = Path(folder)
    for path in MODULES:
        if path.is_relative_to(base) and len(path.parts) > len(base.parts) + 1:
            own = path.parts[len(base.parts)]
            for line, target in ARROWS[path]:
                if target.is_relative_to(base) and len(target.parts) > len(base.parts) + 1:
                    other = target.parts[len(base.parts)]
                    assert other == own or other in shared, f"{path}:{line} imports {target}"


def test_plugins_know_nothing_above_them():
    above = ("affectgpt.inputs", "affectgpt.inference", "affectgpt.empathy", "affectgpt.chat.command")
    for path in MODULES:
        if path.is_relative_to("affectgpt/plugins"):
            assert [name for _, name in imports(path) if any(is_within(name, room) for room in above)] == [], path


def test_kinds_of_stages_are_compared_in_one_place():
    compared = re.compile(r"\.kind\b\s*(?:==|!=|in\b)|\[.kind.\]\s*(?:==|!=|in\b)")
    found = [
        f"{path}:{number}"
        for path in MODULES
        if path.parts[0] == "train" and path != Path("train/stages/kinds.py")
        for number, line in enumerate((ROOT / path).read_text().splitlines(), start=1)
        if compared.search(line)
    ]
    assert found == []


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
