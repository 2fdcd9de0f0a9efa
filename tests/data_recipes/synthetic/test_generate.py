"""The synthetic data set on disk: the same every time, whole or not there, and what was meant can be measured."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from affectgpt.clip import Clip, read_clips, scan_clips
from affectgpt.problems import InputError
from affectgpt.tasks import LEVELS
from data_recipes.synthetic import command, face
from data_recipes.synthetic import generate as module
from data_recipes.synthetic.command import main
from data_recipes.synthetic.dialogues import dialogue_rows
from data_recipes.synthetic.face import CROP_SIZE, FPS, NUM_CROPS, animate, draw_frame, pose_of
from data_recipes.synthetic.generate import Settings, generate, plan_shots
from data_recipes.synthetic.lines import lines_for
from data_recipes.synthetic.rows import caption, rows_of_clip, text_rows
from data_recipes.synthetic.voice import SAMPLE_RATE, loudness_per_frame, speak
from data_recipes.synthetic.world import ASPECTS, FACE_ASPECTS, LOOK_ASPECTS, Scene, annotate, draw_actor
from tests.support.limits import PATIENCE_S
from videmo.tree import parse_tree

ROOT = Path(__file__).parents[3]
PARTS = ("train", "rl", "dev", "test", "text")
TINY = Settings(
    clips=9,
    rl_clips=3,
    dev_clips=1,
    test_clips=1,
    text_rows=5,
    train_actors=2,
    dev_actors=1,
    test_actors=1,
    label_noise=1.0,
    seed=5,
)
REST = {aspect: values[0] for aspect, values in ASPECTS.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(TINY, tmp_path_factory.mktemp("one") / "data", workers=1)


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(TINY, tmp_path_factory.mktemp("two") / "elsewhere", workers=2)


def files_of(folder: Path, suffix: str = "") -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob(f"*{suffix}") if p.is_file())


def pixels(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def samples(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def test_same_settings_give_the_same_files_whatever_the_workers(folder: Path, again: Path) -> None:
    assert files_of(folder) == files_of(again)
    for name in [*files_of(folder, ".npy"), *files_of(folder, ".jsonl"), "manifest.json"]:
        assert (folder / name).read_bytes() == (again / name).read_bytes(), name


def test_same_settings_give_the_same_pixels_and_samples(folder: Path, again: Path) -> None:
    names = files_of(folder, ".mp4")
    assert len(names) == 14
    for name in names:
        assert np.array_equal(pixels(folder / name), pixels(again / name)), name
        assert np.array_equal(samples(folder / name), samples(again / name)), name


ENCODE = """
import sys, numpy as np
from pathlib import Path
from data_recipes.synthetic.generate import write_video
rng = np.random.default_rng(0)
still = rng.integers(0, 256, (10, 10, 3), np.uint8).repeat(16, 0).repeat(16, 1)
write_video(Path(sys.argv[1]), np.stack([np.roll(still, step, 1) for step in range(50)]), np.zeros(32_000, np.float32))
"""


def test_no_pixel_depends_on_what_memory_held_before(tmp_path: Path) -> None:
    # glibc fills fresh memory with the complement of MALLOC_PERTURB_; x264's macroblock tree reads some of it.
    written = []
    for fill in ("1", "85", "170"):
        path, env = tmp_path / f"{fill}.mp4", {**os.environ, "MALLOC_PERTURB_": fill, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", ENCODE, str(path)], env=env, check=True)
        written.append(path.read_bytes())
    assert written[0] == written[1] == written[2]


def test_another_seed_gives_other_clips() -> None:
    first, second = (plan_shots(replace(TINY, seed=seed)) for seed in (5, 6))
    assert all(a.scene.actor != b.scene.actor for a, b in zip(first, second, strict=True))


def test_no_two_clips_look_alike(folder: Path) -> None:
    crops = [np.load(folder / name).tobytes() for name in files_of(folder, ".npy")]
    assert len(set(crops)) == len(crops)


def test_clips_are_real_video_files(folder: Path) -> None:
    for name in files_of(folder, ".mp4"):
        with av.open(str(folder / name)) as container:
            picture, sound = container.streams.video[0], container.streams.audio[0]
            assert picture.codec_context.name == "h264"
            assert picture.average_rate == 25
            assert min(picture.width, picture.height) >= 160
            assert sound.codec_context.name == "aac"
            assert sound.codec_context.sample_rate == SAMPLE_RATE
            assert container.duration is not None
            assert 2 <= container.duration / av.time_base <= 4
        count = len(pixels(folder / name))
        assert 2 <= count / 25 <= 4
        assert len(samples(folder / name)) / SAMPLE_RATE == pytest.approx(count / 25, abs=0.15)


def test_what_is_decoded_is_what_was_drawn(folder: Path) -> None:
    shot = plan_shots(TINY)[0]
    rng = module.stream(TINY.seed, shot.part, shot.name, "film")
    wave = speak(shot.scene, rng)
    count = int(shot.scene.seconds * FPS)
    frames, crops = animate(shot.scene, loudness_per_frame(wave, count), rng)
    decoded = pixels(folder / f"{shot.stem}.mp4")
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(float) - frames).mean() < 6
    assert np.array_equal(np.load(folder / f"{shot.stem}.npy"), crops)
    heard = samples(folder / f"{shot.stem}.mp4")
    lags = [np.corrcoef(wave[:20_000], heard[lag : lag + 20_000])[0, 1] for lag in (0, 1024)]
    assert max(lags) > 0.8


def test_face_crops_are_as_documented(folder: Path) -> None:
    for name in files_of(folder, ".npy"):
        crops = np.load(folder / name, allow_pickle=False)
        assert (crops.shape, crops.dtype) == ((NUM_CROPS, CROP_SIZE, CROP_SIZE, 3), np.uint8)
        assert crops.std() > 10


def test_manifest_tells_settings_and_counts(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert Settings(**manifest["settings"]) == TINY
    lines = {part: len((folder / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()) for part in PARTS}
    assert manifest["rows"] == lines
    assert lines["text"] == TINY.text_rows


@pytest.mark.parametrize("part", PARTS)
def test_rows_are_read_without_problems(folder: Path, part: str) -> None:
    clips = read_clips(folder / f"{part}.jsonl")
    assert clips
    if part == "text":
        assert not any(clip.has_media for clip in clips)
        return
    by_clip: dict[str, list[Clip]] = {}
    for clip in clips:
        assert clip.video is not None
        assert clip.video.is_relative_to(folder / "clips" / part)
        assert clip.face is not None
        assert clip.face.with_suffix("") == clip.video.with_suffix("")
        assert clip.subtitle
        assert clip.group
        by_clip.setdefault(clip.extra["clip"], []).append(clip)
    for rows in by_clip.values():
        assert {row.level for row in rows} == set(LEVELS)
        assert {"attribute_closed", "attribute_open", "expression_single", "caption", "tree"} <= {r.task for r in rows}
        assert len({(row.group, row.subtitle, row.extra["emotion"], row.extra["conflict"]) for row in rows}) == 1


@pytest.mark.parametrize("part", PARTS[:-1])
def test_trees_parse_validly_and_agree_with_the_other_rows(folder: Path, part: str) -> None:
    clips = {clip.id: clip for clip in read_clips(folder / f"{part}.jsonl")}
    for clip in clips.values():
        if clip.task == "tree":
            tree, name = parse_tree(clip.answer), clip.extra["clip"]
            assert tree.is_valid
            assert clip.target == clip.answer
            assert tree.emotions[0].label == clips[f"{name}/emotion"].answer
            assert [node.label for node in tree.expressions] == clips[f"{name}/expressions"].answer
            for aspect, value in tree.attribute_values().items():
                assert clips[f"{name}/attribute/{aspect}"].answer == value


def test_only_training_labels_are_noisy(folder: Path) -> None:
    for part in PARTS[:-1]:
        rows = [clip for clip in read_clips(folder / f"{part}.jsonl") if clip.task == "emotion_label"]
        assert rows
        for row in rows:
            assert (row.answer == row.extra["emotion"]) is (part != "train")


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_rl_dev_and_test_tell_the_truth_whatever_the_noise(noise: float) -> None:
    for shot in plan_shots(Settings(clips=40, label_noise=noise)):
        assert shot.part == "train" or shot.written == annotate(shot.scene)


def test_rows_of_many_noisy_clips_obey_the_row_format(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.npy").touch()
    shots = plan_shots(Settings(clips=200, label_noise=0.4, rl_clips=0, dev_clips=12, test_clips=12))
    rows = [
        row
        for shot in shots
        for row in rows_of_clip(shot.name, shot.scene, shot.written, tmp_path / "a.mp4", tmp_path / "a.npy")
    ]
    module.write_clips(tmp_path / "rows.jsonl", rows)
    clips, problems = scan_clips(tmp_path / "rows.jsonl")
    assert problems == []
    assert len(clips) == len(rows)
    assert all(parse_tree(clip.answer).is_valid for clip in clips if clip.task == "tree")
    asked = {clip.id.rpartition("/")[2] for clip in clips if clip.task == "attribute_closed"}
    assert asked == {*ASPECTS, *LOOK_ASPECTS}


def test_rows_are_grouped_by_actor_and_no_group_is_in_two_splits() -> None:
    groups: dict[str, set[str | None]] = {"train": set(), "dev": set(), "test": set()}
    for shot in plan_shots(replace(TINY, clips=6, dev_clips=4, test_clips=4, test_actors=2)):
        rows = list(rows_of_clip(shot.name, shot.scene, shot.written, Path("a.mp4"), Path("a.npy")))
        assert {row.group for row in rows} == {shot.scene.actor.name}
        groups["train" if shot.part == "rl" else shot.part].update(row.group for row in rows)
    assert {part: len(names) for part, names in groups.items()} == {"train": 2, "dev": 1, "test": 2}
    assert len(set().union(*groups.values())) == 5


def test_emotions_and_actors_are_spread_evenly_and_lines_are_of_the_split() -> None:
    shots = plan_shots(Settings(clips=48, train_actors=6, test_clips=24, test_actors=4))
    for part, actors in (("train", 6), ("test", 4)):
        scenes = [shot.scene for shot in shots if shot.part == part]
        assert set(Counter(scene.emotion for scene in scenes).values()) == {len(scenes) // 12}
        assert set(Counter(scene.actor.name for scene in scenes).values()) == {len(scenes) // actors}
        lines = lines_for(part)
        assert all(scene.line in lines[scene.attributes["words"]] for scene in scenes)


def test_a_caption_says_whether_face_and_voice_agree() -> None:
    for shot in plan_shots(replace(TINY, clips=12, label_noise=0.0)):
        said = caption(shot.written)
        assert (", but a " in said) == shot.scene.is_conflict
        assert (", and a " in said) != shot.scene.is_conflict


def test_text_rows_are_of_training_lines_and_depend_on_the_seed() -> None:
    first = list(text_rows(0, 50))
    assert first == list(text_rows(0, 50))
    assert first != list(text_rows(1, 50))
    train = {line for lines in module.lines_for("train").values() for line in lines}
    assert {row.subtitle for row in first} <= train


def test_a_second_call_finds_the_data_set_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "plan_shots", lambda settings: pytest.fail("drawn again"))
    before = {name: (folder / name).stat().st_mtime_ns for name in files_of(folder)}
    assert generate(TINY, folder) == folder
    assert {name: (folder / name).stat().st_mtime_ns for name in files_of(folder)} == before


def test_other_settings_are_refused(folder: Path) -> None:
    before = files_of(folder)
    with pytest.raises(InputError, match="other settings"):
        generate(replace(TINY, seed=6), folder)
    assert files_of(folder) == before


@pytest.mark.parametrize("content", ["mine", "", "[1]", '{"name": "web app"}'])
def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match="not empty"):
        generate(TINY, tmp_path)
    assert files_of(tmp_path) == ["manifest.json"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    with pytest.raises(InputError, match="Choose another --out"):
        generate(TINY, tmp_path / "data")


def test_the_working_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is the current folder"):
        generate(TINY, Path("."))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    few = replace(TINY, clips=1, rl_clips=0, dev_clips=0, test_clips=0, dialogues=2, test_dialogues=3)
    seen: list[tuple[int, int]] = []
    generate(few, tmp_path, workers=1, progress=lambda done, count: seen.append((done, count)))
    assert seen == [(1, 1)]
    assert (tmp_path / "manifest.json").is_file()
    for part, count in (("train", 2), ("test", 3)):
        rows = [row for row in read_clips(tmp_path / f"{part}.jsonl") if row.task == "dialogue"]
        assert rows == [
            replace(row, line=rows[0].line + place) for place, row in enumerate(dialogue_rows(5, part, count))
        ]


@pytest.fixture
def film_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """`film_by(code)`: `code` films a batch, from a module that workers import, for they are no forks of the test."""

    def replace_by(code: str) -> None:
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "stand_in.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path / "code")
        monkeypatch.setattr(module, "_film_many", importlib.import_module("stand_in").film_many)

    yield replace_by
    sys.modules.pop("stand_in", None)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_generation_leaves_nothing_and_stops_soon(
    tmp_path: Path, film_by: Callable[[str], None], stop: type[BaseException]
) -> None:
    film_by(
        "import time\n"
        "def film_many(shots, seed, folder):\n"
        "    for shot in shots:\n"
        "        with (folder.parent / 'log').open('a') as file:\n"
        "            file.write(f'{shot.name}\\n')\n"
        "        time.sleep(0.01)\n"
        "        (folder / 'half').touch()\n"
        "    return len(shots)\n"
    )
    out, log = tmp_path / "data" / "out", tmp_path / "data" / "log"
    out.mkdir(parents=True)

    def progress(done: int, count: int) -> None:
        assert list(out.iterdir()) == []
        raise stop

    with pytest.raises(stop):
        generate(replace(TINY, clips=4000), out, workers=1, progress=progress)
    assert list(out.iterdir()) == []
    assert sorted(path.name for path in out.parent.iterdir()) == ["log", "out"]
    assert len(log.read_text().splitlines()) < 2000  # what was not begun is not begun any more


def test_a_program_that_used_opencv_before_does_not_hang(tmp_path: Path) -> None:
    # A fork would inherit OpenCV's pool without its threads, and wait for them for ever.
    script = (
        "import sys, cv2, numpy\n"
        "from pathlib import Path\n"
        "from data_recipes.synthetic.generate import Settings, generate\n"
        "cv2.setNumThreads(4)\n"
        "cv2.GaussianBlur(numpy.zeros((2000, 2000, 3), numpy.uint8), (31, 31), 5)\n"
        "generate(Settings(clips=1, rl_clips=1, dev_clips=1, test_clips=1), Path(sys.argv[1]), workers=1)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], cwd=ROOT, check=True, timeout=PATIENCE_S)
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_a_failing_clip_leaves_nothing(tmp_path: Path, film_by: Callable[[str], None]) -> None:
    film_by("def film_many(shots, seed, folder):\n    raise OSError('disk full')\n")
    with pytest.raises(OSError, match="disk full"):
        generate(TINY, tmp_path / "new" / "out", workers=1)
    assert list((tmp_path / "new").iterdir()) == []


def test_all_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        Settings(clips=0, dev_clips=-1, test_actors=0, label_noise=1.5)
    assert len(caught.value.problems) == 4
    with pytest.raises(InputError, match="label_noise"):
        Settings(label_noise=float("nan"))
    with pytest.raises(InputError, match="workers must be 1 or more"):
        generate(TINY, Path("nowhere"), workers=-1)


ARGUMENTS = [f"--{name.replace('_', '-')}={value}" for name, value in module.asdict(TINY).items()]


def test_the_command_prints_one_json_object(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([f"--out={folder}", "--json", *ARGUMENTS]) == 0
    printed = capfd.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed) == {
        "out": str(folder),
        "rows": json.loads((folder / "manifest.json").read_text())["rows"],
    }


def test_the_command_makes_what_the_function_makes(
    tmp_path: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    assert main([f"--out={out}", "--workers=2", *ARGUMENTS]) == 0
    told = capfd.readouterr()
    assert told.out == ""
    assert "14/14 clips" in told.err
    counts = TINY.clips, TINY.rl_clips, TINY.dev_clips, TINY.test_clips
    parts = "{} (--clips), {} (--rl-clips), {} (--dev-clips), {} (--test-clips)".format(*counts)
    assert told.err.startswith(f"Drawing {sum(counts)} clips: {parts}.\n")
    assert (out / "train.jsonl").read_bytes() == (folder / "train.jsonl").read_bytes()


def test_the_command_follows_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def made(settings: Settings, out: Path, workers: int | None, progress: object) -> None:
        asked.append((settings, out, workers))
        out.mkdir()
        (out / "manifest.json").write_text('{"rows": {}}')

    monkeypatch.setattr(command, "generate", made)
    assert main([f"--out={tmp_path / 'a'}", "--workers=3", *ARGUMENTS]) == 0
    assert main([f"--out={tmp_path / 'b'}"]) == 0
    assert asked == [(TINY, tmp_path / "a", 3), (Settings(), tmp_path / "b", None)]


# What is meant must be there to hear and to see.

ACTORS = [draw_actor(0, index) for index in range(6)]


def scenes(**attributes: str) -> Iterator[Scene]:
    """A resting scene of each of some actors, with these attributes."""
    for actor in ACTORS:
        yield Scene(
            actor=actor,
            emotion="calm",
            face="blank face",
            voice="flat voice",
            words="plain words",
            line="",
            attributes={**REST, **attributes},
            intensity=0.8,
            seconds=3.0,
        )


def voices(**attributes: str) -> list[np.ndarray]:
    return [speak(scene, np.random.default_rng(index)) for index, scene in enumerate(scenes(**attributes))]


def loudness(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(wave**2)))


def pitch(wave: np.ndarray) -> float:
    """Median pitch in Hz of the voiced frames, by autocorrelation."""
    size, found = 1024, []
    level = loudness(wave)
    for start in range(0, len(wave) - size, 512):
        frame = wave[start : start + size]
        if loudness(frame) > level:
            spectrum = np.fft.rfft(frame * np.hanning(size), 2 * size)
            peaks = np.fft.irfft(np.abs(spectrum) ** 2)[: SAMPLE_RATE // 55]
            peaks /= np.correlate(np.hanning(size), np.hanning(size), "full")[size - 1 :][: len(peaks)]
            first = SAMPLE_RATE // 450
            lags = np.flatnonzero(peaks[first:] > 0.9 * peaks[first:].max()) + first
            # The first of the high peaks: twice the period correlates as well.
            run = lags[: int(np.argmax(np.diff(lags, append=10**6) > 1)) + 1]
            found.append(SAMPLE_RATE / run[np.argmax(peaks[run])])
    return float(np.median(found))


def swing(wave: np.ndarray) -> float:
    """Share of the loudness contour's movement that is between 5 and 7.5 times a second."""
    contour = np.sqrt(np.convolve(wave**2, np.ones(480) / 480, "same"))[::160]
    power = np.abs(np.fft.rfft((contour - contour.mean()) * np.hanning(len(contour)))) ** 2
    rate = np.fft.rfftfreq(len(contour), 0.01)
    return float(power[(rate > 5) & (rate < 7.5)].sum() / power[(rate > 0.5) & (rate < 20)].sum())


def test_voices_are_waveforms_of_the_right_length() -> None:
    for wave in voices():
        assert wave.dtype == np.float32
        assert len(wave) == 3 * SAMPLE_RATE
        assert np.abs(wave).max() <= 1
        assert loudness(wave) > 0.01


def test_loud_is_louder_than_normal_and_normal_than_soft() -> None:
    for loud, normal, soft in zip(voices(loudness="loud"), voices(), voices(loudness="soft"), strict=True):
        assert loudness(loud) > 1.4 * loudness(normal) > 1.4 * 1.4 * loudness(soft)


def test_high_is_higher_than_level_and_level_than_low() -> None:
    for high, level, low in zip(voices(pitch="high"), voices(), voices(pitch="low"), strict=True):
        assert pitch(high) > 1.1 * pitch(level) > 1.1 * 1.1 * pitch(low)


def test_a_level_voice_speaks_at_the_pitch_of_its_actor() -> None:
    for actor, wave in zip(ACTORS, voices(), strict=True):
        assert pitch(wave) == pytest.approx(actor.voice_hz, rel=0.08)


def test_a_trembling_voice_swings_in_loudness() -> None:
    trembling, steady = voices(tremor="trembling", tempo="slow"), voices(tempo="slow")
    assert all(swing(shaky) > 2 * swing(calm) for shaky, calm in zip(trembling, steady, strict=True))


def test_a_fast_voice_has_more_syllables() -> None:
    def syllables(wave: np.ndarray) -> int:
        contour = np.sqrt(np.convolve(wave**2, np.ones(480) / 480, "same"))[::160]
        voiced = contour > 0.35 * np.percentile(contour, 95)
        return int((np.diff(voiced.astype(int)) == 1).sum())

    fast, steady, slow = (sum(map(syllables, voices(tempo=tempo))) for tempo in ("fast", "steady", "slow"))
    assert fast > 1.2 * steady > 1.2 * 1.2 * slow


def test_laughter_comes_first_in_five_bursts_a_second() -> None:
    def bursts(wave: np.ndarray) -> float:
        """How much of the breath of the first 0.77 s, four bursts of laughter, comes and goes at their rate."""
        contour = np.sqrt(np.convolve(np.diff(wave, 3) ** 2, np.ones(480) / 480, "same"))
        contour = contour[: round(4 / 5.2 * SAMPLE_RATE)]
        turns = np.exp(-2j * np.pi * 5.2 * np.arange(len(contour)) / SAMPLE_RATE)
        return float(abs((contour * turns).sum()) / contour.sum())

    for laughing, speaking in zip(voices(laughter="laughing"), voices(), strict=True):
        assert bursts(laughing) > 0.25 > 0.1 > bursts(speaking)


FACE_VALUES = [(aspect, value) for aspect, values in FACE_ASPECTS.items() for value in values[1:]]


@pytest.mark.parametrize(("aspect", "value"), FACE_VALUES, ids=lambda item: item)
def test_every_face_value_shows(aspect: str, value: str) -> None:
    for actor in ACTORS:
        rest = draw_frame(actor, pose_of(REST, actor, 0.8))
        shown = draw_frame(actor, pose_of({**REST, aspect: value}, actor, 0.8))
        assert (np.abs(rest.astype(int) - shown).max(axis=2) > 20).sum() > 60


def test_no_two_values_of_an_aspect_look_alike() -> None:
    for aspect, values in FACE_ASPECTS.items():
        pictures = [draw_frame(ACTORS[0], pose_of({**REST, aspect: value}, ACTORS[0], 0.8)) for value in values]
        assert len({picture.tobytes() for picture in pictures}) == len(values)


def test_actors_look_different() -> None:
    pictures = [draw_frame(actor, pose_of(REST, actor, 0.8)).astype(int) for actor in ACTORS]
    for index, first in enumerate(pictures):
        assert all(np.abs(first - other).mean() > 5 for other in pictures[:index])


def test_the_mouth_moves_with_the_voice() -> None:
    scene = next(scenes())
    still, _ = animate(scene, np.zeros(50), np.random.default_rng(0))
    talking, _ = animate(scene, np.ones(50), np.random.default_rng(0))
    assert (np.abs(still.astype(int) - talking).max(axis=3) > 20).sum(axis=(1, 2)).min() > 10


def test_loudness_per_frame_follows_the_wave() -> None:
    wave = np.zeros(SAMPLE_RATE, np.float32)
    wave[: SAMPLE_RATE // 2] = 0.5
    level = loudness_per_frame(wave, 25)
    assert level.shape == (25,)
    assert level[:12] == pytest.approx(1)
    assert level[13:] == pytest.approx(0)
    assert loudness_per_frame(np.zeros(100, np.float32), 5).tolist() == [0] * 5


def test_a_pose_goes_from_rest_to_the_expression_with_its_intensity() -> None:
    rest, half, whole = (pose_of({"mouth": "smiling", "head": "tilted"}, ACTORS[0], share) for share in (0.0, 0.5, 1.0))
    assert rest == pose_of({}, ACTORS[0], 1.0)
    for name in ("mouth_curve", "mouth_width", "tilt"):
        low, middle, high = (getattr(pose, name) for pose in (rest, half, whole))
        assert middle == pytest.approx((low + high) / 2)
        assert high > low
    assert pose_of({"head": "tilted"}, ACTORS[0], 1.0, side=-1.0).tilt == -whole.tilt


def test_heads_tilt_to_either_side_and_crops_follow_them(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, tuple[float, float]]] = []

    def draw(actor: object, pose: face.Pose, shift: tuple[float, float]) -> np.ndarray:
        drawn.append((pose.tilt, shift))
        return np.zeros((320, 320, 3), np.uint8)

    def crop(canvas: np.ndarray, shift: tuple[float, float], jitter: object) -> np.ndarray:
        assert shift == drawn[-1][1] != (0.0, 0.0)
        return np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8)

    monkeypatch.setattr(face, "draw_frame", draw)
    monkeypatch.setattr(face, "crop_face", crop)
    (scene, *_) = scenes(head="tilted")
    sides = set()
    for seed in range(8):
        animate(scene, np.zeros(20), np.random.default_rng(seed))
        sides.add(np.sign(drawn[-1][0]))
    assert sides == {-1.0, 1.0}


def test_a_stronger_feeling_is_heard_in_the_pitch() -> None:
    heard = [
        pitch(speak(replace(scene, intensity=intensity), np.random.default_rng(0)))
        for scene in list(scenes(pitch="high"))[:2]
        for intensity in (0.0, 1.0)
    ]
    assert heard[0] * 1.05 < heard[1]
    assert heard[2] * 1.05 < heard[3]


def test_the_mouth_moves_with_the_voice_to_the_frame() -> None:
    size = SAMPLE_RATE // FPS
    for frame in (0, 30, 74):
        wave = np.zeros(75 * size, np.float32)
        wave[frame * size : (frame + 1) * size] = 0.3
        assert int(np.argmax(loudness_per_frame(wave, 75))) == frame
