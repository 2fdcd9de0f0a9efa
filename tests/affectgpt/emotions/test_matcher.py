import json
import os
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.emotions.matcher import VocabularyMatcher
from affectgpt.emotions.taxonomy import group_of
from tests.support.limits import cpu_seconds


def labels(text, **settings):
    return VocabularyMatcher(**settings).extract([text])[0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The character's emotional state is happy, relaxed.", ["happy", "relaxed"]),
        ("The character's emotional state is: happy, relaxed.", ["happy", "relaxed"]),
        ("The character's emotional state is happy. Her smile shows that she is content.", ["happy", "content"]),
        ("His emotions are anger and frustration.", ["anger", "frustration"]),
        ("The primary emotion in the clip is fear; anxiety; dread", ["fear", "anxiety", "dread"]),
        ("Emotions:\n- happy\n- very sad\n- not angry", ["happy", "sad"]),
        ("1. happy\n2. Sad\n3) worried", ["happy", "sad", "worried"]),
        ('["happy", "sad"]', ["happy", "sad"]),
        ("[happy, sad", ["happy", "sad"]),
        ("happy", ["happy"]),
        ("The emotional state is excited, happy, Excited.", ["excited", "happy"]),
        ("The emotional state is possibly frustrated, slightly negative.", ["frustrated", "negative"]),
        ("The emotional state is positive: happy, negative: tense.", ["happy", "tense"]),
        ("The emotional state is relaxed, not particularly concerned.", ["relaxed"]),
        ("The emotional state is not sad, angry, or afraid.", []),
        ("The emotional state is tired, not interested.", ["tired", "not interested"]),
        ("The emotional state is potentially anxious or tense.", ["anxious", "tense"]),
        ("The emotional state is excited, excited about driving, willing to go there.", ["excited"]),
        ("The emotional state is happy, dialogue, evaluation.", ["happy"]),
        ("The emotional state is happy, zorblish.", ["happy", "zorblish"]),
        ("The emotional state is neutral, calm.", ["neutral", "calm"]),
        ("<think>he may be sad</think><answer>happy, surprised</answer>", ["happy", "surprised"]),
        ("<think>he may be sad</think> He is happy.", ["happy"]),
        ("a1 mouth: smiling\ne1 sad smile <- a1\nm1 masked distress <- e1\nm2 joy", ["masked distress", "joy"]),
    ],
)
def test_lists(text, found):
    assert labels(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("He is not angry, but sad.", ["sad"]),
        ("He isn't sad, angry, or afraid; he is calm.", ["calm"]),
        ("She speaks without any sadness.", []),
        ("He laughs with joy rather than anger.", ["joy"]),
        ("She is no longer afraid.", []),
        ("Neither happy nor sad, he looks bored.", ["bored"]),
        ("He does not seem to be angry or upset.", []),
        ("He does not look at her and is sad.", ["sad"]),
        ("He is not angry and he is happy.", ["happy"]),
        ("Far from happy, she seems dejected.", ["dejected"]),
        ("There are no signs of fear, however he looks worried.", ["worried"]),
        ("Anger is not evident in his voice; grief is.", ["grief"]),
        ("His happiness is gone.", []),
        ("Instead of joy, he shows contempt.", ["contempt"]),
        ("He never shows fear.", []),
        ("He’s free of anxiety.", []),
        ("He is not only happy but also excited.", ["happy", "excited"]),
        ("There is no doubt that she is furious.", ["furious"]),
        ("He cannot hide his anger.", ["anger"]),
        ("She doesn't speak because she is ashamed.", ["ashamed"]),
        ("No, he is angry.", ["angry"]),
        ("Her lack of interest is plain.", ["lack of interest"]),
        ("He isn’t sad.", []),
        ("Anger isn't visible in his face.", []),
        ("Tears aren't shown, sadness isn't there.", []),
        ("His anger isn't aimed at her.", ["anger"]),
        ("Not just happy: she is proud.", ["happy", "proud"]),
        ("Nothing but joy is in her face.", ["joy"]),
        ("Nothing short of fury drives him.", ["fury"]),
        ("He is not without hope.", ["hope"]),
        ("Without doubt she is proud.", ["proud"]),
        ("He did not turn to the man whom she had seen in the street that day, sad.", ["sad"]),
        ("He is not walking with the man over there in the angry crowd.", ["angry"]),
        ("He is not angry at the man in the shop who is happy.", ["happy"]),
        ("He is not afraid while she is sad.", ["sad"]),
        ("His joy has not gone, his fear is gone.", ["joy"]),
    ],
)
def test_negation(text, found):
    assert labels(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("He may be angry, and perhaps a bit sad.", ["angry", "sad"]),
        ("The man's face shows relief, then GRATITUDE, then relief again.", ["relief", "gratitude"]),
        ("She feels under pressure, ill at ease and fed up.", ["under pressure", "ill at ease", "fed up"]),
        ("She smiles happily and he answers angrily.", ["happily", "angrily"]),
        ("He likes the content of this kind of book in case of support.", []),
        ("He feels content and is warm.", ["content", "warm"]),
        ("He feels really quite content.", ["content"]),
        ("A really quite warm room.", []),
        ("She looks sad and lost.", ["sad", "lost"]),
        ("She walks and lost her way.", []),
        ("She has self esteem issues.", ["self esteem issues"]),
        ("She is ill at ease.", ["ill at ease"]),
        ("She is at ease.", ["at ease"]),
        ("The woman, although smiling and well lit, is likely tense.", ["tense"]),
        ("<p>He is <b>sad</b></p>", ["sad"]),
        ("I don't know.", []),
        ("It is hard to say what he feels.", []),
    ],
)
def test_running_text(text, found):
    assert labels(text) == found


def test_neutral_alone_may_be_left_out():
    lone = "The character's emotional state is neutral."
    assert labels(lone) == ["neutral"]
    assert labels(lone, keep_neutral=False) == []
    assert labels("The emotional state is neutral, calm.", keep_neutral=False) == ["neutral", "calm"]


@pytest.mark.parametrize(
    "text", ["", None, " ", "\n\n", "[]", "[[[]]]", "{}[()]<>", "。", "12 34", "\x00\ud800", "他很开心，难过"]
)
def test_nothing_is_found_where_nothing_is(text):
    assert labels(text) == []


PIECES = {
    "list": "happy, ",
    "brackets": "[",
    "soup": "[({<",
    "spaces": "m1 \t ",
    "tree": "m1 x\n",
    "html": "<p>happy</p>",
    "tags": "<",
    "answers": "<answer>",
    "closed answers": "</answer><answer>",
    "chinese": "开心，",
    "one word": "a",
    "hyphens": "a-",
    "negations": "not ",
    "unmet": "not happy, ",
    "preambles": "emotion ",
    "lines": "\n",
    "numbers": "1. ",
    "capital": "İ",
    "apostrophes": "don't ",
    "hedges": "very ",
    "modifiers": "deep ",
    "phrases": "lack of ",
    "prose": "The man is not sad, angry or afraid, since he smiles proudly at her. ",
}


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES.keys())
def test_ten_megabytes_are_read_in_one_pass(piece):
    text = piece * (10_000_000 // len(piece.encode()))
    with cpu_seconds(30):  # it takes one
        found = labels(text)
    assert len(found) < 10


def test_ten_megabytes_of_different_words():
    draw = random.Random(0)
    text = " ".join("hap" + "".join(draw.choices("abcdefghij", k=6)) for _ in range(1_000_000))
    with cpu_seconds(30):
        labels(text)


def test_a_thousand_answers_of_150_words_take_no_more():
    draw = random.Random(0)
    answers = [" ".join(draw.choices(PIECES["prose"].split(), k=150)) for _ in range(1000)]
    with cpu_seconds(15):  # it takes half a second
        VocabularyMatcher().extract(answers)


@given(st.text(alphabet=st.sampled_from("ab [](){}<>,.;:!?\n\t'\"-_1m<é开not happysad"), max_size=300))
def test_anything_can_be_read(text):
    found = labels(text)
    assert found == labels(text)
    assert len(set(found)) == len(found)
    assert all(label == label.strip() and label for label in found)


WORDS = ["happy", "sad", "angry", "worried", "calm", "excited", "annoyed", "proud"]


@given(st.lists(st.sampled_from(WORDS), min_size=1, unique=True))
def test_a_list_is_what_was_written(words):
    assert labels(f"The character's emotional state is {', '.join(words)}.") == words
    assert labels(", ".join(words)) == words
    assert labels(f"He is not {' or '.join(words)}.") == []


def _published(name):
    if "SHARED_DATA" not in os.environ:
        pytest.skip("needs the published predictions: set SHARED_DATA to the folder that holds unibench/")
    folder = Path(os.environ["SHARED_DATA"], "unibench", name)
    rows = [json.loads(line) for path in sorted(folder.glob("predictions_*.jsonl")) for line in path.open()]
    published = [
        set(filter(None, map(str.strip, re.split(r"[,'\"]", row["openset"].strip("[]").lower())))) for row in rows
    ]
    return [row["response"] for row in rows], published


def set_f1(found, published):
    """Mean over clips of the F1 between two sets of labels; 1 where both are empty."""
    return sum(
        2 * len(a & b) / (len(a) + len(b)) if a or b else 1 for a, b in zip(found, published, strict=True)
    ) / len(found)


@pytest.mark.parametrize(
    ("name", "split", "target"),
    [("mer2023", 0.941, 0.964), ("cmumosi", 0.922, 0.948), ("iemocapfour", 0.905, 0.955), ("sims", 0.939, 0.957)],
)
def test_agreement_with_the_published_extractions(name, split, target):
    answers, published = _published(name)
    assert {text[:35] for text in answers} == {"The character's emotional state is "[:35]}
    at_commas = [{word.strip().lower() for word in text[35:].rstrip(".").split(",")} for text in answers]
    assert set_f1(at_commas, published) == pytest.approx(split, abs=0.001)
    found = [set(words) for words in VocabularyMatcher(keep_neutral=False).extract(answers)]
    assert set_f1(found, published) >= target


@pytest.mark.parametrize("name", ["mer2023", "cmumosi", "iemocapfour", "sims"])
def test_the_wheel_knows_what_is_said(name):
    _, published = _published(name)
    words = [word for labels_ in published for word in labels_]
    assert sum(group_of(word) is not None for word in words) / len(words) > 0.99
