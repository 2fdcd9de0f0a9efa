"""The templates of the pages: what they escape, what they refuse, that they are installed with the package."""

from __future__ import annotations

import math
from configparser import ConfigParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from eval.report.html import Cell, Table, environment, percent, percent_range, render_template, score_cell

ROOT = Path(__file__).parents[3]


def table(*cells: Cell | str) -> str:
    template = environment().from_string('{% from "parts.html.j2" import table %}{{ table(shown) }}')
    return template.render(shown=Table("<caption>", ["score"], [["name", *cells]]))


def test_every_text_of_a_table_is_escaped() -> None:
    page = table("<i>", Cell("<b>", ["<u>"], marked=True), Cell("<s>", muted=True))
    assert "<caption>&lt;caption&gt;</caption>" in page
    assert "<td>&lt;i&gt;</td><td><b>&lt;b&gt;</b><small>&lt;u&gt;</small></td>" in page
    assert '<td><span class="none">&lt;s&gt;</span></td>' in page


def test_only_markup_is_more_than_text() -> None:
    template = environment().from_string("{{ text }}{{ figure }}")
    assert template.render(text="<svg>", figure=Markup("<svg>")) == "&lt;svg&gt;<svg>"


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="subtitle"):
        render_template("page.html.j2", title="A run")


@pytest.mark.parametrize(
    ("value", "sign", "shown"),
    [
        (0.4567, "", "45.7"),
        (0, "", "0.0"),
        (-0.25, "", "−25.0"),
        (0.25, "+", "+25.0"),
        (-0.25, "+", "−25.0"),
        (None, "", "–"),
        (math.nan, "+", "–"),
        ("0.5", "", "–"),
    ],
)
def test_fractions_are_shown_in_per_cent_and_what_is_none_as_a_dash(value: object, sign: str, shown: str) -> None:
    assert percent(value, sign) == shown


def test_an_interval_of_differences_has_a_word_between_its_ends() -> None:
    assert percent_range(0.1, 0.2) == "10.0–20.0"
    assert percent_range(-0.1, 0.2, "+") == "−10.0 to +20.0"


def test_a_score_is_marked_where_it_reaches_the_best_above_nothing() -> None:
    metric = {"value": 0.5, "low": 0.4, "high": 0.6}
    assert score_cell(metric, 0.5, ["n 7"]) == Cell("50.0", ["40.0–60.0", "n 7"], marked=True)
    assert not score_cell(metric, 0.51).marked
    assert not score_cell(metric).marked
    assert not score_cell({"value": 0.0}, 0.0).marked
    assert score_cell({"value": 0.5, "low": None, "high": None}) == Cell("50.0", [])
    assert score_cell(None) == score_cell({"value": None}) == Cell("–", muted=True)


def test_templates_are_installed_with_the_package() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    package = ROOT / "eval" / "report"
    shipped = {
        path for pattern in setup["options.package_data"]["eval.report"].split() for path in package.glob(pattern)
    }
    assert {path.name for path in shipped} == set(environment().list_templates())
