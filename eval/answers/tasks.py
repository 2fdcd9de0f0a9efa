"""VidEmo's tasks: their result files, how each is scored, and how its tables average them.

Names are those of the result files that VidEmo published (`<task>.jsonl`); the open questions come in one file, with
their aspect in each row's `source`. The averages are those of its table generator: a data set that shares a column with
others weighs 1/2 or 1/3, so that every column counts the same. Single-label emotions come from three data sets,
fine-grained ones, two-way sentiment and conversations from two; eyes and eyebrows share a column, as do body, face and
head actions. Its published accuracies are a judge's yes or no, those of captions a judge's scores: compare them with
`judge` here, and with the deterministic scores only where an answer leaves no doubt.
"""

from __future__ import annotations

from typing import Literal

from affectgpt.tasks import TASKS as OURS

Kind = Literal["choice", "letters", "labels", "units", "text", "tree"]
"""Kind of answer, which decides the scoring: one option; several; known labels; action units; free text; a tree."""

APPEARANCE = (
    "blurry", "male", "young", "chubby", "pale skin", "rosy cheeks", "oval face", "receding hairline", "bald", "bangs",
    "black hair", "blonde hair", "gray hair", "brown hair", "straight hair", "wavy hair", "long hair",
    "arched eyebrows", "bushy eyebrows", "bags under eyes", "eyeglasses", "sunglasses", "narrow eyes", "big nose",
    "pointy nose", "high cheekbones", "big lips", "double chin", "no beard", "5 o clock shadow", "goatee", "mustache",
    "sideburns", "heavy makeup", "wearing earrings", "wearing hat", "wearing lipstick", "wearing necklace",
    "wearing necktie", "wearing mask",
)  # fmt: skip
"""Appearances of CelebV-HQ."""
ACTIONS = (
    "blow", "chew", "close eyes", "cough", "cry", "drink", "eat", "frown", "gaze", "glare", "head wagging", "kiss",
    "laugh", "listen to music", "look around", "make a face", "nod", "play instrument", "read", "shake head", "shout",
    "sigh", "sing", "sleep", "smile", "smoke", "sneer", "sneeze", "sniff", "talk", "turn", "weep", "whisper", "wink",
    "yawn",
)  # fmt: skip
"""Actions of CelebV-HQ."""
UNITS = tuple(f"AU{number}" for number in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26))
"""Action units of Aff-Wild2."""

QUESTIONS = "QA_test_sampling_all"
"""Name of the file with the open questions on attributes."""
ASPECTS = (
    "Eyes", "Eyebrows", "Mouth", "Nose", "Hair", "Chin", "Face_shape", "Facial_features", "Accessories", "Age",
    "Gender", "Skin", "Body_actions", "Facial_actions", "Head_actions",
)  # fmt: skip

TASKS: dict[str, Kind] = {
    "CelebV-HQ_Appearance-Recognition": "labels",
    "CelebV-Text_Appearance-Caption": "text",
    "CelebV-HQ_Action-Recognition": "labels",
    "CelebV-Text_Action-Caption": "text",
    "MEAD_ID": "choice",
    "MEAD_Head-Pose": "choice",
    QUESTIONS: "text",
    **{f"{QUESTIONS}_{aspect}": "text" for aspect in ASPECTS},
    "DFEW_Single-Label-Emotion-Recognition": "choice",
    "MAFW_Single-Label-Emotion-Recognition": "choice",
    "MER2023_Single-Label-Emotion-Recognition": "choice",
    "MAFW_Multiple-Label-Emotion-Recognition": "letters",
    "MEAD_Fine-grained-Emotion-Recognition": "choice",
    "RAVDESS_Fine-grained-Emotion-Recognition": "choice",
    "MOSEI_Single-Label-Sentiment-Recognition": "choice",
    "MOSI_Single-Label-Sentiment-Recognition": "choice",
    "CHSIMIv1_Fine-grained-Sentiment-Recognition": "choice",
    "CAS_Single-Label-Micro-Expression-Recognition": "choice",
    "AffWild2_Action_Unit_Detection": "units",
    "CelebV-Text_Emotion-Caption": "text",
    "PERR_Single-Label-Conversational-Emotion-Recognition": "choice",
    "MELD_Single-Label-Conversational-Emotion-Recognition_new": "choice",
    "caption_test_sampling_v2_all_example": "text",
}
"""Task -> kind."""

_JUDGED: dict[str, Kind] = {"choice": "choice", "labels": "labels", "words": "text", "tree": "tree"}

OWN_TASKS: dict[str, Kind] = {name: _JUDGED[task.judged] for name, task in OURS.items() if task.judged in _JUDGED}
"""Task of this project's rows (`affectgpt/tasks.py`) -> kind; numbers are for `affectgpt eval recognition`."""


def task_names() -> str:
    """Return the names of all tasks, as text: this project's first, VidEmo's with its open questions in one."""
    names = [name for name in TASKS if not name.startswith(f"{QUESTIONS}_")]
    aspects = ", ".join(f"_{aspect}" for aspect in ASPECTS)
    return (
        f"Tasks of this project: {', '.join(OWN_TASKS)}.\n"
        f"Tasks of VidEmo: {', '.join(names)}; {QUESTIONS} may end in {aspects}."
    )


VOCABULARIES = {"CelebV-HQ_Appearance-Recognition": APPEARANCE, "CelebV-HQ_Action-Recognition": ACTIONS}
"""All labels of a task that has a list of its own; the labels of other tasks are those in their gold answers."""

GROUPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "closed attributes": tuple((name,) for name in list(TASKS)[:6]),
    "open attributes": tuple(
        tuple(f"{QUESTIONS}_{aspect}" for aspect in column)
        for column in (ASPECTS[:2], *((aspect,) for aspect in ASPECTS[2:12]), ASPECTS[12:])
    ),
    "emotion": (
        tuple(f"{source}_Single-Label-Emotion-Recognition" for source in ("DFEW", "MAFW", "MER2023")),
        ("MAFW_Multiple-Label-Emotion-Recognition",),
        ("MEAD_Fine-grained-Emotion-Recognition", "RAVDESS_Fine-grained-Emotion-Recognition"),
    ),
    "sentiment": (
        ("MOSEI_Single-Label-Sentiment-Recognition", "MOSI_Single-Label-Sentiment-Recognition"),
        ("CHSIMIv1_Fine-grained-Sentiment-Recognition",),
    ),
    "cues": (("CAS_Single-Label-Micro-Expression-Recognition",), ("AffWild2_Action_Unit_Detection",)),
    "complex": (
        ("CelebV-Text_Emotion-Caption",),
        (
            "PERR_Single-Label-Conversational-Emotion-Recognition",
            "MELD_Single-Label-Conversational-Emotion-Recognition_new",
        ),
    ),
    "emotion understanding": (("caption_test_sampling_v2_all_example",),),
}
"""Average in VidEmo's tables -> its columns, each with the tasks that share it."""


def weights(group: str) -> dict[str, float]:
    """Return the weight of each task in an average of `GROUPS`: 1 over the number of tasks in its column."""
    return {task: 1 / len(column) for column in GROUPS[group] for task in column}
