"""A row's evidence as its prompt shows it: the strategies of HEF (arXiv 2402.11801), in a turn of the system.

- Two-stage emotion prediction: the plugins' likeliest few emotions are to be looked at first, the rest only if none
  fits.
- Emotion-cause perception: the words, and the moments of a clip, that may have brought the emotion about are named.

A dialogue is told besides whom to be, the closed set of emotions where there is no evidence, and the two lines of an
answer, `Emotion: ...` and `Response: ...`. Readers call `prompt_of` for every row, in training, rollout, evaluation and
chat alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from affectgpt.clip import Clip, require_conversations
from affectgpt.emotions.lemmas import tidy
from affectgpt.evidence.kinds import CauseEvidence, CauseSpan, EmotionEvidence, Evidence, pieces_of
from affectgpt.evidence.words import LONGEST_TURN, MOST_TURNS
from affectgpt.problems import InputError, Problem
from affectgpt.prompts import EMPATHY
from affectgpt.tasks import TASKS

Turn = dict[str, str]
_STREAMS = {"video": "picture", "audio": "voice"}
_TROUBLE = re.compile(r"[^\w'’ -]+")
_LONGEST_WORD = 40
_LINES = re.compile(r"\s*emotion\s*:(?P<emotion>[^\n]*)(?:\n+\s*response\s*:(?P<response>.*))?", re.I | re.S)


@dataclass(frozen=True, slots=True)
class Cues:
    """How much of a row's evidence its prompt shows.

    Raises:
        ValueError: fewer than one emotion, or less than no cause.
    """

    top: int = 3
    """The likeliest emotions, to be looked at first (HEF's k, which the paper does not tell)."""
    causes: int = 3
    """Words, and moments of a clip, that weigh most."""
    situation: bool = False
    """Show the row's situation, which gives the emotion away."""

    def __post_init__(self) -> None:
        if self.top < 1 or self.causes < 0:
            raise ValueError(f"expected top of 1 or more and causes of 0 or more, got {self.top} and {self.causes}")


@dataclass(frozen=True, slots=True)
class Shortlist:
    """The emotions of a row as two stages look at them."""

    first: tuple[str, ...]
    """What the plugins find likeliest, the likeliest first; empty without evidence."""
    rest: tuple[str, ...]
    """All others of the closed set, in its order; empty where any emotion may be named."""
    evidence: EmotionEvidence | None = None
    """What `first` was taken from, over the labels of both."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What could be read of an answer; nothing is guessed."""

    emotion: str | None
    """A label of the closed set, or of the evidence where there is no such set; None where the answer names none."""
    said: str
    """What stands where the emotion should."""
    response: str | None = None


def prompt_of(clip: Clip, cues: Cues = Cues()) -> list[Turn]:
    """The conversation up to the answer, evidence included.

    Raises:
        InputError: evidence that is malformed, or of labels that the row's options lack, or no conversation; names the
            row.
    """
    require_conversations([clip])
    lines = _cue_lines(clip, cues) if TASKS[clip.task].shows_evidence else []
    turns = clip.prompt
    if clip.task == "dialogue":
        lines = [EMPATHY["role"], *lines, EMPATHY["format"]]
        turns = _shortened(turns)
    if not lines:
        return turns
    if turns[0]["role"] == "system":
        lines, turns = [turns[0]["content"], *lines], turns[1:]
    return [{"role": "system", "content": "\n".join(lines)}, *turns]


def require_prompts(clips: Iterable[Clip], cues: Cues = Cues()) -> None:
    """Refuse rows whose evidence cannot be shown.

    Raises:
        InputError: with every problem of every row.
    """
    problems: list[Problem | str] = []
    for clip in clips:
        try:
            if clip.evidence:
                _cue_lines(clip, cues)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems, "See docs/plugins.md.")


def shortlist(clip: Clip, cues: Cues = Cues()) -> Shortlist:
    """The emotions of a row, in the order in which they are to be looked at.

    Several plugins count alike: their probabilities are averaged.

    Raises:
        InputError: see `prompt_of`.
    """
    return _shortlist(clip, cues, _pieces(clip))


def _shortlist(clip: Clip, cues: Cues, found: Sequence[Evidence]) -> Shortlist:
    pieces = [piece for piece in found if isinstance(piece, EmotionEvidence)]
    options = tuple(clip.options or ())
    if not pieces:
        return Shortlist((), options)
    labels = options or tuple(dict.fromkeys(label for piece in pieces for label in piece.labels))
    try:
        over = [piece.over(labels, {tidy(label): label for label in labels}) for piece in pieces]
    except InputError as error:
        raise InputError([f"row {clip.id}, {problem}" for problem in error.problems], "See docs/plugins.md.") from None
    mean = [sum(values) / len(over) for values in zip(*(piece.probabilities for piece in over), strict=True)]
    evidence = EmotionEvidence(labels, mean, all(piece.calibrated for piece in over))  # type: ignore[arg-type]
    first = tuple(label for label, _ in evidence.top(cues.top))
    closed = bool(options) or clip.task == "dialogue"
    return Shortlist(first, tuple(label for label in labels if label not in first) if closed else (), evidence)


def opening(clip: Clip, label: str) -> str:
    """How an answer to a row begins that names this emotion."""
    return f"Emotion: {label}" if clip.task == "dialogue" else label


def read_answer(clip: Clip, text: str) -> Reading:
    """What an answer to a row says: of a dialogue its two lines, else the emotion alone."""
    found = _LINES.match(text) if clip.task == "dialogue" else None
    said = (found["emotion"] if found else "" if clip.task == "dialogue" else text).strip()
    emotions = shortlist(clip)
    labels = emotions.evidence.labels if emotions.evidence else emotions.rest
    emotion = {tidy(_plain(label)): label for label in labels}.get(tidy(said))
    response = ((found["response"] or "") if found else "").strip()
    return Reading(emotion, said, response or None)


def _cue_lines(clip: Clip, cues: Cues) -> list[str]:
    lines = []
    pieces = _pieces(clip)
    emotions = _shortlist(clip, cues, pieces)
    first, rest = ", ".join(map(_plain, emotions.first)), ", ".join(map(_plain, emotions.rest))
    if first and rest:
        lines.append(EMPATHY["stages"].format(first=first, rest=rest))
    elif first:
        lines.append(EMPATHY["likely"].format(first=first))
    elif rest and clip.task == "dialogue":
        lines.append(EMPATHY["labels"].format(labels=rest))
    causes = [piece for piece in pieces if isinstance(piece, CauseEvidence)]
    words = CauseEvidence(words=tuple(word for piece in causes for word in piece.words)).top_words(cues.causes)
    if plain := [word.replace(" ", "-") for word in map(_plain, words) if word]:
        lines.append(EMPATHY["words"].format(words=" ".join(plain)))
    spans = sorted((span for piece in causes for span in piece.spans), key=lambda span: -span.weight)[: cues.causes]
    if spans:
        lines.append(EMPATHY["moments"].format(moments=", ".join(map(_moment, spans))))
    if cues.situation and clip.situation:
        lines.append(EMPATHY["situation"].format(situation=_one_line(clip.situation)))
    return lines


def _moment(span: CauseSpan) -> str:
    return f"{_STREAMS.get(span.stream, _plain(span.stream))} {span.start_s:.1f}-{span.end_s:.1f} s"


def _plain(text: str) -> str:
    """A label or a word with nothing in it that could pass for an instruction's punctuation or a new line."""
    return _one_line(_TROUBLE.sub(" ", text))[:_LONGEST_WORD].strip()


def _one_line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_TURN]


def _pieces(clip: Clip) -> list[Evidence]:
    return list(pieces_of(clip.evidence, f"row {clip.id}, evidence").values())


def _shortened(turns: Sequence[Turn]) -> list[Turn]:
    """As much of a dialogue as plugins read of it: long turns cut; of many the first and the last, still in turn."""
    dropped = max(0, len(turns) - MOST_TURNS)
    dropped += dropped % 2
    kept = [*turns[:1], *turns[1 + dropped :]] if dropped else turns
    return [{**turn, "content": turn["content"][:LONGEST_TURN]} for turn in kept]
