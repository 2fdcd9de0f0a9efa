"""Trial of the video readers on a clip of ten frames, in the sandbox in which a run decodes."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import numpy as np

from affectgpt.media.decode import MediaError, read_video
from affectgpt.media.readers import FrameReader, fetch, require_reader
from affectgpt.media.sampling import Uniform
from affectgpt.media.sandbox import map_sandboxed
from data_recipes.synthetic.generate import FPS, SAMPLE_RATE, write_video
from train.doctor.findings import INSTALL, Finding

MODULES = {"pyav": "av", "decord": "decord", "torchcodec": "torchcodec"}

_FRAMES = 10
_LIMIT_S = 60.0


def try_readers(asked: FrameReader) -> Finding:
    """Check that the installed readers fetch the frames of a clip that is written for this purpose.

    Args:
        asked: reader that the run uses.
    """
    installed = {name: importlib.util.find_spec(module) is not None for name, module in MODULES.items()}
    with tempfile.TemporaryDirectory(prefix="doctor-") as folder:
        clip = Path(folder, "clip.mp4")
        items = [(name, clip) for name, is_installed in installed.items() if is_installed]
        outcomes = {name: result for (name, _), result in map_sandboxed(fetch_trial, items, 1, _LIMIT_S)}
    works = [name for name, result in outcomes.items() if not isinstance(result, MediaError | str)]
    broken = {name: str(result) for name, result in outcomes.items() if name not in works}
    absent = [name for name, is_installed in installed.items() if not is_installed]
    parts = [f"{', '.join(works) or 'none'} decode{'s' * (len(works) < 2)}"]
    parts += [f"{name} does not: {reason}" for name, reason in broken.items()]
    parts += [f"not installed: {', '.join(absent)}"] if absent else []
    summary = "; ".join(parts)
    if "pyav" not in works:
        return Finding("problem", summary, f"pip install --force-reinstall --no-deps av, or all: {INSTALL}")
    if asked not in ("auto", *works):
        return Finding("problem", f"the recipe asks for {asked}; {summary}", "Set data.reader=auto, or install it.")
    if broken:
        return Finding("warning", summary, f"It is not needed. To remove it: pip uninstall {' '.join(broken)}")
    return Finding("ok", summary)


def fetch_trial(item: tuple[str, Path]) -> str | None:
    """Fetch, in a worker, the frames of a clip, which PyAV writes if it does not exist.

    Args:
        item: reader and clip.

    Returns:
        Flaw of the frames, None if there is none.

    Raises:
        MediaError: PyAV cannot read the clip.
    """
    reader, path = item
    if not path.exists():
        shades = np.linspace(0, 240, _FRAMES).astype(np.uint8)
        frames = np.broadcast_to(shades[:, None, None, None], (_FRAMES, 64, 64, 3))
        write_video(path, np.ascontiguousarray(frames), np.zeros(_FRAMES * SAMPLE_RATE // FPS, np.float32))
    if reader == "pyav":
        frames, _ = read_video(path, Uniform(_FRAMES))
    else:
        try:
            require_reader(reader)  # type: ignore[arg-type]
        except ValueError as error:
            return str(error)
        fetched = fetch(reader, path, list(range(_FRAMES)), np.arange(_FRAMES) / FPS)  # type: ignore[arg-type]
        if fetched is None:
            return "it cannot read a clip that PyAV has written"
        frames = fetched
    shown = frames.reshape(_FRAMES, -1).mean(axis=1)
    return None if np.all(np.diff(shown) > 0) else "frames come in the wrong order or with the wrong content"
