"""The commands `affectgpt export` and `affectgpt convert`: a checkpoint, or released weights, as a model."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import get_args

from affectgpt.clip import read_clips
from affectgpt.media_root import add_media_root
from affectgpt.model.loading import Precision
from affectgpt.prompts import PAPER
from affectgpt.weights.convert import FILLED, PARTS, convert_release, read_wording
from affectgpt.weights.export import export

_MOST_ROWS = 8
_EXPORT_NOTES = """
DIR then holds the weights with a LoRA adapter merged into them, the frozen towers (vision/, audio/), the processor and
the generation configuration. Before it gets its name, it is loaded again, and must reproduce the checkpoint's prompts
and, within a tolerance, its logits: float32 1e-4, float16 1e-2, bfloat16 5e-2 of the largest logit.
"""
_UNWORDED = (
    "The prompt uses this project's own wording, not the one that the released weights were trained with, so answers "
    "will differ from the authors'. Give their wording with --wording."
)
_RELEASE_NOTES = f"""
DIR becomes a LoRA adapter that can be loaded, used, trained further and exported like any checkpoint; DIR/{PARTS} names
the language model and the towers, which are not copied. For the published models: --llm Qwen/Qwen2.5-7B-Instruct,
--vision openai/clip-vit-large-patch14, --audio TencentGameMate/chinese-hubert-large.

--wording is a JSON object of text by field: {", ".join(PAPER)}.
Fields that are left out keep their text; {", ".join(FILLED)} contain their own name in braces, as in
{{"audio": "... {{audio}} ..."}}. The wording is in the code that was released with the weights, where the prompt of
its default input mode (multiface_audio_face_text) is built; it is not part of this project.
"""


def export_main(argv: list[str]) -> int:
    """Export a checkpoint as a self-contained model: adapter merged, towers included, result checked."""
    parser = argparse.ArgumentParser(
        prog="affectgpt export",
        description=f"{export_main.__doc__}\n{_EXPORT_NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="RUN/checkpoints/STAGE, an adapter or a whole model")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to create")
    dtypes = "dtype of the weights (auto: that of the checkpoint)"
    parser.add_argument("--dtype", default="auto", choices=get_args(Precision), help=dtypes)
    rows = f"row file; its first {_MOST_ROWS} rows are compared too, media included"
    parser.add_argument("--check-rows", type=Path, metavar="ROWS", help=rows)
    add_media_root(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the comparison")
    options = parser.parse_args(argv)
    clips = read_clips(options.check_rows, options.media_root)[:_MOST_ROWS] if options.check_rows else []
    report = export(options.checkpoint, options.out, options.dtype, clips)
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    report |= {"out": str(options.out), "mb": round(size / 1e6, 1)}
    print(
        f"Wrote {options.out}: {report['mb']} MB in {report['dtype']}. It agrees with the checkpoint on "
        f"{report['prompts']} prompts (logits differ by {report['max_difference']:.1g}, "
        f"allowed {report['tolerance']:g}).",
        file=sys.stderr,
    )
    if options.json:
        print(json.dumps(report))
    return 0


def release_main(argv: list[str]) -> int:
    """Convert a checkpoint that AffectGPT's authors released."""
    parser = argparse.ArgumentParser(
        prog="affectgpt convert affectgpt-release",
        description=f"{release_main.__doc__}\n{_RELEASE_NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="the released torch file")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to create")
    for part, what in (("llm", "language model"), ("vision", "vision tower"), ("audio", "audio tower")):
        parser.add_argument(f"--{part}", required=True, metavar="ID", help=f"Hub id or folder of its {what}")
    parser.add_argument("--wording", type=Path, metavar="FILE.json", help="the wording of the released prompt")
    parser.add_argument("--lora-alpha", type=float, default=32, metavar="A", help="alpha of its LoRA (32)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with the findings")
    options = parser.parse_args(argv)
    wording = read_wording(options.wording) if options.wording else None
    parts = (options.llm, options.vision, options.audio)
    report = convert_release(options.checkpoint, options.out, *parts, wording, options.lora_alpha)
    if report["dropped"]:
        modules = dict.fromkeys(name.partition(".")[0] for name in report["dropped"])
        print(f"Left out as unused: {', '.join(modules)} ({len(report['dropped'])} tensors).", file=sys.stderr)
    if wording is None:
        print(_UNWORDED, file=sys.stderr)
    print(
        f"Wrote {options.out}: pooling {report['pooling']}, fusion {report['fusion']}, LoRA of rank "
        f"{report['lora_rank']} with {report['lora_parameters']:,} parameters, {report['other_parameters']:,} others.",
        file=sys.stderr,
    )
    if options.json:
        print(json.dumps(report | {"out": str(options.out), "wording": wording is not None}))
    return 0
