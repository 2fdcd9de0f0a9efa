import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from affectgpt import __main__ as cli
from affectgpt.problems import InputError, Problem


@pytest.fixture
def boom(monkeypatch):
    """Registers `affectgpt tool boom`, whose behaviour a test sets."""
    module = SimpleNamespace(main=lambda argv: 0)
    monkeypatch.setitem(sys.modules, "boom_module", module)
    entry = EntryPoint("tool.boom", "boom_module:main", cli.GROUP)
    monkeypatch.setattr(cli, "find_commands", lambda: {("tool", "boom"): entry, ("tool",): entry})
    return module


def raising(error):
    def command(argv):
        raise error

    return command


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(argv, capsys):
    assert cli.main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    for words in cli.find_commands():
        assert any(line.split()[: len(words)] == list(words) for line in lines)


def test_every_command_has_a_summary():
    assert [entry.value for entry in cli.find_commands().values() if not cli.summary(entry)] == []


def test_help_of_a_group_lists_only_its_commands(capsys):
    assert cli.main(["data", "--help"]) == 0
    page = capsys.readouterr().out
    assert "data check" in page
    assert "usage: affectgpt data COMMAND" in page
    assert "predict" not in page


def test_help_imports_nothing_heavy():
    code = "import sys; from affectgpt.__main__ import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "affectgpt" in loaded
    assert not loaded & {"torch", "transformers", "numpy", "rich", "videmo", "train", "eval", "data_recipes"}


def test_a_command_without_module_is_listed_without_summary():
    assert cli.summary(EntryPoint("x", "train.nowhere:main", cli.GROUP)) == ""
    assert cli.summary(EntryPoint("x", "no_such_package.module:main", cli.GROUP)) == ""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian", "recipe.yaml"], "affectgpt: unknown command 'trian'. Did you mean 'train'?"),
        (["data", "chek"], "affectgpt data: unknown command 'chek'. Did you mean 'check'?"),
        (["--verbos"], "affectgpt: unknown command '--verbos'. Known: "),
    ],
)
def test_unknown_command_names_the_nearest(argv, message, capsys):
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)


def test_longest_match_gets_the_rest(boom):
    seen = []
    boom.main = lambda argv: seen.append(argv) or 5
    assert cli.main(["tool", "boom", "--help", "x"]) == 5
    assert cli.main(["tool", "x"]) == 5
    assert seen == [["--help", "x"], ["x"]]


def test_input_error_is_explained_without_traceback(boom, capsys):
    boom.main = raising(InputError([Problem("rows.jsonl", "row 3", "a task", "'tsk'"), "and another"]))
    assert cli.main(["tool", "boom"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "2 problems:\n  rows.jsonl: row 3: expected a task, got 'tsk'\n  and another\n"


def test_interrupt(boom, capsys):
    boom.main = raising(KeyboardInterrupt)
    assert cli.main(["tool", "boom"]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_other_errors_are_not_hidden(boom):
    boom.main = raising(RuntimeError("ours"))
    with pytest.raises(RuntimeError, match="ours"):
        cli.main(["tool", "boom"])


def test_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_commands", dict)
    assert cli.main(["train"]) == 2
    assert "pip install -e ." in capsys.readouterr().err


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("affectgpt 0.")


@pytest.mark.parametrize("lines", [1, 100_000])
def test_output_that_nobody_reads_any_more_ends_quietly(lines, tmp_path):
    code = (
        "import sys\nfrom affectgpt.command_line import run\n"
        f"sys.exit(run(lambda argv: print('a line' + chr(10) * {lines}) or print('more', flush=True) or 0, []))"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()  # before anything is written, as `| true` may do
        errors = process.stderr.read()
    assert (process.returncode, errors) == (141, "")


def test_what_is_left_to_write_when_nobody_reads_ends_quietly_too():
    code = (
        "import sys\nfrom affectgpt.command_line import run\n"
        "sys.exit(run(lambda argv: sys.stdin.read() or print('a line') or 0, []))"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    with subprocess.Popen([sys.executable, "-c", code], text=True, env=buffered, **pipes) as process:
        process.stdout.close()
        process.stdin.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, "")


def test_a_pipe_that_breaks_elsewhere_is_a_failure(boom):
    boom.main = raising(BrokenPipeError(32, "worker gone"))
    with pytest.raises(BrokenPipeError):
        cli.main(["tool", "boom"])
