"""Output of commands to a terminal: nothing that steers it, and no progress bars of libraries."""

from __future__ import annotations

import os
import sys
import warnings

import pytest
from transformers.utils import logging

from affectgpt.command_line import run
from affectgpt.problems import InputError
from affectgpt.terminal import printable, without_bars, without_surrogates


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("over\rwritten", "over\\rwritten"),
        ("back\x08space", "back\\x08space"),
        ("nul\x00", "nul\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066isolated\u2069", "\\u2066isolated\\u2069"),
        ("half \ud83d of it", "half \ufffd of it"),
    ],
)
def test_what_would_steer_a_terminal_is_written_out(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["two\nlines\tand tabs", "שלום", "👩‍👩‍👧", "é", "a\u200fb", ""])
def test_words_stay_as_they_are(text):
    assert printable(text) == text


def test_halves_of_pairs_become_the_replacement_character():
    assert without_surrogates("a\udcffb\ud800") == "a\ufffdb\ufffd"
    assert without_surrogates("😀") == "😀"


def test_errors_steer_no_terminal_either():
    assert str(InputError("file \x1b[2J\u202e.mp4: expected a video")) == "file \\x1b[2J\\u202e.mp4: expected a video"


@pytest.fixture
def bars(monkeypatch):
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    logging.enable_progress_bar()


def test_a_command_is_run_without_bars_and_leaves_them_as_they_were(bars):
    seen = []

    def command(argv: list[str]) -> int:
        seen.append((logging.is_progress_bar_enabled(), os.environ["TQDM_DISABLE"]))
        raise InputError("no")

    assert run(command, []) == 2
    assert seen == [(False, "1")]
    assert logging.is_progress_bar_enabled()
    assert "TQDM_DISABLE" not in os.environ


def test_whoever_asks_for_bars_gets_them(bars, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    monkeypatch.setenv("TQDM_DISABLE", "0")
    with without_bars():
        assert logging.is_progress_bar_enabled()
        assert os.environ["TQDM_DISABLE"] == "0"


def test_bars_that_were_off_stay_off(bars):
    logging.disable_progress_bar()
    with without_bars():
        pass
    assert not logging.is_progress_bar_enabled()
    logging.enable_progress_bar()


def test_libraries_that_are_not_there_yet_are_not_imported(bars, monkeypatch):
    monkeypatch.delitem(sys.modules, "transformers.utils.logging")
    with without_bars():
        assert "transformers.utils.logging" not in sys.modules


def test_notices_for_programmers_stay_out_of_a_command():
    with warnings.catch_warnings(record=True) as caught, without_bars():
        warnings.warn_explicit("renamed in v6", FutureWarning, "modeling.py", 1, module="transformers.modeling_utils")
        warnings.warn_explicit("ours", FutureWarning, "clip.py", 1, module="affectgpt.clip")
    assert [str(warning.message) for warning in caught] == ["ours"]
