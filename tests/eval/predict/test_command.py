import json

import pytest
from PIL import Image

from affectgpt.clip import Clip, write_clips
from affectgpt.inference import row_assistant
from affectgpt.problems import InputError
from eval.predict import command as predict_command
from eval.predict import run as predict_run
from tests.support.media import write_mute
from tests.support.rows import make_clip

QUESTION = "What does this person feel?"


@pytest.fixture
def rows(tmp_path, write_mp4):
    """Six rows: two clips with two questions each, one that does not decode, one of text alone."""
    videos = [write_mp4(tmp_path / f"{seed}.mp4", seed) for seed in range(2)]
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")

    def row(name, task, video=None):
        return make_clip(name, task=task, video=video)

    clips = [
        row("a1", "emotion_label", videos[0]),
        row("bad", "emotion_label", bad),
        row("a2", "caption", videos[0]),
        row("t", "text"),
        row("b1", "emotion_label", videos[1]),
        row("b2", "caption", videos[1]),
    ]
    write_clips(tmp_path / "rows.jsonl", clips)
    return tmp_path / "rows.jsonl"


@pytest.fixture
def run(tiny, rows, tmp_path, capsys):
    """Run the command; gives its exit code, its JSON object and the lines it wrote."""
    out = tmp_path / "out" / "said.jsonl"

    def call(*argv):
        given = ["--model", tiny.folder, "--out", out, "--max-new-tokens", 6, "--workers", 1, "--json", *argv]
        code = predict_command.main([str(rows), *map(str, given)])
        return code, json.loads(capsys.readouterr().out), read(out)

    call.out = out
    return call


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_for_every_row_in_their_order(run):
    code, report, lines = run("--bad-sample-budget", 0.2)
    assert code == 0
    assert [line["id"] for line in lines] == ["a1", "bad", "a2", "t", "b1", "b2"]
    assert all({"id", "task", "response", "status", "answer"} <= line.keys() for line in lines)
    bad = lines[1]
    assert (bad["status"], bad["response"], "bad.mp4" in bad["reason"]) == ("error", "", True)
    assert all(line["status"] in ("ok", "truncated") for line in lines if line["id"] != "bad")
    assert (report["rows"], report["kept"], report["error"]) == (6, 0, 1)
    assert sorted(path.name for path in run.out.parent.iterdir()) == ["said.jsonl", "said.jsonl.settings.json"]


def test_beyond_the_budget_everything_is_written_and_the_exit_code_says_so(run):
    code, report, lines = run()
    assert (code, len(lines), report["error"]) == (2, 6, 1)


def test_the_store_gives_the_same_answers(run, tmp_path):
    _, _, online = run("--batch-size", 2)
    run.out.unlink()
    _, _, stored = run("--batch-size", 2, "--store", tmp_path / "store")
    for line in online + stored:
        line.pop("reason", None)
    assert stored == online
    assert any((tmp_path / "store").glob("**/*.shard"))


def test_it_goes_on_after_a_cut(run, monkeypatch):
    answered = []
    real = predict_run.answer_rows

    def stopping(model, reader, clips, *settings, **named):
        if answered:
            raise KeyboardInterrupt
        answered.extend(clip.id for clip in clips)
        return real(model, reader, clips, *settings, **named)

    monkeypatch.setattr(row_assistant, "_BATCHES_AT_ONCE", 1)
    monkeypatch.setattr(predict_run, "answer_rows", stopping)
    with pytest.raises(KeyboardInterrupt):
        run("--batch-size", 3)
    assert answered == ["a1", "a2"]
    assert not run.out.exists()
    journal = run.out.with_name("said.jsonl.part")
    with journal.open("a") as file:
        file.write('{"id": "t", "task": "te')  # cut off by a kill
    again = []
    monkeypatch.setattr(
        predict_run,
        "answer_rows",
        lambda model, reader, clips, *settings, **named: (
            again.extend(clip.id for clip in clips) or real(model, reader, clips, *settings, **named)
        ),
    )
    _, report, lines = run()
    assert again == ["t", "b1", "b2"]
    assert report["kept"] == 2
    assert [line["id"] for line in lines] == ["a1", "bad", "a2", "t", "b1", "b2"]


def test_nothing_is_answered_twice_but_bad_clips_are_tried_again(run, rows, write_mp4):
    _, _, first = run("--limit", 3)
    assert [line["id"] for line in first] == ["a1", "bad", "a2"]
    write_mp4(rows.parent / "bad.mp4", 5)
    first[0]["response"] = "kept as it was"
    run.out.write_text("".join(json.dumps(line) + "\n" for line in first))
    code, report, lines = run("--tasks", "emotion_label")
    assert (code, report["rows"], report["kept"], report["error"]) == (0, 3, 1, 0)
    assert [line["id"] for line in lines] == ["a1", "bad", "a2", "b1"]
    assert lines[0]["response"] == "kept as it was"
    assert lines[1]["status"] != "error"


def test_lines_made_otherwise_are_not_mixed(run, rows):
    run("--limit", 1)
    with pytest.raises(InputError, match="max_new_tokens"):
        run("--max-new-tokens", 3)
    kept = rows.read_text().splitlines()
    rows.write_text("\n".join(kept[1:]))
    with pytest.raises(InputError, match=r"line 1: expected the id of a row, got 'a1'"):
        run()
    rows.write_text("\n".join([kept[0].replace('"answer": "joy"', '"answer": "fear"'), *kept[1:]]))
    with pytest.raises(InputError, match="Name another --out"):
        run()


def test_wrong_use_is_refused_at_once(run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError) as caught:
        run("--limit", 0, "--timeout", 0, "--bad-sample-budget", 2)
    assert len(caught.value.problems) == 4
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(InputError, match="some of tree"):
        run("--tasks", "tree")


def test_trees_are_searched_for_when_asked(run, rows, tmp_path):
    with pytest.raises(InputError, match="some of task tree, for --search, got none"):
        run("--search", "n=2")
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    lines[3] |= {"task": "tree", "answer": "m1 joy"}
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, _, greedy = run("--bad-sample-budget", 0.2)
    with pytest.raises(InputError, match=r"made with other settings \(search\)"):
        run("--search", "n=1", "--bad-sample-budget", 0.2)
    run.out.unlink()
    _, _, one = run("--search", "n=1", "--bad-sample-budget", 0.2)
    assert one == greedy
    noted = json.loads(run.out.with_name("said.jsonl.settings.json").read_text())["search"]
    assert noted == {"n": 1, "node_bonus": 0.0, "scorer": "likelihood", "temperature": 0.7, "top_p": 1.0, "seed": 0}
    run.out.unlink()
    code, _, several = run("--search", "n=3", "scorer=consistency", "--bad-sample-budget", 0.2)
    assert (code, len(several)) == (0, 6)


def test_a_still_is_answered_and_a_row_without_a_conversation_refused(run, rows, tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "joy"}]
    still = Clip(id="still", messages=turns, task="emotion_label", answer="joy", image=tmp_path / "a.png")
    write_clips(rows, [still, Clip(id="mute", task="clip", image=tmp_path / "a.png")])
    with pytest.raises(InputError, match=r"row mute: expected a conversation, got none, its task is 'clip'"):
        run()
    assert not run.out.exists()
    code, report, (line,) = run("--tasks", "emotion_label")
    assert (code, report["error"], line["id"]) == (0, 0, "still")


def test_a_video_that_is_said_to_have_no_sound_is_answered(run, rows, tmp_path):
    """RAVDESS ships such clips (marcogdepinto/emotion-classification-from-audio-files#6)."""
    video = write_mute(tmp_path / "mute.mp4")
    write_clips(rows, [make_clip("said", video=video, has_sound=False)])
    code, report, (line,) = run()
    assert (code, report["error"], line["id"]) == (0, 0, "said")
    assert line["status"] != "error"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["n=0"], "--search n: expected greater than or equal to 1, got '0'"),
        (["n=four", "scorers=x"], "2 problems"),
        (
            ["n=2", "scorer=consistancy"],
            "scorer: expected likelihood, .* id, got 'consistancy'. Did you mean 'consistency'",
        ),
        (["n=2", "scorer=no/where"], "scorer: no/where: expected a reward model's folder"),
    ],
)
def test_what_is_wrong_with_a_search_is_said(run, rows, given, said):
    lines = rows.read_text().replace('"caption"', '"tree"')
    rows.write_text(lines.replace('"answer": "joy"', '"answer": "m1 joy"'))
    with pytest.raises(InputError, match=said):
        run("--search", *given)
