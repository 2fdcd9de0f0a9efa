"""Answers of a model to rows: batched, greedy or by search, in the order of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NotRequired, TypedDict

from transformers import PreTrainedModel

from affectgpt.answers.reading import read_options
from affectgpt.clip import Clip
from affectgpt.inference.generate import Answer, answer, answer_in_batches
from affectgpt.inputs.reader import Reader
from affectgpt.tasks import TASKS
from videmo.search import TreeSearch


class Prediction(TypedDict):
    """Prediction for a row: a line of a prediction file."""

    id: str
    task: str
    response: str
    status: str
    """Status: 'ok'; 'truncated' if the answer did not end by itself; 'error' if the clip could not be used."""
    answer: object
    reason: NotRequired[str]
    """Reason why the clip could not be used."""
    group: NotRequired[str]
    """Speaker, actor or dialogue of the clip; comparisons draw whole groups."""
    options: NotRequired[list[str]]
    """Closed set of the row, if it names one; the answer is scored against it."""
    question: NotRequired[str]
    """Question of the row, if it lists options by letters."""
    fingerprint: NotRequired[str]
    """Fingerprint of what was asked about which clip, see `eval.predict.prediction_file`."""


def as_prediction(clip: Clip, response: str, status: str = "ok") -> Prediction:
    """Return the prediction that a response to a row makes."""
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
        search: search for the answers of rows whose answer is a tree; None answers them greedily, as the others.
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
    return [
        as_prediction(clip, answers[index].text, "ok" if answers[index].complete else "truncated")
        for index, clip in enumerate(clips)
    ]
