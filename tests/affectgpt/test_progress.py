"""The line that tells how far a command is."""

from __future__ import annotations

import sys
import time

import pytest

from affectgpt.progress import Progress, Rounds


def test_progress_has_a_live_line_in_a_terminal_alone(capsys, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = Progress("clips")
    for done in range(1, 5):
        progress(done, 4)
    assert capsys.readouterr().err.splitlines() == [
        "2/4 clips, 0.10 a second, 0:00:20 left",
        "4/4 clips, 0.10 a second, 0:00:00 left",
    ]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress("clips")
    for done in range(1, 3):
        progress(done, 2)
    assert capsys.readouterr().err == (
        "\r\033[K1/2 clips, 0.10 a second, 0:00:10 left\r\033[K2/2 clips, 0.10 a second, 0:00:00 left\n"
    )


def test_what_was_done_before_says_nothing_about_the_rate(capsys, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = Progress("rows", before=90)
    progress(91, 100)
    progress(92, 100)
    assert capsys.readouterr().err == "92/100 rows, 0.10 a second, 0:01:20 left\n"


def test_a_line_of_its_own_leaves_nothing_of_the_live_line(capsys, monkeypatch):
    Progress("rows").say("row 3 is bad")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Progress("rows").say("row 4 is bad")
    assert capsys.readouterr().err == "row 3 is bad\n\r\033[Krow 4 is bad\n"


def test_rounds_take_in_the_progress_of_their_work(capsys, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    rounds = Rounds("fitting plugin emotion")
    for number in range(2):
        with rounds.round(number, 2):
            progress = Progress("batches")
            for done in range(1, 5):
                progress(done, 4)
    assert capsys.readouterr().err.splitlines() == [
        "fitting plugin emotion 1/2, 0:02:20 left",
        "fitting plugin emotion 1/2, 0:01:07 left",
        "fitting plugin emotion 2/2, 0:01:00 left",
        "fitting plugin emotion 2/2, 0:00:48 left",
        "fitting plugin emotion 2/2, 0:00:14 left",
        "fitting plugin emotion 2/2, 0:00:00 left",
    ]
    progress = Progress("rows")
    progress(1, 1)
    assert capsys.readouterr().err == "1/1 rows, 0.10 a second, 0:00:00 left\n"


def test_a_round_that_fails_leaves_others_their_line(capsys):
    with pytest.raises(RuntimeError), Rounds("fits").round(0, 1):
        raise RuntimeError
    Progress("rows")(2, 2)
    assert capsys.readouterr().err.startswith("2/2 rows, ")
