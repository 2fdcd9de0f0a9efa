"""Times our frame reader beside the libraries that read frames, each alone, and watches memory over many clips.

python scripts/bench_decode.py [--quick] [--frames N] [--threads N]

Every reader takes the same evenly spaced frames of the same files, in alternating rounds, in one process. Ours first
checks that the file is complete; its peers do not. All decode with one thread by default, like workers that share the
cores; --threads gives the peers more. A peer that cannot be loaded, or returns other frames, is left out and reported
on standard error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import psutil
from _bench import alternate, compare, report

from affectgpt.media.decode import open_media, read_audio, read_frames
from affectgpt.media.readers import reader_versions
from affectgpt.media.sampling import even_indices
from data_recipes.synthetic.generate import Settings, generate

Read = Callable[[Path], np.ndarray]

SIZES = {"360p": (640, 360, 20), "720p": (1280, 720, 10)}  # width, height, seconds
FPS = 25


def by_pyav(path: Path, num_frames: int, threads: int) -> np.ndarray:
    """Decode all frames up to the last wanted one, trusting the header's frame count."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        wanted = even_indices(stream.frames, num_frames)
        frames = {}
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                frames[index] = frame.to_ndarray(format="rgb24")
            if index == wanted[-1]:
                break
        return np.stack([frames[index] for index in wanted])


def by_cv2(path: Path, num_frames: int, threads: int) -> np.ndarray:
    """Grab all frames up to the last wanted one, and retrieve only those wanted."""
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    wanted = even_indices(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), num_frames)
    frames = []
    for index in range(wanted[-1] + 1):
        video.grab()
        if index in wanted:
            frames.append(cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def by_decord(path: Path, num_frames: int, threads: int) -> np.ndarray:
    """Read frames with decord's get_batch."""
    video = importlib.import_module("decord").VideoReader(str(path), num_threads=threads)
    return video.get_batch(even_indices(len(video), num_frames)).asnumpy()


def by_torchcodec(path: Path, num_frames: int, threads: int) -> np.ndarray:
    """Read frames with torchcodec's get_frames_at, in its default exact mode."""
    decoders = importlib.import_module("torchcodec.decoders")
    video = decoders.VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=threads)
    return video.get_frames_at(even_indices(len(video), num_frames)).data.numpy()


def film(path: Path, width: int, height: int, seconds: int, gop: int) -> None:
    """Write H.264 with B-frames, x264's default: a moving texture, a disc across it, grain."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (height // 8, width // 4, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.integers(0, 8, (8, height, width, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"x264-params": f"keyint={gop}:bframes=3"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(seconds * FPS):
            left = int(0.4 * width * (1 + np.sin(k / 40)))
            pixels = cv2.add(texture[:, left : left + width], grain[k % 8])
            centre = (int(width * (0.5 + 0.3 * np.cos(k / 17))), int(height * (0.5 + 0.3 * np.sin(k / 11))))
            cv2.circle(pixels, centre, height // 6, (3 * k % 255, 80, 200), -1)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_files(folder: Path, clips: int) -> dict[str, list[Path]]:
    """Make the files; returns name -> files that are read together."""
    settings = Settings(clips=clips, rl_clips=1, dev_clips=1, test_clips=1, text_rows=1)
    generate(settings, folder / "synthetic")
    files = {"synthetic": sorted((folder / "synthetic" / "clips" / "train").glob("*.mp4"))}
    for gop in (250, 12):
        for name, (width, height, seconds) in SIZES.items():
            path = folder / f"{name}_gop{gop}.mp4"
            film(path, width, height, seconds, gop)
            files[path.stem] = [path]
    return files


def time_readers(files: dict[str, list[Path]], num_frames: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Time all files of each name in milliseconds, ours and each peer, and the sums of ours and the best peer."""
    every = {"pyav": by_pyav, "cv2": by_cv2, "decord": by_decord, "torchcodec": by_torchcodec}
    loaded = {"cv2", *reader_versions()}
    peers: dict[str, Read] = {}
    for name, read in every.items():
        if name in loaded:
            peers[name] = partial(read, num_frames=num_frames, threads=threads)
        else:
            print(f"{name} is left out: it cannot be loaded here", file=sys.stderr)
    ours: Read = partial(read_frames, num_frames=num_frames)
    results, sums = [], dict.fromkeys(["ours", *peers], 0.0)
    for name, paths in files.items():
        for peer in list(peers):
            if not all(np.array_equal(peers[peer](path), ours(path)) for path in paths):
                print(f"{peer} is left out: it returns other frames of {name}", file=sys.stderr)
                del peers[peer], sums[peer]
        medians = alternate(
            partial(read_all, ours, paths),
            {peer: partial(read_all, read, paths) for peer, read in peers.items()},
            rounds,
        )
        for peer in peers:
            results.append(compare(f"frames_{name}_vs_{peer}", "ms", 1e3 * medians["ours"], 1e3 * medians[peer]))
        sums = {reader: total + medians[reader] for reader, total in sums.items()}
    best = min(sums[peer] for peer in peers)
    return [*results, compare("frames_all_vs_best_single", "ms", 1e3 * sums["ours"], 1e3 * best)]


def read_all(read: Read, paths: list[Path]) -> None:
    """Read each file."""
    for path in paths:
        read(path)


def measure_drift(paths: list[Path], clips: int) -> dict[str, Any]:
    """Measure in MB how much the process grows from the 100th clip to the last, decoding frames and sound of each."""
    process = psutil.Process()
    before = 0
    for number in range(clips):
        with open_media(paths[number % len(paths)]) as media:
            read_frames(media, 8)
            read_audio(media, 16_000)
        if number == 99:
            before = process.memory_info().rss
    return compare(f"memory_drift_{clips}_clips", "MB", (process.memory_info().rss - before) / 2**20)


def main() -> None:
    """Make the files, run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run fewer rounds and clips: within a minute")
    parser.add_argument("--frames", type=int, default=16, help="number of frames read from each file (16)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the peers; ours always has one (1)")
    options = parser.parse_args()
    rounds, clips = (3, 500) if options.quick else (9, 2000)
    cv2.setNumThreads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder), clips=8 if options.quick else 24)
        drift = measure_drift(files["synthetic"], clips)
        results = time_readers(files, options.frames, options.threads, rounds)
    report([*results, drift], rounds, ["av", "decord2", "torchcodec", "torch", "opencv-python-headless", "numpy"])


if __name__ == "__main__":
    # torchcodec would use torch's own threads; they are set before it loads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
