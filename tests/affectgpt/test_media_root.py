"""The folder of media paths: one folder however it is named, known to every command, and left by no path."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affectgpt.clip import Clip, media_outside, read_clips, scan_clips, write_clips
from affectgpt.media_root import check_command, media_folder, path_below
from affectgpt.problems import InputError
from data_recipes.check.command import main as check
from data_recipes.check.rows import load_rows
from data_recipes.imports.command import from_csv_main, import_main
from tests.support.rows import make_turns
from train.config.data import DataConfig


def row(name: str = "a", **fields: object) -> dict[str, object]:
    """A row about `clips/a.npy`, a file that every folder here has."""
    fixed = {"id": name, "messages": make_turns("What?", "joy"), "task": "emotion_label", "answer": "joy"}
    return {**fixed, "face": "clips/a.npy", **fields}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders `data` (rows and clips), `desk/here` (the current one), `links` (links to all of these)."""
    for folder in ("data/clips", "desk/here", "links", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    np.save(tmp_path / "data" / "clips" / "a.npy", np.zeros((2, 4, 4, 3), np.uint8))
    np.save(tmp_path / "secret.npy", np.zeros((2, 4, 4, 3), np.uint8))
    (tmp_path / "data" / "rows.jsonl").write_text(json.dumps(row()))
    (tmp_path / "elsewhere" / "rows.jsonl").write_text(json.dumps(row()))
    (tmp_path / "links" / "data").symlink_to(tmp_path / "data")
    (tmp_path / "links" / "clips").symlink_to(tmp_path / "data" / "clips")
    (tmp_path / "links" / "here").symlink_to(tmp_path / "desk" / "here")
    monkeypatch.chdir(tmp_path / "desk" / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "data"))
    return tmp_path


ROW_FILES = [
    "../../data/rows.jsonl",
    "./../../data/./rows.jsonl",
    "../../data/clips/../rows.jsonl",
    "../../links/data/rows.jsonl",
    "../../links/clips/../rows.jsonl",
    "{tree}/data/rows.jsonl",
    "{tree}/desk/../data/rows.jsonl",
    "../here/../../data//rows.jsonl",
]
ROOTS = [
    "../../data",
    "../../data/",
    "./../../data/.",
    "../../data/clips/..",
    "../../links/data",
    "../../links/clips/..",
    "{tree}/links/here/../../data",
    "~",
    "~/",
    "~/clips/..",
]


@pytest.mark.parametrize("name", ROW_FILES)
def test_a_row_file_may_be_named_in_any_way(name: str, tree: Path) -> None:
    assert check([name.format(tree=tree), "--no-decode"]) == 0
    (clip,) = read_clips(name.format(tree=tree))
    assert clip.face is not None
    assert clip.face.samefile(tree / "data" / "clips" / "a.npy")
    assert ".." not in clip.face.parts


@pytest.mark.parametrize("name", ROOTS)
def test_a_media_root_may_be_named_in_any_way(name: str, tree: Path) -> None:
    root = name.format(tree=tree)
    assert check(["../../elsewhere/rows.jsonl", "--media-root", root, "--no-decode"]) == 0
    data = DataConfig(train="../../elsewhere/rows.jsonl", media_root=root)  # type: ignore[arg-type]
    assert data.train is not None
    ((clip,),) = load_rows([data.train], data.media_root)
    assert clip.face is not None
    assert clip.face.samefile(tree / "data" / "clips" / "a.npy")


def test_a_root_that_is_relative_may_be_named_from_a_linked_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "links" / "here")
    assert check(["../../elsewhere/rows.jsonl", "--media-root", "../../data", "--no-decode"]) == 0
    monkeypatch.chdir(tree / "links" / "data")
    assert check(["rows.jsonl", "--no-decode"]) == 0
    assert check(["rows.jsonl", "--media-root", ".", "--no-decode"]) == 0
    monkeypatch.chdir(tree / "links" / "clips")
    assert check(["../rows.jsonl", "--media-root", "..", "--workers", "1"]) == 0


def test_a_recipe_may_name_the_home_folder(tree: Path) -> None:
    data = DataConfig(train="~/rows.jsonl", media_root="~")  # type: ignore[arg-type]
    assert (data.train, data.media_root) == (tree / "data" / "rows.jsonl", tree / "data")


@pytest.mark.parametrize(
    "escape",
    [
        "../secret.npy",
        "clips/../../secret.npy",
        "{tree}/secret.npy",
        "{tree}/data/clips/a.npy",
        "out/secret.npy",
        "s.npy",
    ],
)
@pytest.mark.parametrize("root", [None, *ROOTS[:6]])
def test_no_path_leaves_the_root_however_that_is_named(escape: str, root: str | None, tree: Path) -> None:
    (tree / "data" / "out").symlink_to(tree)
    (tree / "data" / "s.npy").symlink_to(tree / "secret.npy")
    path = tree / "data" / "rows.jsonl"
    path.write_text(json.dumps(row(face=escape.format(tree=tree))))
    with pytest.raises(InputError, match="field 'face': expected a path inside"):
        check(["../../data/rows.jsonl", "--no-decode", *(["--media-root", root] if root else [])])


def test_a_media_root_that_is_no_folder_is_one_problem(tree: Path) -> None:
    path = tree / "many.jsonl"
    path.write_text("\n".join(json.dumps(row(str(number))) for number in range(300)))
    with pytest.raises(InputError, match=r"^nowhere: the media root: expected a folder, got nothing at .*nowhere$"):
        check([str(path), "--media-root", "nowhere"])
    with pytest.raises(InputError, match=r"the media root: expected a folder, got a file$"):
        check([str(path), "--media-root", "../../secret.npy"])
    table = tree / "many.csv"
    table.write_text("file,emotion\n" + "".join(f"{number}.mp4,joy\n" for number in range(300)))
    with pytest.raises(InputError, match=r"^nowhere: the media root"):
        from_csv_main([str(table), "--label", "emotion", "--out", "rows.jsonl", "--media-root", "nowhere"])


@pytest.mark.parametrize("face", ["lost/{}.npy", "../{}.npy", "{tree}/data/{}.npy"])
def test_a_wrong_root_is_said_once(face: str, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tree / "many.jsonl"
    lines = [json.dumps(row(str(n), face=face.format(n, tree=tree), level="x" if n == 7 else None)) for n in range(300)]
    path.write_text("\n".join(lines))
    assert check([str(path), "--json", "--no-decode"]) == 2
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert len(problems) == 2, "the root, and the level of row 8"
    assert problems[0]["where"] == "its media"
    assert problems[0]["got"].startswith("none of the 300 files named, such as ")
    assert "--media-root" in problems[0]["fix"]
    assert problems[1]["where"] == "row 8, field 'level'"


@pytest.mark.parametrize(("count", "named"), [(3, 3), (4, 1), (20, 1)])
def test_a_wrong_root_of_a_small_file_is_doubted_too(
    count: int, named: int, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tree / "few.jsonl"
    path.write_text("\n".join(json.dumps(row(str(n), face=f"lost/{n}.npy")) for n in range(count)))
    assert check([str(path), "--json", "--no-decode"]) == 2
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert len(problems) == named
    assert ("--media-root" in problems[0]["fix"]) == (named == 1)


def test_one_file_that_is_there_makes_the_others_problems_of_their_rows(tree: Path) -> None:
    path = tree / "data" / "many.jsonl"
    path.write_text("\n".join(json.dumps(row(str(n), face=f"lost/{n}.npy")) for n in range(300)))
    assert len(scan_clips(path)[1]) == 1
    path.write_text("\n".join([path.read_text(), json.dumps(row("there"))]))
    clips, problems = scan_clips(path)
    assert [clip.id for clip in clips] == ["there"]
    assert len(problems) == 300
    few = "\n".join(json.dumps(row(str(n), face=f"lost/{n}.npy")) for n in range(3))
    path.write_text(few)
    assert len(scan_clips(path)[1]) == 3


def test_the_advice_names_the_root_that_was_given(tree: Path) -> None:
    path = tree / "a dir" / "rows.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps(row(face="lost.npy")))
    assert check_command(Path("a.jsonl")) == "affectgpt data check a.jsonl"
    for read in (lambda: read_clips(path, "../../data"), lambda: load_rows([path], Path("../../data"))):
        with pytest.raises(InputError) as caught:
            read()
        assert f"affectgpt data check '{path}' --media-root ../../data" in str(caught.value)


@pytest.mark.parametrize("out", ["../../data/out.jsonl", "../../links/data/out.jsonl", "{tree}/desk/../data/out.jsonl"])
@pytest.mark.parametrize("given", ["../../data/clips.csv", "../../links/clips/../clips.csv"])
def test_what_an_importer_writes_through_links_is_read_again(given: str, out: str, tree: Path) -> None:
    (tree / "data" / "clips" / "a.mp4").touch()
    (tree / "data" / "clips" / "b.mp4").touch()
    (tree / "data" / "clips.csv").write_text("file,emotion\nclips/a.mp4,joy\nclips/b.mp4,fear\n")
    out = out.format(tree=tree)
    assert from_csv_main([given, "--label", "emotion", "--out", out]) == 0
    assert [json.loads(line)["video"] for line in Path(out).read_text().splitlines()] == ["clips/a.mp4", "clips/b.mp4"]
    assert check([out, "--no-decode"]) == 0


def test_rows_are_written_below_a_root_whose_name_differs(tree: Path) -> None:
    clip = Clip(id="1", messages=make_turns("?", "joy"), task="text", face=tree / "data" / "clips" / "a.npy", line=1)
    root = tree / "links" / "data"
    assert media_outside([clip], root / "rows.jsonl", root) is None
    write_clips(root / "rows.jsonl", [clip])
    assert json.loads((root / "rows.jsonl").read_text())["face"] == "clips/a.npy"
    assert path_below(tree / "secret.npy", root) is None
    assert media_folder(Path("../../data/new.jsonl")) == Path(os.path.realpath(tree / "data"))


@pytest.mark.parametrize("command", [from_csv_main, import_main])
def test_videos_without_sound_can_be_imported_as_such(command: Callable[[list[str]], int], tree: Path) -> None:
    folder = tree / "data"
    for name in ("a.mp4", "b.mp4", "c.wav"):
        (folder / name).touch()
    out = folder / "out.jsonl"
    if command is from_csv_main:
        (folder / "t.csv").write_text("file,emotion\na.mp4,joy\nb.mp4,fear\nc.wav,joy\n")
        arguments = [str(folder / "t.csv"), "--label", "emotion"]
    else:
        lines = [
            {"messages": make_turns("<video>What?", "joy"), "videos": ["a.mp4"]},
            {"messages": make_turns("<video>What?", "joy"), "videos": ["b.mp4"]},
            {"messages": make_turns("<audio>What?", "joy"), "audios": ["c.wav"]},
        ]
        (folder / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
        arguments = [str(folder / "t.jsonl"), "--from", "ms-swift"]
    assert command([*arguments, "--out", str(out), "--no-sound"]) == 0
    assert [json.loads(line).get("audio") for line in out.read_text().splitlines()] == [False, False, "c.wav"]
    assert [clip.has_sound for clip in read_clips(out)] == [False, False, True]
