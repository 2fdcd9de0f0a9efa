"""The gallery of the report: a card for every clip, with what goes in, what is true and what the model wrote."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import av

from eval.report.clip import clip_figure
from eval.report.html import fold
from eval.report.run_folder import Run
from eval.report.tree import compare, legend_html, tree_html
from videmo.tree import parse_tree


def gallery(run: Run) -> str:
    """All clips of the run folder, each as a card."""
    shown = _shown_stages(run)
    return (
        '<p class="note">Six frames, the waveform and the pitch of the voice share one time axis. Beneath stand the '
        "true affective tree and what the model wrote. Marks:</p>"
        f"{legend_html()}{''.join(_card(run, row, shown) for row in run.examples)}"
    )


def _shown_stages(run: Run) -> dict[str, str]:
    """Stage -> title of its column: the last one, and the one before GRPO."""
    last = str(run.final["name"])
    before = run.before_grpo
    if before is None or before["name"] == last:
        return {last: f"Model after {last}"}
    return {str(before["name"]): "Model before GRPO", last: "Model after GRPO"}


def _card(run: Run, row: Mapping[str, Any], shown: Mapping[str, str]) -> str:
    truth = parse_tree(row["truth"])
    written = {stage: row["predictions"][stage] for stage in shown if stage in row["predictions"]}
    trees = "".join(tree_html(shown[stage], truth, text) for stage, text in written.items())
    raw = "".join(
        f"<h4>{escape(str(name))}</h4><pre>{escape(str(text))}</pre>"
        for name, text in {"true tree": row["truth"], **row["predictions"]}.items()
    )
    verdicts = "".join(_verdict(shown[stage], row["truth"], text) for stage, text in written.items())
    badge = '<span class="badge">conflict</span>' if row.get("conflict") else ""
    who = f" · {escape(str(row['group']))}" if row.get("group") else ""
    feeling = escape(", ".join(node.label for node in truth.emotions) or "–")
    return (
        f'<article class="card"><header><h3>{feeling}</h3>{badge}'
        f'<span class="id">{escape(str(row["id"]))}{who}</span></header>'
        f'<div class="clip-row">{clip_html(run, row)}'
        f'<div>{quote(row)}<ul class="verdicts">{verdicts}</ul></div></div>'
        f'<div class="trees">{tree_html("True tree", truth)}{trees}</div>{fold("As written", raw)}</article>'
    )


def _verdict(title: str, truth: str, text: str) -> str:
    """One line: did the model name the emotion?"""
    true, said = parse_tree(truth), parse_tree(text)
    labels = ", ".join(node.label for node in said.emotions) or "no emotion"
    right = all(branch.status == "right" for branch in compare(true, said).emotions)
    sign = '<b class="yes">✓</b>' if right else '<b class="no">✗</b>'
    return f"<li>{sign} {escape(labels)}<small>{escape(title)}</small></li>"


def clip_html(run: Run, row: Mapping[str, Any]) -> str:
    """Frames, voice and pitch of a clip; a sentence where its file is gone or broken."""
    try:
        return clip_figure(run.folder / str(row["video"]))
    except (av.FFmpegError, OSError, ValueError, IndexError):
        return '<p class="unseen">This clip could not be read when the report was made.</p>'


def quote(row: Mapping[str, Any]) -> str:
    """What is said in a clip."""
    return f"<blockquote>“{escape(str(row['subtitle']))}”</blockquote>" if row.get("subtitle") else ""
