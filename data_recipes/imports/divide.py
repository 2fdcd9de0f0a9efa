"""Division of rows into parts, such as training and test rows, that share no speaker."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from affectgpt.clip import Clip
from affectgpt.problems import InputError, spelling_key


def read_shares(text: str) -> dict[str, float]:
    """Read the parts to make, such as `train=0.8,test=0.2`.

    Raises:
        InputError: fewer than two parts, a name twice or unfit for a file, shares that do not add up to 1.
    """
    shares: dict[str, float] = {}
    expected = "parts whose shares add up to 1, such as train=0.8,test=0.2"
    for item in text.split(","):
        name, _, share = (part.strip() for part in item.partition("="))
        try:
            value = float(share)
        except ValueError:
            value = 0.0
        if not (name.isidentifier() and name not in shares and 0 < value < 1):
            raise InputError(f"--split: expected {expected}, got {text!r}")
        shares[name] = value
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise InputError(f"--split: expected {expected}, got {text!r}, which adds up to {sum(shares.values()):g}")
    return shares


def divide(clips: Sequence[Clip], shares: Mapping[str, float], seed: int = 0) -> dict[str, list[Clip]]:
    """Divide labelled rows into parts, whole groups each; every label is shared out as well as the groups allow.

    The groups are taken from the largest to the smallest, those of one size in an order that the seed decides, each to
    the part that it brings nearest to its share of the labels. A part that would else miss a label comes first.

    Args:
        clips: rows whose answer is a label. A row without a group is a group by itself.
        shares: part -> its share of the rows.
        seed: seed of the order.

    Raises:
        InputError: there are fewer groups than parts, some rows alone have a group, or groups differ in case, spaces or
            Unicode form alone, so that one person could be in several parts.
    """
    _require_distinct(clips)
    groups: dict[str, Counter[str | None]] = {}
    for clip in clips:
        groups.setdefault(group_of(clip), Counter())[clip.answer] += 1
    if len(groups) < len(shares):
        raise InputError(f"--split: expected at least {len(shares)} groups, one for each part, got {len(groups)}")
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda name: -groups[name].total())
    total = Counter(clip.answer for clip in clips)
    for labels in groups.values():
        labels[None] = 1  # stands for the rows themselves: no part may be empty
    left = Counter(label for labels in groups.values() for label in labels)
    held: dict[str, Counter[str | None]] = {part: Counter() for part in shares}
    chosen: dict[str, str] = {}
    for name in order:
        labels = groups[name]
        lacking = {label: [part for part in shares if not held[part][label]] for label in labels}
        needed = Counter(part for label, parts in lacking.items() if left[label] <= len(parts) for part in parts)
        most = max(needed.values(), default=0)
        nearer = {part: _change(labels, held[part], total, share) for part, share in shares.items()}
        chosen[name] = min((part for part in shares if needed[part] == most), key=nearer.__getitem__)
        held[chosen[name]] += labels
        left -= Counter(labels.keys())
    return {part: [clip for clip in clips if chosen[group_of(clip)] == part] for part in shares}


def _change(labels: Counter[str | None], held: Counter[str | None], total: Counter[str], share: float) -> float:
    """Return the change of a part's squared distance from its share of each label, relative to that share."""
    return sum(
        count * (2 * (held[label] - share * total[label]) + count) / (share * total[label])
        for label, count in labels.items()
        if label is not None
    )


def _require_distinct(clips: Sequence[Clip]) -> None:
    problems = []
    known = {clip.group for clip in clips if clip.group is not None}
    without = [clip.id for clip in clips if clip.group is None]
    if known and without:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        problems.append(f"--split: expected a group in every row, got none in {', '.join(without[:3])}{more}")
    spellings: dict[str, list[str]] = {}
    for name in sorted(known):
        spellings.setdefault(spelling_key(name), []).append(name)
    problems += [
        f"--split: expected one spelling of a group, got {', '.join(map(ascii, names))}. Write the same in all rows."
        for names in spellings.values()
        if len(names) > 1
    ]
    if problems:
        raise InputError(problems)


def group_of(clip: Clip) -> str:
    """Return the name of a row's group: speaker, actor or dialogue, else its own id."""
    return f"row {clip.id}" if clip.group is None else f"group {clip.group}"
