"""VidEmo's tasks: what is read from answers, what they score, the averages, the judge, and bad input."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from affectgpt.answers.reading import clean, gives_up, read_label, read_letters, read_options, read_set, read_units
from affectgpt.llm.endpoint import TOKEN_VARIABLE, ChatEndpoint
from affectgpt.problems import InputError
from eval.answers.judge import Judge
from eval.answers.rows import AnsweredRow, read_aspects, read_rows
from eval.answers.tasks import ASPECTS, GROUPS, QUESTIONS, TASKS, UNITS, weights
from eval.benchmarks.videmo.command import evaluate_task, main
from eval.metrics.task_scores import level_similarity, score_task
from tests.support.limits import cpu_seconds
from videmo.tree import parse_tree

OPTIONS = {"A": "happy", "B": "sad", "C": "angry", "D": "very happy", "F": "calm"}
SINGLE, MULTIPLE, UNIT = (
    "DFEW_Single-Label-Emotion-Recognition",
    "MAFW_Multiple-Label-Emotion-Recognition",
    "AffWild2_Action_Unit_Detection",
)


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("B", "B"),
        ("b", "B"),
        ("BF", "BF"),
        ("(B)", "B"),
        ("[B]", "B"),
        ("**B**", "B"),
        ("B.", "B"),
        ("B, F", "BF"),
        ("B and F", "BF"),
        ("(B)(F)", "BF"),
        ("The answer is B", "B"),
        ("The answer is: (B).", "B"),
        ("The correct options are B and F.", "BF"),
        ("Answer: B sad", "B"),
        ("B. sad", "B"),
        ("(B) sad, as the mouth shows", "B"),
        ("sad", "B"),
        ("SAD", "B"),
        ("She looks sad.", "B"),
        ("very happy", "D"),
        ("not happy but sad", "B"),
        ("happy and sad", "AB"),
        ("<think>A</think><answer>B</answer>", "B"),
        ("<p><b>B</b></p>", "B"),
        ("Ｂ", "B"),
        ("The answer is A person who cries", ""),
        ("A smile is what I see", ""),
        ("Z", ""),
        ("BB", ""),
        ("", ""),
        ("???", ""),
        ("[[[((({{{", ""),
        ("unhappy", ""),
        ("他很生气", ""),
    ],
)
def test_letters_are_read(answer: str, letters: str) -> None:
    assert "".join(sorted(read_letters(answer, OPTIONS))) == letters


@pytest.mark.parametrize("answer", [None, 3, ["B"], {"a": 1}, float("nan"), True])
def test_what_is_no_text_says_nothing(answer: object) -> None:
    assert not read_letters(answer, OPTIONS)
    assert read_label(answer, OPTIONS.values()) is None
    assert gives_up(answer)


@pytest.mark.parametrize(
    "soup", ["[", "<", "(A", "answer is ", "A B ", "not a ", "and A ", "happy ", "\x00", "A. ", "a<b>"]
)
def test_ten_megabytes_are_read_at_their_ends(soup: str) -> None:
    text = soup * (10_000_000 // len(soup))
    with cpu_seconds(15):  # it takes a tenth of a second
        read_letters(text, OPTIONS)
        read_set(text, OPTIONS.values())
        read_units(text)
        gives_up(text)
    assert len(clean(text)) <= 20_001


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Which? A. happy B. sad", ["happy", "sad"]),
        ("Which?\n(A) happy\n(B) very sad\n(C) calm\nAnswer with a letter.", ["happy", "very sad", "calm"]),
        ("Which? A: x, B: y, C: z. Please answer.", ["x", "y", "z"]),
        ("Which? [A] x; [B] y", ["x", "y"]),
        ("What does Vitamin A. do? A) x B) y", ["x", "y"]),
        ("What does the person feel?", []),
        ("", []),
    ],
)
def test_options_are_read(question: str, options: list[str]) -> None:
    assert list(read_options(question).values()) == options
    assert "".join(read_options(question)) == "ABCDEFG"[: len(options)]


def test_sets_and_units_are_read() -> None:
    labels = ["young", "wavy_hair", "no_beard", "wearing_hat", "male"]
    said = "She's young, has wavy_hair and no beard; not wearing hat"
    assert read_set(said, labels) == {"young", "wavy_hair", "no_beard"}
    assert read_set("None.", labels) == frozenset()
    assert read_set("a face", labels) is None
    assert read_units("AU1, au 04 and AU_25; AU123") == {"AU1", "AU4", "AU25"}
    assert read_units("none") == frozenset()
    assert read_units("a smile") is None
    assert read_label("yes, they are the same", ["yes", "no"]) == "yes"


def test_giving_up_is_told_from_failing() -> None:
    for answer in ("", "...", "I cannot determine the emotion.", "I'm unable to tell", "unknown", "无法判断", "Sorry."):
        assert gives_up(answer), answer
    for answer in ("glee", "B", "她很高兴"):
        assert not gives_up(answer), answer


def row(number: int, question: str, truth: Any, response: Any, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"<video>{question}"}]
    videos = [f"v/{number}.mp4"]
    return {"response": response, "labels": truth, "messages": messages, "videos": videos, "logprobs": None, **more}


def write(folder: Path, task: str, rows: list[dict[str, Any] | str]) -> Path:
    path = folder / f"{task}.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in rows))
    return path


ASKED = "What is felt? A. happy B. sad C. angry"


def test_choices_are_scored_by_their_texts(tmp_path: Path) -> None:
    turned = "What is felt? A. sad B. angry C. happy"
    answers = [
        (ASKED, "A", "(A) happy"),
        (turned, "A", "sad"),
        (ASKED, "(B) sad", "C"),
        (turned, "happy", ""),
        (ASKED, "A", 7),
    ]
    path = write(tmp_path, SINGLE, [row(number, *answer) for number, answer in enumerate(answers)])
    score = score_task(read_rows([path])[SINGLE])
    assert score.tallies["accuracy"].value == pytest.approx(2 / 5)
    assert score.tallies["uar"].value == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert score.readable.tolist() == [True, True, True, False, False]
    assert score.gave_up.tolist() == [False, False, False, True, False]
    assert (score.constant[0], score.constant[1]["accuracy"].value) == ("happy", pytest.approx(3 / 5))


def test_of_a_single_choice_several_letters_choose_nothing(tmp_path: Path) -> None:
    score = score_task(
        read_rows([write(tmp_path, SINGLE, [row(0, ASKED, "A", "A, B"), row(1, ASKED, "A", "A")])])[SINGLE]
    )
    assert score.tallies["accuracy"].value == 0.5
    assert score.readable.tolist() == [False, True]


def test_questions_without_options_take_the_true_answers_for_options(tmp_path: Path) -> None:
    answers = [("Yes", "yes."), ("No", "No, they differ"), ("Yes", "no"), ("No", "maybe")]
    path = write(tmp_path, "MEAD_ID", [row(number, "Same person?", *pair) for number, pair in enumerate(answers)])
    assert score_task(read_rows([path])["MEAD_ID"]).tallies["accuracy"].value == 0.5


def test_label_sets_equal_scikit_learn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sets = [[[unit for unit in UNITS if rng.random() < 0.3] for _ in range(40)] for _ in range(2)]
    sets[0] = [own or ["AU1"] for own in sets[0]]
    rows = [row(n, "AUs?", ",".join(t), ", ".join(s) or "none") for n, (t, s) in enumerate(zip(*sets, strict=True))]
    score = score_task(read_rows([write(tmp_path, UNIT, rows)])[UNIT])
    truth, said = (MultiLabelBinarizer(classes=UNITS).fit_transform(own) for own in sets)
    each = [f1_score(t[None], s[None], average="micro", zero_division=0) for t, s in zip(truth, said, strict=True)]
    assert score.tallies["example_f1"].value == pytest.approx(np.mean(each))
    assert score.tallies["macro_f1"].value == pytest.approx(
        f1_score(truth, said, average="macro", zero_division=np.nan)
    )
    assert score.readable.all()
    constant = score.constant[1]["example_f1"].value
    every = [
        f1_score(truth, np.tile(np.isin(UNITS, [unit]), (40, 1)), average="samples", zero_division=0) for unit in UNITS
    ]
    assert constant >= max(every) - 1e-9


def test_letters_of_several_options_are_a_set(tmp_path: Path) -> None:
    rows = [
        row(0, ASKED, "AB", "AB"),
        row(1, ASKED, "BC", "sad"),
        row(2, ASKED, "A", "I can't tell"),
        row(3, ASKED, "C", "B"),
    ]
    score = score_task(read_rows([write(tmp_path, MULTIPLE, rows)])[MULTIPLE])
    assert score.tallies["example_f1"].value == pytest.approx((1 + 2 / 3 + 0 + 0) / 4)
    assert score.readable.tolist() == [True, True, False, True]
    assert score.gave_up.tolist() == [False, False, True, False]


def test_texts_score_the_words_in_common(tmp_path: Path) -> None:
    task = "CelebV-Text_Emotion-Caption"
    rows = [
        row(0, "Describe.", "The woman smiles, then frowns.", "A woman frowns"),
        row(1, "Describe.", "He cries.", "Sunlight"),
        row(2, "Describe.", "He cries.", None),
    ]
    score = score_task(read_rows([write(tmp_path, task, rows)])[task])
    assert score.tallies["word_precision"].value == pytest.approx(1 / 3)
    assert score.tallies["word_recall"].value == pytest.approx((2 / 4) / 3)
    assert score.tallies["word_f1"].value == pytest.approx(2 * 0.5 / 1.5 / 3)
    assert score.readable.tolist() == [True, True, False]
    assert score.constant[0] == "He cries."


def test_a_word_counts_as_often_as_both_texts_say_it(tmp_path: Path) -> None:
    task = "CelebV-Text_Emotion-Caption"
    path = write(tmp_path, task, [row(0, "Describe.", "Cries, cries, cries.", "cries cries smiles")])
    tallies = score_task(read_rows([path])[task]).tallies
    assert (tallies["word_precision"].value, tallies["word_recall"].value) == (
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
    )


TREE = "a1 mouth: smiling\na2 tremor: trembling\ne1 open smile <- a1\ne2 shaky voice <- a2\nm1 masked distress <- e1 e2"
OTHER = "a1 mouth: smiling\na2 tremor: none\ne1 open smile <- a1\ne2 flat voice <- a2\nm1 joy <- e1 e2"


def test_captions_written_as_trees_are_scored_level_by_level(tmp_path: Path) -> None:
    task = "caption_test_sampling_v2_all_example"
    rows = [row(0, "Explain.", TREE, TREE), row(1, "Explain.", TREE, OTHER), row(2, "Explain.", TREE, "joy <- " * 9999)]
    score = score_task(read_rows([write(tmp_path, task, rows)])[task])
    assert score.primary == "tree_similarity"
    assert score.tallies["emotion_war"].value == pytest.approx(1 / 3)
    assert score.tallies["attribute_similarity"].value == pytest.approx((1 + 0.75 + 0) / 3)
    assert score.readable.tolist() == [True, True, False]


def test_similarity_of_a_level_knows_nothing_of_the_others() -> None:
    first, second = parse_tree(TREE), parse_tree(OTHER)
    assert level_similarity(first, second, "a") == pytest.approx(1 - 1 / 4)
    assert level_similarity(first, second, "m") == pytest.approx(1 - 1 / 2)
    assert level_similarity(first, first, "e") == 1
    assert level_similarity(parse_tree(""), parse_tree(""), "a") == 1


def test_weights_are_the_published_ones() -> None:
    assert {task for group in GROUPS.values() for column in group for task in column} == set(TASKS) - {QUESTIONS}
    assert weights("emotion") == {
        "DFEW_Single-Label-Emotion-Recognition": pytest.approx(1 / 3),
        "MAFW_Single-Label-Emotion-Recognition": pytest.approx(1 / 3),
        "MER2023_Single-Label-Emotion-Recognition": pytest.approx(1 / 3),
        MULTIPLE: 1,
        "MEAD_Fine-grained-Emotion-Recognition": 1 / 2,
        "RAVDESS_Fine-grained-Emotion-Recognition": 1 / 2,
    }
    aspects = {task.removeprefix(f"{QUESTIONS}_"): share for task, share in weights("open attributes").items()}
    halves, thirds = {"Eyes", "Eyebrows"}, {"Body_actions", "Facial_actions", "Head_actions"}
    assert aspects == {name: 1 / 2 if name in halves else 1 / 3 if name in thirds else 1 for name in ASPECTS}
    assert sum(weights("complex").values()) == sum(weights("sentiment").values()) == 2
    assert set(weights("closed attributes").values()) == set(weights("cues").values()) == {1}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json", "--resamples", "50"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_group_is_averaged_where_all_its_tasks_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    micro = "CAS_Single-Label-Micro-Expression-Recognition"
    rows = [row(n, ASKED, "A", "A" if n < 3 else "B") for n in range(4)]
    files = [write(tmp_path, micro, rows), write(tmp_path, UNIT, [row(9, "AUs?", "AU1", "AU1")])]
    found = run(capsys, *files)
    assert found["groups"]["cues"]["value"] == pytest.approx((0.75 + 1) / 2)
    assert [name for name, metric in found["groups"].items() if metric] == ["cues"]
    assert found["primary"]["name"] == "mean_of_tasks"
    assert [task["dataset"] for task in found["tasks"]] == [micro, UNIT]
    assert found["n"] == 5
    alone = run(capsys, files[0])
    assert {"dataset", "mode", "n", "coverage", "primary", "secondary", "baselines"} <= set(alone)
    assert (alone["dataset"], alone["primary"]["value"]) == (micro, 0.75)
    assert alone["baselines"]["always happy"]["accuracy"]["value"] == 1
    assert alone["secondary"]["give_up_rate"]["value"] == 0
    assert main([str(path) for path in files]) == 0
    assert "average, cues: 0.8750" in capsys.readouterr().out


MICRO = "CAS_Single-Label-Micro-Expression-Recognition"


def constant_intervals(evaluation: dict[str, Any]) -> dict[str, list[float]]:
    [scores] = evaluation["baselines"].values()
    return {name: [metric[part] for part in ("value", "low", "high")] for name, metric in scores.items()}


def test_rows_of_a_speaker_who_are_answered_alike_make_no_interval_narrower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(clips: int, grouped: bool) -> dict[str, Any]:
        files = []
        for task, question, answers in ((MICRO, ASKED, ("A", "B", "")), (UNIT, "AUs?", ("AU1", "AU4", ""))):
            rows = [
                row(
                    100 * speaker + number,
                    question,
                    answers[0] if speaker < 6 else answers[1],
                    answers[speaker % 3],
                    **({"group": f"speaker {speaker}"} if grouped else {}),
                )
                for speaker in range(8)
                for number in range(clips)
            ]
            files.append(write(tmp_path, task, rows))
        return run(capsys, *files)

    one, many = found(1, False), found(6, True)
    assert many["groups"]["cues"] == {**one["groups"]["cues"], "n": 96}
    for alone, together in ((one, many), *zip(one["tasks"], many["tasks"], strict=True)):
        assert together["primary"] == alone["primary"]
        assert constant_intervals(together) == constant_intervals(alone)
        _, low, high = constant_intervals(alone)[alone["primary"]["name"]]
        assert low < high
    for alone, together in zip(one["tasks"], many["tasks"], strict=True):
        rate = alone["secondary"]["give_up_rate"]
        assert rate["low"] < rate["high"]
        assert together["secondary"]["give_up_rate"] == {**rate, "n": 48}


def test_tasks_that_share_a_column_share_its_weight(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = {
        "MOSEI_Single-Label-Sentiment-Recognition": "A",
        "MOSI_Single-Label-Sentiment-Recognition": "B",
        "CHSIMIv1_Fine-grained-Sentiment-Recognition": "B",
    }
    files = [
        write(tmp_path, task, [row(number, ASKED, truth, said) for number, truth in enumerate("AAB")])
        for task, said in tasks.items()
    ]
    found = run(capsys, *files)
    assert found["groups"]["sentiment"]["value"] == pytest.approx((2 / 3 / 2 + 1 / 3 / 2 + 1 / 3) / 2, abs=1e-6)
    assert found["primary"]["value"] == pytest.approx((2 / 3 + 1 / 3 + 1 / 3) / 3, abs=1e-6)
    assert found["baselines"]["the best constant of each"]["mean_of_tasks"]["value"] == pytest.approx(2 / 3, abs=1e-6)


def test_open_questions_go_by_their_aspect(tmp_path: Path) -> None:
    rows = [row(0, "Eyes?", "brown", "brown", source="x_QA_Eyes"), row(1, "Nose?", "long", "short")]
    path = write(tmp_path, QUESTIONS, rows)
    assert list(read_rows([path])) == [QUESTIONS, f"{QUESTIONS}_Eyes"]
    asked = [{"messages": rows[1]["messages"], "videos": rows[1]["videos"], "source": "all_QA_Nose"}]
    (tmp_path / "gt.json").write_text(json.dumps(asked))

    assert list(read_rows([path], aspects=read_aspects(tmp_path / "gt.json"))) == [
        f"{QUESTIONS}_Eyes",
        f"{QUESTIONS}_Nose",
    ]
    (tmp_path / "gt.json").write_text('[{"messages": []}]')
    with pytest.raises(InputError, match=r"gt\.json: the file: expected a JSON list"):
        read_aspects(tmp_path / "gt.json")


def test_our_own_predictions_name_their_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closed = {"task": "attribute_closed", "response": "up", "status": "ok", "answer": "up"}
    rows: list[Any] = [{"fingerprint": "f", "rows": []}, *({"id": f"c{n}/x", **closed} for n in range(3))]
    rows += [{"id": "c0/e", "task": "expression_multi", "response": "a, b", "answer": ["a", "c"]}]
    found = run(capsys, write(tmp_path, "predictions", rows))
    assert [(task["dataset"], task["primary"]["value"]) for task in found["tasks"]] == [
        ("attribute_closed", 1),
        ("expression_multi", pytest.approx(2 / 3, abs=1e-6)),
    ]


@pytest.mark.parametrize(
    ("task", "rows", "message"),
    [
        ("nonsense", [row(0, ASKED, "A", "A")], r"nonsense\.jsonl: line 1: expected a file named by its task"),
        (SINGLE, [{"labels": "A"}], "line 1: expected the field 'response', got 'labels'"),
        (SINGLE, [row(0, ASKED, None, "A")], "line 1: expected a text, or a list of texts, in 'labels'"),
        (SINGLE, [row(0, ASKED, float("nan"), "A")], "line 1: expected a text"),
        (
            SINGLE,
            [row(0, ASKED, "A", "A"), row(1, ASKED, "Q", "A")],
            "line 2, gold answer: expected one of the question's",
        ),
        (UNIT, [row(0, "AUs?", "a smile", "AU1")], "line 1, gold answer: expected units that can be read"),
        (SINGLE, [row(0, ASKED, "A", "A"), "{"], "row 2: expected one JSON object"),
        (SINGLE, ["[1]"], "row 1: expected one JSON object a line, got a JSON array"),
        (SINGLE, [], "the file: expected at least one row"),
        (SINGLE, [row(n, ASKED, "A", "A", id="same") for n in (0, 1)], "line 2: expected an id used once .*line 1"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, task: str, rows: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        main([str(write(tmp_path, task, rows))])


def test_a_row_that_is_there_twice_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, write(tmp_path, SINGLE, [row(0, ASKED, "A", "A"), row(0, ASKED, "A", "B")]))
    assert (found["n"], found["notes"][-1]) == (2, "1 rows repeat the question of another row; all count")


class Server:
    """An OpenAI-compatible judge on this machine; `replies` says what it answers to a request."""

    def __init__(self) -> None:
        self.requests: list[tuple[str | None, dict[str, Any]]] = []
        self.status: list[int] = []
        self.reply = "yes"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.headers.get("Authorization"), body))
                self.send_response(outer.status.pop(0) if outer.status else 200)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()
                self.wfile.write(json.dumps({"choices": [{"message": {"content": outer.reply}}]}).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv(TOKEN_VARIABLE, "secret-token")
    running = Server()
    yield running
    running.server.shutdown()
    running.server.server_close()


ROW = AnsweredRow("f", 1, SINGLE, "k", "g", ASKED, "A", "It is happiness.")


def test_the_judge_stands_beside_the_scores(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, SINGLE, [row(0, ASKED, "A", "joyous"), row(1, ASKED, "B", "weeping")])
    cache = tmp_path / "cache" / "judge.sqlite"
    asked = ["--judge", server.url, "--judge-model", "m", "--judge-cache", cache]
    found = run(capsys, path, *asked)
    assert found["primary"] == {"name": "accuracy", "value": 0, "low": 0, "high": 0.65762, "groups": 2}
    assert found["secondary"]["judge"]["value"] == found["secondary"]["judge_coverage"]["value"] == 1
    assert found["judge"] == {"model": "m", "prompt_version": "1"}
    assert len(server.requests) == 2
    token, body = server.requests[0]
    assert (token, body["model"], body["temperature"]) == ("Bearer secret-token", "m", 0)
    assert "weeping" in str(server.requests)
    assert b"secret-token" not in cache.read_bytes() + json.dumps(found).encode()
    server.reply = "no"
    assert run(capsys, path, *asked)["secondary"]["judge"]["value"] == 1  # kept, not asked for again
    assert len(server.requests) == 2


def judge_at(server: Server, cache: Path | None = None) -> Judge:
    return Judge(ChatEndpoint(server.url, "m"), cache)


def test_marks_become_shares(server: Server) -> None:
    server.reply = "<think>10 or 90?</think> 80"
    assert judge_at(server).verdicts([ROW], "mark").tolist() == [0.8]
    server.reply = "800"
    assert math.isnan(judge_at(server).verdicts([ROW], "mark")[0])


def test_a_reply_that_is_no_verdict_is_missing_not_wrong_and_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.reply = "yes and no"
    assert math.isnan(judge_at(server, tmp_path / "cache").verdicts([ROW], "right")[0])
    server.reply = "No."
    assert judge_at(server, tmp_path / "cache").verdicts([ROW], "right").tolist() == [0]


class Scripted:
    """A model that gives one reply after the other."""

    model = "m"

    def __init__(self, *replies: str) -> None:
        self.replies = replies

    def complete(self, texts: Any) -> list[str]:
        return list(self.replies)


def asked_of(*replies: str, cache: Path | None = None, model: str = "m") -> Judge:
    endpoint: Any = Scripted(*replies)
    endpoint.model = model
    return Judge(endpoint, cache)


def test_verdicts_that_were_not_given_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, SINGLE, [row(number, ASKED, "A", f"said {number}") for number in range(4)])
    judged = evaluate_task(SINGLE, score_task(read_rows([path])[SINGLE]), 20, asked_of("yes", "no", "maybe", "yes."))
    assert judged["secondary"]["judge"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert judged["secondary"]["judge_coverage"]["value"] == 0.75


def test_of_a_reply_the_last_mark_counts_and_thoughts_do_not() -> None:
    assert asked_of("It says 3 of the 4 things: 75").verdicts([ROW], "mark").tolist() == [0.75]
    assert asked_of("<think>Is it wrong? No.</think> Yes").verdicts([ROW], "right").tolist() == [1]


def test_another_judge_is_asked_by_itself(tmp_path: Path) -> None:
    cache = tmp_path / "verdicts"
    assert asked_of("yes", cache=cache).verdicts([ROW], "right").tolist() == [1]
    assert asked_of("no", cache=cache, model="other").verdicts([ROW], "right").tolist() == [0]
    assert asked_of("no", cache=cache).verdicts([ROW], "right").tolist() == [1]


def test_a_busy_judge_is_asked_again(server: Server) -> None:
    server.status = [429, 503]
    assert judge_at(server).verdicts([ROW], "right").tolist() == [1]


@pytest.mark.parametrize("status", [401, 404, 302])
def test_a_judge_that_refuses_is_explained_without_the_token(server: Server, status: int) -> None:
    server.status = [status]
    with pytest.raises(InputError, match=f"HTTP {status}") as error:
        judge_at(server).verdicts([ROW], "right")
    assert "secret-token" not in str(error.value)


def test_a_judge_that_cannot_be_used_is_explained(server: Server, tmp_path: Path) -> None:
    path = write(tmp_path, SINGLE, [row(0, ASKED, "A", "A")])
    with pytest.raises(InputError, match="expected a cache"):
        judge_at(server, path).verdicts([ROW], "right")
    with pytest.raises(InputError, match="go together"):
        main([str(path), "--judge", "http://x"])
