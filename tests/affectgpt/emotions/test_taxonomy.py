import tomllib
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.emotions.lemmas import base_forms, tidy
from affectgpt.emotions.taxonomy import find, group_of, normalise, valence_of, vocabulary, wheel

PARROTT = {
    "affection": "adoration affection love fondness liking attraction caring tenderness compassion sentimentality",
    "lust": "arousal desire lust passion infatuation",
    "longing": "longing",
    "cheerfulness": "amusement bliss cheerfulness gaiety glee jolliness joviality joy delight enjoyment gladness "
    "happiness jubilation elation satisfaction ecstasy euphoria",
    "zest": "enthusiasm zeal zest excitement thrill exhilaration",
    "contentment": "contentment pleasure",
    "pride": "pride triumph",
    "optimism": "eagerness hope optimism",
    "enthrallment": "enthrallment rapture",
    "relief": "relief",
    "surprise": "amazement surprise astonishment",
    "irritation": "aggravation irritation agitation annoyance grouchiness grumpiness",
    "exasperation": "exasperation frustration",
    "rage": "anger rage outrage fury wrath hostility ferocity bitterness hate scorn spite vengefulness dislike "
    "resentment",
    "disgust": "disgust revulsion contempt loathing",
    "envy": "envy jealousy",
    "torment": "torment",
    "suffering": "agony suffering hurt anguish",
    "sadness": "depression despair hopelessness gloom glumness sadness unhappiness grief sorrow woe misery melancholy",
    "disappointment": "dismay disappointment displeasure",
    "shame": "guilt shame regret remorse",
    "neglect": "alienation isolation neglect loneliness rejection homesickness defeat dejection insecurity "
    "embarrassment humiliation insult",
    "sympathy": "pity sympathy",
    "horror": "alarm shock fear fright horror terror panic hysteria mortification",
    "nervousness": "anxiety nervousness tenseness uneasiness apprehension worry distress dread",
}
PLUTCHIK = {
    "joy": "serenity joy ecstasy",
    "trust": "acceptance trust admiration",
    "fear": "apprehension fear terror",
    "surprise": "distraction surprise amazement",
    "sadness": "pensiveness sadness grief",
    "disgust": "boredom disgust loathing",
    "anger": "annoyance anger rage",
    "anticipation": "interest anticipation vigilance",
}
DYADS = """
love submission awe disapproval remorse contempt aggressiveness optimism hope guilt curiosity despair unbelief envy
cynicism pride anxiety delight sentimentality shame outrage pessimism morbidness dominance
"""


@pytest.mark.parametrize(("group", "words"), PARROTT.items())
def test_parrotts_words_stand_in_their_secondary_group(group, words):
    for word in words.split():
        entry = find(word)
        assert entry is not None, word
        assert entry.fine == group, word
        assert "parrott" in entry.sources, word


PRIMARY = {
    "love": "affection lust longing",
    "joy": "cheerfulness zest contentment pride optimism enthrallment relief",
    "surprise": "surprise",
    "anger": "irritation exasperation rage envy torment",
    "disgust": "disgust",
    "sadness": "suffering sadness disappointment shame neglect sympathy",
    "fear": "horror nervousness",
}
"""Parrott's secondary emotions by the primary ones; but disgust stands on its own."""


def test_parrotts_secondary_groups_stand_in_their_primary_one():
    assert {group for groups in PRIMARY.values() for group in groups.split()} == set(PARROTT)
    for basic, groups in PRIMARY.items():
        assert {wheel().groups[group][0] for group in groups.split()} == {basic}


def test_basic_groups_are_pleasant_or_not():
    signs = {"joy": {1}, "love": {1}, "trust": {1}, "positive": {1}, "anticipation": {0, 1}, "neutral": {0}}
    signs |= {basic: {-1} for basic in ("anger", "disgust", "sadness", "fear", "negative")}
    signs["surprise"] = {-1, 0, 1}
    found: dict[str, set[int]] = {}
    for basic, valence in wheel().groups.values():
        found.setdefault(basic, set()).add(valence)
    assert found == signs
    assert wheel().groups["surprise"] == ("surprise", 0)


@pytest.mark.parametrize(("basic", "words"), PLUTCHIK.items())
def test_plutchiks_intensities_stand_in_their_emotion(basic, words):
    for word in words.split():
        assert group_of(word) == basic, word
        assert "plutchik" in find(word).sources, word


def test_plutchiks_dyads_are_there():
    assert [word for word in DYADS.split() if find(word) is None or "plutchik" not in find(word).sources] == []


@pytest.mark.parametrize(
    "forms",
    [
        "happy happiness happily happier happiest unHappy:no HAPPY",
        "angry anger angrily angrier angriest angered",
        "sad sadness sadly sadder saddest saddened",
        "worried worry worries worrying worriedly",
        "disappointed disappointment disappointing disappointingly",
        "excited excitement excitedly exciting",
        "frightened fright frightening frighten",
        "calm calmness calmly calmer calmed",
        "light-hearted lighthearted light-heartedness light_hearted",
        "anxious anxiety anxiously anxiousness",
        "lonely loneliness lonelier",
        "bored boredom boring",
    ],
)
def test_surface_forms_are_one_word(forms):
    names = {normalise(form) for form in forms.split() if not form.endswith(":no")}
    assert len(names) == 1, names


def test_opposites_are_not_forms_of_each_other():
    assert valence_of("happy") == 1
    assert valence_of("unhappy") == -1
    assert valence_of("satisfied") == 1
    assert valence_of("dissatisfied") == -1
    assert valence_of("interested") == 1
    assert valence_of("uninterested") == -1
    for word in ("happily", "pleasantly"):
        assert (valence_of(word), valence_of(f"un{word}")) == (1, -1), word
    assert (valence_of("kindly"), valence_of("unkindly")) == (1, None)


@pytest.mark.parametrize(
    "word", ["", " ", "table", "happy table", "table mood", "likely", "very", "xqzt", "高兴", "😀", "a" * 10_000, "[[["]
)
def test_what_is_unknown_is_not_guessed(word):
    assert group_of(word) is None
    assert group_of(word, "fine") is None
    assert valence_of(word) is None
    assert isinstance(normalise(word), str)


@pytest.mark.parametrize(("word", "lemma"), [("tables", "table"), ("String", "string"), ("two  Words", "two words")])
def test_unknown_words_are_still_normalised(word, lemma):
    assert normalise(word) == lemma


def test_degrees_and_carriers_are_passed_over():
    assert group_of("slightly negative") == "negative"
    assert group_of("positive mood", "fine") == "positive"
    assert group_of("a little bit sad") == "sadness"
    assert group_of("masked distress") == "fear"


def test_neutral_is_a_group_of_its_own():
    assert group_of("neutral") == group_of("neutral", "fine") == "neutral"
    assert {fine for fine, (basic, _) in wheel().groups.items() if basic == "neutral"} == {"neutral"}
    assert valence_of("neutral") == 0


@pytest.mark.parametrize(
    ("word", "basic"),
    [
        *[(word, "fear") for word in ("worried", "fear", "afraid", "anxious", "terrified", "apprehensive")],
        *[(word, "joy") for word in ("happy", "joy", "excited", "joyful", "proud", "content", "hopeful")],
        *[(word, "anger") for word in ("angry", "anger", "furious", "annoyed", "jealous", "frustration", "frustrated")],
        *[(word, "sadness") for word in ("sad", "sadness", "devastated", "ashamed", "guilty", "lonely", "embarrassed")],
        *[(word, "surprise") for word in ("surprise", "surprised")],
        *[(word, "disgust") for word in ("disgust", "disgusted")],
        ("neutral", "neutral"),
    ],
)
def test_labels_of_data_sets(word, basic):
    assert group_of(word) == basic


DIALOGUES = {
    ("joy", 1): "excited proud hopeful joyful content",
    ("trust", 1): "grateful impressed confident prepared trusting faithful",
    ("love", 1): "nostalgic caring",
    ("love", 0): "sentimental",
    ("anticipation", 1): "anticipating",
    ("surprise", 0): "surprised",
    ("anger", -1): "annoyed angry furious jealous",
    ("disgust", -1): "disgusted",
    ("sadness", -1): "sad lonely disappointed guilty embarrassed devastated ashamed",
    ("fear", -1): "afraid terrified anxious apprehensive",
}
"""The 32 emotions of EmpatheticDialogues."""


@pytest.mark.parametrize(("place", "words"), DIALOGUES.items(), ids=str)
def test_emotions_of_dialogues(place, words):
    assert {word: (group_of(word), valence_of(word)) for word in words.split()} == dict.fromkeys(words.split(), place)


def test_words_that_are_neither_pleasant_nor_unpleasant_whatever_their_group():
    for word in ("calm", "smug", "sympathy", "longing", "bittersweet", "touched", "shock"):
        assert valence_of(word) == 0, word
        assert wheel().groups[group_of(word, "fine")][1] != 0, word


def test_the_two_levels():
    assert [group_of("happily", level) for level in ("basic", "fine")] == ["joy", "cheerfulness"]
    assert [group_of("furious", level) for level in ("basic", "fine")] == ["anger", "rage"]


def test_no_word_flips_valence():
    for form, entry in wheel().entries.items():
        basic, valence = wheel().groups[entry.fine]
        assert entry.basic == basic, form
        assert entry.valence in (0, valence), form


def test_each_word_is_written_in_one_group_only():
    table = tomllib.loads(files("affectgpt.emotions").joinpath("wheel.toml").read_text("utf-8"))
    seen: dict[str, tuple[str, str]] = {}
    for group, section in table.items():
        if not isinstance(section, dict):
            continue
        for source in ("parrott", "plutchik", "own"):
            for family in section.get(source, "").split(","):
                forms = [" ".join(form.split()) for form in family.split("/")]
                for form in filter(None, forms):
                    before = seen.setdefault(form, (group, source))
                    assert before[0] == group, form
                    assert before[1] == source or "own" not in (before[1], source), form


def test_the_sets_of_the_table_do_not_contradict_each_other():
    here = wheel()
    assert here.other.isdisjoint(here.entries)
    assert here.hedges.isdisjoint(here.entries)
    assert {word for word in here.weak if find(word) is None} == set()
    table = tomllib.loads(files("affectgpt.emotions").joinpath("wheel.toml").read_text("utf-8"))
    for group, section in table.items():
        if isinstance(section, dict):
            for name in filter(None, (" ".join(item.split()) for item in section.get("even", "").split(","))):
                assert here.entries[name].name == name, name
                assert here.entries[name].fine == group, name


def test_vocabulary_is_what_is_written():
    assert {"happy", "at ease", "lack of interest"} <= vocabulary()
    assert all(find(word) for word in vocabulary())
    assert all(word == tidy(word) for word in vocabulary())


@given(st.text(max_size=200))
def test_anything_can_be_asked(word):
    assert (group_of(word) is None) == (valence_of(word) is None) == (group_of(word, "fine") is None)
    assert normalise(normalise(word)) == normalise(normalise(normalise(word)))


@given(st.text(alphabet=st.characters(categories=["Ll"]), max_size=60))
def test_base_forms_begin_with_the_word(word):
    assert base_forms(word)[0] == word
