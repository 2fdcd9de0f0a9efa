"""Lines that the actors speak. A line is a frame with a filling; the filling carries the tone.

Frames are split between train, dev and test, so that no sentence of one split is built like one of another. Fillings
are shared: a language model that is trained from scratch cannot know words that it never read.
"""

from __future__ import annotations

FILLINGS: dict[str, tuple[str, ...]] = {
    "glad": (
        "we won the final",
        "the baby is healthy",
        "I got the job",
        "she said yes",
        "they loved my song",
        "the exam went perfectly",
        "our team came first",
        "he is coming home",
        "the house is ours",
        "my painting was chosen",
        "the test was clear",
        "everyone came to the party",
    ),
    "grieving": (
        "grandfather passed away",
        "we lost the old dog",
        "she left for good",
        "the wedding is off",
        "my best friend is gone",
        "the garden burned down",
        "he never said goodbye",
        "they closed the school",
        "nothing is left of the house",
        "I miss my mother",
        "the letters were lost",
        "her chair is empty",
    ),
    "hostile": (
        "you ruined everything",
        "you broke my guitar",
        "you lied to me again",
        "get out of my kitchen",
        "you stole my idea",
        "you are a terrible driver",
        "stop touching my things",
        "you never listen",
        "you ate my whole lunch",
        "I will make you pay",
        "you are impossible",
        "you cheated at cards",
    ),
    "worried": (
        "somebody is in the cellar",
        "the brakes are failing",
        "the water keeps rising",
        "he has not called since noon",
        "the bridge is shaking",
        "they know where we live",
        "the ice is cracking",
        "the engine is on fire",
        "there is blood on the door",
        "the ladder will not hold",
        "we might miss the last boat",
        "the doctor looked serious",
    ),
    "plain": (
        "the meeting starts at nine",
        "the bus stops at the corner",
        "the printer is on the second floor",
        "we need two bags of flour",
        "the report has five pages",
        "the window faces the street",
        "the parcel is on the table",
        "lunch is at noon",
        "the keys are in the drawer",
        "the train takes an hour",
        "the shop opens on Monday",
        "there are six chairs in the room",
    ),
}

FRAMES: dict[str, tuple[str, ...]] = {
    "train": (
        "{Filling}.",
        "Listen, {filling}.",
        "I told you, {filling}.",
        "You know what, {filling}.",
        "It is true, {filling}.",
        "{Filling}, and that is that.",
        "Just so you know, {filling}.",
        "Well, {filling}.",
        "{Filling}, do you hear me?",
        "I am telling you, {filling}.",
        "Look, {filling}, all right?",
        "{Filling}, I said.",
    ),
    "dev": (
        "Let me say it once, {filling}.",
        "{Filling}, as you can see.",
        "So, {filling}, right?",
        "Believe me, {filling}.",
    ),
    "test": (
        "Now hear this, {filling}.",
        "{Filling}, did you know that?",
        "All I can say is, {filling}.",
        "Yes, {filling}, I know.",
        "Of course, {filling}.",
    ),
}


def lines_for(split: str) -> dict[str, list[str]]:
    """Return tone -> every line of a split ('train', 'dev' or 'test')."""
    return {
        tone: [
            frame.format(filling=filling, Filling=filling[0].upper() + filling[1:])
            for frame in FRAMES[split]
            for filling in fillings
        ]
        for tone, fillings in FILLINGS.items()
    }
