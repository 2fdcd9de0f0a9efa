"""EmpatheticDialogues: the tables' own commas and quotes, rows by listener turn, and what is wrong named."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest

from affectgpt.clip import read_clips
from affectgpt.evidence.dialogue import dialogue_of, rows_with_emotion
from affectgpt.problems import InputError
from data_recipes.empathetic_dialogues.command import main
from data_recipes.empathetic_dialogues.recipe import read_turns

HEAD = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags"
LINES = [
    'hit:0,1,joyful,I won_comma_ at last,1,I said "we won_comma_ at last,5|5|5_2|2|5,',
    "hit:0,2,joyful,I won_comma_ at last,0,Great!,5|5|5_2|2|5,",
    "hit:0,3,joyful,I won_comma_ at last,1,Yes,5|5|5_2|2|5,<tag>,more",
    "hit:0,4,joyful,I won_comma_ at last,0,Well done_comma_ you.,5|5|5_2|2|5,",
    "hit:1,1,afraid,Dark,2,It was dark.,,",
    "hit:1,3,afraid,Dark,2,So dark.,,",
    "hit:1,4,afraid,Dark,3,Oh.,,",
]


def write(folder, name="train.csv", lines=(HEAD, *LINES)):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def test_rows_of_a_table(tmp_path, capsys):
    folder = write(tmp_path / "ed")
    assert main([str(folder), "--out", str(tmp_path / "out"), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"train": 2}
    assert "2 rows of 1 dialogues. 2 turns after a missing one were left out." in said.err
    first, second = read_clips(tmp_path / "out" / "train.jsonl")
    assert [turn["content"] for turn in first.messages] == [
        'I said "we won, at last',
        "Emotion: joyful\nResponse: Great!",
    ]
    assert [turn["role"] for turn in second.messages] == ["user", "assistant", "user", "assistant"]
    assert second.target == "Emotion: joyful\nResponse: Well done, you."
    assert (second.id, second.group, second.answer) == ("hit:0/4", "hit:0", "joyful")
    assert second.situation == "I won, at last"
    assert dialogue_of(second).turns == ('I said "we won, at last', "Great!", "Yes")


def test_the_rows_train_plugins_too(tmp_path):
    write(tmp_path / "ed", lines=[HEAD, *LINES, LINES[5].replace(",3,", ",2,", 1)])
    main([str(tmp_path / "ed"), "--out", str(tmp_path / "out")])
    rows = rows_with_emotion(tmp_path / "out" / "train.jsonl")
    assert [row.answer for row in rows] == ["joyful", "joyful", "afraid", "afraid"]
    assert [row.id for row in rows] == [clip.id for clip in read_clips(tmp_path / "out" / "train.jsonl")]
    with pytest.raises(InputError, match="expected a label of the plugin, got joyful"):
        rows_with_emotion(tmp_path / "out" / "train.jsonl", ["sad"])


def test_every_problem_of_every_table_is_named(tmp_path):
    write(tmp_path / "ed", lines=[HEAD, "hit:0,1,joyfull,x,1,Hi,,", "hit:0,one,joyful,x,1,Hi,,"])
    write(tmp_path / "ed", "test.csv", lines=[HEAD, "hit:0,1,joyful", "hit:0,1,joyful,x,1, ,,"])
    said = r"(?s)4 problems:.*train.csv: line 2.*Did you mean 'joyful'.*line 3.*test.csv: line 2.*6 fields.*line 3"
    with pytest.raises(InputError, match=said):
        main([str(tmp_path / "ed"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"expected some of train\.csv"):
        main([str(tmp_path), "--out", str(tmp_path / "out")])


TURNS = [
    ["hit:0", "1", "joyful", "I won_comma_ at last", "1", 'I said "we won_comma_ at last', "5|5|5_2|2|5", ""],
    ["hit:0", "2", "joyful", "I won_comma_ at last", "0", "Great, I\u2028mean \u0085it!", "5|5|5_2|2|5", ""],
]
RATINGS = "5|5|5_2|2|5"


def turns_of(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "train.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(turn.number, turn.situation, turn.text) for turn in read_turns(folder / "train.csv")]


def saved(rows, **settings):
    out = io.StringIO()
    csv.writer(out, **settings).writerows([HEAD.split(","), *rows])
    return out.getvalue()


COMMAS = [
    ["c", "1", "afraid", "I was alone, at night", "1", "I was alone, at night", RATINGS, ""],
    ["c", "2", "afraid", "I was alone, at night", "0", 'Are "you" ok, now?', RATINGS, ""],
]
SAVED = {
    "real commas": COMMAS,
    "real commas in the turn alone": [[*row[:3], "Night", *row[4:]] for row in COMMAS],
    "real commas in the situation alone": [[*row[:5], "Well", *row[6:]] for row in COMMAS],
    "doubled quotation marks": [
        [*row[:3], "Night", "1", 'I said "no", "never"'.replace(",", "_comma_"), RATINGS, ""] for row in COMMAS
    ],
    "lines inside a turn": [[*row[:5], "Well.\nNo, I never.", *row[6:]] for row in COMMAS],
}


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("name", SAVED)
def test_a_table_that_pandas_saved_is_read_as_a_csv(tmp_path, name, ending, quoting):
    """Split at its commas, it gave turns such as "1" and "0" (facebookresearch/EmpatheticDialogues#40)."""
    rows = SAVED[name]
    text = saved(rows, quoting=quoting, lineterminator=ending)
    expected = [(int(row[1]), row[3], row[5].replace("_comma_", ",")) for row in rows]
    assert turns_of(tmp_path / "ed", text) == expected
    assert turns_of(tmp_path / "ed", "\ufeff" + text) == expected


def test_a_table_with_the_index_of_pandas(tmp_path):
    text = "," + HEAD + "\n" + "".join(f"{index},{','.join(row[:5])},Fine,,\n" for index, row in enumerate(TURNS))
    assert turns_of(tmp_path / "ed", text) == [(1, "I won, at last", "Fine"), (2, "I won, at last", "Fine")]


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_published_table_keeps_stray_quotation_marks_and_other_ends_of_lines(tmp_path, start, ending):
    turns = [[*row[:5], row[5].replace("Great, I", "Great_comma_ I"), *row[6:]] for row in TURNS]
    text = start + ending.join([HEAD, *map(",".join, turns)]) + ending
    assert [turn for _, _, turn in turns_of(tmp_path / "ed", text)] == [
        'I said "we won, at last',
        "Great, I\u2028mean \u0085it!",
    ]


SHIFTED = {
    "speaker": ("c,1,afraid,Alone, at night,1,Hi there,5|5|5,", "'speaker_idx': expected a number, got 'at night'"),
    "ratings": ('c,1,afraid,Alone,1,"I was alone, at night,5|5|5,', "'selfeval': expected ratings such as"),
    "ratings, no quotation mark": ("c,1,afraid,Alone,1,Well, at night,5|5|5,", "'selfeval': expected ratings such as"),
    "number": ("c,-1,afraid,Alone,1,Hi,5|5|5,", "'utterance': expected a number from 1 and words"),
}


@pytest.mark.parametrize("name", SHIFTED)
def test_a_comma_that_shifts_the_fields_is_named(tmp_path, name):
    line, words = SHIFTED[name]
    with pytest.raises(InputError) as caught:
        turns_of(tmp_path / "ed", f"{HEAD}\n{line}\n")
    assert f"line 2, {words}" in str(caught.value)


def test_a_saved_table_that_was_spoilt_names_its_own_problems(tmp_path):
    with pytest.raises(InputError) as caught:
        turns_of(tmp_path / "ed", saved([*COMMAS, *COMMAS, [*COMMAS[0][:2], "afriad", *COMMAS[0][3:]]]))
    assert [problem.where for problem in caught.value.problems] == ["line 6, 'context'"]


def test_another_encoding_is_named(tmp_path):
    with pytest.raises(InputError, match=r"line 2, byte 25: expected a table in UTF-8, got the byte 0x92"):
        turns_of(tmp_path / "ed", f"{HEAD}\nc,1,afraid,Alone,1,I was\u2019nt,,\n".encode("cp1252"))


@pytest.mark.parametrize("folder", ["", "pd", "bom", "u85"])
def test_reported_tables(folder):
    if "SHARED_DATA" not in os.environ:
        pytest.skip("needs the shared data")
    first, second = read_turns(Path(os.environ["SHARED_DATA"], "reported", "ed", folder, "train.csv"))
    turns = {
        "": ('"I remember going to see the fireworks, it was nice', "Was this a friend you loved?"),
        "pd": ("I was alone, at night", "Are you ok, now?"),
        "bom": ("I was alone", "Are you ok?"),
        "u85": ("I was alone\u2028 at night", "Are you ok?"),
    }
    assert (first.text, second.text) == turns[folder]


def test_lines_that_stand_twice_are_one(tmp_path, capsys):
    write(tmp_path / "once")
    write(tmp_path / "twice", lines=(HEAD, *LINES, *LINES))
    for name in ("once", "twice"):
        assert main([str(tmp_path / name), "--out", str(tmp_path / name / "out")]) == 0
    rows = [(tmp_path / name / "out" / "train.jsonl").read_text() for name in ("once", "twice")]
    assert rows[0] == rows[1]


def test_lines_of_an_old_mac_are_read(tmp_path):
    text = "\n".join((HEAD, *LINES))
    assert turns_of(tmp_path / "a", text.replace("\n", "\r")) == turns_of(tmp_path / "b", text)


@pytest.mark.parametrize("sign", [";", "\t"])
def test_other_delimiters_are_one_problem(tmp_path, sign):
    with pytest.raises(InputError) as caught:
        turns_of(tmp_path / "ed", f"{HEAD}\nc,1,sad,Alone,1,Hi,5,\n".replace(",", sign))
    assert [problem.where for problem in caught.value.problems] == ["the header"]


def test_a_table_of_which_nothing_is_left_is_refused(tmp_path):
    write(tmp_path / "ed", lines=(HEAD, "c,2,sad,Alone,1,Hi,5,", "c,3,sad,Alone,0,Why?,5,"))
    with pytest.raises(InputError, match="expected a conversation with turns 1 and 2, got none in 1 conversations"):
        main([str(tmp_path / "ed"), "--out", str(tmp_path / "out")])
