"""What `affectgpt data check` says of the contents of row files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from affectgpt.clip import Clip, write_clips
from affectgpt.features.sources import media_of
from data_recipes.check.command import main
from data_recipes.check.contents import Length, contents_of
from data_recipes.check.measure import Measured
from tests.support.rows import make_clip, make_turns

OPTIONS = ["joy", "fear", "anger"]
FILM = Path("/d/a.mp4")


def some_rows() -> list[Clip]:
    """Rows of four tasks about two clips."""
    voice = Path("/d/b.wav")
    return [
        make_clip("a", "joy", options=OPTIONS, video=FILM, group="Ann", subtitle="Oh.", evidence={"emotion": {}}),
        make_clip("b", "joy", options=OPTIONS, audio=voice, group="Ann"),
        make_clip("c", "fear", options=[*OPTIONS, "awe"], audio=voice, group="Bo"),
        make_clip("d", task="emotion_open", answer=["joy", "pride"], video=FILM),
        Clip(id="e", messages=make_turns("?", "0.5"), task="valence", answer=0.5, video=FILM),
        Clip(id="f", messages=make_turns("?", "-1"), task="valence", answer=-1, video=FILM),
        Clip(id="g", task="distribution", answer={"joy": 0.5, "fear": 0.5}),
    ]


def test_everything_is_counted() -> None:
    clips = some_rows()
    first, second = (media_of(clip) for clip in clips[:2])
    assert first is not None
    assert second is not None
    measured = {first: Measured(video_s=2.0, sound_s=2.5), second: Measured(sound_s=1.0)}
    found = contents_of(Path("rows.jsonl"), clips, measured).to_json()
    assert found == {
        "file": "rows.jsonl",
        "rows": 7,
        "clips": 2,
        "tasks": {"emotion_label": 3, "valence": 2, "emotion_open": 1, "distribution": 1},
        "labels": {
            "emotion_label": {"joy": 2, "fear": 1},
            "emotion_open": {"joy": 1, "pride": 1},
            "distribution": {"joy": 1, "fear": 1},
        },
        "unused_options": {"emotion_label": ["anger", "awe"]},
        "option_sets": {"emotion_label": 2, "emotion_open": 1, "distribution": 1},
        "numbers": {"valence": {"lowest": -1.0, "mean": -0.25, "highest": 0.5}},
        "groups": {"count": 2, "fewest_rows": 1, "most_rows": 2, "rows_without": 4},
        "media": {"video": 4, "audio": 2},
        "subtitles": 1,
        "evidence": {"emotion": 1},
        "sound": {"clips": 2, "seconds": 3.5, "shortest": 1.0, "longest": 2.5},
        "video": {"clips": 1, "seconds": 2.0, "shortest": 2.0, "longest": 2.0},
    }
    assert contents_of(Path("r"), [], {}).to_json()["rows"] == 0
    assert Length.of([]) is None


def test_the_text_is_short_and_says_the_same() -> None:
    clips = some_rows()
    text = contents_of(Path("rows.jsonl"), clips, {}).describe()
    assert text.splitlines() == [
        "rows.jsonl: 7 rows about 2 clips",
        "  tasks    emotion_label 3, valence 2, emotion_open 1, distribution 1",
        "  labels   emotion_label: joy 2, fear 1; never: anger, awe; 2 different sets of options",
        "  labels   emotion_open: joy 1, pride 1",
        "  labels   distribution: joy 1, fear 1",
        "  numbers  valence: -1 to 0.5, mean -0.25",
        "  groups   2, of 1 to 2 rows; 4 rows without one",
        "  with     video 4, audio 2, subtitle 1, evidence emotion 1",
    ]
    many = [make_clip(str(n), f"label {n}", question=f"{n}?", group=f"g{n}") for n in range(500)]
    lines = contents_of(Path("rows.jsonl"), many, {}).describe().splitlines()
    assert len(lines) < 12
    assert any("and 488 more" in line for line in lines)
    hostile = contents_of(Path("r"), [make_clip("a", "joy\x1b[2J\nx" * 500)], {}).describe()
    assert "\x1b" not in hostile
    assert len(hostile) < 3000


def test_a_file_without_a_valid_row_says_nothing_of_groups_and_media(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"id": "c", "task": "emotion_lable"}) + "\n")
    with pytest.raises(ValueError, match="emotion_lable"):
        main([str(path), "--no-decode"])
    assert capsys.readouterr().err.strip() == f"{path}: no valid rows"


def test_the_command_prints_it_also_where_rows_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    write_clips(path, [make_clip("a", "joy", options=["joy", "fear"]), make_clip("b", "fear", question="?")])
    path.write_text(path.read_text() + json.dumps({"id": "c", "task": "emotion_lable"}) + "\n")
    assert main([str(path), "--no-decode", "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == 2
    assert report["contents"][0]["labels"] == {"emotion_label": {"joy": 1, "fear": 1}}
    assert len(report["problems"]) == 2
    with pytest.raises(ValueError, match="2 problems"):
        main([str(path), "--no-decode"])
    assert "  labels   emotion_label: joy 1, fear 1" in capsys.readouterr().err
