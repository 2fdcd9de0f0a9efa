"""The model card: what it claims stands in recipe and report, and the Hub can read its header."""

from __future__ import annotations

import re

import pytest
import yaml
from huggingface_hub import ModelCard

from train.hub.model_card import Subject, write_card
from train.hub.push import public_recipe
from train.recipe import Recipe

METRICS = {
    "emotion_uar": {"value": 0.6123, "low": 0.5512, "high": 0.6789, "n": 1234},
    "tree_similarity": {"value": 0.71, "low": 0.68, "high": 0.74, "n": 60},
    "attribute_accuracy": {"value": None, "low": None, "high": None, "n": 0},
    "caption_f1": {"value": 0.5, "low": None, "high": None, "n": 1},
}
SFT = {"kind": "sft", "steps": 1500, "batch_size": 24, "learning_rate": 1e-5, "mixture": {"caption": 0.5, "tree": 1}}
GRPO = {
    **SFT,
    "kind": "grpo",
    "batch_size": 32,
    "mixture": {"tree": 1},
    "rewards": {"tree": 1, "format": {"weight": 0.2}},
}
PARTS = {"llm": "Qwen/Qwen2.5-7B-Instruct", "vision": "openai/clip-vit-large-patch14", "audio": "facebook/hubert-base"}
REPORT = {
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    "data": {"train": {"rows": 31327, "clips": 900, "actors": 40}, "label_noise": 0.2, "unusable_clips": 3},
    "stages": [
        {"name": "words", "seconds": 3725.0, "metrics": {}},
        {
            "name": "emotion",
            "seconds": 60.0,
            "metrics": METRICS,
            "conflict_metrics": {"emotion_uar": METRICS["emotion_uar"]},
        },
    ],
    "baselines": {"constant answer": {"emotion_uar": {"value": 0.1667, "low": 0.1, "high": 0.2, "n": 1234}}},
}


def subject(stage: str = "emotion", report: dict = REPORT, settings: dict | None = None, **about) -> Subject:
    stages = [{"name": "words", **SFT}, {"name": "emotion", **GRPO}, {"name": "after", **SFT}]
    data = {"train": "rows/train.jsonl", "test": "rows/test.jsonl"}
    values = {"title": "Feelings", "output": "x", "data": data, "model": {"parts": PARTS}, "stages": stages}
    return Subject("user/model", public_recipe(Recipe(**values | (settings or {}))), stage, report, **about)


def test_every_figure_has_its_interval_and_n():
    card = write_card(subject())
    assert "| emotion: mean recall of the emotions (UAR) | 0.612 | 0.551 to 0.679 | 1,234 | 0.167 |" in card
    assert "| affective tree: similarity to the gold tree | 0.710 | 0.680 to 0.740 | 60 |  |" in card
    assert "| caption f1 | 0.500 | none | 1 |  |" in card
    assert "attributes: right answers" not in card  # it could not be computed
    assert "face, voice and words disagree:\n\n| score" in card


def test_the_hub_reads_the_header():
    data = ModelCard(write_card(subject(adapter=True, license="cc-by-nc-4.0"))).data
    assert (data.library_name, data.pipeline_tag, data.license) == ("affectgpt", "video-text-to-text", "cc-by-nc-4.0")
    assert (data.base_model, data.base_model_relation) == (list(PARTS.values()), "adapter")
    assert {"emotion-recognition", "grpo", "lora"} <= set(data.tags)
    results = {result.metric_type: result for result in data.eval_results}
    assert set(results) == {"emotion_uar", "tree_similarity", "caption_f1"}
    assert results["emotion_uar"].metric_value == 0.6123
    assert "0.551 to 0.679, n = 1234" in results["emotion_uar"].metric_name
    assert results["emotion_uar"].dataset_name == "test.jsonl, part test"


def test_what_is_not_known_is_not_claimed():
    card = write_card(subject(report={}, settings={"model": {"tiny": {}}}))
    data = ModelCard(card).data
    assert (data.license, data.base_model, data.eval_results) == (None, None, None)
    assert "This stage was not scored: there are no figures" in card
    assert "named no licence" in card
    assert "## Versions" not in card
    assert "small and trained from scratch" in card


def test_the_stages_that_made_it_and_no_later_one():
    card = write_card(subject())
    assert "| words | supervised | 1,500 | 24 | 1e-05, cosine | caption 0.5, tree 1 | 1:02:05 |" in card
    assert "| emotion | GRPO | 1,500 | 32 |" in card
    assert "| after |" not in card
    assert "8 completions a prompt, temperature 1, KL weight 0, loss dapo; rewards tree 1, format 0.2." in card
    shuffled = write_card(subject("shuffled", settings={"curriculum": False}))
    assert "| words |" in shuffled
    assert "| after |" in shuffled
    assert "| emotion |" not in shuffled
    assert "rows of these stages were shuffled" in shuffled


@pytest.mark.parametrize(
    "about",
    ["Article 5(1)(f)", "medical or\n", "keep the licences", "not knowledge of what they feel", "did not consent"],
)
def test_use_limits_and_law(about):
    card = write_card(subject())
    assert re.search(re.escape(about.strip()), card)
    for section in (
        "Intended use",
        "Out of scope",
        "Limits",
        "Law and licences",
        "Data",
        "Training",
        "Evaluation",
        "Use",
    ):
        assert f"\n## {section}\n" in card


def test_data():
    card = write_card(subject())
    assert "| train | `train.jsonl` | 31,327 | 900 | 40 |" in card
    assert "20% of the training labels are wrong on purpose." in card
    assert "3 clips could not be decoded" in card
    drawn = write_card(subject(settings={"data": {"synthetic": {"clips": 40}}}))
    assert "drawn actors" in drawn
    assert "Row files" not in drawn


def test_a_folder_never_gets_in():
    """Not even as a base model: its last name could be that of a model of the Hub."""
    settings = {"model": {"path": "/data/nobody17/Qwen"}, "data": {"train": "/data/nobody17/rows.jsonl"}}
    card = write_card(subject(settings=settings))
    assert "/data" not in card
    assert "nobody17" not in card
    assert ModelCard(card).data.base_model is None


def test_a_title_is_text_and_no_markup():
    card = write_card(subject(settings={"title": "a | b\n---\nlicense: x <script>"}))
    assert "\n# a \\| b --- license: x &lt;script>: stage emotion\n" in card
    header = yaml.safe_load(card.split("---\n")[1])
    assert "license" not in header


@pytest.mark.parametrize(
    ("inputs", "task", "call"),
    [
        (["audio", "text"], "audio-text-to-text", 'audio="voice.wav"'),
        (["text"], "text-generation", 'subtitle="I am fine."'),
    ],
)
def test_what_it_takes(inputs, task, call):
    card = write_card(subject(settings={"model": {"parts": PARTS, "inputs": inputs}}))
    assert ModelCard(card).data.pipeline_tag == task
    assert call in card


def reported(carries: dict[str, int], **parts) -> dict:
    data = {"train": {"rows": 20, "clips": 14, "actors": 4, "carries": carries}, **parts}
    return {**REPORT, "inputs": ["video", "audio", "text"], "data": data}


@pytest.mark.parametrize(
    ("carries", "task", "call", "summary"),
    [
        ({"audio": 20}, "audio-text-to-text", 'audio="voice.wav"', "it hears the voice, and says"),
        ({"image": 20}, "image-text-to-text", 'image="face.png"', "it sees the picture, and says"),
        ({"video": 20, "audio": 20}, "video-text-to-text", 'video="clip.mp4"', "it sees the video and hears the voice"),
        ({"face": 2, "text": 20}, "video-text-to-text", 'video="clip.mp4"', "it sees the face and reads the words"),
        ({"text": 20}, "text-generation", 'subtitle="I am fine."', "it reads the words, and says"),
    ],
)
def test_a_model_is_asked_with_what_its_rows_carried(carries, task, call, summary):
    card = write_card(subject(report=reported(carries)))
    assert ModelCard(card).data.pipeline_tag == task
    assert call in card
    assert summary in " ".join(card.split())
    assert "| train | `train.jsonl` | 20 | 14 | 4 |" in card


def test_scores_of_what_was_not_taught_are_not_published():
    stages = [{**stage, "taught": ["tree"]} for stage in REPORT["stages"]]
    nothing = {"value": 0.0, "low": 0.0, "high": 0.0, "n": 5}
    stages[1] = {**stages[1], "metrics": {**METRICS, "emotion_label_uar": nothing}}
    card = write_card(subject(report={**REPORT, "stages": stages}))
    assert "0.612" in card
    assert "Emotion label" not in card
    stages[1]["taught"] = ["tree", "emotion_label"]
    assert "| Emotion label: UAR | 0.000 |" in write_card(subject(report={**REPORT, "stages": stages}))


def test_a_card_says_what_the_data_say_of_themselves():
    assert "Drawn people &lt;b>." in write_card(subject(report=reported({}, notes=["Drawn people <b>."])))
