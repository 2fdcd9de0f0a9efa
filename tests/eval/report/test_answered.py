"""The page of a run on labelled clips: what it has is shown, what it lacks leaves no empty section."""

from __future__ import annotations

import json
import re
import wave
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from affectgpt.clip import Clip
from data_recipes.synthetic.generate import write_video
from eval.predict.answers import Prediction
from eval.report.clip import clip_figure, read_clip, sound_source, still_figure, video_source
from eval.report.glossary import definitions, is_taught, term_of
from eval.report.model_inputs import model_inputs, reads_evidence
from eval.report.run_page import write_report
from eval.report.scores import answers, details, score
from tests.support.pages import Page
from tests.support.rows import make_clip
from tests.support.runs import write_run

OPTIONS = ["anger", "fear", "joy"]


def tone(path: Path, seconds: float = 1.0, hz: float = 200.0, rate: int = 16_000) -> Path:
    """Write a sine as a WAV file."""
    samples = 8000 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def answered(pairs: list[tuple[str, str]]) -> tuple[list[Clip], list[Prediction]]:
    clips = [make_clip(f"c{i}", gold, options=OPTIONS, group=f"s{i % 3}") for i, (gold, _) in enumerate(pairs)]
    said = [
        Prediction(id=row.id, task=row.task, response=text, status="ok", answer=row.answer)
        for row, (_, text) in zip(clips, pairs, strict=True)
    ]
    return clips, said


PAIRS = [("joy", "joy"), ("joy", "fear"), ("fear", "fear"), ("anger", "hm"), ("anger", "anger"), ("fear", "joy")]


def entry(name: str, pairs: list[tuple[str, str]], **parts: Any) -> dict[str, Any]:
    scores = score(*answered(pairs), resamples=50)
    return {
        "name": name,
        "kind": "sft",
        "title": "supervised",
        "answers_clips": True,
        "rewarded": False,
        "seconds": 1.0,
        "steps": 5,
        "reused": False,
        "taught": ["emotion_label"],
        "metrics": scores.metrics,
        "confusion": {"labels": scores.labels, "counts": scores.confusion},
        "tasks": details(scores.tasks, 50),
        **parts,
    }


def report(*stages: dict[str, Any], **parts: Any) -> dict[str, Any]:
    counts = {"clips": 6, "rows": 6, "actors": 3, "carries": {"audio": 6}}
    data = {"train": {"clips": 14, "rows": 14, "actors": 4, "carries": {"audio": 14}}, "test": counts}
    listed = answers(score(*answered(PAIRS), resamples=10).tasks)
    fixed = {"title": "Mine", "seed": 1, "inputs": ["video", "audio", "text"], "data": data, "answers": listed}
    return {**fixed, "stages": list(stages), **parts}


def example(name: str, **fields: Any) -> dict[str, Any]:
    fixed = {
        "id": name,
        "video": None,
        "task": "emotion_label",
        "truth": "joy",
        "question": "What does this person feel?",
    }
    return {**fixed, "group": "s1", "predictions": {"one": "fear"}, "wrong": True, **fields}


def page_of(folder: Path, found: dict[str, Any], *examples: dict[str, Any]) -> str:
    run = write_run(folder / "run", found, [{"stage": "one", "step": 1, "loss": 1.0}], examples)
    return write_report(run).read_text(encoding="utf-8")


def words_of(page: str) -> str:
    return " ".join(" ".join(Page(page).words).split())


def test_a_run_on_sounds_says_what_it_had_and_shows_its_figures(tmp_path: Path) -> None:
    clip = example("c1", audio=str(tone(tmp_path / "a.wav")), options=OPTIONS)
    page = page_of(tmp_path, report(entry("one", PAIRS)), clip)
    words = words_of(page)
    assert "14 training clips" in words
    assert "A language model hears the voice, and is given nothing else." in words
    assert "6 clips of 3 people, none of whom is in the training data" in words
    assert "Emotion label: UAR" in words
    for heading in (
        "Which answers it confuses",
        "Recall, precision and F1 by class",
        "By speaker",
        "Answers, the worst",
    ):
        assert heading in words
    assert "sees the face" not in words
    assert "Affective trees" not in words
    assert "No emotion was asked for" not in words
    assert re.search(r'<audio controls[^>]* src="data:audio/wav;base64,', page)
    assert "<video" not in page


def test_sections_without_content_are_not_there(tmp_path: Path) -> None:
    bare = report(entry("one", PAIRS, metrics={}, confusion={"labels": [], "counts": []}, tasks={}), answers={})
    page = page_of(tmp_path, bare)
    found = re.findall(r'<section id="(\w+)"', page)
    assert found == ["findings", "learning", "care", "run"]
    assert "nan" not in words_of(page)


def test_what_is_not_taught_is_no_zero_and_an_empathy_stage_has_a_row(tmp_path: Path) -> None:
    wrong = [(gold, "hm") for gold, _ in PAIRS]
    early = entry("early", wrong, taught=["caption"])
    late = {"name": "kind", "kind": "empathy", "title": "empathy", "answers_clips": False, "metrics": {}}
    page = page_of(tmp_path, report(early, entry("one", PAIRS), {**late, "rewarded": False}))
    rows = {row.split("<")[0]: row for row in page.split("<caption>All test clips")[1].split('<th scope="row">')[1:4]}
    assert list(rows) == ["early", "one", "kind"]
    assert rows["early"].count("not taught") == 2
    assert "0.0" not in rows["early"].split("</tr>")[0].replace("1.0 s", "")
    assert "not taught" not in rows["one"]
    assert rows["kind"].split("</tr>")[0].count("not asked") == 2


def test_every_figure_that_is_shown_is_defined_on_the_page(tmp_path: Path) -> None:
    page = page_of(tmp_path, report(entry("one", PAIRS)))
    glossary = page[page.index('<section id="words">') :]
    for name in ("UAR", "right (WAR)", "95 % interval", "constant answer", "recall", "precision", "readable"):
        assert f"<dt>{name}</dt><dd>" in glossary, name
    for head in re.findall(r'<abbr title="([^"]*)">', page):
        assert len(head) > 20


def test_notes_on_the_data_stand_at_the_top(tmp_path: Path) -> None:
    found = report(entry("one", PAIRS))
    found["data"]["notes"] = ["Synthetic <b>data</b>."]
    page = page_of(tmp_path, found)
    assert page.index("Synthetic &lt;b&gt;data&lt;/b&gt;.") < page.index("<nav>") < page.index("What it can do now")


def test_a_still_with_sound_and_a_signal_are_shown(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "face.png"), np.full((40, 60, 3), 120, np.uint8))
    shown = example("c1", image=str(tmp_path / "face.png"), audio=str(tone(tmp_path / "a.wav")), signal="/x/eeg.edf")
    page = page_of(tmp_path, report(entry("one", PAIRS)), shown)
    assert 'aria-label="the picture"' in page
    assert "<audio" in page
    assert "Signal: eeg.edf" in page
    assert "could not be read" not in page


def test_mistakes_are_marked_as_the_scores_judged_them(tmp_path: Path) -> None:
    right = example("c2", truth="joy", predictions={"one": "It is joy."}, options=OPTIONS, wrong=False)
    page = page_of(tmp_path, report(entry("one", PAIRS)), example("c1", options=OPTIONS), right)
    first, second = page.split('<article class="card">')[1:]
    assert "mistake" in first
    assert "✗" in first
    assert "mistake" not in second
    assert "✓" in second


def test_numbers_are_neither_right_nor_wrong(tmp_path: Path) -> None:
    number = example("v", task="valence", truth="0.5", predictions={"one": "0.4"}, wrong=None)
    page = page_of(tmp_path, report(entry("one", PAIRS)), number)
    card = page.split('<article class="card">')[1].split("</article>")[0]
    assert "0.4" in card
    assert not {"✓", "✗", "mistake"} & set(re.findall(r"✓|✗|mistake", card))


def test_a_gone_sound_leaves_a_sentence(tmp_path: Path) -> None:
    assert "could not be read" in page_of(tmp_path, report(entry("one", PAIRS)), example("c", audio="gone.wav"))


def test_the_none_of_v0_1_0_is_no_file(tmp_path: Path) -> None:
    tree = "a1 mouth: smiling\ne1 smile <- a1\nm1 joy <- e1"
    old = {"id": "x", "video": "None", "truth": tree, "predictions": {"one": tree}, "subtitle": "Hm."}
    page = page_of(tmp_path, report(entry("one", PAIRS)), old)
    assert "could not be read" not in page
    assert "“Hm.”" in page


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "clip.mp4"
    frames = np.repeat(np.arange(0, 250, 5, dtype=np.uint8)[:, None], 32 * 48 * 3, 1).reshape(50, 32, 48, 3)
    sound = 0.3 * np.sin(2 * np.pi * 200 * np.arange(32_000) / 16_000)
    write_video(path, frames, sound.astype(np.float32))
    return path


def test_a_span_of_a_clip_is_cut_out(video: Path) -> None:
    whole, wave_of_all, seconds = read_clip(video)
    frames, heard, length = read_clip(video, 1.0, 1.5)
    assert seconds == pytest.approx(2.0, abs=0.1)
    assert length == pytest.approx(0.5)
    assert len(heard) == pytest.approx(8000, abs=600)
    assert len(wave_of_all) > 3 * len(heard)
    levels = [frame.mean() for frame in frames]
    assert whole[0].mean() < levels[0] < levels[-1] < whole[-1].mean()


def test_a_video_is_played_if_it_is_small_and_of_a_kind_that_browsers_play(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (video_source(video) or "").startswith("data:video/mp4;base64,")
    other = tmp_path / "clip.avi"
    other.write_bytes(video.read_bytes())
    assert video_source(other) is None
    monkeypatch.setattr("eval.report.clip.LARGEST_VIDEO", 100)
    assert video_source(video) is None


def test_a_sound_alone_has_no_frames_and_its_player_no_more_than_it(tmp_path: Path) -> None:
    drawn, heard = clip_figure(None, tone(tmp_path / "a.wav", 0.5))
    assert "<image" not in drawn
    assert 'class="wave"' in drawn
    assert len(heard) == pytest.approx(8000, abs=100)
    assert len(sound_source(heard) or "") == pytest.approx(len(heard) * 2 * 4 / 3, rel=0.02)
    assert sound_source(np.zeros(0)) is None


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "face.png").write_text("no picture")
    with pytest.raises(ValueError, match="no picture"):
        still_figure(tmp_path / "face.png")


@pytest.mark.parametrize(
    ("inputs", "carries", "expected"),
    [
        (["video", "audio", "text"], {"audio": 4}, ["audio"]),
        (["audio"], {"video": 4, "audio": 4, "face": 4, "text": 4}, ["audio"]),
        (["video", "audio", "text"], {"image": 4}, ["image"]),
        (["video", "audio", "text"], {"video": 4, "face": 4, "text": 1}, ["face", "text"]),
        (["video", "text"], {"video": 4, "audio": 4}, ["video"]),
        (["text"], {}, []),
    ],
)
def test_what_a_model_takes_is_what_it_is_given_and_the_rows_carry(
    inputs: list[str], carries: dict[str, int], expected: list[str]
) -> None:
    assert model_inputs({"inputs": inputs, "data": {"train": {"carries": carries}}}) == expected
    assert model_inputs({"data": {"train": {"clips": 3}}}) == ["face", "audio", "text"]  # v0.1.0


def test_evidence_in_prompts_is_something_the_model_is_given() -> None:
    assert reads_evidence({"data": {"train": {"carries": {"audio": 3, "evidence": 3}}, "notes": []}})
    assert not reads_evidence({"data": {"train": {"carries": {"audio": 3}}, "test": {"clips": 3}}})


def test_scores_have_words_and_belong_to_tasks() -> None:
    assert term_of("emotion_label_uar").title == "Emotion label: UAR"
    assert (term_of("valence_mae").unit, term_of("valence_mae").lower_is_better) == ("number", True)
    assert term_of("of tomorrow").title == "of tomorrow"
    assert definitions(["of tomorrow"]) == {}
    stage = {"taught": ["tree"], "metrics": {}}
    known = ("emotion_uar", "parse_rate", "accuracy_plugin")
    assert all(is_taught(stage, name) for name in known)
    assert not any(
        is_taught(stage, name) for name in ("expression_accuracy", "emotion_label_uar", "attribute_accuracy")
    )
    assert is_taught({"metrics": {}}, "emotion_label_uar")  # v0.1.0 does not say


def test_numbers_of_a_task_are_no_per_cent(tmp_path: Path) -> None:
    clips = [make_clip(f"v{index}", "x", "valence") for index in range(3)]
    said = []
    for row, (gold, text) in zip(clips, ((-0.5, "-0.25"), (0.5, "0.5"), (1.0, "0.75")), strict=True):
        object.__setattr__(row, "answer", gold)
        said.append(Prediction(id=row.id, task=row.task, response=text, status="ok", answer=gold))
    scores = score(clips, said, resamples=20)
    numbers = {"taught": ["valence"], "confusion": {"labels": [], "counts": []}, "tasks": details(scores.tasks, 20)}
    stages = [entry(name, PAIRS, metrics=scores.metrics, **numbers) for name in ("one", "two")]
    words = words_of(page_of(tmp_path, report(*stages, answers=answers(scores.tasks))))
    assert "Valence: mean absolute error 0.167" in words
    assert "off by 0.250" in words
    assert "16.7" not in words


def test_the_page_holds_json_numbers_only(tmp_path: Path) -> None:
    found = report(entry("one", PAIRS))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
