"""Answers of a model to rows: batched, greedy or searched for, in the order of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NotRequired, TypedDict

from transformers import PreTrainedModel

from affectgpt.answers.reading import read_options
from affectgpt.clip import Clip
from affectgpt.inference.generate import answer
from affectgpt.inputs.reader import Reader
from affectgpt.tasks import TASKS
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
    options: NotRequired[list[str]]
    """The closed set of the row, if it names one: what the answer is judged by."""
    question: NotRequired[str]
    """What was asked, where it lists options by letters."""


def as_prediction(clip: Clip, response: str, status: str = "ok") -> Prediction:
    """Put a response to a row into the form of prediction files."""
    prediction = Prediction(id=clip.id, task=clip.task, response=response, status=status, answer=clip.answer)
    if clip.group:
        prediction["group"] = clip.group
    if clip.options:
        prediction["options"] = clip.options
    if clip.task in TASKS and TASKS[clip.task].judged == "choice" and read_options(clip.question):
        prediction["question"] = clip.question
    return prediction


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
    lengths = reader.lengths(clips)
    # Rows of like length and like task end together; longest first shows at once whether memory suffices.
    order = sorted(range(len(clips)), key=lambda index: (clips[index].task, -lengths[index]))
    searched = [index for index in order if search is not None and clips[index].task == "tree"]
    others = [index for index in order if search is None or clips[index].task != "tree"]
    predictions: dict[int, Prediction] = {}
    for part in (*_batches(searched, batch_size), *_batches(others, batch_size)):
        asked = [clips[index] for index in part]
        if search is not None and asked[0].task == "tree":
            answers = search.answer(model, reader, asked, max_new_tokens)
        else:
            answers = answer(model, reader, reader.read(asked), max_new_tokens)
        for index, said in zip(part, answers, strict=True):
            predictions[index] = as_prediction(clips[index], said.text, "ok" if said.complete else "truncated")
        if progress:
            progress(len(predictions), len(order))
    return [predictions[index] for index in range(len(clips))]


def _batches(order: Sequence[int], size: int) -> list[Sequence[int]]:
    return [order[start : start + size] for start in range(0, len(order), size)]
