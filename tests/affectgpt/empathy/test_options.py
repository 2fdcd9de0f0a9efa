"""Settings of evidence and selection by KEY=VALUE: each reaches its field, and all that are wrong are named."""

from __future__ import annotations

from dataclasses import fields

import pytest

from affectgpt.empathy.options import HELP, read_options
from affectgpt.empathy.two_stage import Selection
from affectgpt.evidence.cues import Cues
from affectgpt.problems import InputError


def test_every_setting_reaches_its_field():
    given = ["top=5", "causes=1", "situation=true", "mode=prompt", "margin=0.5", "fusion=2"]
    assert read_options(given) == [Selection("prompt", 0.5, 2.0), Cues(5, 1, True)]
    for item in given:
        found = read_options([item])
        assert found != [Selection(), Cues()], item
    assert read_options([]) == [Selection(), Cues()]
    assert read_options(["top=2"], forms=[Cues]) == [Cues(top=2)]


def test_the_help_tells_every_setting():
    names = [field.name for form in (Selection, Cues) for field in fields(form)]
    assert [name for name in names if name not in HELP] == []


def test_all_that_is_wrong_is_named():
    with pytest.raises(InputError) as caught:
        read_options(["tops=1", "causes=-1", "margin=much", "mode=guess"])
    said = str(caught.value)
    assert len(caught.value.problems) == 4
    assert "--set tops: unknown setting. Did you mean 'top'" in said
    assert "causes of 0 or more" in said
    assert "--set margin: expected a valid number" in said
    assert "--set mode: expected 'score' or 'prompt'" in said
