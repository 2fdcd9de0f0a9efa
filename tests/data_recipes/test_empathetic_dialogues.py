"""EmpatheticDialogues: the tables' own commas and quotes, rows by listener turn, and what is wrong named."""

from __future__ import annotations

import json

import pytest

from affectgpt.clip import read_clips
from affectgpt.evidence.dialogue import dialogue_of, rows_with_emotion
from affectgpt.problems import InputError
from data_recipes.empathetic_dialogues.command import main

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
