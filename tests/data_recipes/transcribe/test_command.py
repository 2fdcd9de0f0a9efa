"""`affectgpt data transcribe` with an engine that says how long a sound is: rows, resuming, damaged media, messages."""

from __future__ import annotations

import json
import os
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectgpt.clip import read_clips
from affectgpt.media.decode import MediaError
from affectgpt.problems import InputError
from data_recipes.transcribe import command as transcribe_command
from data_recipes.transcribe.command import main
from data_recipes.transcribe.engines import ENGINES, SAMPLE_RATE

TURNS = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "Joy."}]


def write_wav(path: Path, seconds: float) -> Path:
    samples = 3000 * np.sin(np.arange(int(seconds * SAMPLE_RATE)) / 10)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path


@dataclass
class Engine:
    """Says a sound's length in tenths of a second; nothing for one of 0.7 s; fails before sound number `fails_at`."""

    heard: list[str] = field(default_factory=list)
    loaded: int = 0
    language: str | None = None
    fails_at: int | None = None

    def load(self, model: str, language: str | None) -> Callable[[np.ndarray], str]:
        self.loaded += 1
        self.language = language
        return self.hear

    def hear(self, sound: np.ndarray) -> str:
        if len(self.heard) == self.fails_at:
            raise RuntimeError("out of memory")
        length = round(10 * len(sound) / SAMPLE_RATE)
        self.heard.append(str(length))
        return "" if length == 7 else f" {length}\n tenths "


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setitem(ENGINES, "transformers", engine.load)
    return engine


def row(name: str, **changes: Any) -> dict[str, Any]:
    return {"id": name, "task": "text", "messages": TURNS, **changes}


def write_rows(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in rows))
    return path


@dataclass
class Run:
    """Runs the command in a folder and reads what it leaves."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *options: str, code: int = 0) -> dict[str, Any]:
        argv = [str(self.folder / "rows.jsonl"), "--model", "tiny", "--engine", "transformers", "--out", str(self.out)]
        assert main([*argv, "--workers", "1", "--json", *options]) == code
        printed = self.capsys.readouterr()
        self.err = printed.err
        lines = printed.out.splitlines()
        assert len(lines) == 1
        return json.loads(lines[0])

    @property
    def out(self) -> Path:
        return self.folder / "new.jsonl"

    @property
    def journal(self) -> Path:
        return self.folder / "new.jsonl.part"

    @property
    def subtitles(self) -> dict[str, str | None]:
        return {clip.id: clip.subtitle for clip in read_clips(self.out)}


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    yield Run(tmp_path, capsys)
    assert not list(tmp_path.glob(".*.part"))


@pytest.fixture
def five(tmp_path: Path) -> list[str]:
    """Rows about five sounds of 0.1 to 0.5 s."""
    names = [f"s{number}" for number in range(1, 6)]
    rows = [row(name, audio=write_wav(tmp_path / f"{name}.wav", int(name[1]) / 10).name) for name in names]
    write_rows(tmp_path, *rows)
    return names


def test_rows_with_sound_and_without_subtitle_are_filled(
    run: Run, engine: Engine, tmp_path: Path, write_mp4: Callable[..., Path]
) -> None:
    write_wav(tmp_path / "a.wav", 0.5)
    write_wav(tmp_path / "quiet.wav", 0.7)
    write_mp4(tmp_path / "b.mp4", seconds=1.2)
    np.save(tmp_path / "face.npy", np.zeros((2, 8, 8, 3), np.uint8))
    extra = {"group": "g", "extra": {"x": [1, "é"]}, "start": 0, "end": 1}
    rows = [
        row("has", audio="a.wav", subtitle="As it was."),
        row("sound", audio="a.wav", video="b.mp4"),
        row("text"),
        row("span", video="b.mp4", **extra),
        row("again", audio="a.wav", subtitle=" "),
        row("face", face="face.npy"),
        row("quiet", audio="quiet.wav"),
        row("mute", video="b.mp4", audio=False),
    ]
    write_rows(tmp_path, *rows)
    assert run() == {"rows": 8, "transcribed": 3, "kept": 4, "silent": 1, "bad": []}
    assert engine.heard == ["5", "10", "7"], "each sound once, in order of the rows"
    filled = {"sound": "5 tenths", "span": "10 tenths", "again": "5 tenths"}
    written = [json.loads(line) for line in run.out.read_text(encoding="utf-8").splitlines()]
    assert written == [item | ({"subtitle": filled[item["id"]]} if item["id"] in filled else {}) for item in rows]
    assert not run.journal.exists()
    assert "3/3 sounds" in run.err
    assert "8 rows" in run.err


def test_the_rows_can_be_written_elsewhere(run: Run, engine: Engine, five: list[str], tmp_path: Path) -> None:
    out = tmp_path.parent / f"{tmp_path.name}-above.jsonl"
    run("--out", str(out))
    assert [clip.audio for clip in read_clips(out)] == [tmp_path / f"{name}.wav" for name in five]
    below = tmp_path / "below" / "new.jsonl"
    with pytest.raises(InputError, match=r"its media: expected files below .*below, got 5 elsewhere.*--media-root"):
        run("--out", str(below))
    run("--out", str(below), "--media-root", str(tmp_path))
    assert [clip.subtitle for clip in read_clips(below, tmp_path)] == [f"{n} tenths" for n in range(1, 6)]


def test_the_rows_can_be_written_over(run: Run, engine: Engine, five: list[str], tmp_path: Path) -> None:
    run("--out", str(tmp_path / "rows.jsonl"))
    assert run()["kept"] == 5
    assert engine.loaded == 1, "no model is loaded where there is nothing to do"
    assert run.subtitles["s3"] == "3 tenths"


def test_subtitles_are_overwritten_on_request(run: Run, engine: Engine, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 0.5)
    write_wav(tmp_path / "quiet.wav", 0.7)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    names = ("a", "quiet", "bad")
    write_rows(tmp_path, *[row(name, audio=f"{name}.wav", subtitle="Old.") for name in names])
    report = run("--overwrite-subtitles")
    assert (report["transcribed"], report["silent"], len(report["bad"])) == (1, 1, 1)
    assert run.subtitles == {"a": "5 tenths", "quiet": None, "bad": "Old."}


# Going on after a cut


def test_after_a_failure_only_the_rest_is_done(run: Run, engine: Engine, five: list[str]) -> None:
    engine.fails_at = 3
    with pytest.raises(RuntimeError, match="out of memory"):
        run()
    assert not run.out.exists()
    assert len(run.journal.read_text().splitlines()) == 3, "each text is on disk as soon as it is there"
    engine.fails_at = None
    assert run()["transcribed"] == 5
    assert engine.heard == ["1", "2", "3", "4", "5"]
    assert "3 sounds of 5 were transcribed before" in run.err
    assert "5/5 sounds" in run.err
    assert run.subtitles == {name: f"{name[1]} tenths" for name in five}
    assert not run.journal.exists()


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_torn_last_line_costs_one_sound(run: Run, engine: Engine, five: list[str], cut: int) -> None:
    engine.fails_at = 3
    with pytest.raises(RuntimeError):
        run()
    os.truncate(run.journal, run.journal.stat().st_size - cut)
    engine.fails_at = 4  # cut off once more, one sound later: the journal must be whole again
    with pytest.raises(RuntimeError):
        run()
    assert "new.jsonl.part: line 3 was cut off; its sound is transcribed again" in run.capsys.readouterr().err
    assert [json.loads(line)["text"] for line in run.journal.read_text().splitlines()][-1] == "3 tenths"
    engine.fails_at = None
    run()
    assert "cut off" not in run.err
    assert engine.heard == ["1", "2", "3", "3", "4", "5"]
    assert run.subtitles == {name: f"{name[1]} tenths" for name in five}


@pytest.mark.parametrize("line", ["", "nonsense", "[]", '{"key": 3, "text": ""}', '{"key": [[]], "text": ""}', "\xff"])
def test_a_damaged_line_costs_one_sound(run: Run, engine: Engine, five: list[str], line: str) -> None:
    engine.fails_at = 3
    with pytest.raises(RuntimeError):
        run()
    lines = run.journal.read_bytes().split(b"\n")
    lines[1] = line.encode("latin-1")
    run.journal.write_bytes(b"\n".join(lines))
    engine.fails_at = None
    run()
    assert "new.jsonl.part: line 2 is damaged" in run.err
    assert engine.heard == ["1", "2", "3", "2", "4", "5"]
    assert run.subtitles == {name: f"{name[1]} tenths" for name in five}


def test_other_settings_and_changed_files_are_transcribed_anew(run: Run, engine: Engine, five: list[str]) -> None:
    engine.fails_at = 3
    with pytest.raises(RuntimeError):
        run()
    write_wav(run.folder / "s1.wav", 0.9)
    os.utime(run.folder / "s2.wav", ns=(0, 0))
    engine.fails_at, engine.heard = None, []
    run()
    assert engine.heard == ["9", "2", "4", "5"]
    engine.fails_at, engine.heard = 2, []
    with pytest.raises(RuntimeError):
        run()
    engine.fails_at, engine.heard = None, []
    assert engine.language is None
    run("--language", "English")
    assert engine.heard == ["9", "2", "3", "4", "5"]
    assert engine.language == "en"


def test_parts_of_a_file_have_transcripts_of_their_own(run: Run, engine: Engine, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 0.9)
    spans = [{"end": 0.2}, {"end": 0.3}, {"start": 0.3}]
    write_rows(tmp_path, *(row(str(place), audio="a.wav", **span) for place, span in enumerate(spans)))
    engine.fails_at = 1
    with pytest.raises(RuntimeError):
        run()
    engine.fails_at = None
    run()
    assert engine.heard == ["2", "3", "6"]
    assert run.subtitles == {"0": "2 tenths", "1": "3 tenths", "2": "6 tenths"}


def test_when_all_is_in_the_journal_no_model_is_loaded(
    run: Run, engine: Engine, five: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(transcribe_command.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            run()
    assert not run.out.exists()
    run()
    assert engine.loaded == 1
    assert run.subtitles["s5"] == "5 tenths"


# What cannot be decoded


def test_damaged_media_are_named_and_passed_over(run: Run, engine: Engine, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 0.5)
    (tmp_path / "bad.wav").write_bytes(write_wav(tmp_path / "whole.wav", 0.5).read_bytes()[:2000])
    rows = [row("a", audio="bad.wav"), row("b", audio="a.wav"), row("c", audio="bad.wav")]
    write_rows(tmp_path, *rows)
    report = run()
    assert (report["transcribed"], report["kept"], report["silent"]) == (1, 0, 0)
    (bad,) = report["bad"]
    assert (bad["file"], bad["rows"]) == (str(tmp_path / "bad.wav"), ["a", "c"])
    assert "truncated or damaged" in bad["reason"]
    assert "rows.jsonl: row 1 (a) and 1 more: expected sound that decodes, got" in run.err
    assert "1 transcribed, 0 kept, 0 silent, 2 bad" in run.err
    assert run.subtitles == {"a": None, "b": "5 tenths", "c": None}


def test_where_everything_fails_nothing_is_written(run: Run, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    write_rows(tmp_path, row("a", audio="bad.wav"), row("b", subtitle="Kept."))
    report = run(code=2)
    assert (report["kept"], len(report["bad"])) == (1, 1)
    assert "No sound could be decoded" in run.err
    assert not run.out.exists()


def test_workers_and_timeout_reach_the_decoder(
    run: Run, engine: Engine, five: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, float]] = []

    def decode(function: object, items: list[Any], workers: int, timeout_s: float) -> Iterator[tuple[Any, MediaError]]:
        seen.append((workers, timeout_s))
        return ((item, MediaError(f"{item}: too slow")) for item in items)

    monkeypatch.setattr(transcribe_command, "map_sandboxed", decode)
    report = run("--timeout", "7", "--workers", "3", code=2)
    assert seen == [(3, 7.0)]
    assert report["bad"][0]["reason"].endswith("s1.wav: too slow")


# Wrong use


def test_wrong_use_is_explained_at_once(run: Run, engine: Engine, five: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        run("--timeout", "0", "--workers", "0", "--out", str(tmp_path))
    assert len(error.value.problems) == 3
    with pytest.raises(InputError, match="a language of Whisper"):
        run("--language", "klingon")
    with pytest.raises(SystemExit):
        run("--engine", "other")
    assert engine.loaded == 0


def test_wrong_rows_are_refused(run: Run, engine: Engine, tmp_path: Path) -> None:
    write_rows(tmp_path, row("a", audio="missing.wav"))
    with pytest.raises(InputError, match=r"row 1, field 'audio'"):
        run()


def test_help_says_how_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    page = capsys.readouterr().out
    assert "the exit code is 0 even so" in page
    assert "run the same command to resume" in page
