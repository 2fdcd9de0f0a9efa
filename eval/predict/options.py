"""Options of every command that runs a model on rows: the model, how it is run, how its clips are decoded."""

from __future__ import annotations

import argparse

from affectgpt.inference.conversation import MODELS
from affectgpt.media_root import add_media_root


def add_model_options(parser: argparse.ArgumentParser, max_new_tokens: int) -> None:
    """Add the options to a command.

    Args:
        max_new_tokens: default of the longest answer.
    """
    parser.add_argument("--model", required=True, metavar="DIR", help=MODELS)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N rows")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="rows read together (16)")
    longest = f"longest answer ({max_new_tokens})"
    parser.add_argument("--max-new-tokens", type=int, default=max_new_tokens, metavar="N", help=longest)
    add_media_root(parser)
    parser.add_argument("--timeout", type=float, default=20.0, metavar="S", help="seconds to decode one clip (20)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes that decode (2)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (auto)")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
