"""Rows: what is accepted, what is refused and in which words, and that writing and reading are inverse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from affectgpt.clip import FIELDS, Clip, media_outside, read_clips, require_conversations, scan_clips, write_clips
from affectgpt.evidence.prompting import prompt_of
from affectgpt.media.recording import Recording
from affectgpt.problems import InputError
from affectgpt.tasks import TASKS

DROP = object()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "clips").mkdir(parents=True)
    for name in ("a.mp4", "a.wav", "a.npy", "a.png", "a.npz", "a.edf"):
        (folder / "clips" / name).touch()
    (tmp_path / "outside.mp4").touch()
    return folder


def row(**changes: Any) -> dict[str, Any]:
    """A right row with fields changed, or dropped."""
    whole = {
        "id": "a",
        "video": "clips/a.mp4",
        "messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "joy"}],
        "task": "emotion_label",
        "answer": "joy",
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not DROP}


def write(folder: Path, *rows: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in rows), encoding="utf-8")
    return path


def problems_of(folder: Path, *rows: object) -> list[str]:
    return [str(problem) for problem in scan_clips(write(folder, *rows))[1]]


def test_a_row_with_every_field(folder: Path) -> None:
    given = row(
        audio="clips/a.wav",
        face="clips/a.npy",
        start=0,
        end=1.5,
        subtitle="Fine.",
        level="emotion",
        options=["joy", "anger"],
        group="speaker 1",
        evidence={"cause": "rain"},
        situation="On the bus.",
        source="ours",
        extra={"note": 1},
        signal="clips/a.npy",
        signal_rate=128,
        signal_channels=["Fp1", "Fp2"],
    )
    assert set(given) == set(FIELDS) - {"image"}
    (clip,) = read_clips(write(folder, given))
    assert clip.video == folder / "clips" / "a.mp4"
    assert clip.audio == folder / "clips" / "a.wav"
    assert clip.face == folder / "clips" / "a.npy"
    assert (clip.start, clip.end, clip.group, clip.extra) == (0, 1.5, "speaker 1", {"note": 1})
    assert clip.prompt == given["messages"][:1]
    assert clip.target == "joy"
    assert clip.recording == Recording(folder / "clips" / "a.npy", 128, ("Fp1", "Fp2"), 0, 1.5)
    assert clip.has_media
    assert clip.has_sound
    assert clip.line == 1
    assert clip.to_json(folder) == given


def test_a_picture_stands_where_a_video_would(folder: Path) -> None:
    given = row(video=DROP, image="clips/a.png", audio="clips/a.wav")
    (clip,) = read_clips(write(folder, given))
    assert (clip.image, clip.video) == (folder / "clips" / "a.png", None)
    assert clip.has_media
    assert clip.to_json(folder) == given


def test_a_signal_alone_is_text_to_a_language_model(folder: Path) -> None:
    given = row(video=DROP, signal="clips/a.edf", start=1, end=2)
    (clip,) = read_clips(write(folder, given))
    assert not clip.has_media
    assert clip.recording == Recording(folder / "clips" / "a.edf", start=1, end=2)
    assert clip.to_json(folder) == given
    assert read_clips(write(folder, row()))[0].recording is None


def test_a_video_may_be_said_to_have_no_sound(folder: Path) -> None:
    (silent, plain) = read_clips(write(folder, row(audio=False), row(id="b", audio=None)))
    assert (silent.has_sound, silent.audio, plain.has_sound, plain.audio) == (False, None, True, None)
    assert silent.to_json(folder) == row(audio=False)
    assert "audio" not in plain.to_json(folder)


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("clip", DROP),
        ("clip", None),
        ("intensities", {"joy": 7.5, "fear": 0}),
        ("distribution", {"joy": 0.75, "fear": 0.25}),
        ("frames", [{"expression": "joy", "valence": -0.5, "units": {"AU12": 1}}, None, {"state": "hesitant"}]),
    ],
)
def test_a_row_without_a_conversation(task: str, answer: Any, folder: Path) -> None:
    given = row(task=task, answer=answer, messages=DROP)
    (clip,) = read_clips(write(folder, given))
    assert (clip.messages, clip.prompt, clip.question) == ([], [], "")
    assert clip.to_json(folder) == {key: value for key, value in given.items() if value is not None}
    write_clips(folder / "again.jsonl", [clip])
    assert read_clips(folder / "again.jsonl") == [replace(clip, line=1)]
    with pytest.raises(InputError, match=f"row a: expected a conversation, got none, its task is '{task}'"):
        assert clip.target
    with pytest.raises(InputError, match="row a: expected a conversation"):
        prompt_of(clip)
    (spoken,) = read_clips(write(folder, row(task=task, answer=answer)))
    assert spoken.target == "joy"
    require_conversations([spoken])


def test_all_rows_without_a_conversation_are_named() -> None:
    clips = [Clip(id=name, task="clip") for name in ("a", "b")]
    with pytest.raises(InputError, match=r"row a: [^\n]*\n  row b: [^\n]*\nSuch rows ask a language model nothing"):
        require_conversations([clips[0], Clip(id="c", task="text", messages=TWO_TURNS), clips[1]])


def test_a_row_of_text_only(folder: Path) -> None:
    (clip,) = read_clips(write(folder, row(video=DROP, task="text", answer=DROP, extra=None)))
    assert not clip.has_media
    assert clip.answer is None
    assert clip.extra == {}


def test_writing_and_reading_are_inverse(folder: Path) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Was fühlt 她? \u2028"},
        {"role": "assistant", "content": "a1 mouth: smiling\nm1 joy"},
    ]
    video, face, labels = folder / "clips" / "a.mp4", folder / "clips" / "a.npy", ["joy", "awe"]
    clips = [
        Clip(id="1", messages=messages, task="tree", answer="m1 joy", video=video, line=1),
        Clip(id="2", messages=messages, task="valence", answer=-0.5, face=face, start=0.0, line=2),
        Clip(id="3", messages=messages, task="emotion_open", answer=labels, options=[*labels, "fear"], line=3),
    ]
    path = folder / "new" / "rows.jsonl"
    write_clips(path, clips)
    assert '"../clips/a.mp4"' in path.read_text(encoding="utf-8")
    assert "Was fühlt 她" in path.read_text(encoding="utf-8")
    with pytest.raises(InputError, match="a path inside"):
        read_clips(path)
    path = folder / "rows.jsonl"
    write_clips(path, clips)
    assert read_clips(path) == clips


def test_media_root(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.jsonl"
    path.write_text(json.dumps(row(video="a.mp4")))
    assert read_clips(path, folder / "clips")[0].video == folder / "clips" / "a.mp4"
    with pytest.raises(InputError, match="which is not there"):
        read_clips(path)


def test_paths_are_relative_to_the_root_that_is_named(folder: Path, tmp_path: Path) -> None:
    clip = Clip(id="1", messages=TWO_TURNS, task="text", video=folder / "clips" / "a.mp4", line=1)
    path = tmp_path / "elsewhere" / "rows.jsonl"
    write_clips(path, [clip], folder)
    assert json.loads(path.read_text())["video"] == "clips/a.mp4"
    assert read_clips(path, folder) == [clip]
    assert media_outside([clip], path, folder) is None
    problem = media_outside([clip, replace(clip, face=tmp_path / "b.npy")], path, folder)
    assert str(problem).startswith(f"{path}: its media: expected files below {folder}, got 1 elsewhere")


def test_a_path_must_be_relative_even_where_it_leads_inside(folder: Path) -> None:
    (problem,) = problems_of(folder, row(video=str(folder / "clips" / "a.mp4")))
    assert f"expected a path inside {folder}" in problem


def test_a_file_is_written_whole_or_not_at_all(folder: Path) -> None:
    path = folder / "rows.jsonl"
    path.write_text("what was there")

    def some() -> Iterator[Clip]:
        yield Clip(id="1", messages=TWO_TURNS, task="text")
        raise OSError("cut off")

    with pytest.raises(OSError, match="cut off"):
        write_clips(path, some())
    assert path.read_text() == "what was there"
    assert sorted(item.name for item in folder.iterdir()) == ["clips", "rows.jsonl"]


def test_empty_lines_count_but_do_not_matter(folder: Path) -> None:
    clips = read_clips(write(folder, row(), "", "  ", row(id="b")))
    assert [(clip.id, clip.line) for clip in clips] == [("a", 1), ("b", 4)]


TWO_TURNS = row()["messages"]
NPY = {"signal": "clips/a.npy", "signal_rate": 128, "signal_channels": ["Fp1"]}
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"id": DROP}, "'id'", "got nothing"),
    ({"id": ""}, "'id'", "a non-empty string"),
    ({"id": 7}, "'id'", "got 7"),
    ({"vidoe": "x"}, "'vidoe'", "Did you mean 'video'?"),
    ({"line": 3}, "'line'", "a known field"),
    ({"task": DROP}, "'task'", "got nothing"),
    ({"task": "emotion_lable"}, "'task'", "Did you mean 'emotion_label'?"),
    ({"task": ["tree"]}, "'task'", "one of attribute_closed"),
    ({"level": "emotions"}, "'level'", "Did you mean 'emotion'?"),
    ({"subtitle": 3}, "'subtitle'", "a string"),
    ({"group": ["a"]}, "'group'", "a string"),
    ({"source": {}}, "'source'", "a string"),
    ({"evidence": "rain"}, "'evidence'", "an object"),
    ({"extra": []}, "'extra'", "an object"),
    ({"start": -1}, "'start'", "0 or more"),
    ({"start": True}, "'start'", "0 or more"),
    ({"start": float("nan")}, "'start'", "0 or more"),
    ({"end": "2"}, "'end'", "0 or more"),
    ({"end": float("inf")}, "'end'", "0 or more"),
    ({"start": 2, "end": 2}, "'end'", "more than start (2 s)"),
    ({"end": 0}, "'end'", "more than start (0.0 s)"),
    ({"messages": DROP}, "'messages'", "got nothing"),
    ({"messages": TWO_TURNS[:1]}, "'messages'", "at least two"),
    ({"messages": [TWO_TURNS[0], "joy"]}, "'messages[1]'", "got 'joy'"),
    ({"messages": [{**TWO_TURNS[0], "name": "x"}, TWO_TURNS[1]]}, "'messages[0]'", "'content': text"),
    ({"messages": [{"role": "human", "content": "?"}, TWO_TURNS[1]]}, "'messages[0]'", "system | user | assistant"),
    ({"messages": [{"role": "user", "content": " "}, TWO_TURNS[1]]}, "'messages[0].content'", "non-empty"),
    ({"messages": [{"role": "user", "content": [1]}, TWO_TURNS[1]]}, "'messages[0].content'", "non-empty"),
    ({"messages": TWO_TURNS[::-1]}, "'messages[1].role'", "the last turn is the target"),
    ({"answer": DROP}, "'answer'", "got nothing"),
    ({"answer": " "}, "'answer'", "a non-empty string (task 'emotion_label')"),
    ({"answer": ["joy"]}, "'answer'", "a non-empty string"),
    ({"task": "emotion_open"}, "'answer'", "list of distinct strings"),
    ({"task": "emotion_open", "answer": []}, "'answer'", "non-empty list"),
    ({"task": "emotion_open", "answer": ["joy", "joy"]}, "'answer'", "distinct"),
    ({"task": "emotion_open", "answer": ["joy", 3]}, "'answer'", "strings"),
    ({"task": "valence", "answer": "0.5"}, "'answer'", "a finite number"),
    ({"task": "valence", "answer": True}, "'answer'", "a finite number"),
    ({"task": "valence", "answer": float("inf")}, "'answer'", "a finite number"),
    ({"task": "tree", "answer": 3}, "'answer'", "a written tree"),
    ({"task": "text", "answer": 3}, "'answer'", "a non-empty string"),
    ({"options": ["joy"]}, "'options'", "at least two"),
    ({"options": ["joy", "joy"]}, "'options'", "distinct"),
    ({"options": "joy"}, "'options'", "a list"),
    ({"options": ["anger", "joys"]}, "'answer'", "Did you mean 'joys'?"),
    ({"task": "expression_multi", "answer": ["b", "c"], "options": ["a", "b"]}, "'answer'", "got c"),
    ({"video": 3}, "'video'", "a path"),
    ({"video": ""}, "'video'", "a path"),
    ({"video": "clips/b.mp4"}, "'video'", "which is not there"),
    ({"video": "clips"}, "'video'", "which is not there"),
    ({"video": "v" * 300}, "'video'", "which is not there"),
    ({"video": "a\0b"}, "'video'", "which is not there"),
    ({"audio": "../outside.mp4"}, "'audio'", "a path inside"),
    ({"audio": "clips/../../outside.mp4"}, "'audio'", "a path inside"),
    ({"video": "/etc/hostname"}, "'video'", "a path inside"),
    ({"face": "clips/a.mp4"}, "'face'", "an .npy file"),
    ({"image": "clips/a.png"}, "'image'", "a picture or a video, got both"),
    ({"image": "clips/b.png", "video": DROP}, "'image'", "which is not there"),
    ({"image": False, "video": DROP}, "'image'", "a path"),
    ({"audio": True}, "'audio'", "a path, or false for a video without sound, got True"),
    ({"audio": False, "video": DROP}, "'audio'", "got false without a video"),
    ({"signal": "clips/a.wav"}, "'signal'", "an .npy, .npz, EDF or FIF file"),
    ({"signal": "clips/a.npy", "signal_channels": ["a"]}, "'signal_rate'", "what an .npy file does not tell"),
    ({"signal": "clips/a.npy", "signal_rate": 1}, "'signal_channels'", "what an .npy file does not tell"),
    ({**NPY, "signal_rate": 0}, "'signal_rate'", "more than 0, got 0"),
    ({**NPY, "signal_rate": "128"}, "'signal_rate'", "samples per second"),
    ({**NPY, "signal_rate": float("nan")}, "'signal_rate'", "samples per second"),
    ({**NPY, "signal_channels": ["a", "a"]}, "'signal_channels'", "distinct names"),
    ({**NPY, "signal_channels": "Fp1"}, "'signal_channels'", "a list"),
    ({"signal": "clips/a.npz", "signal_rate": 128}, "'signal_rate'", "which tells its own"),
    ({"signal_channels": ["a"]}, "'signal_channels'", "without a signal"),
    ({"task": "clip", "messages": DROP}, "'answer'", "nothing (task 'clip'), got 'joy'"),
    ({"task": "clip", "messages": DROP, "answer": DROP, "video": DROP}, "'task'", "a row with media"),
    ({"task": "clip", "messages": [], "answer": DROP}, "'messages'", "at least two"),
    ({"task": "clip", "messages": TWO_TURNS[:1], "answer": DROP}, "'messages'", "at least two"),
    *(
        ({"task": task, "messages": DROP, "answer": answer}, "'answer'", f"(task '{task}')")
        for task, answer in (
            ("intensities", DROP),
            ("intensities", {}),
            ("intensities", {"joy": 11}),
            ("intensities", {"joy": float("nan")}),
            ("intensities", {"joy": True}),
            ("distribution", {"joy": 0.5}),
            ("distribution", [0.5, 0.5]),
            ("frames", []),
            ("frames", {"0": {"valence": 1}}),
            ("frames", [{}]),
            ("frames", [0.5]),
            ("frames", [{"valence": float("inf")}]),
            ("frames", [{"valence": None}]),
            ("frames", [{"units": {"AU12": float("nan")}}]),
            ("frames", [{"units": {"AU": {"12": 1}}}]),
            ("frames", [{"expression": " "}]),
        )
    ),
]


@pytest.mark.parametrize(("changes", "field", "words"), WRONG)
def test_every_kind_of_problem(folder: Path, changes: dict[str, Any], field: str, words: str) -> None:
    (problem,) = problems_of(folder, row(**changes))
    assert problem.startswith(f"{folder / 'rows.jsonl'}: row 1, field {field}: expected ")
    assert words in problem


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "one JSON object a line"),
        ("[1]", "one JSON object a line, got a JSON array. Write each object of it on a line of its own"),
        ("3", "a JSON object, got 3"),
        ("[" * 100_000, "one JSON object a line"),
    ],
)
def test_lines_that_are_no_rows(folder: Path, line: str, words: str) -> None:
    (problem,) = problems_of(folder, line)
    assert "row 1" in problem
    assert words in problem


def test_bytes_that_are_not_utf8(folder: Path) -> None:
    path = folder / "rows.jsonl"
    path.write_bytes(b'{"id": "\xff"}\n' + json.dumps(row()).encode())
    clips, problems = scan_clips(path)
    assert [clip.line for clip in clips] == [2]
    assert "row 1, byte 9: expected one JSON object in UTF-8, got the byte 0xff" in str(problems[0])


@pytest.mark.parametrize("name", ["start", "end"])
def test_an_integer_beyond_floats_is_no_number(folder: Path, name: str) -> None:
    """Whoever reads it as seconds gets an OverflowError."""
    text = json.dumps(row(**{name: 1})).replace(f'"{name}": 1', f'"{name}": 1' + "0" * 400)
    (problem,) = problems_of(folder, text)
    assert f"field '{name}': expected seconds, 0 or more" in problem


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("clips\\\\a.mp4", "Write clips/a.mp4."),
        ("Clips/A.MP4", "The name is spelt 'clips/a.mp4' on disk"),
        ("clips/a.mp4 ", "The name is spelt 'a.mp4' on disk"),
        ("clips/b.mp4", "Looked in "),
    ],
)
def test_a_file_that_is_not_there_is_looked_for_on_disk(folder: Path, name: str, step: str) -> None:
    """As for a table of clips (ArcReel/ArcReel#1578)."""
    (problem,) = problems_of(folder, row(video=name.replace("\\\\", "\\")))
    assert step in problem


def test_an_absolute_path_inside_is_told_how_to_write_it(folder: Path) -> None:
    (problem,) = problems_of(folder, row(video=str(folder / "clips" / "a.mp4")))
    assert problem.endswith("Write clips/a.mp4.")


def test_a_link_that_leaves_the_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    (folder / "inner.mp4").symlink_to(folder / "clips" / "a.mp4")
    (problem,) = problems_of(folder, row(video="link.mp4"), row(id="b", video="inner.mp4"))
    assert "row 1, field 'video'" in problem
    assert "a link that leaves it" in problem


def test_a_folder_behind_a_link_is_its_own_root(folder: Path, tmp_path: Path) -> None:
    write(folder, row())
    (tmp_path / "link").symlink_to(folder)
    assert read_clips(tmp_path / "link" / "rows.jsonl")[0].video == tmp_path / "link" / "clips" / "a.mp4"


def test_ids_are_unique(folder: Path) -> None:
    problems = problems_of(folder, row(), row(id="b"), row(), row(id="b", task="no"))
    assert len(problems) == 3
    assert "row 3, field 'id'" in problems[0]
    assert "'a', also in row 1" in problems[0]
    assert any("'b', also in row 2" in problem for problem in problems[1:])


def test_all_problems_are_told_at_once(folder: Path) -> None:
    path = write(folder, row(task="no", video="no.mp4"), row(id="right"), "{", row(id="b", start=-1, options=[]))
    clips, problems = scan_clips(path)
    assert [clip.id for clip in clips] == ["right"]
    places = [(problem.where.split(",")[0], problem.where.partition("field ")[2]) for problem in problems]
    assert sorted(places) == [
        ("row 1", "'task'"),
        ("row 1", "'video'"),
        ("row 3", ""),
        ("row 4", "'options'"),
        ("row 4", "'start'"),
    ]
    with pytest.raises(InputError) as caught:
        read_clips(path)
    assert caught.value.problems == problems
    assert "5 problems:" in str(caught.value)
    assert f"affectgpt data check {path}" in str(caught.value)


def test_files_that_are_not_there_or_empty(folder: Path) -> None:
    with pytest.raises(InputError, match="nothing there"):
        read_clips(folder / "none.jsonl")
    with pytest.raises(InputError, match="a folder"):
        read_clips(folder)
    with pytest.raises(InputError, match="at least one row, got none"):
        read_clips(write(folder, ""))


def test_every_task_takes_an_answer_of_its_type(folder: Path) -> None:
    answers = {"label": "joy", "labels": ["joy"], "number": 0, "text": "Joy.", "tree": "m1 joy"}
    answers |= {"intensities": {"joy": 10}, "distribution": {"joy": 1}, "frames": [None], "none": None}
    rows = [row(id=task, task=task, answer=answers[asked.answer]) for task, asked in TASKS.items()]
    assert [clip.task for clip in read_clips(write(folder, *rows))] == list(TASKS)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda text: text.strip())


@given(st.lists(TEXTS, min_size=6, max_size=6))
@example(["\u2028a\u2029", "\x85 b", "c\x1c\x1d", "\ufeffd", "\x00e", "\r\nf\r"])
def test_rows_are_read_back_whatever_their_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    asked, said, subtitle, group, note, label = texts
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    named: dict[str, Any] = {"subtitle": subtitle, "group": group, "extra": {note: [note]}, "situation": note}
    first = Clip(id=f"1{label}", messages=turns, task="emotion_label", answer=label, **named)
    clips = [first, replace(first, id=f"2{label}", answer=said, options=None)]
    write_clips(path, clips)
    assert [replace(clip, line=0) for clip in read_clips(path)] == clips


def test_a_byte_order_mark_and_crlf_change_nothing(folder: Path) -> None:
    """Notepad and PowerShell write them (huggingface/datasets#8241)."""
    lines = [json.dumps(row(id=name, subtitle="a\u2028b", messages=TWO_TURNS), ensure_ascii=False) for name in "ab"]
    path = folder / "rows.jsonl"
    for start, end in (
        (b"\xef\xbb\xbf", "\n"),
        (b"", "\r\n"),
        (b"\xef\xbb\xbf", "\r\n\r\n"),
        (b"\xef\xbb\xbf\n", "\n"),
    ):
        path.write_bytes(start + (end.join(lines) + end).encode())
        assert [(clip.id, clip.subtitle) for clip in read_clips(path)] == [("a", "a\u2028b"), ("b", "a\u2028b")]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"subtitle": "I am \ud83d fine"}, "'subtitle'"),
        ({"id": "\udc92"}, "'id'"),
        ({"messages": [*TWO_TURNS[:1], {"role": "assistant", "content": "so happy \ude00"}]}, "'messages[1].content'"),
        ({"options": ["joy", "x\udfff"]}, "'options[1]'"),
        ({"extra": {"a": ["\ud800"]}}, "'extra.a[0]'"),
        ({"situation": "\ude00\ud83d"}, "'situation'"),
    ],
)
def test_half_a_character_is_named_before_a_tokenizer_meets_it(
    folder: Path, changes: dict[str, Any], field: str
) -> None:
    (problem,) = problems_of(folder, row(id="whole", subtitle="\U0001f600"), row(**changes))
    assert f"row 2, field {field}: expected whole characters, got half of one" in problem


def test_half_a_character_is_not_written(folder: Path) -> None:
    path = write(folder, row())
    (clip,) = read_clips(path)
    before = path.read_bytes()
    with pytest.raises(
        InputError, match=r"row 'a': expected whole characters, got half of one, .* in subtitle, situation"
    ):
        write_clips(path, [clip, replace(clip, subtitle="\ud83d", situation="\udc92")])
    assert path.read_bytes() == before
    assert [*folder.glob(".*")] == []


@pytest.mark.parametrize("changes", ['"answer": "anger"', '"id": "b"', '"extra": {"x": 1, "x": 2}'])
def test_a_field_twice_is_refused(folder: Path, changes: str) -> None:
    (problem,) = problems_of(folder, json.dumps(row())[:-1] + f", {changes}}}")
    assert "row 1: expected one JSON object a line, got the key " in problem
    assert "twice in an object" in problem
