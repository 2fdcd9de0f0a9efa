"""The command on one machine: lines, JSON, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from affectgpt.problems import InputError
from train.doctor import command, machine, software
from train.doctor.findings import Finding, Report, Subject, run_checks
from train.doctor.look_over import look_over
from train.doctor.text import describe

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checks(monkeypatch):
    """`checks(name=finding)`: what this machine's checks are and find, instead of the real ones."""
    for name in ("WORLD_SIZE", "RANK", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)

    def put(**found: Finding) -> None:
        monkeypatch.setattr(software, "CHECKS", {name: lambda _, it=it: it for name, it in found.items()})
        monkeypatch.setattr(machine, "CHECKS", {})

    put()
    return put


def test_without_a_package_its_checks_say_so_and_the_others_go_on(tmp_path):
    program = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['av', 'psutil', 'torch'])\n"  # importing them raises ImportError
        "from train.doctor.command import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["demo", f"output={tmp_path / 'run'}", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    report = json.loads(done.stdout)
    (checked,) = report["machines"]
    found = {check["name"]: check for check in checked["checks"]}
    assert set(found) == {"recipe", *software.CHECKS, *machine.CHECKS}
    for name in ("recipe", "decoders", "memory", "host name"):
        assert found[name]["status"] == "problem", found[name]
        assert "import of" in found[name]["found"]
    assert found["decoders"]["fix"] == "Install what is missing: pip install -c constraints.txt -e ."
    for name in ("python", "disk", "clock", "tokens"):
        assert found[name]["status"] in ("ok", "warning"), found[name]


def test_lines_and_exit_codes(checks, capsys):
    checks(disk=Finding("ok", "much"), port=Finding("warning", "held", "Take another."))
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "  disk             ok       much",
        "  port             warning  held. Next: Take another",
        "No problem found, but read the warnings.",
    ]
    checks(packages=Finding("problem", "none", "pip install -e ."), port=Finding("warning", "held", "Try N ..."))
    assert command.main([]) == 1
    assert [line.partition("Next: ")[2] for line in capsys.readouterr().out.splitlines()[1:3]] == [
        "pip install -e .",
        "Try N ...",
    ]
    checks(disk=Finding("problem", "full", "Make room."))
    assert command.main([]) == 1
    assert "problem  full. Next: Make room" in capsys.readouterr().out


def test_a_check_that_raises_is_a_problem_of_its_own(capsys):
    def fail(subject: Subject) -> Finding:
        raise KeyError("surprise")

    found = run_checks({"odd": fail, "even": lambda _: Finding("ok", "fine")}, Subject(Path()))
    assert found["odd"].status == "problem"
    assert found["odd"].found == "the check itself failed: KeyError: 'surprise'"
    assert found["even"].status == "ok"


def test_a_recipe_brings_its_folder_and_its_checks(checks, monkeypatch, tmp_path):
    monkeypatch.setattr(software, "CHECKS", {"folder": lambda subject: Finding("ok", str(subject.folder))})
    overrides = [f"output={tmp_path / 'mine'}"]
    subject, found = look_over("demo", overrides, None, 1, 1)
    assert found["folder"].found == str(tmp_path / "mine")
    assert {"recipe", "batches", "deepspeed config", "room"} <= set(found)
    assert subject.recipe is not None
    assert look_over("demo", overrides, tmp_path, 1, 1)[0].folder == tmp_path


def test_a_wrong_recipe_is_wrong_use_here_and_a_finding_among_others(checks, monkeypatch):
    monkeypatch.setattr(machine, "CHECKS", {"port": lambda _: Finding("ok", "free")})
    with pytest.raises(InputError, match="Did you mean 'seed'"):
        look_over("demo", ["sed=1"], None, 1, 1)
    found = look_over("demo", ["sed=1"], None, 2, 2)[1]
    assert found["recipe"].status == "problem"
    assert "Did you mean 'seed'" in found["recipe"].found
    assert set(found) == {"recipe"}  # they have met at the port, which is no longer free


def test_the_port_is_the_launchers(checks, monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "1234")
    assert look_over(None, [], None, 1, 1)[0].port == 1234
    monkeypatch.setenv("MASTER_PORT", "http")
    with pytest.raises(InputError, match="MASTER_PORT: expected a whole number, got 'http'"):
        look_over(None, [], None, 1, 1)


@pytest.mark.parametrize("argv", [["--timeout", "0"], ["--timeout", "x"], ["--unknown"]])
def test_wrong_use(argv):
    with pytest.raises(SystemExit) as ended:
        command.main(argv)
    assert ended.value.code == 2


def test_of_several_machines_what_is_not_ok_is_shown():
    bad = Finding("problem", "full", "Make room.")
    report = Report({"a": {"disk": Finding("ok", "much")}, "b": {"disk": bad, "port": Finding("ok", "free")}})
    assert report.status == "problem"
    assert describe(report).splitlines()[:3] == [
        "a: 1 of 1 checks ok",
        "b: 1 of 2 checks ok",
        "  disk             problem  full. Next: Make room",
    ]
