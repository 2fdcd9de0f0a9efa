"""The commands `affectgpt eval unibench` and `affectgpt eval unibench-all`: MER-UniBench, offline."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from affectgpt.emotions.extract import Extractor
from affectgpt.emotions.wheels import EmotionWheels
from affectgpt.problems import InputError, Problem, nearest
from eval.answers.extractors import add_extractor_options, read_extractor
from eval.answers.fields import add_field_options
from eval.benchmarks.unibench.files import Reread, load_wheels, read_labels, read_predictions
from eval.benchmarks.unibench.scores import Scored, score
from eval.benchmarks.unibench.sets import BENCHMARKS, MODES, OTHER_NAMES, Benchmark, Mode
from eval.benchmarks.unibench.table import as_csv, as_markdown, build_table, find_runs, title
from eval.metrics.evaluation import describe
from eval.metrics.stats import RESAMPLES


def main(argv: list[str]) -> int:
    """Score predictions of one MER-UniBench set, as published or repaired, with intervals."""
    parser = argparse.ArgumentParser(prog="affectgpt eval unibench", description=main.__doc__)
    parser.add_argument("--dataset", required=True, metavar="SET", help=", ".join(BENCHMARKS))
    parser.add_argument("--labels", required=True, type=Path, metavar="L.csv", help="CSV name,label")
    rows = "JSONL with name, response, optionally openset, sentiment"
    parser.add_argument("--predictions", required=True, type=Path, metavar="P.jsonl", help=rows)
    options = _parse(parser, argv)
    benchmark = BENCHMARKS.get(options.dataset)
    if benchmark is None:
        fix = nearest(options.dataset, BENCHMARKS)
        raise InputError(Problem("--dataset", "its value", "a set of MER-UniBench", options.dataset, fix))
    wheels, extractor = _wheels([benchmark], options), read_extractor(options)
    scored = _score(benchmark, options.labels, {"": options.predictions}, wheels, extractor, options)
    result = scored[""].evaluation
    print(json.dumps(result) if options.json else describe(result))
    return 0


def all_main(argv: list[str]) -> int:
    """Score a folder of MER-UniBench predictions: the whole table as Markdown, CSV, JSON and a figure."""
    parser = argparse.ArgumentParser(prog="affectgpt eval unibench-all", description=all_main.__doc__)
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="folder with SET/predictions_NN.jsonl or SET.jsonl")
    parser.add_argument("--labels", type=Path, metavar="DIR", help="folder with SET/labels.csv (default: RUN_DIR)")
    rule = "best-per-set (as in the paper), one (the last that all sets have) or a checkpoint's name; default: one"
    parser.add_argument("--checkpoint", default="one", metavar="RULE", help=rule)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for unibench.md, .csv, .json, .png (RUN_DIR)")
    options = _parse(parser, argv)
    runs = find_runs(options.run)
    benchmarks = [BENCHMARKS[name] for name in runs]
    wheels, extractor = _wheels(benchmarks, options), read_extractor(options)
    labels = {item.name: (options.labels or options.run) / item.name / "labels.csv" for item in benchmarks}
    scores = {
        item.name: _score(item, labels[item.name], runs[item.name], wheels, extractor, options) for item in benchmarks
    }
    table = build_table(scores, options.checkpoint, options.mode)
    out = options.out or options.run
    markdown = as_markdown(table)
    _write(out, {"unibench.md": markdown, "unibench.csv": as_csv(table), "unibench.json": json.dumps(table, indent=2)})
    from eval.benchmarks.unibench.figure import draw  # matplotlib takes longer to import than the scores take

    draw(table, out / "unibench.png")
    print(f"Wrote {out / 'unibench.md'}, .csv, .json and .png: {title(table)}.", file=sys.stderr)
    print(json.dumps(table) if options.json else markdown, end="\n" if options.json else "")
    return 0


def _parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    wheels = (
        "the benchmark's wheel tables (folder emotion_wheel of github.com/zeroQiaoba/AffectGPT); official mode only"
    )
    parser.add_argument("--wheels", type=Path, metavar="DIR", help=wheels)
    modes = (
        "clean or mended: repaired (default); official or published: equal to the published scorer, defects included"
    )
    parser.add_argument("--mode", choices=(*MODES, *OTHER_NAMES), default="clean", help=modes)
    missing = "leave out clips without prediction (official) or count them as wrong (clean), and report how many"
    parser.add_argument("--allow-missing", action="store_true", help=missing)
    add_extractor_options(parser, "vocabulary", "responses without a list of words")
    add_field_options(parser)
    again = "read all responses, even if the file has their words or sentiments"
    parser.add_argument("--reread", action="store_true", help=again)
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help="bootstrap resamples (1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    options.mode = OTHER_NAMES.get(options.mode, options.mode)
    if options.resamples < 1:
        raise InputError(Problem("--resamples", "its value", "a number above 0", str(options.resamples)))
    return options


def _wheels(benchmarks: list[Benchmark], options: argparse.Namespace) -> EmotionWheels | None:
    if options.mode == "clean":
        return None
    if options.wheels is not None:
        return load_wheels(options.wheels)
    if all(item.task == "sentiment" for item in benchmarks):
        return None
    fix = "Name the folder 'emotion_wheel' of github.com/zeroQiaoba/AffectGPT, or score with --mode clean."
    raise InputError(Problem("--wheels", "its value", "the benchmark's tables in official mode", "nothing", fix))


def _score(
    benchmark: Benchmark,
    labels_path: Path,
    files: Mapping[str, Path],
    wheels: EmotionWheels | None,
    extractor: Extractor | None,
    options: argparse.Namespace,
) -> dict[str, Scored]:
    """Score the checkpoints of a set, whose files are read one after the other."""
    assert extractor is not None  # one is named by default
    mode: Mode = options.mode
    labels = read_labels(labels_path, benchmark, options.label_field, mode)
    reread: Reread = "all" if options.reread else "empty" if mode == "clean" else "none"
    read = {
        run: read_predictions(
            path, benchmark, labels, extractor, reread, options.allow_missing, options.prediction_field, mode
        )
        for run, path in files.items()
    }
    gold = list(labels.gold.values())
    answers = {run: item.answers for run, item in read.items()}
    groups = benchmark.groups(list(labels.gold))
    scores = score(benchmark, gold, answers, mode, wheels, options.resamples, groups=groups)
    for run, item in read.items():
        result = scores[run].evaluation
        result["counts"] |= {"extra": item.extra, "extracted": item.extracted}
        if item.extracted:
            result["notes"].append(f"{item.extracted} answers were read by the extractor {extractor.name!r}")
        if item.foreign:
            count = f"{item.foreign} answers that could not be read are not in Latin script"
            result["notes"].append(f"{count}; the wheel and the extractor {extractor.name!r} read English")
        if mode == "official" and len(gold) != benchmark.size:
            result["notes"].append(f"the label file has {len(gold)} clips, the published set has {benchmark.size}")
    return scores


def _write(folder: Path, files: Mapping[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            Problem(str(folder), "the table", "a folder to write to", str(error), "Name one with --out.")
        ) from None
