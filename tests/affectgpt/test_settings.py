"""Settings given by name: read as the annotations of what takes them have it, and told apart where they are wrong."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from affectgpt.settings import counts_below_one, expectation, read_settings


def settings(
    rate: Annotated[float, Field(gt=0)] = 1.0,
    count: int = 1,
    mode: Literal["mean", "max"] = "mean",
    folder: Path | None = None,
    anything=None,  # type: ignore[no-untyped-def]
) -> None:
    """Takes settings of several kinds."""


def test_values_get_the_types_of_the_parameters():
    given = {"rate": "0.5", "count": "3", "mode": "max", "folder": "a/b", "anything": [1]}
    assert read_settings(settings, given) == (
        {"rate": 0.5, "count": 3, "mode": "max", "folder": Path("a/b"), "anything": [1]},
        {},
    )


def test_what_is_wrong_is_told_by_name_and_the_rest_is_read():
    values, wrong = read_settings(settings, {"rate": "0", "count": "many", "mode": "min", "folder": None})
    assert values == {"folder": None}
    assert wrong == {
        "rate": "expected greater than 0, got '0'",
        "count": "expected a valid integer, unable to parse string as an integer, got 'many'",
        "mode": "expected 'mean' or 'max', got 'min'",
    }


def test_an_expectation_stands_behind_expected():
    assert expectation({"msg": "Value error, a name of a wheel"}) == "a name of a wheel"


def test_counts_below_one_are_named_as_options():
    options = Namespace(num_frames=0, workers=-1, batch=1, top=None)
    assert counts_below_one(options, ("num_frames", "workers", "batch", "top")) == [
        "--num-frames: expected 1 or more, got 0.",
        "--workers: expected 1 or more, got -1.",
    ]
