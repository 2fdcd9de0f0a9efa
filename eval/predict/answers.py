"""Answers of a model to rows: batched, greedy or searched for, in the order of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NotRequired, TypedDict

from transformers import PreTrainedModel

from affectgpt.clip import Clip
from affectgpt.inference.generate import Answer, answer, answer_in_batches
from affectgpt.inputs.reader import Reader
from videmo.search import TreeSearch


class Prediction(TypedDict):
    """One answer: a line of a prediction file."""

    id: str
    task: str
    response: str
    status: str
    """'ok'; 'truncated' where the answer did not end by itself; 'error' where the clip could not be used."""
    answer: object
    reason: NotRequired[str]
    """Why the clip could not be used."""
    group: NotRequired[str]
    """Speaker, actor or dialogue of the clip; comparisons draw whole groups."""


def answer_rows(
    model: PreTrainedModel,
    reader: Reader,
    clips: Sequence[Clip],
    batch_size: int = 64,
    max_new_tokens: int = 128,
    progress: Callable[[int, int], None] | None = None,
    search: TreeSearch | None = None,
) -> list[Prediction]:
    """Answer every row. `status` is 'ok', or 'truncated' where the answer did not end within `max_new_tokens`.

    Args:
        search: of rows whose answer is a tree; None answers them greedily, as the others.
    """
    by_search: list[int] = []
    greedily: list[int] = []
    for index, clip in enumerate(clips):
        (greedily if search is None or clip.task != "tree" else by_search).append(index)
    answers: dict[int, Answer] = {}

    def show(done: int, _: int) -> None:
        if progress:
            progress(len(answers) + done, len(clips))

    def read_and_answer(asked: Sequence[Clip]) -> list[Answer]:
        return answer(model, reader, reader.read(asked), max_new_tokens)

    def search_for(asked: Sequence[Clip]) -> list[Answer]:
        assert search is not None
        return search.answer(model, reader, asked, max_new_tokens)

    for indices, answer_batch in ((by_search, search_for), (greedily, read_and_answer)):
        part = [clips[index] for index in indices]
        if part:
            answers |= zip(indices, answer_in_batches(reader, part, batch_size, answer_batch, show), strict=True)
    return [_prediction(clip, answers[index]) for index, clip in enumerate(clips)]


def _prediction(clip: Clip, given: Answer) -> Prediction:
    prediction = Prediction(
        id=clip.id,
        task=clip.task,
        response=given.text,
        status="ok" if given.complete else "truncated",
        answer=clip.answer,
    )
    if clip.group:
        prediction["group"] = clip.group
    return prediction
