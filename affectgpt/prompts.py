"""Every text that the project says to a model, in one place."""

from __future__ import annotations

QUESTIONS: dict[str, tuple[str, ...]] = {
    "tree": ("Explain step by step what this person feels.",),
    "emotion_label": ("What does this person feel?",),
    "emotion_open": ("List every emotion this person may feel.",),
    "caption": ("Describe this person.",),
    "text": ("What is the tone of this line?",),
}
"""Task -> ways to ask. Recipes of data sets take the first unless they draw."""

SUBTITLE = 'They say: "{subtitle}"'
"""How a clip's words reach the model."""


def with_subtitle(question: str, subtitle: str | None) -> str:
    """The user's turn: the words said in the clip, if there are any, then the question."""
    return f"{SUBTITLE.format(subtitle=subtitle)}\n{question}" if subtitle else question
