"""Conversations as ms-swift, LLaMA-Factory, OpenAI and Qwen write them: rows, or the field and the next step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from affectgpt.clip import Clip, read_clips
from affectgpt.problems import InputError
from data_recipes.imports.command import import_main
from data_recipes.imports.conversations import from_ms_swift, from_sharegpt
from data_recipes.imports.label_lists import read_labels

FROM = {"ms-swift": from_ms_swift, "sharegpt": from_sharegpt}
ASKED = {"role": "user", "content": "What?"}
SAID = {"role": "assistant", "content": "Joy."}


def write(folder: Path, *rows: object) -> Path:
    path = folder / "a.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def part(**named: Any) -> dict[str, Any]:
    return {"type": next(iter(named)), **named}


def turn(*content: object, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(content)}


VIDEO = {"type": "video", "video": "a.mp4"}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"messages": [{**ASKED, "content": "<video>What?"}, SAID], "videos": ["a.mp4"]},
    "parts": {"messages": [turn(VIDEO, part(text="What?")), turn(part(text="Joy."), role="assistant")]},
    "parts without a path": {"messages": [turn({"type": "video"}, part(text="What?")), SAID], "videos": ["a.mp4"]},
    "parts without a type": {"messages": [turn({"video": "a.mp4"}, {"text": "What?"}), SAID]},
    "parts with other keys": {"messages": [turn({**VIDEO, "fps": 2}, {**part(text="What?"), "video": None}), SAID]},
    "video_url": {"messages": [turn({"type": "video_url", "video_url": {"url": "a.mp4"}}, part(text="What?")), SAID]},
    "text behind": {"messages": [turn(part(text="What?"), VIDEO), SAID]},
    "strings": {"messages": [turn(VIDEO, "What?"), SAID]},
    "from and value": {
        "conversations": [{"from": "human", "value": "<video>What?"}, {"from": "gpt", "value": "Joy."}],
        "video": "a.mp4",
    },
    "role and content in conversations": {
        "conversations": [{**ASKED, "content": "<video>What?"}, SAID],
        "video": "a.mp4",
    },
    "query and response": {"query": "<video>What?", "response": "Joy.", "videos": ["a.mp4"]},
    "instruction and output": {"instruction": "<video>What?", "input": "", "output": "Joy.", "videos": ["a.mp4"]},
}


@pytest.mark.parametrize("name", FROM)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_row(tmp_path: Path, name: str, shape: str) -> None:
    """Lists of parts come from OpenAI's and Qwen's APIs (hiyouga/LlamaFactory#8947)."""
    (clip,) = FROM[name](write(tmp_path, SHAPES[shape]))
    assert clip == Clip(
        id="a-000001",
        messages=[ASKED, SAID],
        task="caption",
        answer="Joy.",
        video=tmp_path / "a.mp4",
        source="a",
    )


def test_what_stands_before_the_question_is_kept(tmp_path: Path) -> None:
    rows = [
        {"query": "Why?", "response": "Rain.", "history": [["What?", "Joy."]], "system": "Be kind.", "score": 3},
        {"instruction": "Name it.", "input": "She smiles.", "output": "Joy.", "system": "Be kind."},
        {"messages": [ASKED, SAID], "system": "Be kind."},
        {"messages": [{"role": "developer", "content": "Be kind."}, ASKED, SAID]},
    ]
    clips = from_ms_swift(write(tmp_path, *rows))
    assert [[(turn["role"][0], turn["content"]) for turn in clip.messages] for clip in clips] == [
        [("s", "Be kind."), ("u", "What?"), ("a", "Joy."), ("u", "Why?"), ("a", "Rain.")],
        [("s", "Be kind."), ("u", "Name it.\nShe smiles."), ("a", "Joy.")],
        [("s", "Be kind."), ("u", "What?"), ("a", "Joy.")],
        [("s", "Be kind."), ("u", "What?"), ("a", "Joy.")],
    ]
    assert [clip.extra for clip in clips] == [{"score": 3}, {}, {}, {}]


@pytest.mark.parametrize(("path", "written"), [("/m/a b.mp4", "file:///m/a%20b.mp4"), ("/m/a%20b.mp4", "/m/a%20b.mp4")])
def test_addresses_of_files_are_paths(tmp_path: Path, path: str, written: str) -> None:
    (clip,) = from_ms_swift(write(tmp_path, {"messages": [turn(part(video=written), "What?"), SAID]}))
    assert clip.video == Path(path)


def test_sound_and_pictures_among_the_parts(tmp_path: Path) -> None:
    rows = [
        {"messages": [turn(part(image_url={"url": "p.png"}), part(audio="s.wav"), "What?"), SAID]},
        {"messages": [turn(part(video="v.mp4"), part(audio="s.wav"), "What?"), SAID, ASKED, SAID]},
    ]
    first, second = from_ms_swift(write(tmp_path, *rows))
    assert (first.image, first.audio, first.question) == (tmp_path / "p.png", tmp_path / "s.wav", "What?")
    assert (second.video, second.audio, len(second.messages)) == (tmp_path / "v.mp4", tmp_path / "s.wav", 4)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "other columns": (
        {"question": "What?", "reply": "Joy.", "clip": "a.mp4"},
        "field 'messages': expected a list of {'role': ..., 'content': text}, or of {'from': human | gpt | system,"
        " 'value': text}, got nothing, but the fields question, reply, clip. Conversations are read from messages",
    ),
    "no columns": ({}, "got nothing, but the fields none"),
    "a query without an answer": ({"query": "What?"}, "got nothing, but the fields query"),
    "data in place of a path": (
        {"messages": [turn(part(image_url={"url": "data:image/png;base64,AAAA"}), "What?"), SAID]},
        "field 'messages[0].content[0]': expected the path of a file, got 'data:image/png;base64,AAAA'. Save it",
    ),
    "an address of the net": (
        {"messages": [turn(part(video="https://x.org/a.mp4"), "What?"), SAID]},
        "field 'messages[0].content[0]': expected the path of a file, got 'https://x.org/a.mp4'",
    ),
    "frames": (
        {"messages": [turn(part(video=["a.jpg", "b.jpg"]), "What?"), SAID]},
        "field 'messages[0].content[0]': expected the path of a file, got ['a.jpg', 'b.jpg']",
    ),
    "a cut": (
        {"messages": [turn({**VIDEO, "video_start": 1.0}, "What?"), SAID]},
        "field 'messages[0].content[0]': expected a whole file, got one with video_start. Import the whole file",
    ),
    "sound within": (
        {"messages": [turn(part(input_audio={"data": "AAAA"}), "What?"), SAID]},
        "field 'messages[0].content[0]': expected a part of type text or video, audio, image, got",
    ),
    "an unknown part": ({"messages": [turn({"type": "tool_use"}, "What?"), SAID]}, "expected a part of type text or"),
    "a part that is a number": ({"messages": [turn(3), SAID]}, "expected a part of type text or"),
    "media of the assistant": (
        {"messages": [ASKED, turn(VIDEO, "Joy.", role="assistant")]},
        "field 'messages[1].content[0]': expected a part of type text, got",
    ),
    "media in two places": (
        {"messages": [turn(VIDEO, "What?"), SAID], "videos": ["b.mp4"]},
        "field 'videos': expected the video here or in a turn, got both",
    ),
    "the system in two places": (
        {"messages": [{"role": "system", "content": "A"}, ASKED, SAID], "system": "B"},
        "field 'system': expected the system's words here or in a turn, got both",
    ),
    "a history of texts": ({"query": "a", "response": "b", "history": ["x"]}, "field 'history': expected a list of"),
    "two placeholders": (
        {"messages": [{**ASKED, "content": "<video><audio>What?"}, SAID], "videos": ["a.mp4"]},
        "(1), got 0",
    ),
    "an object as video": (
        {"messages": [ASKED, SAID], "videos": [{"path": "a.mp4"}]},
        "field 'videos': expected paths",
    ),
    "a key twice": ({"messages": [ASKED, SAID]}, ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_row_is_named_with_the_next_step(tmp_path: Path, name: str) -> None:
    row, words = WRONG[name]
    path = write(tmp_path, row)
    if not words:
        path.write_text(path.read_text().replace("{", '{"messages": [], ', 1))
        words = "row 1: expected one JSON object a line, got the key 'messages' twice in an object"
    with pytest.raises(InputError) as caught:
        from_ms_swift(path)
    (problem,) = caught.value.problems
    assert words in str(problem)


def test_unescaped_quotation_marks_are_named_by_row(tmp_path: Path) -> None:
    """(wenhaochai/MovieChat#69)"""
    path = write(tmp_path, {"messages": [ASKED, SAID]})
    path.write_text(path.read_text() + '\n{"messages": [{"role": "user", "content": "He said "no""}]}\n')
    with pytest.raises(InputError, match="row 2: expected one JSON object a line, got Expecting ',' delimiter"):
        from_ms_swift(path)


# Lists of labels


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("happy，excited", ["happy", "excited"]),
        ("悲伤、失望", ["悲伤", "失望"]),
        ("愤怒；厌恶", ["愤怒", "厌恶"]),
        ("['angry', 'hostile']", ["angry", "hostile"]),
        ('["angry", "hostile"]', ["angry", "hostile"]),
        ("[angry, hostile]", ["angry", "hostile"]),
        ("('angry', 'hostile')", ["angry", "hostile"]),
        ("{'hostile', 'angry'}", ["angry", "hostile"]),
        ("angry; hostile", ["angry", "hostile"]),
        ("angry\nhostile\n", ["angry", "hostile"]),
        ("【angry，hostile】", ["angry", "hostile"]),
        ("“angry”，“hostile”", ["angry", "hostile"]),
        ("['sad, but hopeful', \"can't wait\"]", ["sad, but hopeful", "can't wait"]),
        ('["caf\\u00e9", "\\u9ad8\\u5174"]', ["café", "高兴"]),
        ("joy (mild), (deep) sorrow", ["joy (mild)", "(deep) sorrow"]),
        ("(mild) joy, sorrow (deep)", ["(mild) joy", "sorrow (deep)"]),
        ("happy, happy,, ", ["happy"]),
        ("[]", []),
        ("", []),
        ("7", ["7"]),
        ("happy|excited", ["happy", "excited"]),
        ("happy｜excited\tproud", ["happy", "excited", "proud"]),
        ("happy/excited", ["happy", "excited"]),
        ("anger/disgust, joy", ["anger/disgust", "joy"]),
        ("悲伤、sad，angry;失望。", ["悲伤", "sad", "angry", "失望"]),
        ("happy, excited.", ["happy", "excited"]),
        ('["happy", "excited"].', ["happy", "excited"]),
        ("1. happy\n2. excited", ["happy", "excited"]),
        ("- happy\n- excited", ["happy", "excited"]),
        ('```json\n["happy", "excited"]\n```', ["happy", "excited"]),
        ('"[\\"happy\\", \\"excited\\"]"', ["happy", "excited"]),
        ('["[\\"happy\\"]"]', ["happy"]),
        ('[["happy", "excited"], ["happy"]]', ["happy", "excited"]),
        ('{"labels": ["happy", "excited"]}', ["happy", "excited"]),
        ("['happy' 'excited']", ["happy", "excited"]),
        ('["happy", null, NaN]', ["happy"]),
        ("['happy', None]", ["happy"]),
        ("[1, -1]", ["1", "-1"]),
        ('["", "  "]', []),
        ("(happy), (excited)", ["happy", "excited"]),
        ("[happy]，[excited]", ["happy", "excited"]),
        ("-1, 1", ["-1", "1"]),
    ],
)
def test_lists_of_labels_as_people_and_programs_write_them(text: str, labels: list[str]) -> None:
    """(modelscope/ms-swift#650)"""
    assert read_labels(text) == labels


def test_answers_of_several_labels_are_read_by_it(tmp_path: Path) -> None:
    rows = [{"messages": [ASKED, {**SAID, "content": text}]} for text in ("happy，excited", "['angry', 'hostile']")]
    assert [clip.answer for clip in from_ms_swift(write(tmp_path, *rows), "emotion_open")] == [
        ["happy", "excited"],
        ["angry", "hostile"],
    ]


@pytest.mark.parametrize(
    "text", ["[" * 1000, '["happy"]["sad"]', 'array(["happy"], dtype=object)', "happy\\nsad", '{"a": ["b"], "c": "d"}']
)
def test_lists_that_are_written_in_another_way_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="no label"):
        read_labels(text)
    with pytest.raises(InputError, match="row 1, field 'the last turn': expected labels with commas between them"):
        from_ms_swift(write(tmp_path, {"messages": [ASKED, {**SAID, "content": text}]}), "emotion_open")


@pytest.mark.parametrize("identifier", [True, {"a": 1}, ["a"]])
def test_an_id_is_a_text_or_a_number(tmp_path: Path, identifier: object) -> None:
    with pytest.raises(InputError, match="row 1, field 'id': expected a text or a number"):
        from_ms_swift(write(tmp_path, {"id": identifier, "messages": [ASKED, SAID]}))


# The command


def test_text_cut_inside_a_character_is_mended_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """(RasaHQ/rasa#1489)"""
    said = [{**SAID, "content": text} for text in ("Joy.", "so happy \ud83d", "\udc92", "\U0001f600")]
    path, out = write(tmp_path, *({"messages": [ASKED, turn]} for turn in said)), tmp_path / "rows.jsonl"
    assert import_main(["--from", "ms-swift", str(path), "--out", str(out)]) == 0
    assert f"{path}: 2 rows, the first is row 2, held text that was cut inside a character" in capsys.readouterr().err
    assert [clip.target for clip in read_clips(out)] == ["Joy.", "so happy \ufffd", "\ufffd", "\U0001f600"]


def test_lost_signs_of_windows_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, {"messages": [{**ASKED, "content": "I\x92m"}, SAID]})
    assert import_main(["--from", "ms-swift", str(path), "--out", str(tmp_path / "rows.jsonl")]) == 0
    assert "1 rows hold control characters where signs of Windows-1252 were" in capsys.readouterr().err


REPORTED: dict[str, tuple[str, str, str]] = {
    "bom.jsonl": ("ms-swift", "caption", ""),
    "parts.jsonl": ("ms-swift", "caption", ""),
    "queryresponse.jsonl": ("ms-swift", "caption", ""),
    "sharegpt.json": ("sharegpt", "caption", ""),
    "zhlabels.jsonl": ("ms-swift", "emotion_open", ""),
    "surrogate.jsonl": ("ms-swift", "caption", ""),
    "llava.json": ("sharegpt", "caption", ""),
    "intid.jsonl": ("ms-swift", "caption", "row 2, field 'id'"),
    "twomark.jsonl": ("ms-swift", "caption", "row 1, field 'audios'"),
    "frames.jsonl": ("ms-swift", "caption", "row 1, field 'videos'"),
    "objvideo.jsonl": ("ms-swift", "caption", "row 1, field 'videos'"),
    "obs.json": ("sharegpt", "caption", "row 1, field 'conversations[2]'"),
    "rows_array.json": ("ms-swift", "caption", ""),
}


@pytest.mark.parametrize("name", REPORTED)
def test_reported_files(name: str) -> None:
    if "SHARED_DATA" not in os.environ:
        pytest.skip("needs the shared data")
    path = Path(os.environ["SHARED_DATA"], "reported", "imp", name)
    form, task, words = REPORTED[name]
    if words:
        with pytest.raises(InputError) as caught:
            FROM[form](path, task)
        assert words in str(caught.value)
        return
    if name == "surrogate.jsonl":
        with pytest.raises(InputError, match=r"field 'messages\[1\]\.content': expected whole characters"):
            FROM[form](path, task)
    clips = FROM[form](path, task, mended=[])
    if name == "zhlabels.jsonl":
        assert [clip.answer for clip in clips] == [["happy", "excited"], ["悲伤", "失望"], ["angry", "hostile"]]
    assert all(clip.has_media for clip in clips)
