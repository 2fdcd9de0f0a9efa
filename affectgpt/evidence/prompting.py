"""A row's evidence as its prompt shows it: the strategies of HEF (arXiv 2402.11801), in a system turn.

- Two-stage emotion prediction: the plugins' likeliest few emotions are to be considered first, the rest only if none
  fits.
- Emotion-cause perception: the words, and the moments of a clip, that may have caused the emotion are named.

Every kind of evidence words its own lines. The prompt of a dialogue also gives the model its role, the closed set of
emotions where no evidence shortlists them, and the two lines of an answer, `Emotion: ...` and `Response: ...`. Readers
call `prompt_of` for every row, in training, rollout, evaluation and chat alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from affectgpt.clip import Clip, require_conversations
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.evidence.plain import one_line
from affectgpt.evidence.table import by_kind
from affectgpt.evidence.words import LONGEST_TURN, MOST_TURNS
from affectgpt.problems import InputError, Problem
from affectgpt.prompts import EMPATHY
from affectgpt.tasks import TASKS

Turn = dict[str, str]


def prompt_of(clip: Clip, cues: Cues = Cues()) -> list[Turn]:  # noqa: B008 (frozen)
    """Return the conversation up to the answer, evidence included.

    Raises:
        InputError: malformed evidence, evidence of labels that the row's options lack, or no conversation; names the
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


def require_prompts(clips: Iterable[Clip], cues: Cues = Cues()) -> None:  # noqa: B008 (frozen)
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


def evidence_summaries(clip: Clip, cues: Cues = Cues()) -> list[str]:  # noqa: B008 (frozen)
    """Summarise a row's evidence for people, one line for each kind.

    Raises:
        InputError: see `prompt_of`.
    """
    return [line for kind, evidence in by_kind(clip).items() if (line := kind.summary(evidence, clip, cues))]


def _cue_lines(clip: Clip, cues: Cues) -> list[str]:
    lines = []
    kinds = by_kind(clip)
    if clip.task == "dialogue":  # its closed set is shown without evidence too
        kinds = {EmotionEvidence: [], **kinds}
    for kind, evidence in kinds.items():
        lines += kind.prompt_lines(evidence, clip, cues)
    if cues.situation and clip.situation:
        lines.append(EMPATHY["situation"].format(situation=one_line(clip.situation)))
    return lines


def _shortened(turns: Sequence[Turn]) -> list[Turn]:
    """Cut a dialogue as plugins read it: long turns cut; of many turns the first and the last, still alternating."""
    dropped = max(0, len(turns) - MOST_TURNS)
    dropped += dropped % 2
    kept = [*turns[:1], *turns[1 + dropped :]] if dropped else turns
    return [{**turn, "content": turn["content"][:LONGEST_TURN]} for turn in kept]
