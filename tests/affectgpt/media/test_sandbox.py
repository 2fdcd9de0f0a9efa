"""The sandbox: order, bounds, and items that hang, crash or fail. Worker functions come from the standard library."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from operator import truediv
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

import affectgpt
from affectgpt.media import sandbox
from affectgpt.media.bundle import Media
from affectgpt.media.decode import MediaError, read_face
from affectgpt.media.sandbox import map_sandboxed
from tests.support.limits import PATIENCE_S, wait_for


def no_workers() -> bool:
    return not multiprocessing.active_children()


def test_results_come_in_order() -> None:
    delays = [0.3, 0.0, 0.1, 0.0]
    assert [item for item, _ in map_sandboxed(time.sleep, delays, workers=2, timeout_s=PATIENCE_S)] == delays


def test_a_hang_costs_one_item() -> None:
    # Enough for a worker to sleep for nothing, however busy the machine is.
    results = dict(map_sandboxed(time.sleep, [0.0, 600.0, 0.01], workers=1, timeout_s=4))
    assert results[0.0] is None
    assert results[0.01] is None
    assert isinstance(results[600.0], MediaError)
    assert "not decoded within 4 s" in str(results[600.0])


def test_a_hang_names_the_files_of_the_clip_and_the_next_step() -> None:
    media = Media(video=Path("a.mp4"), face=Path("a.npy"))
    ((_, outcome),) = map_sandboxed(hang, [media], workers=1, timeout_s=2)
    assert str(outcome).startswith("a.mp4, a.npy: not decoded within 2 s. Allow more seconds (data.decode_timeout_s")


def hang(media: Media) -> None:
    """Decode nothing, for ever; a worker imports it."""
    time.sleep(600)


def test_a_segmentation_fault_costs_one_item() -> None:
    # string_at reads the memory it is pointed to, and there is none at 0.
    results = list(map_sandboxed(ctypes.string_at, [b"ok", 0, b"fine"], workers=1, timeout_s=PATIENCE_S))
    assert results[0] == (b"ok", b"ok")
    assert isinstance(results[1][1], MediaError)
    assert "died" in str(results[1][1])
    assert results[2] == (b"fine", b"fine")


def test_a_bad_file_costs_one_item(tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", np.ones((3, 2, 2, 3), np.uint8))
    (tmp_path / "bad.npy").write_bytes(b"junk")
    items = [tmp_path / "bad.npy", tmp_path / "good.npy"]
    bad, good = map_sandboxed(partial(read_face, num_frames=2), items, workers=2, timeout_s=PATIENCE_S)
    assert bad[0] == items[0]
    assert isinstance(bad[1], MediaError)
    assert "not a whole .npy" in str(bad[1])
    assert isinstance(good[1], np.ndarray)
    assert good[1].shape == (2, 2, 2, 3)


def test_our_own_mistakes_propagate() -> None:
    results = map_sandboxed(partial(truediv, 1), [1, 0, 2], workers=1, timeout_s=PATIENCE_S)
    assert next(results) == (1, 1.0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    wait_for(no_workers)


def test_items_are_drawn_lazily_and_closing_stops_the_workers() -> None:
    drawn = []

    def endless() -> Iterator[float]:
        for number in count():
            drawn.append(number)
            yield 0.0 if number < 2 else 10 * PATIENCE_S

    results = map_sandboxed(time.sleep, endless(), workers=1, timeout_s=20 * PATIENCE_S)
    next(results)
    next(results)
    assert len(drawn) <= 4
    begin = time.monotonic()
    results.close()
    assert time.monotonic() - begin < PATIENCE_S
    wait_for(no_workers)


def test_no_items() -> None:
    assert list(map_sandboxed(time.sleep, [], workers=2, timeout_s=PATIENCE_S)) == []


SCRIPT = """
import time
from affectgpt.media.sandbox import map_sandboxed

if __name__ == "__main__":
    for _ in map_sandboxed(time.sleep, [0.0, 9000.0, 9000.0], workers=2, timeout_s=9000):
        print("started", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(affectgpt.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    parent.send_signal(number)
    # The workers hold the pipe too: it ends when the last of them does.
    reader = Thread(target=parent.stdout.read, daemon=True)
    reader.start()
    reader.join(timeout=PATIENCE_S)
    stuck = reader.is_alive()
    if stuck:
        os.killpg(parent.pid, signal.SIGKILL)
    parent.wait(timeout=PATIENCE_S)
    assert not stuck


def test_workers_that_still_start_when_it_closes_say_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from affectgpt.media.sandbox import map_sandboxed\n"
        "for _ in range(25):\n"
        "    list(map_sandboxed(abs, [-1], workers=3, timeout_s=600))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(affectgpt.__file__).parents[1])}
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("length", [0, 71, 108, 200])
def test_a_temporary_folder_with_a_path_too_long_for_sockets_does_no_harm(tmp_path: Path, length: int) -> None:
    folder = tmp_path
    while len(str(folder)) < length:
        folder /= "x" * min(100, max(1, length - len(str(folder)) - 1))
    folder.mkdir(parents=True, exist_ok=True)
    script = (
        "import tempfile\n"
        "from affectgpt.media.sandbox import map_sandboxed\n"
        "print(list(map_sandboxed(abs, [-1], workers=1, timeout_s=600)), tempfile.gettempdir())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(affectgpt.__file__).parents[1]), "TMPDIR": str(folder)}
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (run.stdout, run.stderr) == (f"[(-1, 1)] {folder}\n", "")


def test_sockets_have_no_folder_where_no_short_one_can_be_written_to(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 80)))
    monkeypatch.setattr(sandbox, "SHORT_FOLDERS", (str(tmp_path / "absent"),))
    assert sandbox.socket_folder() is None
    with pytest.raises(OSError, match=r"TMPDIR=.*x is too long for sockets\. Set a shorter one"):
        sandbox.WorkerContext()
