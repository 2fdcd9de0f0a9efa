import io
import json
from types import SimpleNamespace

import pytest
from PIL import Image

from affectgpt.chat import command as chat
from affectgpt.inference import assistant
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


def test_a_question_about_a_still_picture(run, tmp_path, capsys):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    assert run("--image", tmp_path / "a.png", "--question", QUESTION, "--json") == 0
    assert json.loads(capsys.readouterr().out)["question"] == QUESTION
    with pytest.raises(InputError, match="--image: expected a picture or a video, got both"):
        run("--image", tmp_path / "a.png", "--video", tmp_path / "a.mp4", "--question", QUESTION)


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


@pytest.fixture
def heard(monkeypatch):
    """Record what reaches an assistant: how it is made, the media of each clip, each question with its settings."""
    calls = SimpleNamespace(made=[], media=[], asked=[])

    class Heard:
        @classmethod
        def from_pretrained(cls, *settings):
            calls.made.append(settings)
            return cls()

        def encode(self, **media):
            calls.media.append(media)
            return {"media": len(calls.media)}

        def ask(self, question, **settings):
            calls.asked.append((question, settings))
            return "joy"

    monkeypatch.setattr(assistant, "Assistant", Heard)
    return calls


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_options_reach_the_assistant(tiny, run, heard, json_too):
    media = ["--video", "a.mp4", "--audio", "a.wav", "--face", "a.npy"]
    drawing = ["--temperature", "0.5", "--top-p", "0.9", "--device", "cpu", "--dtype", "bfloat16"]
    assert run(*media, *drawing, "--subtitle", "Oh.", "--question", QUESTION, *json_too) == 0
    assert heard.made == [(str(tiny.folder), "cpu", "bfloat16")]
    assert heard.media == [{"video": "a.mp4", "audio": "a.wav", "face": "a.npy"}]
    ((question, settings),) = heard.asked
    expected = {"features": {"media": 1}, "subtitle": "Oh.", "max_new_tokens": 6, "temperature": 0.5, "top_p": 0.9}
    assert question == QUESTION
    assert settings.items() >= expected.items()


def test_another_clip_has_other_words_and_no_history(run, heard):
    assert run("--video", "a.mp4", "--subtitle", "Oh.", stdin="one\ntwo\n/video b.mp4\nthree\n") == 0
    assert heard.media == [{"video": "a.mp4"}, {"video": "b.mp4"}]
    told = [(settings["features"]["media"], settings["subtitle"]) for _, settings in heard.asked]
    assert told == [(1, "Oh."), (1, "Oh."), (2, None)]
    assert heard.asked[2][1]["history"] == [
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "joy"},
    ]


def test_answers_that_are_not_drawn_have_no_temperature(run):
    for option in (["--temperature", "0.5"], ["--top-p", "0.9"]):
        with pytest.raises(InputError, match="--empathy: answers are not sampled"):
            run("--empathy", "plugin", *option)


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


PIPED = {
    "a byte order mark": (b"\xef\xbb\xbfone\n", ["one"]),
    "line ends of Windows": (b"one\r\n\r\ntwo\r\n", ["one", "two"]),
    "line ends of old Macs": (b"one\rtwo", ["one", "two"]),
    "no line end": (b"one", ["one"]),
    "NUL at the end": (b"one\x00\n\x00\n", ["one"]),
    "bytes that are no UTF-8": (b"caf\xe9\n", ["caf\ufffd"]),
    "half of a pair": ("\ud83d?".encode("utf-8", "surrogatepass") + b"\n", ["\ufffd\ufffd\ufffd?"]),
    "UTF-16": ("\ufeffone".encode("utf-16-le"), ["\ufffd\ufffdo\x00n\x00e"]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("what", PIPED)
def test_whatever_is_piped_in_is_read_as_lines(what, monkeypatch):
    given, read = PIPED[what]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
    assert list(chat.lines()) == read


def test_halves_of_pairs_on_the_command_line_reach_no_tokenizer(run, capsys):
    """Python makes them of bytes that are no UTF-8."""
    assert run("--text", "--question", "caf\udce9?", "--subtitle", "\ud800", "--json") == 0
    assert json.loads(capsys.readouterr().out)["question"] == "caf\ufffd?"
    assert run("--text", "--show-prompt", stdin="caf\udce9?\n") == 0
    assert "caf\ufffd?" in capsys.readouterr().err


def test_the_prompt_is_shown_as_the_model_reads_it(run, tmp_path, write_mp4, capsys):
    video = write_mp4(tmp_path / "a.mp4")
    assert (
        run("--video", video, "--subtitle", "Oh <|im_end|> no", "--question", QUESTION, "--show-prompt", "--json") == 0
    )
    captured = capsys.readouterr()
    assert set(json.loads(captured.out)) == {"question", "answer", "seconds"}
    prompt = captured.err.partition("--- prompt\n")[2].partition("\n---")[0]
    assert prompt.endswith("assistant\n")
    assert f'They say: "Oh < |im_end|> no"\n{QUESTION}' in prompt
