import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectgpt.problems import InputError
from data_recipes.synthetic.generate import write_video
from eval.report.clip import clip_figure, pitch_track, read_clip
from eval.report.command import main
from eval.report.html import environment
from eval.report.run_page import write_report
from eval.report.tree import Branch, compare, tree_column
from tests.support.pages import Page
from tests.support.runs import write_run
from videmo.tree import AffectiveTree, parse_tree

INSIDE = ("#", "data:image/", "data:video/mp4;base64,", "data:audio/wav;base64,")
HOSTILE = '\u2028<script>alert("x")</script> & <img src=http://evil.example/x.png> $\\frac'
TRUTH = """a1 mouth: smiling
a2 eyes: crinkled
a3 tremor: trembling
a4 brows: relaxed
e1 open smile <- a1 a2
e2 shaky voice <- a3
m1 masked distress <- e1 e2"""
WRITTEN = """a1 mouth: smiling
a2 tremor: none
a3 brows: relaxed
a4 tears: tearful
e1 open smile <- a1 a3
e2 flat voice <- a2
m1 joy <- e1 e2"""


def metric(value: float, n: int = 144) -> dict[str, float]:
    return {"value": value, "low": value - 0.0311, "high": value + 0.0277, "n": n}


REPORT: dict[str, Any] = {
    "title": "A run & its <report>",
    "seed": 4711,
    "versions": {"torch": "2.99.1", "trl": "1.16.7"},
    "resources": {"wall_s": 287.4, "peak_rss_mb": 2891.0},
    "data": {
        "train": {"clips": 613, "rows": 14712, "actors": 32},
        "test": {"clips": 151, "rows": 3624, "actors": 13},
        "label_noise": 0.217,
    },
    "stages": [
        {
            "name": "emotion",
            "kind": "sft",
            "seconds": 61.3,
            "steps": 187,
            "reused": True,
            "metrics": {"emotion_uar": metric(0.7134), "attribute_accuracy": metric(0.861, 1729)},
            "dev_metrics": {"emotion_uar": metric(0.7211, 71)},
            "conflict_metrics": {"emotion_uar": metric(0.6522, 83)},
            "confusion": {"labels": ["joy", "masked distress"], "counts": [[31, 5, 1], [7, 29, 2]]},
        },
        {
            "name": "grpo",
            "kind": "grpo",
            "seconds": 83.9,
            "steps": 59,
            "reused": False,
            "metrics": {"emotion_uar": metric(0.7346), "tree_similarity": metric(0.8453)},
            "dev_metrics": {"emotion_uar": metric(0.7414, 71)},
            "conflict_metrics": {"emotion_uar": metric(0.6719, 83)},
            "confusion": {
                "labels": ["joy", "masked distress", "(none)"],
                "counts": [[33, 4, 0], [6, 32, 0], [0, 0, 0]],
            },
        },
    ],
    "baselines": {"constant emotion": {"emotion_uar": metric(0.0834)}},
    "ablations": {
        "video_only": {"emotion_uar": metric(0.4312)},
        "masked_audio": {"emotion_uar": metric(0.3917), "tree_similarity": metric(0.5723)},
    },
}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    frames = np.repeat(np.arange(0, 250, 10, dtype=np.uint8)[:, None], 32 * 48 * 3, 1).reshape(25, 32, 48, 3)
    wave = 0.3 * np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000)
    write_video(folder / "clip.mp4", frames, wave.astype(np.float32))
    return folder / "clip.mp4"


@pytest.fixture
def run(tmp_path: Path, media: Path) -> Path:
    return run_with_examples(tmp_path, REPORT, media)


def run_with_examples(folder: Path, report: dict[str, Any], video: Path) -> Path:
    steps: list[dict[str, Any]] = [{"stage": "emotion", "step": step, "loss": 2 / step} for step in range(1, 20)]
    steps += [
        {"stage": "grpo", "step": step, "loss": 0.0, "reward": 0.5, "rewards/tree": 0.6, "kl": 0.01 * step}
        for step in range(1, 20)
    ]
    clip = {
        "video": str(video),
        "subtitle": HOSTILE,
        "group": "actor<1>",
        "conflict": True,
        "truth": TRUTH,
        "predictions": {"emotion": "I <b>think</b> it is joy.", "grpo": WRITTEN},
    }
    return write_run(folder, report, steps, [{"id": f"clip{number}", **clip} for number in range(6)])


def test_the_page_needs_nothing_from_outside(run: Path) -> None:
    text = write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "iframe", "link", "object", "embed", "img"} & set(page.tags)
    assert all(link.startswith(INSIDE) for link in page.links), [link[:80] for link in page.links]
    assert not re.search(r"url\((?!#)|@import", text)
    assert "http://evil.example/x.png>" not in text
    assert len(text) < 5_000_000
    assert str(run) not in text


def test_text_from_data_is_shown_as_written(run: Path) -> None:
    page = Page(write_report(run).read_text(encoding="utf-8"))
    words = "".join(page.words)
    assert f"“{HOSTILE}”" in words
    assert "I <b>think</b> it is joy." in words
    assert REPORT["title"] in words
    assert "actor<1>" in words


POISON = f"</script></title></style>{HOSTILE}<svg onload=x>' onmouseover=x \""


def poisoned(value: Any, kept: tuple[str, ...] = ()) -> Any:
    """A value with something hostile at the end of each text in it, but of some fields."""
    if isinstance(value, dict):
        return {name: item if name in kept else poisoned(item, kept) for name, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, kept) for item in value]
    return value + POISON if isinstance(value, str) else value


def test_nothing_that_a_run_holds_is_more_than_text(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    (run / "report.json").write_text(json.dumps(poisoned(report, ("kind",))))
    for name, kept in (("examples.jsonl", ("video", "predictions")), ("log.jsonl", ())):
        rows = [json.loads(line) for line in (run / name).read_text(encoding="utf-8").split("\n") if line]
        lines = [poisoned(row, kept) for row in rows]
        for line in lines:  # under the names that the stages have now
            said = line.get("predictions", {})
            line |= {"predictions": {stage + POISON: text + POISON for stage, text in said.items()}} if said else {}
        (run / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    text = write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    assert HOSTILE in "".join(page.words)
    assert not {"script", "iframe", "link", "object", "embed", "img", "base", "form"} & set(page.tags)
    assert page.tags.count("title") == 1
    assert all(link.startswith(INSIDE) for link in page.links), [link[:80] for link in page.links]
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    assert policy
    assert policy[1].startswith("default-src 'none'; ")
    assert "script" not in policy[1]
    assert text.index(policy[0]) < text.index("<title>")


def numbers(value: Any, key: str = "") -> list[str]:
    """Every number of a report as the page should show it."""
    if isinstance(value, dict):
        return [shown for name, item in value.items() for shown in numbers(item, name)]
    if isinstance(value, list):
        return [shown for item in value for shown in numbers(item, key)]
    if isinstance(value, bool) or value == 0:
        return []
    if isinstance(value, float):
        return [f"{100 * value:.1f}" if value < 1 else f"{value:.1f}".removesuffix(".0")]
    return [] if key == "kind" else [str(value)]


def test_every_number_of_the_report_is_on_the_page(run: Path) -> None:
    words = " ".join(Page(write_report(run).read_text(encoding="utf-8")).words)
    shown = set(re.findall(r"[\w.]+", words.replace("–", " ")))
    assert not [number for number in numbers(REPORT) if not set(re.findall(r"[\w.]+", number)) <= shown]


def test_figures_of_the_last_stage_stand_first_and_those_before_grpo_beside_them(run: Path) -> None:
    words = [word.strip() for word in Page(write_report(run).read_text(encoding="utf-8")).words if word.strip()]
    text = "\n".join(words)
    tile = text[text.index("Conflict clips only\n67.2") :].splitlines()[:6]
    assert tile[:2] == ["Conflict clips only", "67.2"]
    assert tile[tile.index("before GRPO") + 1] == "65.2"
    mistakes = words[words.index("Most frequent mistakes") + 1 :][:4]
    assert mistakes == ["masked distress → joy", "6 of 38", "joy → masked distress", "4 of 37"]
    after = words.index("grpo", words.index("After"))
    assert words[after + 1].startswith(". A row holds")
    rows = text[text.index("All test clips") :]
    assert rows.index("71.3") < rows.index("73.5") < rows.index("8.3")
    conflict = text[text.index("Conflict clips only: face, voice") :]
    assert conflict.index("65.2") < conflict.index("67.2")


def test_a_metric_that_a_stage_lacks_is_a_dash(run: Path) -> None:
    text = write_report(run).read_text(encoding="utf-8")
    table = text[text.index("<caption>All test clips") : text.index("<caption>Conflict")]
    rows = {row.partition("<")[0]: row for row in table.split('<th scope="row">')[1:]}
    assert [">–<" in cell for cell in rows["emotion"].split("<td>")[2:]] == [False, True, False]
    assert [">–<" in cell for cell in rows["grpo"].split("<td>")[2:]] == [False, False, True]
    assert "<b>73.5</b>" in rows["grpo"]
    assert "<b>71.3</b>" not in rows["emotion"]
    assert "<b>" not in rows["constant emotion"]


def test_masked_rows_are_told_from_trained_ones(run: Path, tmp_path_factory: Any, media: Path) -> None:
    assert "merely masked" in write_report(run).read_text(encoding="utf-8")
    trained = copy.deepcopy(REPORT)
    del trained["ablations"]["masked_audio"]
    other = run_with_examples(tmp_path_factory.mktemp("trained"), trained, media)
    assert "merely masked" not in write_report(other).read_text(encoding="utf-8")


def test_a_bare_report_makes_a_page(tmp_path: Path, media: Path) -> None:
    bare = {"stages": [{"name": "attribute", "kind": "sft", "metrics": {}}], "ablations": {}}
    run = run_with_examples(tmp_path, bare, media)
    (run / "log.jsonl").write_text("")
    (run / "examples.jsonl").write_text("")
    text = write_report(run).read_text(encoding="utf-8")
    assert "synthetic" not in text
    assert "What each part is worth" not in text


def test_what_a_stage_says_of_itself_is_shown(tmp_path: Path, media: Path) -> None:
    words = {"kind": "of tomorrow", "title": "pre-training <1>", "answers_clips": True, "rewarded": True}
    unseen = {"name": "towers", "kind": "unseen", "answers_clips": False, "metrics": {"emotion_uar": metric(0.1111)}}
    worded, plain = {**REPORT["stages"][1], **words}, {**REPORT["stages"][0], "kind": "unknown"}
    text = write_report(run_with_examples(tmp_path, {**REPORT, "stages": [plain, worded, unseen]}, media)).read_text(
        "utf-8"
    )
    assert "<small>pre-training &lt;1&gt;</small>" in text
    assert "<small>unknown</small>" in text
    assert "Reward while GRPO trains" in text  # of the stage that says that it learns from rewards
    assert "before GRPO" in text
    assert '<th scope="row">towers<small>unseen</small></th>' in text  # though it does not train on clips
    assert "not asked" in text.split('<th scope="row">towers')[1].split("</tr>")[0]
    assert text.index("<i>grpo</i>") < text.index("towers")  # the headlines are those of the last stage with clips


def test_same_files_same_bytes(run: Path) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_a_clip_that_is_gone_leaves_a_sentence(tmp_path: Path) -> None:
    run = run_with_examples(tmp_path, REPORT, tmp_path / "gone.mp4")
    assert "could not be read" in write_report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["report.json", "log.jsonl", "examples.jsonl"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(InputError, match=rf"{re.escape(name)}.*affectgpt train"):
        write_report(run)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("report.json", "{", "line 1: expected JSON"),
        ("report.json", "{}", "a list of stages"),
        ("report.json", '{"stages": [{"name": "x"}]}', r"stages\[0\]"),
        ("log.jsonl", '{"stage": "x", "step": 1}\n[]', "line 2: expected a JSON object"),
        ("examples.jsonl", '{"id": "x"}', "line 1: expected the field 'video'"),
    ],
)
def test_a_broken_file_is_explained(run: Path, name: str, text: str, message: str) -> None:
    (run / name).write_text(text)
    with pytest.raises(InputError, match=message):
        write_report(run)


def test_command_prints_one_json_object(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(run / "report.html")}


def outline(branch: Branch) -> tuple[Any, ...]:
    return (branch.label, branch.status, *(outline(child) for child in branch.below))


def test_marks_of_wrong_missing_extra_and_misplaced_nodes() -> None:
    comparison = compare(parse_tree(TRUTH), parse_tree(WRITTEN))
    (emotion,) = comparison.emotions
    assert outline(emotion) == (
        "joy",
        "wrong",
        (
            "open smile",
            "right",
            ("mouth: smiling", "right"),
            ("eyes: crinkled", "missing"),
            ("brows: relaxed", "misplaced"),
        ),
        ("flat voice", "wrong", ("tremor: none", "wrong")),
    )
    assert emotion.truth == "masked distress"
    assert [outline(branch) for branch in comparison.unlinked] == [("tears: tearful", "extra")]
    counts = {"right": 3, "wrong": 3, "missing": 1, "extra": 1, "links": 5, "links_found": 1}
    assert comparison.counts == counts


def tree_html(title: str, gold: AffectiveTree, response: str) -> str:
    template = environment().from_string('{% from "trees.html.j2" import tree %}{{ tree(column) }}')
    return template.render(column=tree_column(title, gold, response))


def test_marks_are_signs_and_words_not_only_colours() -> None:
    html = tree_html("said", parse_tree(TRUTH), WRITTEN)
    assert '<span class="sign">✗</span> tremor: <del>none</del> → <b>trembling</b>' in html
    assert '<span class="sign">+</span> <del>tears: tearful</del>' in html
    assert '<span class="sign">○</span> eyes: crinkled' in html
    assert "3 of 7 nodes, 1 of 5 links right" in html


def test_a_tree_held_against_itself_is_all_right() -> None:
    tree = parse_tree(TRUTH)
    comparison = compare(tree, tree)
    assert comparison.counts == {"right": 7, "links": 5, "links_found": 5}
    assert [branch.label for branch in comparison.unlinked] == ["brows: relaxed"]


def test_an_answer_that_is_no_tree_misses_everything() -> None:
    comparison = compare(parse_tree(TRUTH), parse_tree("no idea"))
    assert comparison.counts["missing"] == 7
    assert comparison.emotions[0].status == "missing"
    assert "no idea" in tree_html("said", parse_tree(TRUTH), "no idea")


def test_every_node_of_a_tree_is_shown_whatever_the_model_wrote() -> None:
    for text in (WRITTEN, "", "m1 joy", "a1 mouth: open\ne1 stray smile"):
        html = tree_html("said", parse_tree(TRUTH), text)
        for node in re.findall(r"^[aem]\d (.*?)(?: <-|$)", text, flags=re.MULTILINE):
            assert node.rpartition(": ")[2] in html


def test_clip_is_read_in_time_order(media: Path) -> None:
    frames, wave, seconds = read_clip(media)
    levels = [int(frame.mean()) for frame in frames]
    assert len(frames) == 6
    assert levels == sorted(levels)
    assert levels[0] < 60
    assert levels[-1] > 180
    assert seconds == pytest.approx(1.0, abs=0.1)
    assert len(wave) == pytest.approx(16_000, abs=2048)
    drawn, heard = clip_figure(media)
    assert 'class="pitch"' in drawn
    assert len(heard) == len(wave)


@pytest.mark.parametrize("hz", [80, 140, 220, 380])
def test_pitch_of_a_harmonic_tone(hz: int) -> None:
    times = np.arange(8000) / 16_000
    tone = sum(np.sin(2 * np.pi * hz * number * times) / number for number in range(1, 8))
    assert np.nanmedian(pitch_track(np.asarray(tone))) == pytest.approx(hz, rel=0.03)


def test_noise_and_silence_have_no_pitch() -> None:
    noise = np.random.default_rng(0).standard_normal(8000)
    assert np.isnan(pitch_track(noise)).mean() > 0.95
    assert np.isnan(pitch_track(np.zeros(8000))).all()
