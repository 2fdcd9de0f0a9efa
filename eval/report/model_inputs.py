"""Inputs of a model: the parts of a clip that its recipe gives it and its rows carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WORDS = {
    "face": "sees the face",
    "video": "sees the video",
    "image": "sees the picture",
    "audio": "hears the voice",
    "text": "reads the words",
}
"""Words for the use of each input."""
_PICTURES = ("face", "video", "image")


def model_inputs(report: Mapping[str, Any], inputs: tuple[str, ...] | None = None) -> list[str]:
    """Return what a model takes of a clip, keys of `WORDS`: pictures of one kind, sound, words.

    Args:
        report: report.json. Those of v0.1.0 do not say what rows carry; their clips had face, voice and words.
        inputs: modalities that the recipe gives the model, where the report does not say.
    """
    given = tuple(report.get("inputs") or inputs or ("video", "audio", "text"))
    parts = [part for part in report.get("data", {}).values() if isinstance(part, Mapping)]
    known = [part["carries"] for part in parts if "carries" in part]
    carried = {name for part in known for name in part} if known else {"face", "video", "audio", "text"}
    pictures = next((name for name in _PICTURES if name in carried), None)
    found = [pictures] if pictures and "video" in given else []
    return found + [name for name in ("audio", "text") if name in given and name in carried]


def reads_evidence(report: Mapping[str, Any]) -> bool:
    """Tell whether rows of a run carry evidence of plugins that their prompts show."""
    parts = [part for part in report.get("data", {}).values() if isinstance(part, Mapping)]
    return any("evidence" in part.get("carries", {}) for part in parts)
