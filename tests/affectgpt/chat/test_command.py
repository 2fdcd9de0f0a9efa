import io
import json
from types import SimpleNamespace

import pytest

from affectgpt.chat import command as chat
from affectgpt.problems import InputError

QUESTION = "What does this person feel?"


@pytest.fixture
def run(tiny, monkeypatch):
    """Run the command on the tiny model, with lines on standard input."""

    def call(*argv, stdin=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        return chat.main(["--model", str(tiny.folder), "--max-new-tokens", "6", *map(str, argv)])

    return call


def test_one_question_one_answer(run, tmp_path, write_mp4, capsys):
    video = write_mp4(tmp_path / "a.mp4")
    assert run("--video", video, "--subtitle", "I did not", "--question", QUESTION) == 0
    printed = capsys.readouterr().out
    assert run("--video", video, "--subtitle", "I did not", "--question", QUESTION, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"question", "answer", "seconds"}
    assert (said["question"], said["answer"]) == (QUESTION, printed.strip())


def test_lines_of_standard_input_are_one_conversation(tiny, run, tmp_path, write_mp4, capsys, monkeypatch):
    from affectgpt.inference.assistant import Assistant

    heard = []

    def ask(self, question, features=None, history=None, **settings):
        heard.append((question, set(features), [turn["content"] for turn in history]))
        return f"answer {len(heard)}"

    monkeypatch.setattr(Assistant, "ask", ask)
    video = write_mp4(tmp_path / "a b.mp4")
    stdin = f"one\n\ntwo\n/vidoe x\n/video {tmp_path / 'gone.mp4'}\n/video {video}\nthree\n/quit\nfour\n"
    assert run(stdin=stdin) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["answer 1", "answer 2", "answer 3"]
    assert "Did you mean '/video'?" in err
    assert "gone.mp4" in err
    streams = {"face_features", "audio_features"}
    assert heard == [("one", set(), []), ("two", set(), ["one", "answer 1"]), ("three", streams, [])]


def test_streamed_words_are_the_answer(tiny, run, capsys, monkeypatch):
    assert run("--text", "--question", QUESTION) == 0
    plain = capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert run("--text", "--question", QUESTION) == 0
    assert capsys.readouterr().out.strip() == plain.strip()


def test_typed_lines_end_with_the_file(monkeypatch):
    typed = iter(["hello", "", " you "])

    def answer(prompt):
        assert prompt == "> "
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", answer)
    assert list(chat.lines()) == ["hello", "you"]


def test_options_that_do_not_go_together(run):
    with pytest.raises(InputError) as caught:
        run("--text", "--video", "a.mp4", "--json", "--top-p", "0", "--temperature", "-1")
    assert len(caught.value.problems) == 4
    with pytest.raises(InputError, match="expected a clip, got none"):
        run("--question", QUESTION)
