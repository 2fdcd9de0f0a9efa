"""Importers: the rows that others' files become, the problems they are refused with, and the two commands."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from affectgpt.clip import Clip, read_clips, write_clips
from affectgpt.problems import InputError
from data_recipes.imports.command import from_csv_main, import_main
from data_recipes.imports.conversations import from_ms_swift, from_sharegpt
from data_recipes.imports.mer_caption import from_mer_caption, parse_openset
from data_recipes.imports.tables import from_csv


def problems_of(error: pytest.ExceptionInfo[InputError]) -> list[str]:
    return [str(problem) for problem in error.value.problems]


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(contents)]


def swift(**changes: Any) -> dict[str, Any]:
    return {"messages": turns("<video>\nWhat does she feel?", "Joy."), "videos": ["v/a.mp4"], **changes}


# ms-swift


def test_ms_swift(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be <video> kind."}, *turns("<video><audio>\nWhat?", "Joy, <audio>.")]
    path = write_lines(
        tmp_path / "emo.jsonl",
        {"messages": messages, "videos": ["v/a.mp4"], "audios": ["/far/a.wav"], "source": "Emo QA", "solution": "B"},
        {"id": 7, "messages": turns("What?", "Awe.", "Why?", "A view."), "videos": "v/b.mp4", "images": []},
        {"messages": turns("Hello.", "Hi.")},
    )
    first, second, third = from_ms_swift(path)
    assert first.messages == [
        {"role": "system", "content": "Be <video> kind."},
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": "Joy, <audio>."},
    ]
    assert (first.id, first.video, first.audio) == ("emo-000001", tmp_path / "v" / "a.mp4", Path("/far/a.wav"))
    assert (first.task, first.answer, first.level) == ("caption", "Joy, <audio>.", None)
    assert (first.source, first.extra) == ("Emo QA", {"solution": "B"})
    assert (second.id, second.video, second.answer) == ("7", tmp_path / "v" / "b.mp4", "A view.")
    assert (second.source, second.extra) == ("emo", {})
    assert not third.has_media


def test_the_rows_can_be_read_back(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").touch()
    clips = from_ms_swift(write_lines(tmp_path / "emo.jsonl", swift(), swift(source=3)))
    write_clips(tmp_path / "rows.jsonl", clips)
    assert [clip.video for clip in read_clips(tmp_path / "rows.jsonl")] == [tmp_path / "v" / "a.mp4"] * 2


@pytest.mark.parametrize(
    ("task", "target", "answer", "level"),
    [
        ("emotion_open", "joy, awe,joy", ["joy", "awe"], "emotion"),
        ("valence", " -0.5", -0.5, None),
        ("attribute_closed", "AU1", "AU1", "attribute"),
        ("expression_multi", "AU1", ["AU1"], "expression"),
        ("tree", "m1 joy", "m1 joy", None),
    ],
)
def test_the_answer_has_the_type_of_the_task(
    tmp_path: Path, task: str, target: str, answer: object, level: str | None
) -> None:
    path = write_lines(tmp_path / "a.jsonl", swift(messages=turns("What?", target)))
    (clip,) = from_ms_swift(path, task)
    assert (clip.answer, clip.level) == (answer, level)


def test_media_root_is_where_paths_start(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", swift())
    assert from_ms_swift(path, media_root=tmp_path / "m")[0].video == tmp_path / "m" / "v" / "a.mp4"


def test_still_pictures_are_media(tmp_path: Path) -> None:
    swift_rows = [
        {"messages": turns("<image>Who?", "She."), "images": ["p/a.png"]},
        {"messages": turns("<image><audio>Who?", "She."), "images": ["a.png"], "audios": ["a.wav"]},
    ]
    first, second = from_ms_swift(write_lines(tmp_path / "a.jsonl", *swift_rows))
    assert (first.image, first.video, first.question) == (tmp_path / "p" / "a.png", None, "Who?")
    assert (second.image, second.audio) == (tmp_path / "a.png", tmp_path / "a.wav")
    gpt = {"conversations": [{"from": "human", "value": "<image>\nWho?"}, {"from": "gpt", "value": "She."}]}
    (clip,) = from_sharegpt(write_lines(tmp_path / "b.jsonl", {**gpt, "image": "b.jpg"}))
    assert (clip.image, clip.question) == (tmp_path / "b.jpg", "Who?")


@pytest.mark.parametrize("task", ["clip", "frames"])
def test_a_conversation_is_of_a_task_that_is_spoken(task: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"task: its name: expected one of attribute_closed, .*, got {task}"):
        from_ms_swift(write_lines(tmp_path / "a.jsonl", swift()), task)


def test_ms_swift_tells_all_problems(tmp_path: Path) -> None:
    image = {"messages": turns("<image>Who?", "She."), "images": ["a.png"]}
    cases = [
        (swift(videos=["a.mp4", "b.mp4"]), "as many files as there are <video> placeholders (1), got 2"),
        (swift(messages=turns("<video><audio>?", "Joy.")), "<audio> placeholders (1), got 0"),
        (swift(messages=turns("?", "Joy."), videos=["a.mp4", "b.mp4"]), "at most one file a row, got 2"),
        ({**image, "images": ["a.png", "b.png"]}, "as many files as there are <image> placeholders (1), got 2"),
        ({**image, "videos": ["a.mp4"]}, "'images': expected a picture or a video, got both"),
        (swift(videos=[3]), "'videos': expected paths"),
        (swift(messages=turns("<video>", "Joy.")), "nothing but placeholders"),
        (swift(messages=turns("<video>?")), "the assistant's turn last"),
        (swift(messages=turns("?", "Joy.")[1:]), "at least two chat turns, got one"),
        (swift(messages=[{"role": "tool", "content": "x"}, *turns("?", "Joy.")[1:]]), "got 'tool'"),
        (swift(messages=[{"role": "user"}, *turns("?", "Joy.")]), "messages[0]"),
        ({"question": "?", "reply": "Joy."}, "'messages': expected a list of {'role': ..., 'content': text}, or"),
        ([1], "a JSON object, got [1]"),
        (swift(id="x"), ""),
        (swift(id="x"), "a name used once, got 'x', also in row 14"),
    ]
    path = write_lines(tmp_path / "a.jsonl", *(row for row, _ in cases))
    with pytest.raises(InputError) as caught:
        from_ms_swift(path)
    problems = problems_of(caught)
    for number, (_, words) in enumerate(cases, start=1):
        told = [problem for problem in problems if f": row {number}," in problem or f": row {number}:" in problem]
        assert len(told) == (1 if words else 0), (number, told)
        assert not words or words in told[0]


def test_targets_that_do_not_fit_the_task(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", swift(), swift(messages=turns("?", "nan")))
    with pytest.raises(InputError) as caught:
        from_ms_swift(path, "valence")
    assert [": row 1," in problems_of(caught)[0], ": row 2," in problems_of(caught)[1]] == [True, True]
    with pytest.raises(InputError, match="labels with commas"):
        from_ms_swift(write_lines(tmp_path / "b.jsonl", swift(messages=turns("?", ", ,"))), "emotion_open")
    with pytest.raises(InputError, match="Did you mean 'caption'"):
        from_ms_swift(path, "captoin")


# ShareGPT


def test_sharegpt_array_and_lines(tmp_path: Path) -> None:
    rows = [
        {
            "id": "a",
            "system": "Be kind.",
            "conversations": [
                {"from": "human", "value": "<video>\nWhat?"},
                {"from": "gpt", "value": "Joy."},
            ],
            "video": "a.mp4",
        },
        {
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "user", "value": "What? <audio>"},
                {"from": "assistant", "value": "Awe."},
            ],
            "audios": ["b.wav"],
        },
    ]
    (tmp_path / "rows.json").write_text("\ufeff \n" + json.dumps(rows, indent=1), encoding="utf-8")
    first, second = from_sharegpt(tmp_path / "rows.json")
    assert [turn["role"] for turn in first.messages] == ["system", "user", "assistant"]
    assert [turn["content"] for turn in first.messages] == ["Be kind.", "What?", "Joy."]
    assert (first.id, first.video, first.extra) == ("a", tmp_path / "a.mp4", {})
    assert [turn["content"] for turn in second.messages] == ["Be brief.", "What?", "Awe."]
    assert (second.id, second.audio) == ("rows-000002", tmp_path / "b.wav")
    lines = from_sharegpt(write_lines(tmp_path / "rows.jsonl", *rows))
    assert [clip.messages for clip in lines] == [first.messages, second.messages]


def test_sharegpt_tells_all_problems(tmp_path: Path) -> None:
    human = {"from": "human", "value": "?"}
    path = write_lines(
        tmp_path / "a.jsonl",
        {"messages": []},
        {"conversations": [human, {"from": "gpt", "text": "Joy."}, {"from": "bot", "value": "Joy."}]},
        {"conversations": [human]},
    )
    with pytest.raises(InputError) as caught:
        from_sharegpt(path)
    words = ["got nothing", "conversations[1]", "got 'bot'", "the assistant's turn last"]
    assert len(problems_of(caught)) == len(words)
    assert all(word in problem for word, problem in zip(words, problems_of(caught), strict=True))


@pytest.mark.parametrize(("text", "words"), [("[{]", "a JSON array"), ("", "at least one row"), ("[]", "at least one")])
def test_files_without_rows(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=words):
        from_sharegpt(tmp_path / "a.json")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for read in (from_sharegpt, from_ms_swift, from_mer_caption, lambda path: from_csv(path, "label")):
        with pytest.raises(InputError, match="nothing there"):
            read(tmp_path / "none")


# MER-Caption


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("['happy', 'at ease']", ["happy", "at ease"]),
        ("[happy, proud, happy]", ["happy", "proud"]),
        ('["can\'t wait", "sad"]', ["can't wait", "sad"]),
        ("angry,  sad", ["angry", "sad"]),
        ("[]", ["neutral"]),
        ("", ["neutral"]),
        ("['']", ["neutral"]),
        ("['高兴'，'sad']", ["高兴", "sad"]),
    ],
)
def test_openset(text: str, labels: list[str]) -> None:
    assert parse_openset(text) == labels


@pytest.fixture
def mer(tmp_path: Path) -> Path:
    (tmp_path / "track2_train_mercaptionplus.csv").write_text("name,openset\nc1,\"['sad', 'tired']\"\nc2,[]\n")
    (tmp_path / "track3_train_mercaptionplus.csv").write_text('name,reason\nc1,"He sighs, slowly."\nc2,\n')
    (tmp_path / "subtitle_chieng.csv").write_text("name,chinese,english\nc1,好,Fine.\nc9,不,No.\n", encoding="utf-8")
    for file in ("video/c1.mp4", "video/c2.mp4", "audio/c1.wav", "openface_face/c1/c1.npy"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    return tmp_path


def test_mer_caption(mer: Path) -> None:
    clips = from_mer_caption(mer)
    assert [(clip.id, clip.task, clip.answer) for clip in clips] == [
        ("c1/emotion_open", "emotion_open", ["sad", "tired"]),
        ("c2/emotion_open", "emotion_open", ["neutral"]),
        ("c1/caption", "caption", "He sighs, slowly."),
    ]
    first, second, third = clips
    assert (first.target, first.subtitle, first.level) == ("sad, tired", "Fine.", "emotion")
    assert third.target == "He sighs, slowly."
    assert (first.video, first.audio) == (mer / "video" / "c1.mp4", mer / "audio" / "c1.wav")
    assert first.face == mer / "openface_face" / "c1" / "c1.npy"
    assert (second.audio, second.face, second.subtitle) == (None, None, None)
    write_clips(mer / "rows.jsonl", clips)
    assert len(read_clips(mer / "rows.jsonl")) == 3


def test_mer_caption_tells_all_problems(mer: Path) -> None:
    (mer / "track2_train_mercaptionplus.csv").write_text("name,openset\nc1,[]\nc1,[]\n,[]\nc4\nc5,[a, b]\n")
    (mer / "track3_train_mercaptionplus.csv").write_text("name,reasons\nc1,x\n")
    with pytest.raises(InputError) as caught:
        from_mer_caption(mer)
    words = ["fewer: ", "more: ", "line 3, column 'name'", "line 4, column 'name'", "Did you mean 'reasons'?"]
    assert len(problems_of(caught)) == len(words)
    for word, problem in zip(words, problems_of(caught), strict=True):
        assert word in problem
    (mer / "track2_train_mercaptionplus.csv").unlink()
    with pytest.raises(InputError, match="the labels of MER-Caption"):
        from_mer_caption(mer)


SPOILT = {
    "open": (
        'name,reason\ns1,"He smiles\ns2,She cries\ns3,"He shouts ""no"""\ns4,She laughs\n',
        "line 2: expected a cell",
    ),
    "swallowed": (
        'name,reason\ns1,"He smiles\ns2,She cries"\ns3,x\n',
        "lines 2 to 3: expected one row, got a quoted cell",
    ),
    "column twice": ("name,reason,reason\ns1,a,b\n", "the header: expected a name used once, got 'reason'"),
    "empty cell of pandas": (
        "name,reason\ns1,nan\n",
        "line 2, column 'reason': expected text, or an empty cell, got 'nan'",
    ),
    "gbk": (
        "name,reason\ns1,高兴\n".encode("gbk"),
        "line 2, byte 4: expected a CSV in UTF-8, got the byte 0xb8 after 's1,'",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.parametrize("file", ["track3_train_mercaptionplus.csv", "subtitle_chieng.csv"])
def test_tables_of_mer_caption_that_would_be_misread(mer: Path, file: str, name: str) -> None:
    content, words = SPOILT[name]
    raw = content if isinstance(content, bytes) else content.encode()
    (mer / file).write_bytes(raw.replace(b"reason", b"english") if "subtitle" in file else raw)
    with pytest.raises(InputError) as caught:
        from_mer_caption(mer)
    assert words.replace("reason", "english" if "subtitle" in file else "reason") in str(caught.value)


def test_reported_tables_of_mer_caption() -> None:
    if "SHARED_DATA" not in os.environ:
        pytest.skip("needs the shared data")
    folder = Path(os.environ["SHARED_DATA"], "reported", "mer")
    answers = [clip.answer for clip in from_mer_caption(folder) if clip.task == "emotion_open"]
    assert answers == [["happy", "excited"], ["neutral"], ["sad", "don't care"]]
    for name, words in (("q", "line 2: expected a cell in quotation marks"), ("gbk", "It may be in GB18030")):
        with pytest.raises(InputError) as caught:
            from_mer_caption(folder / name)
        assert words in str(caught.value)


# A plain CSV


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.WAV"):
        (tmp_path / name).touch()
    path = tmp_path / "clips.csv"
    path.write_text('\ufefffile,label,subtitle,who\na.mp4, joy ,"Well, yes.",ann\nb.WAV,anger,,bob\n', encoding="utf-8")
    return path


def test_csv(table: Path) -> None:
    first, second = from_csv(table, "label", group_column="who")
    assert first == Clip(
        id="a.mp4",
        video=table.parent / "a.mp4",
        subtitle="Well, yes.",
        group="ann",
        messages=turns("What does this person feel?", "joy"),
        task="emotion_label",
        level="emotion",
        answer="joy",
        options=["anger", "joy"],
        source="clips",
    )
    assert (second.video, second.audio, second.subtitle) == (None, table.parent / "b.WAV", None)
    write_clips(table.parent / "rows.jsonl", [first, second])
    assert len(read_clips(table.parent / "rows.jsonl")) == 2


def test_csv_of_pictures(table: Path) -> None:
    (table.parent / "c.JPG").touch()
    table.write_text("file,label\na.mp4,joy\nc.JPG,anger\n", encoding="utf-8")
    video, still = from_csv(table, "label")
    assert (video.video, video.image) == (table.parent / "a.mp4", None)
    assert (still.image, still.video) == (table.parent / "c.JPG", None)


def test_csv_columns_by_other_names(table: Path) -> None:
    first, _ = from_csv(table, "who", "file", subtitle_column="label")
    assert (first.answer, first.subtitle, first.group) == ("ann", "joy", None)


def test_csv_tells_the_columns_there_are(table: Path) -> None:
    with pytest.raises(InputError) as caught:
        from_csv(table, "lable", "path", group_column="speaker")
    problems = problems_of(caught)
    assert len(problems) == 3
    assert all("got the columns file, label, subtitle, who" in problem for problem in problems)
    assert "Did you mean 'label'?" in problems[1]


def test_csv_tells_all_problems(table: Path) -> None:
    table.write_text("file,label\na.mp4,joy\na.mp4,joy\nno.mp4,\n,joy\nb.WAV\n")
    with pytest.raises(InputError) as caught:
        from_csv(table, "label")
    words = [
        "line 6: expected 2 cells, got fewer",
        "line 4, column 'label': expected a label, got nothing",
        "at least two different labels, got only 'joy'",
        "line 3, column 'file': expected a file named once, got a.mp4, also in line 2",
        "line 4, column 'file': expected a file, got no.mp4, which is not there",
        "line 5, column 'file': expected a file, got nothing",
    ]
    assert len(problems_of(caught)) == len(words)
    for word, problem in zip(words, problems_of(caught), strict=True):
        assert word in problem


@pytest.mark.parametrize("cell", ["#NAME?", "#VALUE!"])
def test_an_error_of_a_spreadsheet_is_no_label_of_mer_caption(mer: Path, cell: str) -> None:
    (mer / "track2_train_mercaptionplus.csv").write_text(f"name,openset\na,{cell}\n")
    with pytest.raises(InputError, match="line 2, column 'openset': expected text, got #"):
        from_mer_caption(mer)


def test_csv_that_is_no_csv(table: Path) -> None:
    table.write_bytes(b"file,label\n\xff,joy\n")
    with pytest.raises(InputError, match="a CSV in UTF-8"):
        from_csv(table, "label")
    table.write_bytes(b"")
    with pytest.raises(InputError, match="got an empty file"):
        from_csv(table, "label")
    table.write_bytes(b"file,label\n")
    with pytest.raises(InputError, match="at least one row"):
        from_csv(table, "label")


# The commands


def test_from_csv_command(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.parent / "rows.jsonl"
    assert from_csv_main([str(table), "--label", "label", "--group", "who", "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"rows": 2, "out": str(out)}
    assert f"Wrote 2 rows to {out}. Check them with: affectgpt data check {out}" in printed.err
    assert [clip.group for clip in read_clips(out)] == ["ann", "bob"]
    assert sorted(path.name for path in table.parent.iterdir()) == ["a.mp4", "b.WAV", "clips.csv", "rows.jsonl"]


def test_import_command(mer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = mer / "rows.jsonl"
    assert import_main(["--from", "mer-caption", str(mer), "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert len(read_clips(out)) == 3
    with pytest.raises(InputError, match="mer-caption, which sets tasks"):
        import_main(["--from", "mer-caption", str(mer), "--out", str(out), "--task", "tree"])


def test_media_elsewhere_need_a_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    media, out = tmp_path / "media", tmp_path / "out" / "rows.jsonl"
    (media / "v").mkdir(parents=True)
    (media / "v" / "a.mp4").touch()
    source = write_lines(media / "emo.jsonl", swift(), swift(videos=["v/../v/a.mp4"]))
    command = ["--from", "ms-swift", str(source), "--out", str(out), "--task", "attribute_open"]
    with pytest.raises(InputError) as caught:
        import_main(command)
    assert f"files below {out.parent}, got 1 elsewhere, such as {media / 'v' / 'a.mp4'}" in str(caught.value)
    assert "--media-root" in str(caught.value)
    assert not out.exists()
    assert import_main([*command, "--media-root", str(media)]) == 0
    assert f"--media-root {media}" in capsys.readouterr().err
    assert json.loads(out.read_text().splitlines()[1])["video"] == "v/a.mp4"
    assert [clip.task for clip in read_clips(out, media)] == ["attribute_open"] * 2


def test_a_failed_import_leaves_the_old_rows(table: Path) -> None:
    out = table.parent / "rows.jsonl"
    out.write_text("old")
    table.write_text("file,label\nno.mp4,joy\n")
    with pytest.raises(InputError):
        from_csv_main([str(table), "--label", "label", "--out", str(out)])
    assert out.read_text() == "old"


@pytest.mark.parametrize("main", [import_main, from_csv_main])
def test_wrong_use_exits_with_2(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["x"])
    assert caught.value.code == 2
    assert "--out" in capsys.readouterr().err
