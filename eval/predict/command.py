"""The command `affectgpt predict`: write a model's predictions for a row file, one JSON line each."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from affectgpt.clip import read_clips, require_conversations
from affectgpt.empathy.options import read_options
from affectgpt.evidence.prompting import Cues, require_prompts
from affectgpt.inference.assistant import Assistant
from affectgpt.inference.row_assistant import RowAssistant
from affectgpt.llm.endpoint import ChatEndpoint
from affectgpt.problems import InputError, Problem
from affectgpt.settings import counts_below_one
from affectgpt.tasks import TASKS
from eval.predict.options import add_model_options
from eval.predict.prediction_file import PredictionFile
from eval.predict.run import answer_pending, answer_settings, show_prompts
from eval.predict.search import open_search, read_search

_NOTES = """
Answers are kept in PREDICTIONS.jsonl.part as they come: if interrupted, run the same command to resume. At the end
PREDICTIONS.jsonl holds a line for every row, in the order of the rows; lines that it held before are kept, but for
those of clips that could not be used, which are tried again, and of rows whose question, subtitle, evidence, options
or media have changed since. A clip that cannot be used has status 'error' and a
reason; the exit code is 2 only if more rows than the budget allows have it.
Without --store, features are computed on demand and not kept. It runs in one process: under a launcher, give
each process a row file and an output of its own.
--search n=4 answers rows that ask for a tree level by level and keeps the best of 4 candidates of each level. Further
settings: scorer=likelihood (or consistency, or a reward model's folder or Hub id), node_bonus=0 (what each node adds to
a score), temperature=0.7, top_p=1, seed=0.
"""


def main(argv: list[str]) -> int:
    """Answer the rows of a file with a model."""
    options = _parse(argv)
    _require_sense(options)
    search = read_search(options.search)
    cues = read_options(options.evidence, "--evidence", (Cues,))[0]
    clips = read_clips(options.rows, options.media_root)
    require_prompts(clips, cues)
    chosen = [clip for clip in clips if not options.tasks or clip.task in options.tasks][: options.limit]
    if not chosen:
        raise InputError(Problem(str(options.rows), "its rows", f"some of {', '.join(options.tasks)}", "none"))
    require_conversations(chosen)
    if search is not None and not any(clip.task == "tree" for clip in chosen):
        raise InputError(Problem(str(options.rows), "its rows", "some of task tree, for --search", "none"))
    settings = answer_settings(options.model, options.max_new_tokens, cues if options.evidence else None, search)
    file = PredictionFile(options.out, clips, settings)
    pending = [clip for clip in chosen if clip.id not in file.known]
    kept = len(chosen) - len(pending)
    changed = sum(clip.id in file.changed for clip in chosen)
    if file.changed:
        names = ", ".join([*file.changed][:5]) + (", ..." if len(file.changed) > 5 else "")
        text = f"{len(file.changed)} rows have changed since they were answered ({names}): their answers are dropped"
        print(f"{text}; {changed} are answered anew.", file=sys.stderr)
    if file.unchecked:
        text = f"{file.unchecked} lines of {options.out} were written by v0.1.0 and do not tell what was asked; kept."
        print(f"{text} If the rows have changed since, name another --out.", file=sys.stderr)
    started = time.monotonic()
    if pending:
        assistant = Assistant.from_pretrained(options.model, options.device, options.dtype)
        work = RowAssistant(assistant, options.timeout, options.workers, cues)
        if search is not None and isinstance(assistant.model, ChatEndpoint):
            raise InputError("--search: needs a model that is loaded here, not one behind a URL. Leave it out.")
        if options.show_prompt:
            show_prompts(work, pending)
        if kept:
            print(f"{kept} rows were answered before.", file=sys.stderr)
        limits = options.batch_size, options.max_new_tokens
        searcher = None if search is None else open_search(search, assistant.model.device)
        answer_pending(work, pending, file, *limits, kept, options.store, searcher)
    file.publish()
    predictions = [file.known[clip.id] for clip in chosen]
    bad = [item for item in predictions if item["status"] == "error"]
    report = {
        "rows": len(predictions),
        "kept": kept,
        "changed": changed,
        **{status: sum(item["status"] == status for item in predictions) for status in ("ok", "truncated", "error")},
        "seconds": round(time.monotonic() - started, 1),
        "out": str(options.out),
    }
    counts = ", ".join(f"{report[name]} {name}" for name in ("kept", "ok", "truncated", "error"))
    print(f"Wrote {options.out}: {len(predictions)} rows, {counts}.", file=sys.stderr)
    if options.json:
        print(json.dumps(report))
    if len(bad) <= options.bad_sample_budget * len(predictions):
        return 0
    for item in bad[:20]:
        print(f"row {item['id']}: {item['reason']}", file=sys.stderr)
    share = f"{len(bad)} of {len(predictions)} rows have clips that cannot be used"
    print(f"{share}; --bad-sample-budget allows {options.bad_sample_budget:.0%}.", file=sys.stderr)
    return 2


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="affectgpt predict",
        description=f"{main.__doc__}\n{_NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", type=Path, metavar="ROWS", help="a row file (JSONL)")
    add_model_options(parser, max_new_tokens=512)
    parser.add_argument("--out", required=True, type=Path, metavar="PREDICTIONS.jsonl", help="prediction file to write")
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="feature store to read from; missing features are added"
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[], metavar="TASK", help=f"of {', '.join(TASKS)}")
    shown = "what of the rows' evidence the model is shown, for example top=5 causes=3 (docs/plugins.md)"
    parser.add_argument("--evidence", nargs="+", default=[], metavar="KEY=VALUE", help=shown)
    shows = "print what the model reads of the first row of each task, on standard error"
    parser.add_argument("--show-prompt", action="store_true", help=shows)
    searches = "search for trees, for example n=4 scorer=consistency"
    parser.add_argument("--search", nargs="+", metavar="KEY=VALUE", help=searches)
    budgets = "share of rows whose clips may be unusable (0.02)"
    parser.add_argument("--bad-sample-budget", type=float, default=0.02, metavar="SHARE", help=budgets)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the counts")
    return parser.parse_args(argv)


def _require_sense(options: argparse.Namespace) -> None:
    """Refuse, before any work, options that would fail after it."""
    problems = counts_below_one(options, ("limit", "batch_size", "max_new_tokens", "workers"))
    if options.timeout <= 0:
        problems.append(f"--timeout: expected more than 0 seconds, got {options.timeout:g}.")
    if not 0 <= options.bad_sample_budget <= 1:
        problems.append(f"--bad-sample-budget: expected a share from 0 to 1, got {options.bad_sample_budget:g}.")
    if options.out.is_dir():
        problems.append(f"--out: expected a file, {options.out} is a folder.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        problems.append("affectgpt predict runs in one process: start it without a launcher.")
    if problems:
        raise InputError(problems)
