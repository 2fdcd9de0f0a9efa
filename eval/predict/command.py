"""The command `affectgpt predict`: a model's answers to a row file, one JSON line each."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectgpt.clip import Clip, read_clips, require_conversations
from affectgpt.empathy.options import read_options
from affectgpt.evidence.prompting import Cues, require_prompts
from affectgpt.features.sources import build_features, media_of
from affectgpt.features.store import FeatureStore
from affectgpt.inference.assistant import INPUTS, Assistant
from affectgpt.inputs.reader import ClipReader, Reader
from affectgpt.inputs.vlm_reader import HubReader
from affectgpt.media.bundle import Media, decode
from affectgpt.media.decode import MediaError
from affectgpt.media.sandbox import Sandbox
from affectgpt.model.loading import model_folder
from affectgpt.model.processing import AffectGPTProcessor
from affectgpt.problems import InputError, Problem, nearest, shorten
from affectgpt.progress import Progress
from affectgpt.settings import counts_below_one, expectation
from affectgpt.tasks import TASKS
from eval.predict.answers import Prediction, answer_rows
from eval.predict.options import add_model_options
from eval.predict.prediction_file import PredictionFile

if TYPE_CHECKING:
    from videmo.search import SearchSettings, TreeSearch

_NOTES = """
Answers are kept in PREDICTIONS.jsonl.part as they come: after a cut, the same command goes on where it was. At the end
PREDICTIONS.jsonl holds a line for every row, in the order of the rows; lines that it held before are kept, but for
those of clips that could not be used, which are tried again. A clip that cannot be used has status 'error' and a
reason; the exit code is 2 only if more rows than the budget allows have it.
Without --store, features are computed as they are wanted and not kept. It runs in one process: under a launcher, give
each process a row file and an output of its own.
--search n=4 answers rows that ask for a tree level by level and keeps the best of 4 candidates of each level. Further
settings: scorer=likelihood (or consistency, or a reward model's folder or Hub id), node_bonus=0 (what each node adds to
a score), temperature=0.7, top_p=1, seed=0.
"""
_ROWS_AT_ONCE = 8
"""Batches whose rows are read together and sorted by length; of Hub models, whose media are large, one."""


def main(argv: list[str]) -> int:
    """Answer the rows of a file with a model."""
    options = _parse(argv)
    _require_sense(options)
    options.search = _read_search(options.search)
    options.cues = read_options(options.evidence, "--evidence", (Cues,))[0]
    clips = read_clips(options.rows, options.media_root)
    require_prompts(clips, options.cues)
    chosen = [clip for clip in clips if not options.tasks or clip.task in options.tasks][: options.limit]
    if not chosen:
        raise InputError(Problem(str(options.rows), "its rows", f"some of {', '.join(options.tasks)}", "none"))
    require_conversations(chosen)
    if options.search is not None and not any(clip.task == "tree" for clip in chosen):
        raise InputError(Problem(str(options.rows), "its rows", "some of task tree, for --search", "none"))
    file = PredictionFile(options.out, clips, _settings(options))
    pending = [clip for clip in chosen if clip.id not in file.known]
    kept = len(chosen) - len(pending)
    started = time.monotonic()
    if pending:
        _answer(pending, file, kept, options)
    file.publish()
    said = [file.known[clip.id] for clip in chosen]
    bad = [item for item in said if item["status"] == "error"]
    report = {
        "rows": len(said),
        "kept": kept,
        **{status: sum(item["status"] == status for item in said) for status in ("ok", "truncated", "error")},
        "seconds": round(time.monotonic() - started, 1),
        "out": str(options.out),
    }
    counts = ", ".join(f"{report[name]} {name}" for name in ("kept", "ok", "truncated", "error"))
    print(f"Wrote {options.out}: {len(said)} rows, {counts}.", file=sys.stderr)
    if options.json:
        print(json.dumps(report))
    if len(bad) <= options.bad_sample_budget * len(said):
        return 0
    for item in bad[:20]:
        print(f"row {item['id']}: {item['reason']}", file=sys.stderr)
    share = f"{len(bad)} of {len(said)} rows have clips that cannot be used"
    print(f"{share}; --bad-sample-budget allows {options.bad_sample_budget:.0%}.", file=sys.stderr)
    return 2


@dataclass
class ModelAtWork:
    """A model that is loaded, and how its rows are read."""

    assistant: Assistant
    timeout_s: float
    workers: int
    cues: Cues = Cues()  # noqa: RUF009 (frozen)

    @property
    def takes_features(self) -> bool:
        """Whether it is an AffectGPT model."""
        return isinstance(self.assistant.processor, AffectGPTProcessor)

    @cached_property
    def sandbox(self) -> Sandbox:
        """Where media are decoded."""
        return Sandbox(self.workers, self.timeout_s)

    def reader(self, source: Any) -> Reader:
        """Reads rows whose media, or their features, come from `source`."""
        kind: Any = ClipReader if self.takes_features else HubReader
        return kind(self.assistant.processor, source, INPUTS, cues=self.cues)

    def look(self, clips: Sequence[Clip]) -> tuple[Reader, dict[str, str]]:
        """Decode and encode the media of rows; what reads them, and by id of a row why its clip cannot be used."""
        media = dict.fromkeys(item for clip in clips if (item := media_of(clip)) is not None)
        encoded: dict[Media | None, Any] = {None: {}}
        reasons: dict[Media | None, str] = {}
        for item, outcome in self.sandbox.map(partial(decode, wanted=self.assistant.wanted), media):
            if isinstance(outcome, MediaError):
                reasons[item] = str(outcome)
            else:
                encoded[item] = self.assistant.encoder.encode(outcome) if self.takes_features else outcome
        bad = {clip.id: reasons[item] for clip in clips if (item := media_of(clip)) in reasons}
        return self.reader(_InMemory(encoded)), bad


@dataclass(frozen=True, slots=True)
class _InMemory:
    """Features, or decoded media, of a few rows."""

    encoded: dict[Media | None, Any]

    def of(self, clips: Sequence[Clip]) -> list[Any]:
        return [self.encoded[media_of(clip)] for clip in clips]


def _answer(pending: Sequence[Clip], file: PredictionFile, kept: int, options: argparse.Namespace) -> None:
    """Answer what is not known yet."""
    assistant = Assistant.from_pretrained(options.model, options.device, options.dtype)
    work = ModelAtWork(assistant, options.timeout, options.workers, options.cues)
    if kept:
        print(f"{kept} rows were answered before.", file=sys.stderr)
    search = _tree_search(options.search, assistant.model.device)
    stored = _store_reader(work, pending, options) if options.store is not None else None
    progress, done = Progress("rows", kept), kept
    size = options.batch_size * (_ROWS_AT_ONCE if work.takes_features else 1)
    with closing(work.sandbox):
        for part in _parts(pending, size):
            reader, bad = work.look(part) if stored is None else stored
            file.add([_error(clip, bad[clip.id]) for clip in part if clip.id in bad])
            usable = [clip for clip in part if clip.id not in bad]
            if usable:
                limits = options.batch_size, options.max_new_tokens
                file.add(answer_rows(assistant.model, reader, usable, *limits, search=search))
            progress(done := done + len(part), kept + len(pending))


def _store_reader(
    work: ModelAtWork, clips: Sequence[Clip], options: argparse.Namespace
) -> tuple[Reader, dict[str, str]]:
    """Reads rows from the store, which is filled first; and by id of a row why its clip cannot be used."""
    if not work.takes_features:
        raise InputError("--store: this model has no features that could be kept. Leave the option out.")
    model, processor = work.assistant.model, work.assistant.processor
    config: Any = model.config
    source, bad = build_features(
        clips,
        config,
        processor,
        FeatureStore(options.store),
        lambda: work.assistant.encoder,
        work.timeout_s,
        work.workers,
        Progress("clips"),
    )
    return work.reader(source), {row: sample.reason for sample in bad for row in sample.rows}


def _tree_search(settings: SearchSettings | None, device: Any) -> TreeSearch | None:
    if settings is None:
        return None
    import torch

    from videmo.scorers import load_scorer
    from videmo.search import TreeSearch

    torch.manual_seed(settings.seed)
    return TreeSearch(settings, load_scorer(settings.scorer, device))


def _read_search(given: Sequence[str] | None) -> SearchSettings | None:
    """The settings of --search.

    Raises:
        InputError: with everything that is wrong with them.
    """
    if given is None:
        return None
    from pydantic import ValidationError

    from videmo.search import SearchSettings

    pairs = [item.partition("=") for item in given]
    try:
        return SearchSettings(**{key: value for key, _, value in pairs})  # type: ignore[arg-type]
    except ValidationError as errors:
        raise InputError([_search_problem(error, SearchSettings.model_fields) for error in errors.errors()]) from None


def _search_problem(error: Any, known: Iterable[str]) -> str:
    name = error["loc"][0]
    if error["type"] == "extra_forbidden":
        return f"--search {name}: unknown setting. {nearest(name, known)}"
    expected, _, hint = expectation(error).partition(". ")
    return f"--search {name}: expected {expected}, got {shorten(error['input'])}. {hint}".removesuffix(". ")


def _parts(clips: Sequence[Clip], size: int) -> Iterator[Sequence[Clip]]:
    for start in range(0, len(clips), size):
        yield clips[start : start + size]


def _error(clip: Clip, reason: str) -> Prediction:
    return Prediction(id=clip.id, task=clip.task, response="", status="error", answer=clip.answer, reason=reason)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """What answers depend on besides the rows; a model by the names, sizes and times of its weight files."""
    places = {Path(place) for place in (options.model, model_folder(options.model))}
    stamps = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns)
        for place in sorted(places)
        for file in sorted(place.glob("*.safetensors"))
    ]
    weights = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:16]
    model = os.path.abspath(options.model) if os.path.isdir(options.model) else options.model
    settings = {"model": model, "weights": weights, "max_new_tokens": options.max_new_tokens}
    settings |= {"evidence": asdict(options.cues)} if options.evidence else {}
    return settings if options.search is None else {**settings, "search": options.search.model_dump()}


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="affectgpt predict",
        description=f"{main.__doc__}\n{_NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", type=Path, metavar="ROWS", help="a row file (JSONL)")
    add_model_options(parser, max_new_tokens=512)
    parser.add_argument("--out", required=True, type=Path, metavar="PREDICTIONS.jsonl", help="the file to write")
    parser.add_argument("--store", type=Path, metavar="DIR", help="feature store to read from; what it lacks is added")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[], metavar="TASK", help=f"of {', '.join(TASKS)}")
    shown = "what of the rows' evidence the model is shown, for example top=5 causes=3 (docs/plugins.md)"
    parser.add_argument("--evidence", nargs="+", default=[], metavar="KEY=VALUE", help=shown)
    searches = "search for trees, for example n=4 scorer=consistency"
    parser.add_argument("--search", nargs="+", metavar="KEY=VALUE", help=searches)
    budgets = "share of rows whose clips may be unusable (0.02)"
    parser.add_argument("--bad-sample-budget", type=float, default=0.02, metavar="SHARE", help=budgets)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the counts")
    return parser.parse_args(argv)


def _require_sense(options: argparse.Namespace) -> None:
    """Refuse, before any work, what would fail after it."""
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
