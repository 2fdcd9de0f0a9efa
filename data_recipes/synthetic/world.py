"""Rules of the synthetic world: what faces, voices and words can show, what that expresses, and what is felt.

A clip is drawn from the emotion down. The emotion picks one *face*, one *voice* and one *tone of words* from its row
of `EMOTIONS`; each of these expressions picks the attributes that make it up. Every face, voice and tone, except
grieving words, occurs under several emotions, so that none of the three settles the emotion. In more than a third of
the clips they contradict each other on purpose (a smile with a trembling voice is masked distress).

    emotion -> (face, voice, words) -> attributes -> pixels and samples      the generator
    attributes -> expressions -> emotion                                     what a model must learn
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from videmo.tree import AffectiveTree, Node

T = TypeVar("T")

FACE_ASPECTS: dict[str, tuple[str, ...]] = {
    "brows": ("relaxed", "raised", "lowered", "slanted", "one raised"),
    "eyes": ("open", "wide", "narrowed", "crinkled", "downcast"),
    "mouth": ("relaxed", "smiling", "downturned", "gaping", "pressed", "crooked"),
    "tears": ("none", "tearful"),
    "cheeks": ("plain", "blushing"),
    "head": ("upright", "tilted", "bowed"),
}
VOICE_ASPECTS: dict[str, tuple[str, ...]] = {
    "pitch": ("level", "high", "low"),
    "loudness": ("normal", "loud", "soft"),
    "tempo": ("steady", "fast", "slow"),
    "tremor": ("none", "trembling"),
    "laughter": ("none", "laughing"),
}
TONES = ("plain", "glad", "grieving", "hostile", "worried")
LOOK_ASPECTS: dict[str, tuple[str, ...]] = {
    "hair": ("black", "brown", "blond", "red", "grey"),
    "hairstyle": ("short", "long", "bald", "curly"),
    "glasses": ("no glasses", "glasses"),
    "beard": ("no beard", "beard"),
}
"""Aspects of an actor's appearance, which say nothing about emotion."""

ASPECTS = {**FACE_ASPECTS, **VOICE_ASPECTS, "words": TONES}
"""Aspect -> values, in the order in which a tree lists them. The first value of a face or voice aspect is neutral."""

ALWAYS_TOLD = ("brows", "eyes", "mouth", "pitch", "loudness", "tempo", "words")
"""Aspects that a tree always lists; the others only where they are not neutral."""

FACES: dict[str, dict[str, str]] = {
    "open smile": {"mouth": "smiling", "eyes": "crinkled"},
    "forced smile": {"mouth": "smiling", "brows": "slanted"},
    "scowl": {"brows": "lowered", "eyes": "narrowed", "mouth": "pressed"},
    "sad face": {"brows": "slanted", "eyes": "downcast", "mouth": "downturned"},
    "startled look": {"brows": "raised", "eyes": "wide", "mouth": "gaping"},
    "smirk": {"brows": "one raised", "mouth": "crooked"},
    "blank face": {"brows": "relaxed", "eyes": "open", "mouth": "relaxed"},
}
VOICES: dict[str, dict[str, str]] = {
    "bright voice": {"pitch": "high", "tempo": "fast"},
    "laughing voice": {"laughter": "laughing", "pitch": "high"},
    "shaky voice": {"tremor": "trembling", "loudness": "soft"},
    "harsh voice": {"loudness": "loud", "pitch": "low"},
    "heavy voice": {"pitch": "low", "tempo": "slow"},
    "flat voice": {"pitch": "level", "tempo": "steady"},
}
WORDS: dict[str, dict[str, str]] = {f"{tone} words": {"words": tone} for tone in TONES}
EXPRESSIONS = {**FACES, **VOICES, **WORDS}
"""Expression -> attributes that make it up."""


@dataclass(frozen=True, slots=True)
class Emotion:
    """Row of the table of emotions: the faces, voices and words under which it appears."""

    faces: tuple[str, ...]
    voices: tuple[str, ...]
    words: tuple[str, ...]
    conflict: bool
    valence: float
    says: str


EMOTIONS: dict[str, Emotion] = {
    "joy": Emotion(("open smile",), ("bright voice", "laughing voice"), ("glad words",), False, 0.9, "is simply happy"),
    "sadness": Emotion(("sad face",), ("heavy voice", "shaky voice"), ("grieving words",), False, -0.8, "is grieving"),
    "anger": Emotion(("scowl",), ("harsh voice",), ("hostile words",), False, -0.7, "is openly angry"),
    "fear": Emotion(("startled look",), ("shaky voice",), ("worried words",), False, -0.8, "is afraid"),
    "calm": Emotion(("blank face",), ("flat voice",), ("plain words",), False, 0.1, "is at ease"),
    "masked distress": Emotion(
        ("open smile", "forced smile"),
        ("shaky voice",),
        ("glad words", "plain words"),
        True,
        -0.6,
        "smiles while the voice gives the pain away",
    ),
    "teasing": Emotion(
        ("open smile", "scowl", "smirk"), ("laughing voice",), ("hostile words",), True, 0.5, "is only joking"
    ),
    "sarcasm": Emotion(
        ("smirk", "blank face", "scowl"),
        ("flat voice",),
        ("glad words",),
        True,
        -0.4,
        "means the opposite of the words",
    ),
    "suppressed anger": Emotion(
        ("blank face", "forced smile"),
        ("harsh voice",),
        ("plain words", "worried words"),
        True,
        -0.6,
        "holds the anger back",
    ),
    "moved to tears": Emotion(
        ("sad face",), ("bright voice",), ("glad words",), True, 0.7, "is so happy that it brings tears"
    ),
    "resignation": Emotion(
        ("blank face", "sad face"),
        ("heavy voice",),
        ("plain words", "worried words"),
        True,
        -0.5,
        "has given up hoping",
    ),
    "thrill": Emotion(
        ("startled look",), ("bright voice",), ("glad words", "worried words"), True, 0.8, "is excited, not afraid"
    ),
}
"""Emotion -> its rules. A triple (face, voice, words) belongs to one emotion only; `tests` check it."""

RULES: dict[tuple[str, ...], str] = {
    (face, voice, words): name
    for name, emotion in EMOTIONS.items()
    for face in emotion.faces
    for voice in emotion.voices
    for words in emotion.words
}

STRAY_RATE = 0.12
"""Probability that an aspect which no expression of the clip uses is not neutral."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Person with an appearance and a voice of their own. Numbers are relative to an average face of width 1.

    `voice_hz` is the neutral pitch, `tract` scales the formants, `resting` biases brows, eyes and mouth.
    """

    name: str
    look: dict[str, str]
    skin: tuple[int, int, int]
    clothes: tuple[int, int, int]
    wall: tuple[int, int, int]
    face_width: float
    face_height: float
    eye_size: float
    eye_gap: float
    nose: float
    lips: float
    brow_weight: float
    resting: tuple[float, float, float]
    voice_hz: float
    tract: float
    breath: float


@dataclass(frozen=True, slots=True)
class Scene:
    """Content of a clip: actor, what face and voice show, the line spoken, the emotion felt."""

    actor: Actor
    emotion: str
    face: str
    voice: str
    words: str
    line: str
    attributes: dict[str, str]
    intensity: float
    seconds: float

    @property
    def is_conflict(self) -> bool:
        """Whether face, voice and words contradict each other."""
        return EMOTIONS[self.emotion].conflict

    @property
    def expressions(self) -> tuple[str, str, str]:
        """Face, voice and words."""
        return self.face, self.voice, self.words


def stream(seed: int, *names: object) -> np.random.Generator:
    """Return a separate random stream for every name, so that an extra draw somewhere changes nothing elsewhere."""
    return np.random.default_rng([seed, zlib.crc32("/".join(map(str, names)).encode())])


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """Pick one item, all equally likely."""
    return items[int(rng.integers(len(items)))]


def draw_actor(seed: int, index: int) -> Actor:
    """Draw actor `index` of the world with that seed, independent of all other draws."""
    rng = stream(seed, "actor", index)
    skins = ((244, 214, 190), (228, 185, 150), (198, 148, 110), (150, 102, 72), (104, 70, 50), (236, 200, 175))
    base = np.array(pick(rng, skins)) + rng.integers(-8, 9, 3)
    voice_hz = float(rng.uniform(95, 235))
    return Actor(
        name=f"actor{index:03d}",
        look={aspect: pick(rng, values) for aspect, values in LOOK_ASPECTS.items()},
        skin=_colour(base),
        clothes=_colour(rng.integers(40, 230, 3)),
        wall=_colour(rng.integers(110, 245, 3)),
        face_width=float(rng.uniform(0.86, 1.12)),
        face_height=float(rng.uniform(0.9, 1.12)),
        eye_size=float(rng.uniform(0.85, 1.2)),
        eye_gap=float(rng.uniform(0.9, 1.1)),
        nose=float(rng.uniform(0.75, 1.3)),
        lips=float(rng.uniform(0.8, 1.3)),
        brow_weight=float(rng.uniform(0.75, 1.4)),
        resting=(float(rng.normal(0, 0.1)), float(rng.normal(0, 0.08)), float(rng.normal(0, 0.1))),
        voice_hz=voice_hz,
        # Higher voices roughly come from shorter vocal tracts.
        tract=float(0.85 + 0.3 * (voice_hz - 95) / 140 + rng.normal(0, 0.04)),
        breath=float(rng.uniform(0.01, 0.06)),
    )


def _colour(values: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in np.clip(values, 0, 255))
    return red, green, blue


def draw_attributes(rng: np.random.Generator, face: str, voice: str, words: str) -> dict[str, str]:
    """Draw a value for every aspect: that of the expressions, neutral elsewhere, and occasionally a stray.

    A stray is a value of an aspect that no expression of the clip uses; strays never complete another expression.
    """
    fixed = {**FACES[face], **VOICES[voice], **WORDS[words]}
    values = {aspect: fixed.get(aspect, choices[0]) for aspect, choices in ASPECTS.items()}
    if face == "sad face" and rng.random() < 0.5:
        values["tears"] = "tearful"
    for aspect, choices in ASPECTS.items():
        if aspect not in fixed and rng.random() < STRAY_RATE:
            stray = {**values, aspect: pick(rng, choices[1:])}
            if read_expressions(stray) == (face, voice, words):
                values = stray
    return values


def read_expressions(attributes: dict[str, str]) -> tuple[str, str, str]:
    """Read (face, voice, words) from attributes: of each kind the first expression whose attributes are all present."""

    def first(kind: dict[str, dict[str, str]]) -> str:
        for name, needs in kind.items():
            if all(attributes[aspect] == value for aspect, value in needs.items()):
                return name
        return ""

    return first(FACES), first(VOICES), first(WORDS)


def draw_scene(rng: np.random.Generator, actor: Actor, emotion: str, line_of: Mapping[str, Sequence[str]]) -> Scene:
    """Draw a scene of that emotion; `line_of` maps a tone to the lines that may be spoken in it."""
    row = EMOTIONS[emotion]
    face, voice, words = pick(rng, row.faces), pick(rng, row.voices), pick(rng, row.words)
    attributes = draw_attributes(rng, face, voice, words)
    return Scene(
        actor=actor,
        emotion=emotion,
        face=face,
        voice=voice,
        words=words,
        line=pick(rng, line_of[attributes["words"]]),
        attributes=attributes,
        intensity=float(rng.uniform(0.65, 1.0)),
        seconds=round(float(rng.uniform(2.0, 3.2)), 2),
    )


def told_attributes(attributes: dict[str, str]) -> dict[str, str]:
    """Select the attributes that a description lists: `ALWAYS_TOLD`, and the others that are not neutral."""
    return {
        aspect: attributes[aspect]
        for aspect, values in ASPECTS.items()
        if aspect in attributes and (aspect in ALWAYS_TOLD or attributes[aspect] != values[0])
    }


def build_tree(attributes: dict[str, str], expressions: Sequence[str], emotion: str) -> AffectiveTree:
    """Build the tree of a description: its attributes, the expressions named in it, the emotion on top."""
    listed = list(attributes.items())
    position = {item: index for index, item in enumerate(listed)}
    return AffectiveTree(
        attributes=tuple(Node("a", f"{aspect}: {value}") for aspect, value in listed),
        expressions=tuple(
            Node("e", name, tuple(sorted(position[need] for need in EXPRESSIONS[name].items() if need in position)))
            for name in expressions
        ),
        emotions=(Node("m", emotion, tuple(range(len(expressions)))),),
    )


@dataclass(frozen=True, slots=True)
class Annotation:
    """Description of a scene: correct from `annotate`, possibly wrong from `annotate_automatically`."""

    attributes: dict[str, str]
    """Aspect -> value, for every aspect that was looked at."""
    expressions: tuple[str, ...]
    emotion: str

    @property
    def tree(self) -> AffectiveTree:
        """Tree of the annotation."""
        return build_tree(told_attributes(self.attributes), self.expressions, self.emotion)


def annotate(scene: Scene) -> Annotation:
    """Return the correct annotation of a scene."""
    return Annotation(scene.attributes, scene.expressions, scene.emotion)


def annotate_automatically(rng: np.random.Generator, gold: Annotation, noise: float) -> Annotation:
    """Simulate the annotation of an automatic pipeline in the manner of MER-Caption: describe, then merge.

    With probability `noise` the clip is misread (`misread`), so that its emotion is wrong. In any case the description
    is
    incomplete: each aspect that no expression in it needs is left out with three times that probability. Human
    annotators make neither mistake here, which is what the clean set for RL is good for.
    """
    written = misread(rng, gold) if rng.random() < noise else gold
    needed = {aspect for name in written.expressions for aspect in EXPRESSIONS[name]}
    mentioned = {
        aspect: value
        for aspect, value in written.attributes.items()
        if rng.random() >= min(1.0, 3 * noise) or aspect in needed
    }
    return Annotation(mentioned, written.expressions, written.emotion)


def misread(rng: np.random.Generator, gold: Annotation) -> Annotation:
    """Return an annotation whose emotion is wrong because one modality was misread.

    Pipelines that describe video and audio separately and let a language model merge the two get a whole modality
    wrong: its attributes, its expression and then the emotion. The emotion is the one that the rules give for the
    annotation or, if they give none or the gold one, another under which the wrong expression occurs.
    """
    kinds = (FACES, VOICES, WORDS)
    missed = int(rng.integers(3))
    wrong = pick(rng, [name for name in kinds[missed] if name != gold.expressions[missed]])
    written = (*gold.expressions[:missed], wrong, *gold.expressions[missed + 1 :])
    emotion = RULES.get(written, "")
    if emotion in ("", gold.emotion):
        suspects = [
            name
            for name, row in EMOTIONS.items()
            if name != gold.emotion and wrong in (row.faces, row.voices, row.words)[missed]
        ]
        emotion = pick(rng, suspects or [name for name in EMOTIONS if name != gold.emotion])
    unseen = {aspect: ASPECTS[aspect][0] for aspect in EXPRESSIONS[gold.expressions[missed]]}
    return Annotation({**gold.attributes, **unseen, **EXPRESSIONS[wrong]}, written, emotion)
