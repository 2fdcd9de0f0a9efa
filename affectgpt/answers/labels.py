"""Reading of labels of a closed set, one or several, from free answers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from affectgpt.answers.assertion import asserted
from affectgpt.answers.label_index import LabelIndex, label_index
from affectgpt.answers.nearest import nearest_label
from affectgpt.answers.plain import normalise, unify
from affectgpt.answers.statement import answer_text, stated

_NOTHING = re.compile(
    r"(?:there (?:is|are) )?(?:none|nothing|none of (?:them|these|the above)|(?:no|none of the) "
    r"(?:active |visible |facial ){0,3}(?:aus?|action units?|labels?))"
    r"(?: (?:is|are|was|were) (?:active|activated|present|visible|shown))?"
    r"|\[ ?\]|空|无|没有|都没有|(?:没有|无)(?:动作单元|标签)|なし|keine?|aucune?|ningun[oa]?|nessun[oa]?"
)


def read_label(answer: object, labels: Iterable[str], by_wheel: bool = False) -> str | None:
    """Return the label that an answer equals, or names and does not deny; None if there is none or several.

    A label that the answer states (`The answer is sad`) counts more than others that it names; the last stated counts.

    Args:
        answer: what a model wrote.
        labels: the closed set.
        by_wheel: where the answer names no label, read the emotion words that it does name as the labels nearest to
            them on the wheel (`angry` as `anger`, `Surprised` as `surprise`); see `affectgpt.answers.nearest`.
    """
    index = label_index(tuple(labels))
    text = answer_text(answer)
    if (label := index.exact(answer, text)) is not None:
        return label
    named = index.named(text)
    found = {one.value for one in stated(text, named)} if named else set()
    if by_wheel and not found:
        return nearest_label(text, index.labels)
    return found.pop() if len(found) == 1 else None


def read_set(answer: object, labels: Iterable[str]) -> frozenset[str] | None:
    """Return the labels that an answer names and does not deny; None if it neither names any nor says `none`.

    Commas of any script, `and`, lines, bullets, numbers and Markdown may stand between and around them.
    """
    index = label_index(tuple(labels))
    text = answer_text(answer)
    named = frozenset([label]) if (label := index.exact(answer, text)) is not None else _asserted(text, index)
    return named if named or is_nothing(text) else None


def is_nothing(text: str) -> bool:
    """Tell whether an answer says that a set is empty: `none`, `No action units.`, `[]`."""
    return bool(_NOTHING.fullmatch(normalise(text)))


def named_labels(text: str, labels: Iterable[str]) -> frozenset[str]:
    """Return the labels whose words occur in a text and are not denied; of overlapping labels, the longest."""
    return _asserted(unify(text), label_index(tuple(labels)))


def _asserted(text: str, index: LabelIndex) -> frozenset[str]:
    return frozenset(one.value for one, _ in asserted(text, index.named(text)))


def one_spelling(labels: Iterable[str]) -> dict[str, str]:
    """Map each label to the first one that answers cannot tell from it: case, width, spaces, hyphens do not count.

    >>> one_spelling(["Happy", "happy", "very-sad", "very sad", "-1", "1"])
    {'Happy': 'Happy', 'happy': 'Happy', 'very-sad': 'very-sad', 'very sad': 'very-sad', '-1': '-1', '1': '1'}
    """
    first: dict[str, str] = {}
    return {label: first.setdefault(normalise(label), label) for label in labels}


def spelling_note(labels: Iterable[str]) -> str | None:
    """Say which labels count as one since they differ only in how they are written; None if there are no such ones."""
    groups: dict[str, list[str]] = {}
    for label, first in one_spelling(labels).items():
        groups.setdefault(first, []).append(repr(label))
    alike = [", ".join(group) for group in groups.values() if len(group) > 1]
    if not alike:
        return None
    return f"labels that differ only in case, width, spaces or hyphens count as one: {'; '.join(alike)}"
