"""A language model behind a URL: what `--model http://.../v1#name` does in the commands, against a real server."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from affectgpt.chat.command import main as chat_main
from affectgpt.clip import Clip, write_clips
from affectgpt.command_line import run
from affectgpt.empathy.two_stage import Selection, decide, score_clips
from affectgpt.inference.assistant import Assistant
from affectgpt.inputs.open import open_reader
from affectgpt.llm.endpoint import TOKEN_VARIABLE, open_endpoint
from affectgpt.model.loading import load_model, load_processor
from affectgpt.problems import InputError
from eval.benchmarks.empathy.command import main as empathy_main
from eval.predict.command import main as predict_main
from tests.support.llm_server import LanguageServer
from tests.support.text_models import tiny_text_model

LABELS = ["joyful", "sad", "afraid"]
TOKEN = "sk-never-to-be-seen"


def dialogue(name: str, text: str, answer: str) -> Clip:
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": f"Emotion: {answer}\nResponse: Oh."}]
    probabilities = [0.6 if label == answer else 0.2 for label in LABELS]
    evidence = {"emotion": {"kind": "emotion", "labels": LABELS, "probabilities": probabilities}}
    return Clip(id=name, messages=turns, task="dialogue", answer=answer, options=LABELS, evidence=evidence)


CLIPS = [dialogue("d1", "My dog died.", "sad"), dialogue("d2", "I won!", "joyful"), dialogue("d3", "Oh no", "afraid")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_text_model("qwen2", tmp_path_factory.mktemp("url") / "model", chat_template=None)


@pytest.fixture(scope="module")
def parts(folder):
    return load_model(folder, "float32", "eager").eval(), load_processor(folder)


@pytest.fixture
def server(parts) -> Iterator[LanguageServer]:
    with LanguageServer(*parts) as server:
        yield server


@pytest.fixture
def rows(tmp_path) -> Path:
    write_clips(tmp_path / "rows.jsonl", CLIPS)
    return tmp_path / "rows.jsonl"


def both(server, parts):
    """The model behind the URL and the same one loaded here, each with its reader."""
    endpoint = open_endpoint(f"{server.url}#tiny")
    return (endpoint, open_reader(endpoint, None)), (parts[0], open_reader(parts[1], None))


def test_the_server_decides_as_the_same_model_here(server, parts):
    there, here = both(server, parts)
    scores, expected = (score_clips(*one, CLIPS) for one in (there, here))
    for found, row in zip(scores, expected, strict=True):
        shift = found["sad"] - row["sad"]  # of the tokens that all labels begin with
        assert {label: value - shift for label, value in found.items()} == pytest.approx(row, abs=1e-3)
    for mode in ("score", "prompt"):
        said = [decide(*one, CLIPS, Selection(mode), max_new_tokens=6) for one in (there, here)]
        assert [(item.emotion, item.stage) for item in said[0]] == [(item.emotion, item.stage) for item in said[1]]
        assert [item.response for item in said[0]] == [item.response for item in said[1]]


def test_what_is_sent(server, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    out = tmp_path / "out.jsonl"
    argv = [str(rows), "--model", f"{server.url}#my/name", "--out", str(out), "--max-new-tokens", "5", "--json"]
    assert predict_main([*argv, "--evidence", "top=1", "--show-prompt"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["rows"] == 3
    assert {(path, sent["Authorization"]) for path, sent, _ in server.requests} == {
        ("/v1/chat/completions", f"Bearer {TOKEN}")
    }
    body = next(body for _, _, body in server.requests if body["messages"][-1]["content"] == "I won!")
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("my/name", 5, 0)
    assert [turn["role"] for turn in body["messages"]] == ["system", "user"]
    assert "Emotions: joyful; if none fits: " in body["messages"][0]["content"]
    assert "--- prompt of row d1, task dialogue" in captured.err
    assert "Emotions: sad; if none fits: " in captured.err
    everything = captured.err + captured.out + "".join(path.read_text() for path in tmp_path.iterdir())
    assert TOKEN not in everything


def test_every_condition_is_scored(server, rows, capsys):
    common = [str(rows), "--model", f"{server.url}#tiny", "--max-new-tokens", "4", "--json"]
    for mode in ("score", "prompt"):
        assert empathy_main([*common, "--set", f"mode={mode}"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert set(report["conditions"]) == {"plugin", "no_plugin", "oracle", "random_emotions"}
        assert (report["n"], report["mode"], report["dataset"]) == (3, mode, "rows")
        assert report["primary"] == {"name": "accuracy", **part_of(report["conditions"]["plugin"]["accuracy"])}
        assert set(report["secondary"]) == {*report["conditions"]["plugin"]} - {"accuracy"}
        assert report["baselines"]["always afraid"]["accuracy"]["value"] == pytest.approx(1 / 3, abs=1e-4)


def part_of(metric):
    return {name: metric[name] for name in ("value", "low", "high", "groups")}


@pytest.mark.parametrize(("scores", "got"), [("gone", "HTTP 404"), ("no", "a reply without them")])
def test_a_server_without_likelihoods_cannot_score_and_answers_prompts(parts, rows, scores, got, capsys):
    with LanguageServer(*parts, scores=scores) as server:
        common = [str(rows), "--model", f"{server.url}#tiny", "--max-new-tokens", "4", "--json"]
        assert run(empathy_main, common) == 2
        said = capsys.readouterr().err
        assert f"which mode score needs, got {got}. Take mode=prompt" in said
        assert run(empathy_main, [*common, "--set", "mode=prompt"]) == 0


def test_it_is_talked_with(server, capsys, monkeypatch):
    server.said = "<think>hm</think>\n\x1b[2JHello \u202ethere"
    model = ["--model", f"{server.url}#tiny", "--text"]
    assert chat_main([*model, "--question", "Hi?", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == "\x1b[2JHello \u202ethere"
    for terminal in (False, True):
        monkeypatch.setattr("sys.stdout.isatty", lambda terminal=terminal: terminal, raising=False)
        monkeypatch.setattr("sys.stdin", io.StringIO("Hi?\nWhat?\n"))
        assert chat_main([*model, "--temperature", "0.5", "--top-p", "0.9"]) == 0
        assert capsys.readouterr().out == "\\x1b[2JHello \\u202ethere\n" * 2
    body = server.requests[-1][2]
    assert (body["temperature"], body["top_p"]) == (0.5, 0.9)
    assert [turn["content"] for turn in body["messages"]] == ["Hi?", "\x1b[2JHello \u202ethere", "What?"]


@pytest.mark.parametrize("source", ["http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1#", "https://host/v1# "])
def test_a_url_without_a_name_is_explained(source):
    with pytest.raises(InputError, match="expected a model's name after it, as in http://localhost:8000/v1#name"):
        Assistant.from_pretrained(source)


@pytest.mark.parametrize("source", ["http://user:sk-secret@host/v1#m", "http://host/v1?key=sk-secret#m", "http://#m"])
def test_a_url_with_a_secret_is_refused_without_showing_it(source):
    with pytest.raises(InputError, match="AFFECTGPT_LLM_TOKEN") as caught:
        Assistant.from_pretrained(source)
    assert "sk-secret" not in str(caught.value)


def test_what_only_a_model_here_can_do_is_refused(server, rows, tmp_path, write_mp4):
    model = ["--model", f"{server.url}#tiny"]
    seen = Clip(
        id="seen", messages=CLIPS[0].messages, task="dialogue", video=write_mp4(tmp_path / "a.mp4"), answer="sad"
    )
    write_clips(tmp_path / "seen.jsonl", [seen])
    with pytest.raises(InputError, match=r"row seen: its media: expected none: the model reads text alone"):
        predict_main([str(tmp_path / "seen.jsonl"), *model, "--out", str(tmp_path / "out.jsonl")])
    with pytest.raises(InputError, match="video: the medium: expected none: this model reads text alone"):
        chat_main([*model, "--video", str(tmp_path / "a.mp4"), "--question", "What now?"])
    assert server.requests == []
