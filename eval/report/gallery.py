"""Gallery of the report: a card for every clip, with its inputs, its gold answer and the model's answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import cv2
from markupsafe import Markup

from affectgpt.answers.judge import is_right
from affectgpt.tasks import TASKS
from eval.report.clip import clip_figure, sound_source, still_figure, video_source
from eval.report.run_folder import Run
from eval.report.tree import LEGEND, compare, tree_column
from videmo.tree import parse_tree


def gallery(run: Run) -> dict[str, Any] | None:
    """Return the values of the gallery, None if the run folder has no clips to show.

    `legend` explains the marks of trees, if there are any; `cards` are those of the clips, mistakes first.
    """
    if not run.examples:
        return None
    shown = _shown_stages(run)
    cards = [_card(run, row, shown) for row in run.examples]
    return {"legend": LEGEND if any(card["trees"] for card in cards) else None, "cards": cards}


def _shown_stages(run: Run) -> dict[str, str]:
    """Return the stages to show with the titles of their columns: the last one, and the one before GRPO."""
    last = str(run.final["name"])
    before = run.before_grpo
    if before is None or before["name"] == last:
        return {last: f"Model after {last}"}
    return {str(before["name"]): "Model before GRPO", last: "Model after GRPO"}


def is_tree(row: Mapping[str, Any]) -> bool:
    """Tell whether an example asks for a tree; runs of v0.1.0 kept no others."""
    task = TASKS.get(row.get("task", "tree"))
    return task is not None and task.judged == "tree"


def _card(run: Run, row: Mapping[str, Any], shown: Mapping[str, str]) -> dict[str, Any]:
    responses = {shown[stage]: str(row["predictions"][stage]) for stage in shown if stage in row["predictions"]}
    gold, trees = str(row["truth"]), []
    if is_tree(row):
        tree = parse_tree(gold)
        gold = ", ".join(node.label for node in tree.emotions)
        columns = (tree_column(title, tree, text) for title, text in responses.items())
        trees = [tree_column("Gold tree", tree), *columns]
    verdicts = [_verdict(row, title, text) for title, text in responses.items()]
    if verdicts and isinstance(row.get("wrong"), bool):
        verdicts[-1]["is_right"] = not row["wrong"]  # as the scores judged it
    return {
        "gold": gold,
        "is_conflict": bool(row.get("conflict")),
        "is_wrong": bool(verdicts) and verdicts[-1]["is_right"] is False,
        "id": row["id"],
        "group": row.get("group"),
        "question": row.get("question"),
        "clip": clip_values(run, row),
        "verdicts": verdicts,
        "trees": trees,
        "as_written": {"gold tree" if trees else "gold answer": str(row["truth"]), **row["predictions"]},
    }


def _verdict(row: Mapping[str, Any], title: str, response: str) -> dict[str, Any]:
    """Return the values of a verdict: what the model answered, in a tree the emotion, and whether it is right.

    None where an answer is nearer or farther, not right or wrong.
    """
    if not is_tree(row):
        about = TASKS.get(str(row["task"]))
        is_choice = about is not None and about.judged == "choice"
        asked = str(row.get("question") or ""), row.get("options")
        right = is_right(response, str(row["truth"]), *asked) if is_choice else None
        return {"title": title, "answer": response, "is_right": right}
    written = parse_tree(response)
    return {
        "title": title,
        "answer": ", ".join(node.label for node in written.emotions),
        "is_right": all(branch.status == "right" for branch in compare(parse_tree(row["truth"]), written).emotions),
    }


def clip_values(run: Run, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card shows of a clip: figure, picture, players, words, signal; None for what it does not have.

    `is_lost` if a file is gone or broken.
    """
    paths = {name: _path(run, row.get(name)) for name in ("video", "audio", "image")}
    values: dict[str, Any] = dict.fromkeys(("figure", "still", "video", "sound"))
    values |= {"subtitle": row.get("subtitle"), "is_lost": False}
    values["signal"] = Path(str(row["signal"])).name if row.get("signal") else None
    try:
        if paths["image"]:
            values["still"] = Markup(still_figure(paths["image"]))
        if paths["video"] or paths["audio"]:
            start, end = row.get("start"), row.get("end")
            drawn, wave = clip_figure(paths["video"], paths["audio"], start, end)
            values["figure"] = Markup(drawn)
            if paths["video"] and not (paths["audio"] or start or end):
                values["video"] = video_source(paths["video"])
            values["sound"] = None if values["video"] else sound_source(wave)
    except (av.FFmpegError, cv2.error, OSError, ValueError, IndexError):
        values["is_lost"] = True
    return values


def _path(run: Run, value: Any) -> Path | None:
    """Return the path of a file of an example; v0.1.0 wrote "None" for none."""
    return run.folder / str(value) if value not in (None, "None") else None
