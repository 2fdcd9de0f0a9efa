"""Scores on EmoCause (Kim et al., EMNLP 2021): recall of the annotated cause words among a plugin's first few.

A file is a JSON list of `original_situation`, `emotion`, and `annotation`, [word, index] pairs, or `labels`, words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip
from affectgpt.json_files import load_json
from affectgpt.problems import InputError, Problem, require_file, shorten
from eval.metrics.stats import Metric, intervals, mean_tally

TOP = (1, 3, 5)


def read_emocause(path: Path) -> tuple[list[Clip], list[list[str]]]:
    """Read situations as dialogues of one turn, and the words that caused their emotion.

    Raises:
        InputError: with every invalid entry.
    """
    path = require_file(path, "a file of EmoCause", "It is a JSON list; see docs/plugins.md.")
    entries = load_json(path, "a JSON list")
    if not isinstance(entries, list) or not entries:
        raise InputError(Problem(str(path), "the file", "a JSON list of situations", shorten(entries)))
    rows, gold, problems = [], [], []
    for index, entry in enumerate(entries):
        words, text = _words_of(entry), entry.get("original_situation") if isinstance(entry, dict) else None
        if not words or not isinstance(text, str) or not text.strip():
            expected = "'original_situation' and the words of 'annotation' or 'labels'"
            problems.append(Problem(str(path), f"entry {index}", expected, shorten(entry)))
            continue
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "Emotion: "}]
        rows.append(
            Clip(id=f"emocause-{index}", messages=turns, task="dialogue", group=str(entry.get("conv_id", index)))
        )
        gold.append(words)
    if problems:
        raise InputError(problems)
    return rows, gold


def _words_of(entry: Any) -> list[str]:
    """Return the annotated words, each as often as it was annotated."""
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
    """Compute `top1`, `top3`, `top5`: the share of a row's gold words among its first 1, 3 and 5 words, mean over rows.

    Matching is lenient: a word that begins or ends with a gold word counts as that word. Each gold word counts as often
    as it was annotated.
    """
    return intervals(
        {
            f"top{count}": mean_tally(
                [recall_of(words[:count], annotated) for words, annotated in zip(ranked, gold, strict=True)]
            )
            for count in TOP
        },
        groups,
    )


def recall_of(words: Sequence[str], gold: Sequence[str]) -> float:
    """Return the share of gold words among `words`."""
    expected = [word.casefold() for word in gold]
    predicted: Counter[str] = Counter()
    for word in map(str.casefold, words):
        predicted[next((one for one in expected if word.startswith(one) or word.endswith(one)), word)] += 1
    return sum((Counter(expected) & predicted).values()) / len(expected)
