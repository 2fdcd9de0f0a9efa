"""The `affectgpt` command. Sub-commands are entry points; none is imported before it is called, `--help` included."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from affectgpt import __version__
from affectgpt.command_line import run
from affectgpt.problems import nearest

GROUP = "affectgpt.commands"
Words = tuple[str, ...]


def main(argv: list[str] | None = None) -> int:
    """Run the sub-command that `argv` names, or list the available ones."""
    return run(_dispatch, sys.argv[1:] if argv is None else argv)


def _dispatch(argv: list[str]) -> int:
    if argv == ["--version"]:
        print(f"affectgpt {__version__}")
        return 0
    commands = find_commands()
    if not commands:
        print("affectgpt is not installed: run `pip install -e .` in its checkout.", file=sys.stderr)
        return 2
    for count in range(len(argv), 0, -1):
        if entry := commands.get(tuple(argv[:count])):
            code: int = entry.load()(argv[count:])
            return code

    depth = 0
    while argv[depth:] and any(words[: depth + 1] == tuple(argv[: depth + 1]) for words in commands):
        depth += 1
    group = {words: entry for words, entry in commands.items() if words[:depth] == tuple(argv[:depth])}
    prog = " ".join(["affectgpt", *argv[:depth]])
    if argv[depth:] and argv[depth] not in ("-h", "--help"):
        advice = nearest(argv[depth], sorted({words[depth] for words in group}))
        print(f"{prog}: unknown command '{argv[depth]}'. {advice}", file=sys.stderr)
        return 2
    print(list_commands(prog, group))
    return 0


def find_commands() -> dict[Words, EntryPoint]:
    """Find every registered command, by the words that call it: `data.check` is typed `data check`."""
    return {tuple(entry.name.split(".")): entry for entry in sorted(entry_points(group=GROUP))}


def list_commands(prog: str, commands: dict[Words, EntryPoint]) -> str:
    """Return the help page: a line for each command."""
    width = max(len(" ".join(words)) for words in commands)
    lines = [f"  {' '.join(words):{width}}  {summary(entry)}".rstrip() for words, entry in commands.items()]
    page = [f"usage: {prog} COMMAND [options]", "", "Commands:", *lines, ""]
    return "\n".join([*page, "`affectgpt COMMAND --help` explains a command."])


def summary(entry: EntryPoint) -> str:
    """Return the first line of a command's docstring, read from the source: importing it could take seconds."""
    package, *rest = entry.module.split(".")
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or []:
        stem = Path(folder, *rest)
        for path in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
            try:
                tree = ast.parse(path.read_bytes())
            except (OSError, SyntaxError):
                continue
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and node.name == entry.attr:
                    return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


if __name__ == "__main__":
    sys.exit(main())
