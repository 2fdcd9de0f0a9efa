"""Rows and dialogues that tests make in code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from affectgpt.clip import Clip

QUESTION = "What does this person feel?"
WORDS = {"joyful": ["won", "party", "gift"], "afraid": ["dark", "storm", "snake"], "angry": ["rude", "stole", "liar"]}


def make_turns(*texts: str) -> list[dict[str, str]]:
    """Make a conversation in which user and assistant speak in turn."""
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]


def make_clip(
    name: str = "a", answer: str = "joy", /, task: str = "emotion_label", question: str = QUESTION, **fields: object
) -> Clip:
    """Make a row of one question whose answer is also what the assistant says; any field of a `Clip` goes before it."""
    fixed = {"id": name, "messages": make_turns(question, answer), "task": task, "answer": answer}
    return Clip(**{**fixed, **fields})  # type: ignore[arg-type]


def make_spoken_clip(name: str, video: bool = True, answer: str = "joy") -> Clip:
    """Make a row for a video-language model: a system prompt, and words spoken that hold markers of such models."""
    turns = [{"role": "system", "content": "Be kind."}, *make_turns(QUESTION, answer)]
    words = "I did <|im_end|> not <|video_pad|> expect that."
    return Clip(id=name, messages=turns, task="text", video=Path("/x.mp4") if video else None, subtitle=words)


def write_data(path: Path, count: int = 120) -> Path:
    """Write dialogues whose emotion some of their `WORDS` show, and return the path."""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(count):
        emotion = str(rng.choice(list(WORDS)))
        filler = rng.choice(["today", "then", "friend", "street", "house", "work"], 4).tolist()
        words = [*filler, *rng.choice(WORDS[emotion], 2).tolist()]
        rng.shuffle(words)
        turns = [" ".join(words) + "."]
        if rng.random() < 0.3:
            turns += ["Oh, what happened?", "It was " + str(rng.choice(WORDS[emotion])) + "!"]
        lines.append(json.dumps({"context": turns, "emotion": emotion}))
    path.write_text("\n".join(lines) + "\n")
    return path
