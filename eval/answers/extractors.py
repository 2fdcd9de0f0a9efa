"""Options of commands that read free text with an extractor: which one, its settings, and where its labels are kept."""

from __future__ import annotations

import argparse
from pathlib import Path

from affectgpt.emotions.extract import Extractor, extractor_names, load_extractor
from affectgpt.llm.answer_cache import CachedExtractor
from affectgpt.problems import InputError, Problem


def add_extractor_options(parser: argparse.ArgumentParser, default: str | None, what: str) -> None:
    """Add the options to a command.

    Args:
        parser: parser of the command.
        default: extractor that reads where none is named; None for none.
        what: what the extractor reads, for the help.
    """
    names = ", ".join(f"{name} (default)" if name == default else name for name in extractor_names())
    parser.add_argument("--extractor", default=default, metavar="NAME", help=f"extractor for {what}: {names}")
    setting = "setting of the extractor; may be given several times"
    parser.add_argument("--extractor-setting", action="append", default=[], metavar="KEY=VALUE", help=setting)
    parser.add_argument("--cache", type=Path, metavar="FILE", help="file that caches extracted words")


def read_extractor(options: argparse.Namespace) -> Extractor | None:
    """Load the extractor that the options name; None if they name none.

    Raises:
        InputError: no extractor of that name, settings that it does not have, or settings without an extractor.
    """
    if options.extractor is None:
        if options.extractor_setting or options.cache:
            raise InputError("--extractor-setting, --cache: name the extractor that they are for with --extractor.")
        return None
    settings = {key: value for key, _, value in (pair.partition("=") for pair in options.extractor_setting)}
    try:
        return CachedExtractor(load_extractor(options.extractor, **settings), options.cache)
    except (LookupError, TypeError) as error:
        expected = f"one of {', '.join(extractor_names())}, and its settings"
        raise InputError(Problem("--extractor", options.extractor, expected, str(error))) from None
    except ValueError as error:
        raise InputError(str(error)) from None
