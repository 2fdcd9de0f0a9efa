"""The command `affectgpt data transcribe`: add subtitles to rows with sound but none, by a Whisper model."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from affectgpt.clip import Clip, media_outside, read_clips, write_clips
from affectgpt.media.decode import MediaError, read_audio
from affectgpt.media.sandbox import map_sandboxed
from affectgpt.media_root import add_media_root, media_folder
from affectgpt.problems import InputError, Problem
from affectgpt.progress import Progress
from data_recipes.transcribe.engines import ENGINES, SAMPLE_RATE, language_code, load_transcriber, pick_engine

_NOTES = """
Each distinct sound is decoded and transcribed once, and its text kept in ROWS2.jsonl.part at once: if
interrupted, run the same command to resume. ROWS2.jsonl appears whole at the end, with all rows in their order.
A row without speech gets no subtitle. A sound that cannot be decoded is named, and its rows stay as they are;
the exit code is 0 even so. Where none can be decoded it is 2, and ROWS2.jsonl is not written.
"""


@dataclass(frozen=True, slots=True)
class Sound:
    """Sound of a row; rows with equal sounds share the transcript."""

    path: Path
    start: float | None
    end: float | None

    def __str__(self) -> str:
        return str(self.path)


Key = tuple[str | float | None, ...]
"""Key of a transcript: path, size and time of the file, span, engine, model, language."""


def decode_sound(sound: Sound) -> np.ndarray:
    """Decode a sound, (samples,) float32 at SAMPLE_RATE; raise MediaError if that fails."""
    return read_audio(sound.path, SAMPLE_RATE, sound.start, sound.end)


def read_journal(path: Path) -> dict[Key, str]:
    """Read the transcripts of an interrupted run; a last line that was cut off is removed from the file.

    Lines that cannot be read are named on standard error; their sounds are transcribed again.
    """
    if not path.exists():
        return {}
    texts: dict[Key, str] = {}
    content = path.read_bytes()
    *lines, torn = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            texts[tuple(entry["key"])] = str(entry["text"])
        except (ValueError, TypeError, KeyError):
            print(f"{path}: line {number} is damaged; its sound is transcribed again.", file=sys.stderr)
    if torn:
        os.truncate(path, len(content) - len(torn))
        print(f"{path}: line {len(lines) + 1} was cut off; its sound is transcribed again.", file=sys.stderr)
    return texts


def main(argv: list[str]) -> int:
    """Transcribe the rows that have sound but no subtitle, with a Whisper model."""
    options = _parse(argv)
    clips = read_clips(options.rows, options.media_root)
    root = media_folder(options.out, options.media_root)
    _require_usable(options, clips, root)
    wanted: dict[Sound, list[Clip]] = {}
    for clip in clips:
        path = clip.audio or (clip.video if clip.has_sound else None)
        if path is not None and (options.overwrite_subtitles or not (clip.subtitle or "").strip()):
            wanted.setdefault(Sound(path, clip.start, clip.end), []).append(clip)
    journal = options.out.with_name(f"{options.out.name}.part")
    texts, bad = _transcribe(wanted, root, journal, options) if wanted else ({}, {})
    heard = {clip.id: texts[sound] for sound in texts for clip in wanted[sound]}
    failed = sum(len(wanted[sound]) for sound in bad)
    report = {
        "rows": len(clips),
        "transcribed": sum(bool(text) for text in heard.values()),
        "kept": len(clips) - len(heard) - failed,
        "silent": sum(not text for text in heard.values()),
        "bad": [
            {"file": str(sound), "reason": reason, "rows": [clip.id for clip in wanted[sound]]}
            for sound, reason in bad.items()
        ],
    }
    if bad and not texts:
        print(f"No sound could be decoded; {options.out} was not written.", file=sys.stderr)
    else:
        filled = [replace(clip, subtitle=heard[clip.id] or None) if clip.id in heard else clip for clip in clips]
        write_clips(options.out, filled, root)
        journal.unlink(missing_ok=True)
        counts = f"{report['transcribed']} transcribed, {report['kept']} kept, {report['silent']} silent, {failed} bad"
        print(f"Wrote {len(clips)} rows to {options.out}: {counts}.", file=sys.stderr)
    if options.json:
        print(json.dumps(report))
    return 2 if bad and not texts else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="affectgpt data transcribe",
        description=f"{main.__doc__}\n{_NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", type=Path, metavar="ROWS", help="a row file (JSONL)")
    models = "Whisper model: a folder (transformers, CTranslate2), a .pt file, a name ('small'), owner/name of the Hub"
    parser.add_argument("--model", required=True, metavar="MODEL", help=models)
    parser.add_argument("--out", required=True, type=Path, metavar="ROWS2.jsonl", help="row file to write")
    engines = "package that runs the model; auto chooses by the files of the model and by what is installed"
    parser.add_argument("--engine", choices=("auto", *ENGINES), default="auto", help=engines)
    parser.add_argument(
        "--language", metavar="CODE", help="language of the speech, such as en; by default the model detects it"
    )
    overwrite = "transcribe rows with a subtitle too; it is removed where there is no speech"
    parser.add_argument("--overwrite-subtitles", action="store_true", help=overwrite)
    add_media_root(parser)
    parser.add_argument("--timeout", type=float, default=20.0, metavar="S", help="seconds to decode one sound (20)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes that decode (2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with the counts and the bad sounds")
    return parser.parse_args(argv)


def _require_usable(options: argparse.Namespace, clips: Sequence[Clip], root: Path) -> None:
    """Refuse, before any work, options and rows that would fail after it."""
    problems = []
    if options.timeout <= 0:
        problems.append(Problem("--timeout", "its value", "more than 0 seconds", f"{options.timeout:g}"))
    if options.workers < 1:
        problems.append(Problem("--workers", "its value", "1 or more", f"{options.workers}"))
    if options.out.is_dir():
        problems.append(Problem(str(options.out), "--out", "a file", "a folder"))
    if outside := media_outside(clips, options.out, root):
        problems.append(outside)
    if problems:
        raise InputError(problems)


def _transcribe(
    wanted: dict[Sound, list[Clip]], root: Path, journal: Path, options: argparse.Namespace
) -> tuple[dict[Sound, str], dict[Sound, str]]:
    """Return the transcript of each sound, and the reason of each failure."""
    engine = pick_engine(options.model) if options.engine == "auto" else options.engine
    language = language_code(options.language) if options.language else None
    keys: dict[Sound, Key] = {}
    for sound in wanted:
        name, stat = sound.path.relative_to(root).as_posix(), sound.path.stat()
        place = (name, stat.st_size, stat.st_mtime_ns, sound.start, sound.end)
        keys[sound] = (*place, engine, options.model, language)
    known = read_journal(journal)
    texts = {sound: known[key] for sound, key in keys.items() if key in known}
    bad: dict[Sound, str] = {}
    pending = [sound for sound in wanted if sound not in texts]
    if not pending:
        return texts, bad
    if texts:
        print(f"{len(texts)} sounds of {len(wanted)} were transcribed before.", file=sys.stderr)
    transcribe = load_transcriber(options.model, engine, language)
    progress = Progress("sounds", len(texts))
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8", buffering=1) as file:  # each line is on its way to the disk at its end
        for sound, outcome in map_sandboxed(decode_sound, pending, options.workers, options.timeout):
            if isinstance(outcome, MediaError):
                bad[sound] = str(outcome)
                first, others = wanted[sound][0], len(wanted[sound]) - 1
                where = f"row {first.line} ({first.id})" + (f" and {others} more" if others else "")
                progress.say(str(Problem(str(options.rows), where, "sound that decodes", bad[sound])))
            else:
                texts[sound] = transcribe(outcome)
                file.write(json.dumps({"key": keys[sound], "text": texts[sound]}, ensure_ascii=False) + "\n")
            progress(len(texts) + len(bad), len(wanted))
    return texts, bad
