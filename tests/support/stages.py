"""What a stage is given of a run, for tests that train a stage without one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from train.config.model import ModelConfig
from train.monitor import Console
from train.run_folder import RunFolder
from train.stages.context import StageContext


def make_context(folder: Path | str, reader: Any = None, **changes: Any) -> StageContext:
    """Return a context whose run lies in `folder`, with no rows and a silent console unless `changes` say otherwise."""
    fixed = {"model": ModelConfig(path="x"), "rows": {}, "console": Console({}, quiet=True, out=io.StringIO())}
    return StageContext(**({"folder": RunFolder(Path(folder)), "reader": reader} | fixed | changes))
