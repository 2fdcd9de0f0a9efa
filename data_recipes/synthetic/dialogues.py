"""Synthetic dialogues: a speaker says what happened, sometimes answers a question; with an emotion and a response.

The event determines the emotion, but not with certainty: sometimes a neighbouring emotion is felt, or any other. No
sentence of one split is built like one of another; the events are shared.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from affectgpt.clip import Clip
from data_recipes.synthetic.world import pick, stream

EVENTS: dict[str, tuple[str, ...]] = {
    "proud": (
        "my daughter won the chess cup",
        "I ran a whole marathon",
        "my son read his first book",
        "our choir sang on the radio",
        "I built the boat with my own hands",
        "they hung my painting in the hall",
    ),
    "grateful": (
        "a stranger paid for my ticket",
        "the neighbours shovelled our snow",
        "my sister lent me her car for a month",
        "the nurse stayed with me all night",
        "my old teacher wrote a letter for me",
        "somebody brought my wallet back",
    ),
    "lonely": (
        "nobody came to my birthday",
        "all my friends moved away",
        "I eat every dinner by myself",
        "the phone has not rung for weeks",
        "I spent the holidays in an empty flat",
        "there was no letter again",
    ),
    "afraid": (
        "somebody walked behind me in the dark",
        "the plane shook for an hour",
        "a big dog ran at me",
        "I heard steps in the attic",
        "the storm took the roof off",
        "the lift stopped between two floors",
    ),
    "disappointed": (
        "the concert was called off",
        "they gave the post to somebody else",
        "the cake fell flat",
        "our team lost in the last minute",
        "the parcel was empty",
        "it rained all through our trip",
    ),
    "jealous": (
        "my brother got the new bicycle",
        "she dances with him every night",
        "my colleague flies to the islands",
        "the neighbours have a pool now",
        "everyone praises her garden",
        "he was asked first",
    ),
    "guilty": (
        "I forgot my mother's call",
        "I scratched a car and drove off",
        "I told my friend's secret",
        "I ate the bread of my flatmate",
        "I blamed the intern for my mistake",
        "I let the cat run out",
    ),
    "nostalgic": (
        "I found my old school diary",
        "they played the song of our first dance",
        "we drove past the house where I grew up",
        "I smelled my grandmother's soup",
        "I watched our wedding film",
        "the old tram rang its bell",
    ),
    "embarrassed": (
        "my trousers tore on the stage",
        "I called my boss mama",
        "I waved at a stranger",
        "my stomach growled in the silence",
        "I walked into the wrong wedding",
        "I sang with the microphone on",
    ),
    "hopeful": (
        "the doctors have a new drug",
        "they invited me for a second interview",
        "the seeds came up this morning",
        "the bank will look at our plan",
        "the fever is going down",
        "she said she would think about it",
    ),
}
"""Emotion of EmpatheticDialogues -> events that cause it."""

EMOTIONS = tuple(EVENTS)
NEIGHBOURS = {
    **{"proud": "grateful", "grateful": "hopeful", "hopeful": "proud", "lonely": "nostalgic", "nostalgic": "lonely"},
    **{"afraid": "embarrassed", "embarrassed": "guilty", "guilty": "afraid"},
    **{"disappointed": "jealous", "jealous": "disappointed"},
}
NEIGHBOURING, ANY = 0.2, 0.1
"""Shares of speakers who feel the neighbouring emotion, and who may feel any emotion."""

OPENINGS: dict[str, tuple[str, ...]] = {
    "train": ("{Event}.", "Yesterday {event}.", "You know, {event}.", "I must tell you, {event}.", "So {event}."),
    "test": ("It is like this, {event}.", "{Event}, would you believe it.", "Well, last week {event}."),
}
QUESTIONS: dict[str, tuple[str, ...]] = {
    "train": ("Really?", "And then?", "Was that today?"),
    "test": ("Oh, when was that?", "Did you see it coming?"),
}
SECONDS: dict[str, tuple[str, ...]] = {
    "train": ("Yes, and {event}.", "It was on Monday, and {event}.", "Yes. I still think of it."),
    "test": ("Just now, and {event}.", "I did not. I keep thinking of it."),
}
RESPONSES: dict[str, tuple[str, ...]] = {
    "proud": ("You can be proud of that!", "What a feat, well done!"),
    "grateful": ("How kind of them!", "It is good to have such people."),
    "lonely": ("I am here to listen.", "That must feel very quiet."),
    "afraid": ("That sounds scary, are you safe?", "I would have been scared too."),
    "disappointed": ("What a pity, after all that waiting.", "I am sorry, you deserved better."),
    "jealous": ("It is hard to watch that.", "You have good things too."),
    "guilty": ("You could still say sorry.", "We all make mistakes."),
    "nostalgic": ("Those were good times.", "What a lovely memory."),
    "embarrassed": ("That could happen to anybody.", "I am sure they forgot it already."),
    "hopeful": ("I keep my fingers crossed!", "That sounds like a good sign."),
}


def dialogue_rows(seed: int, part: str, count: int) -> Iterator[Clip]:
    """Yield rows of task `dialogue`, whose events are evenly spread over the emotions.

    Args:
        part: split, 'train' or 'test'.
    """
    rng: np.random.Generator = stream(seed, part, "dialogues")
    for index, code in enumerate(rng.permutation(np.arange(count) % len(EMOTIONS))):
        usual = EMOTIONS[code]
        draw, anything = rng.random(), pick(rng, EMOTIONS)
        felt = anything if draw < ANY else NEIGHBOURS[usual] if draw < ANY + NEIGHBOURING else usual
        events = list(EVENTS[usual])
        turns = [_fill(pick(rng, OPENINGS[part]), pick(rng, events))]
        if rng.random() < 0.4:
            turns += [pick(rng, QUESTIONS[part]), _fill(pick(rng, SECONDS[part]), pick(rng, events))]
        answer = f"Emotion: {felt}\nResponse: {pick(rng, RESPONSES[felt])}"
        roles = ("user", "assistant")
        yield Clip(
            id=f"dialogue/{part}-{index:05d}",
            messages=[
                *({"role": roles[turn % 2], "content": text} for turn, text in enumerate(turns)),
                {"role": "assistant", "content": answer},
            ],
            task="dialogue",
            answer=felt,
            options=list(EMOTIONS),
            source="synthetic-dialogue",
        )


def _fill(frame: str, event: str) -> str:
    return frame.format(event=event, Event=event[0].upper() + event[1:])
