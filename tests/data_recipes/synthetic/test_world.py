"""The rules of the synthetic world: one emotion for what is shown, no short cuts, errors as automata make them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import fields
from itertools import combinations, product

import numpy as np
import pytest

from data_recipes.synthetic.generate import Settings, plan_shots
from data_recipes.synthetic.lines import FILLINGS, lines_for
from data_recipes.synthetic.world import (
    ALWAYS_TOLD,
    ASPECTS,
    EMOTIONS,
    EXPRESSIONS,
    FACES,
    RULES,
    STRAY_RATE,
    TONES,
    VOICES,
    WORDS,
    Actor,
    Annotation,
    annotate,
    annotate_automatically,
    draw_actor,
    draw_attributes,
    draw_scene,
    misread,
    read_expressions,
    told_attributes,
)
from videmo.tree import parse_tree, write_tree

TRIPLES = list(product(FACES, VOICES, WORDS))


def best_recall(shown: tuple[int, ...]) -> float:
    """Recall over emotions of the best answers for somebody who knows only these of face, voice and words."""
    seen: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in EMOTIONS.values():
        chances: Counter[tuple[str, ...]] = Counter()
        triples = list(product(row.faces, row.voices, row.words))
        for triple in triples:
            chances[tuple(triple[part] for part in shown)] += 1 / len(triples)  # type: ignore[assignment]
        for key, chance in chances.items():
            seen[key].append(chance)
    return sum(max(chances) for chances in seen.values()) / len(EMOTIONS)


def truths(seed: int, count: int) -> list[Annotation]:
    rng, lines = np.random.default_rng(seed), lines_for("train")
    actors, emotions = [draw_actor(seed, index) for index in range(5)], list(EMOTIONS)
    return [
        annotate(draw_scene(rng, actors[index % 5], emotions[index % len(emotions)], lines)) for index in range(count)
    ]


def test_every_triple_stands_under_one_emotion() -> None:
    assert len(RULES) == sum(len(e.faces) * len(e.voices) * len(e.words) for e in EMOTIONS.values())
    assert set(RULES.values()) == set(EMOTIONS)
    assert set(RULES) <= set(TRIPLES)


def test_all_three_modalities_settle_the_emotion() -> None:
    assert best_recall((0, 1, 2)) == pytest.approx(1)


@pytest.mark.parametrize("part", range(3))
def test_no_single_modality_gets_far(part: int) -> None:
    assert best_recall((part,)) <= 0.55


@pytest.mark.parametrize("parts", [(0, 1), (0, 2), (1, 2)])
def test_no_two_modalities_settle_every_emotion(parts: tuple[int, int]) -> None:
    assert best_recall(parts) < 0.95


def test_every_expression_but_grieving_words_occurs_under_several_emotions() -> None:
    for part, kinds in enumerate((FACES, VOICES, WORDS)):
        for name in kinds:
            used = [emotion for triple, emotion in RULES.items() if triple[part] == name]
            assert len(set(used)) > 1 or name == "grieving words", name


def test_expressions_are_made_of_known_attributes_and_differ() -> None:
    for needs in EXPRESSIONS.values():
        assert all(value in ASPECTS[aspect] for aspect, value in needs.items())
    assert len({tuple(sorted(needs.items())) for needs in EXPRESSIONS.values()}) == len(EXPRESSIONS)
    assert set(FILLINGS) == set(TONES)


@pytest.mark.parametrize("triple", TRIPLES, ids="/".join)
def test_attributes_tell_their_expressions_whatever_strays(triple: tuple[str, str, str]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        attributes = draw_attributes(rng, *triple)
        assert list(attributes) == list(ASPECTS)
        assert all(value in ASPECTS[aspect] for aspect, value in attributes.items())
        assert read_expressions(attributes) == triple


def test_strays_occur_about_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    blushes = sum(
        draw_attributes(rng, "scowl", "harsh voice", "hostile words")["cheeks"] != "plain" for _ in range(2000)
    )
    assert blushes / 2000 == pytest.approx(STRAY_RATE, abs=0.03)


def test_a_third_of_the_clips_are_conflicts() -> None:
    shots = plan_shots(Settings(clips=240))
    for part in ("train", "rl", "dev", "test"):
        scenes = [shot.scene for shot in shots if shot.part == part]
        assert sum(scene.is_conflict for scene in scenes) / len(scenes) >= 1 / 3
        felt = Counter(scene.emotion for scene in scenes)
        assert set(felt) == set(EMOTIONS)
        assert max(felt.values()) - min(felt.values()) <= 1


def test_scenes_follow_the_rules() -> None:
    for shot in plan_shots(Settings(clips=200)):
        scene = shot.scene
        assert RULES[scene.expressions] == scene.emotion
        assert read_expressions(scene.attributes) == scene.expressions
        assert 2 <= scene.seconds <= 4
        assert scene.line in lines_for("train" if shot.part == "rl" else shot.part)[scene.attributes["words"]]


def test_a_tree_of_the_truth_tells_the_scene() -> None:
    for truth in truths(0, 200):
        tree = parse_tree(write_tree(truth.tree))
        assert tree == truth.tree
        assert tree.is_valid
        assert tree.attribute_values() == told_attributes(truth.attributes)
        assert set(ALWAYS_TOLD) <= set(tree.attribute_values())
        for node in tree.expressions:
            aspects = [tree.attributes[index].label for index in node.supports]
            assert sorted(aspects) == sorted(f"{a}: {v}" for a, v in EXPRESSIONS[node.label].items())
        assert tree.emotions[0].label == truth.emotion
        assert tree.emotions[0].supports == (0, 1, 2)


def test_annotation_without_noise_is_the_truth() -> None:
    rng = np.random.default_rng(0)
    for truth in truths(1, 300):
        assert annotate_automatically(rng, truth, 0.0) == truth


@pytest.mark.parametrize("noise", [0.1, 0.2, 0.5, 1.0])
def test_the_share_of_wrong_emotions_is_the_noise(noise: float) -> None:
    rng = np.random.default_rng(2)
    scenes = truths(2, 2000)
    wrong = sum(annotate_automatically(rng, truth, noise).emotion != truth.emotion for truth in scenes) / 2000
    assert wrong == pytest.approx(noise, abs=0.04 if noise < 1 else 0)


def test_a_misreading_changes_the_emotion_and_one_modality() -> None:
    rng = np.random.default_rng(3)
    missed: Counter[int] = Counter()
    for truth in truths(3, 2000):
        wrong = misread(rng, truth)
        assert wrong.emotion in EMOTIONS
        assert wrong.emotion != truth.emotion
        changed = [part for part in range(3) if wrong.expressions[part] != truth.expressions[part]]
        assert len(changed) == 1
        missed[changed[0]] += 1
        assert RULES.get(wrong.expressions, wrong.emotion) in (wrong.emotion, truth.emotion)
        name = wrong.expressions[changed[0]]
        assert EXPRESSIONS[name].items() <= wrong.attributes.items()
        touched = {*EXPRESSIONS[name], *EXPRESSIONS[truth.expressions[changed[0]]]}
        assert all(wrong.attributes[aspect] == truth.attributes[aspect] for aspect in ASPECTS if aspect not in touched)
        assert wrong.tree.is_valid
        assert parse_tree(write_tree(wrong.tree)) == wrong.tree
    assert min(missed.values()) > 500


def test_automatic_annotation_omits_only_what_no_expression_needs() -> None:
    rng = np.random.default_rng(4)
    omitted = told = 0
    for truth in truths(4, 1000):
        written = annotate_automatically(rng, truth, 0.2)
        needed = {aspect for name in written.expressions for aspect in EXPRESSIONS[name]}
        assert needed <= set(written.attributes)
        free = set(ASPECTS) - needed
        omitted += len(free - set(written.attributes))
        told += len(free & set(written.attributes))
    assert omitted / (omitted + told) == pytest.approx(0.6, abs=0.03)


def test_forty_and_more_actors_all_differ() -> None:
    actors = [draw_actor(0, index) for index in range(60)]
    for field in fields(Actor):
        values = {repr(getattr(actor, field.name)) for actor in actors}
        assert len(values) > (40 if field.name != "look" else 20), field.name
    pitches = [actor.voice_hz for actor in actors]
    assert max(pitches) / min(pitches) > 1.7


def test_an_actor_does_not_depend_on_what_else_is_drawn() -> None:
    first = draw_actor(7, 3)
    for index in (0, 5, 9):
        draw_actor(7, index)
    np.random.seed(1)  # what others do with the global state must not matter
    assert draw_actor(7, 3) == first
    assert draw_actor(8, 3) != first


def test_more_clips_leave_the_first_scenes_of_other_splits_alone() -> None:
    few, many = (
        {shot.name: shot for shot in plan_shots(Settings(clips=clips, label_noise=noise))}
        for clips, noise in ((24, 0.0), (48, 0.5))
    )
    assert {name: few[name] for name in few if not name.startswith("train")} == {
        name: many[name] for name in many if not name.startswith("train")
    }


def test_label_noise_moves_no_scene() -> None:
    clean, noisy = (plan_shots(Settings(clips=60, label_noise=noise)) for noise in (0.0, 0.4))
    assert [shot.scene for shot in clean] == [shot.scene for shot in noisy]
    assert all(shot.written == annotate(shot.scene) for shot in clean)
    assert any(shot.written != annotate(shot.scene) for shot in noisy)


def test_splits_differ_in_actors_and_rl_shares_those_of_training() -> None:
    cast = defaultdict(set)
    for shot in plan_shots(Settings(clips=200, first_actor=100)):
        cast[shot.part].add(shot.scene.actor.name)
    assert {part: len(names) for part, names in cast.items()} == {"train": 32, "rl": 32, "dev": 6, "test": 12}
    assert cast["rl"] == cast["train"]
    for first, second in combinations(("train", "dev", "test"), 2):
        assert not cast[first] & cast[second]
    assert min(cast["train"]) == "actor100"


def test_other_first_actors_are_other_people() -> None:
    settings = Settings(clips=20)
    last = settings.train_actors + settings.dev_actors + settings.test_actors
    names = {shot.scene.actor.name for shot in plan_shots(settings)}
    others = {shot.scene.actor.name for shot in plan_shots(Settings(clips=20, first_actor=last))}
    assert not names & others


def test_no_line_of_one_split_is_a_line_of_another() -> None:
    said = {
        split: {line for lines in lines_for(split).values() for line in lines} for split in ("train", "dev", "test")
    }
    for first, second in combinations(said, 2):
        assert not said[first] & said[second]
    assert all(len(lines) >= 200 for lines in said.values())


def test_no_line_belongs_to_two_tones() -> None:
    for split in ("train", "dev", "test"):
        lines = [line for of_tone in lines_for(split).values() for line in of_tone]
        assert len(set(lines)) == len(lines)
