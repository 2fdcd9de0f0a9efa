"""EmoCause (Kim et al., EMNLP 2021): are the words that people called the cause among a plugin's first few?

A file is a JSON list of `original_situation`, `emotion`, and `annotation`, [word, place] pairs, or `labels`, words.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from affectgpt.clip import Clip
from affectgpt.evidence.kinds.cause import CauseEvidence
from affectgpt.plugins.plugin import load_plugin
from affectgpt.plugins.rows import evidence_of
from affectgpt.problems import InputError, Problem, require_file, shorten
from eval.metrics.stats import Metric, intervals, mean_tally

TOP = (1, 3, 5)


def main(argv: list[str]) -> int:
    """Score a trained cause plugin on EmoCause: recall of the annotated words among its first 1, 3 and 5."""
    parser = argparse.ArgumentParser(prog="affectgpt eval emocause", description=main.__doc__)
    parser.add_argument("file", type=Path, metavar="FILE.json", help="of EmoCause")
    parser.add_argument("--plugin", required=True, type=Path, metavar="DIR", help="a trained cause plugin")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    options = parser.parse_args(argv)
    plugin = load_plugin(options.plugin)
    if plugin.kind != CauseEvidence.kind:
        raise InputError(f"{options.plugin}: expected a plugin of kind cause, got one of kind {plugin.kind}")
    rows, gold = read_emocause(options.file)
    evidence = cast(list[CauseEvidence | None], evidence_of(plugin, rows))
    ranked = [item.top_words(max(TOP)) if item is not None else [] for item in evidence]
    scores = cause_recall(ranked, gold, [row.group or row.id for row in rows])
    if options.json:
        print(json.dumps({"n": len(rows), **scores}))
        return 0
    shown = ", ".join(
        f"{name} {item['value']:.3f} [{item['low']:.3f}, {item['high']:.3f}]" for name, item in scores.items()
    )
    print(f"{len(rows)} situations: {shown}")
    return 0


def read_emocause(path: Path) -> tuple[list[Clip], list[list[str]]]:
    """Situations as dialogues of one turn, and the words that caused their emotion.

    Raises:
        InputError: with every entry that is wrong.
    """
    path = require_file(path, "a file of EmoCause", "It is a JSON list; see docs/plugins.md.")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(Problem(str(path), "the file", "a JSON list", str(error))) from None
    if not isinstance(entries, list) or not entries:
        raise InputError(Problem(str(path), "the file", "a JSON list of situations", shorten(entries)))
    rows, gold, problems = [], [], []
    for place, entry in enumerate(entries):
        words, text = _words_of(entry), entry.get("original_situation") if isinstance(entry, dict) else None
        if not words or not isinstance(text, str) or not text.strip():
            expected = "'original_situation' and the words of 'annotation' or 'labels'"
            problems.append(Problem(str(path), f"entry {place}", expected, shorten(entry)))
            continue
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "Emotion: "}]
        rows.append(
            Clip(id=f"emocause-{place}", messages=turns, task="dialogue", group=str(entry.get("conv_id", place)))
        )
        gold.append(words)
    if problems:
        raise InputError(problems)
    return rows, gold


def _words_of(entry: Any) -> list[str]:
    """The annotated words, each as often as it was marked."""
    if not isinstance(entry, dict):
        return []
    marked = entry.get("annotation") or entry.get("labels") or []
    words = (
        [item[0] if isinstance(item, list) and item else item for item in marked] if isinstance(marked, list) else []
    )
    return [word for word in words if isinstance(word, str) and word.strip()]


def cause_recall(
    ranked: Sequence[Sequence[str]], gold: Sequence[Sequence[str]], groups: Sequence[str] | None = None
) -> dict[str, Metric]:
    """`top1`, `top3` and `top5`: the share of a row's gold words among so many of its first words, mean over rows.

    The lenient form: a word that begins or ends with a gold word counts as that word; each gold word is found as often
    as it was marked.
    """
    return intervals(
        {
            f"top{count}": mean_tally(
                [recall_of(words[:count], true) for words, true in zip(ranked, gold, strict=True)]
            )
            for count in TOP
        },
        groups,
    )


def recall_of(words: Sequence[str], gold: Sequence[str]) -> float:
    """The share of gold words that are found."""
    true = [word.casefold() for word in gold]
    found: Counter[str] = Counter()
    for word in map(str.casefold, words):
        found[next((one for one in true if word.startswith(one) or word.endswith(one)), word)] += 1
    return sum((Counter(true) & found).values()) / len(true)
