"""Face drawing: turns an actor and a scene into frames. The shapes are plain, but show every aspect of `FACE_ASPECTS`.

Coordinates are in face units, x to the right and y down from between the eyes; one unit is half a face's height.
Images are drawn at twice their size and averaged down.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np

from data_recipes.synthetic.world import Actor, Scene

FPS = 25
FRAME_SIZE = 160
CROP_SIZE = 64
NUM_CROPS = 16
_CANVAS = 2 * FRAME_SIZE
_UNIT = 92.0
_CENTRE = (_CANVAS / 2, _CANVAS * 0.45)
_SHIFT = 4  # OpenCV draws at 1/16 pixel


@dataclass(frozen=True, slots=True)
class Pose:
    """Positions of the parts of a face. `*_inner` and `*_outer` are heights of the brow ends; negative is up."""

    left_inner: float = 0.0
    left_outer: float = 0.0
    right_inner: float = 0.0
    right_outer: float = 0.0
    eye_open: float = 1.0
    eye_arch: float = 0.0
    gaze: float = 0.0
    mouth_curve: float = 0.0
    mouth_open: float = 0.0
    mouth_skew: float = 0.0
    mouth_width: float = 1.0
    tears: float = 0.0
    blush: float = 0.0
    tilt: float = 0.0
    bow: float = 0.0

    def towards(self, other: Pose, share: float) -> Pose:
        """Interpolate towards another pose by `share` of the way."""
        return Pose(*(getattr(self, f.name) * (1 - share) + getattr(other, f.name) * share for f in fields(Pose)))


_PARTS: dict[tuple[str, str], dict[str, float]] = {
    ("brows", "raised"): {"left_inner": -0.15, "left_outer": -0.15, "right_inner": -0.15, "right_outer": -0.15},
    ("brows", "lowered"): {"left_inner": 0.14, "left_outer": -0.03, "right_inner": 0.14, "right_outer": -0.03},
    ("brows", "slanted"): {"left_inner": -0.15, "left_outer": 0.08, "right_inner": -0.15, "right_outer": 0.08},
    ("brows", "one raised"): {"left_inner": -0.16, "left_outer": -0.2, "right_inner": 0.05, "right_outer": 0.03},
    ("eyes", "wide"): {"eye_open": 1.6},
    ("eyes", "narrowed"): {"eye_open": 0.45},
    ("eyes", "crinkled"): {"eye_open": 0.3, "eye_arch": 1.0},
    ("eyes", "downcast"): {"eye_open": 0.6, "gaze": 0.07},
    ("mouth", "smiling"): {"mouth_curve": 0.2, "mouth_width": 1.2},
    ("mouth", "downturned"): {"mouth_curve": -0.17},
    ("mouth", "gaping"): {"mouth_open": 0.3, "mouth_width": 0.75},
    ("mouth", "pressed"): {"mouth_width": 0.7, "mouth_curve": -0.02},
    ("mouth", "crooked"): {"mouth_skew": 0.17, "mouth_curve": 0.05},
    ("tears", "tearful"): {"tears": 1.0},
    ("cheeks", "blushing"): {"blush": 1.0},
    ("head", "tilted"): {"tilt": 13.0},
    ("head", "bowed"): {"bow": 0.2},
}


def pose_of(attributes: dict[str, str], actor: Actor, intensity: float, side: float = 1.0) -> Pose:
    """Return the pose that shows `attributes` at that intensity (0 to 1) on the actor's neutral face."""
    brow, eye, mouth = actor.resting
    rest = Pose(*(0.12 * brow,) * 4, eye_open=1.0 + eye, mouth_curve=0.12 * mouth, mouth_open=0.0)
    goal = {field.name: getattr(rest, field.name) for field in fields(Pose)}
    for aspect, value in attributes.items():
        for name, amount in _PARTS.get((aspect, value), {}).items():
            neutral = getattr(Pose(), name)
            goal[name] += (amount - neutral) * intensity
    goal["tilt"] *= side
    return Pose(**goal)


class _Pen:
    """Pen that draws in face units on a canvas, with the tilt and position of the head applied."""

    def __init__(self, image: np.ndarray, tilt: float, shift: tuple[float, float]) -> None:
        self.image, self.tilt = image, tilt
        angle = np.deg2rad(tilt)
        self.turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * _UNIT
        self.origin = np.array([_CENTRE[0] + shift[0] * _UNIT, _CENTRE[1] + shift[1] * _UNIT])

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        return np.round((points @ self.turn.T + self.origin) * 2**_SHIFT).astype(np.int32)

    def fill(self, points: np.ndarray, colour: tuple[int, int, int]) -> None:
        cv2.fillPoly(self.image, [self._pixels(points)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: np.ndarray, colour: tuple[int, int, int], width: float) -> None:
        thickness = max(1, round(width * _UNIT))
        cv2.polylines(self.image, [self._pixels(points)], False, colour, thickness, cv2.LINE_AA, _SHIFT)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: tuple[int, int, int]) -> None:
        angles = np.linspace(0, 2 * np.pi, 36)
        self.fill(np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1), colour)


_HAIR = {
    "black": (30, 26, 26),
    "brown": (92, 60, 38),
    "blond": (222, 188, 112),
    "red": (170, 72, 36),
    "grey": (165, 165, 168),
}


def _shade(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    red, green, blue = (int(min(255, max(0, part * factor))) for part in colour)
    return red, green, blue


def draw_frame(actor: Actor, pose: Pose, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Draw an actor, (2 * FRAME_SIZE, 2 * FRAME_SIZE, 3) uint8 RGB; `shift` moves the head in face units."""
    image = np.empty((_CANVAS, _CANVAS, 3), np.uint8)
    image[:] = actor.wall
    width, height = 0.8 * actor.face_width, 1.0 * actor.face_height
    hair, skin = _HAIR[actor.look["hair"]], actor.skin
    body = _Pen(image, 0.0, (shift[0] * 0.3, 0.0))
    body.oval(0, 2.1, 1.35, 1.0, actor.clothes)
    body.fill(np.array([[-0.3, 0.7], [0.3, 0.7], [0.36, 1.35], [-0.36, 1.35]]), _shade(skin, 0.85))
    pen = _Pen(image, pose.tilt, (shift[0], shift[1] + pose.bow * 0.6))
    # A bowed head shows more crown and moves the features down the face.
    drop = pose.bow * 0.5
    style = actor.look["hairstyle"]
    if style == "long":
        pen.oval(0, 0.2, width * 1.2, height * 1.25, hair)
    elif style == "curly":
        for angle in np.linspace(np.pi, 2 * np.pi, 9):
            pen.oval(width * 0.95 * np.cos(angle), -0.35 + height * 0.75 * np.sin(angle), 0.3, 0.3, hair)
    for ear in (-1, 1):
        pen.oval(ear * width, 0.05, 0.12, 0.2, _shade(skin, 0.92))
    pen.oval(0, 0.05, width, height, skin)
    if style != "bald":
        angles = np.linspace(np.pi * 1.02, np.pi * 1.98, 24)
        crown = np.stack([width * 1.04 * np.cos(angles), 0.0 + height * 1.03 * np.sin(angles)], axis=1)
        fringe = np.array([[width * 0.8, -0.48 + drop], [0.0, -0.62 + drop], [-width * 0.8, -0.48 + drop]])
        pen.fill(np.concatenate([crown, fringe]), hair)
    if actor.look["beard"] == "beard":
        angles = np.linspace(0.12 * np.pi, 0.88 * np.pi, 24)
        jaw = np.stack([width * np.cos(angles), 0.05 + height * np.sin(angles)], axis=1)
        pen.fill(np.concatenate([jaw, [[-0.4, 0.3], [0.4, 0.3]]]), _shade(hair, 0.9))
        pen.oval(0, 0.52, 0.4, 0.2, skin)
    _draw_eyes(pen, actor, pose, drop)
    _draw_nose(pen, actor, drop)
    _draw_mouth(pen, actor, pose, drop)
    if pose.blush > 0.02:
        layer = image.copy()
        blush = _Pen(layer, pose.tilt, (shift[0], shift[1] + pose.bow * 0.6))
        for side in (-1, 1):
            blush.oval(side * 0.46, 0.3 + drop, 0.2, 0.14, (225, 60, 70))
        cv2.addWeighted(layer, 0.6 * pose.blush, image, 1 - 0.6 * pose.blush, 0, dst=image)
    if pose.tears > 0.05:
        for side in (-1, 1):
            x, y = side * 0.36, 0.14 + drop
            pen.oval(x, y + 0.16 * pose.tears, 0.045, 0.14 * pose.tears, (120, 190, 250))
    return image


def _draw_eyes(pen: _Pen, actor: Actor, pose: Pose, drop: float) -> None:
    gap, dark = 0.36 * actor.eye_gap, (35, 25, 22)
    brow = _shade(_HAIR[actor.look["hair"]], 0.65)
    for side, inner, outer in (
        (-1, pose.left_inner, pose.left_outer),
        (1, pose.right_inner, pose.right_outer),
    ):
        x, y = side * gap, drop
        rx, ry = 0.17 * actor.eye_size, 0.095 * actor.eye_size * max(pose.eye_open, 0.02)
        if pose.eye_arch > 0.5 or pose.eye_open < 0.12:
            bend = 0.09 * pose.eye_arch
            arc = np.linspace(-1, 1, 9)
            pen.line(np.stack([x + rx * arc, y + bend * (arc**2 - 0.5)], axis=1), dark, 0.05)
        else:
            pen.oval(x, y, rx, ry, (250, 250, 250))
            pen.oval(x, y + pose.gaze, 0.07, min(0.07, ry), dark)
            arc = np.linspace(-1, 1, 9)
            lid = np.stack([x + rx * arc, y - ry * np.sqrt(np.clip(1 - arc**2, 0, 1))], axis=1)
            pen.line(lid, _shade(actor.skin, 0.5), 0.03)
        ends = np.array([[x - side * 0.17, y - 0.25 + inner], [x, 0], [x + side * 0.2, y - 0.23 + outer]])
        ends[1, 1] = (ends[0, 1] + ends[2, 1]) / 2 - 0.04
        pen.line(ends, brow, 0.06 * actor.brow_weight)
        if actor.look["glasses"] == "glasses":
            angles = np.linspace(0, 2 * np.pi, 24)
            ring = np.stack([x + 0.25 * np.cos(angles), y + 0.02 + 0.2 * np.sin(angles)], axis=1)
            pen.line(ring, (40, 40, 45), 0.025)
    if actor.look["glasses"] == "glasses":
        pen.line(np.array([[-gap + 0.25, drop], [gap - 0.25, drop]]), (40, 40, 45), 0.025)


def _draw_nose(pen: _Pen, actor: Actor, drop: float) -> None:
    shape = np.array([[-0.03, 0.08], [-0.1, 0.36], [0.02, 0.39]]) * [actor.nose, 1.0]
    pen.line(shape + np.array([0, drop]), _shade(actor.skin, 0.68), 0.03)


def _draw_mouth(pen: _Pen, actor: Actor, pose: Pose, drop: float) -> None:
    colour = (165, 50, 58) if sum(actor.skin) > 360 else (222, 130, 124)
    half, y = 0.27 * pose.mouth_width, 0.62 + drop * 0.8
    arc = np.linspace(-1, 1, 13)
    # The curve is a parabola whose ends rise for a smile; a skew lifts one corner only.
    middle = y - pose.mouth_curve * (arc**2 - 0.6) - pose.mouth_skew * np.clip(arc, 0, 1)
    gap = pose.mouth_open * np.sqrt(np.clip(1 - arc**2, 0, 1))
    upper = np.stack([half * arc, middle - gap * 0.4], axis=1)
    lower = np.stack([half * arc, middle + gap * 0.6], axis=1)
    if pose.mouth_open > 0.03:
        pen.fill(np.concatenate([upper, lower[::-1]]), (70, 20, 25))
    pen.line(upper, colour, 0.05 * actor.lips)
    pen.line(lower, colour, 0.05 * actor.lips)


def shrink(canvas: np.ndarray) -> np.ndarray:
    """Shrink a drawn canvas to a video frame, (FRAME_SIZE, FRAME_SIZE, 3) uint8."""
    return cv2.resize(canvas, (FRAME_SIZE, FRAME_SIZE), interpolation=cv2.INTER_AREA)


def crop_face(canvas: np.ndarray, shift: tuple[float, float], jitter: tuple[float, float, float]) -> np.ndarray:
    """Crop the aligned face, (CROP_SIZE, CROP_SIZE, 3) uint8; `jitter` is a detector's error: x, y, log scale."""
    half = 1.22 * _UNIT * np.exp(jitter[2])
    x = _CENTRE[0] + (shift[0] + jitter[0]) * _UNIT
    y = _CENTRE[1] + (shift[1] + jitter[1] + 0.06) * _UNIT
    scale = CROP_SIZE / (2 * half)
    matrix = np.array([[scale, 0, -(x - half) * scale], [0, scale, -(y - half) * scale]])
    matrix[:, 2] += 0.5 * scale - 0.5
    return cv2.warpAffine(canvas, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def draw_jitter(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw the error of a face detector."""
    x, y, scale = rng.normal(0, [0.035, 0.035, 0.03])
    return float(x), float(y), float(scale)


def animate(scene: Scene, speech: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene.

    Args:
        speech: (F,) loudness of the voice at each frame, 0 to 1; it moves the mouth.
        rng: random stream for blinks, sway, the onset of the expression, and camera noise.

    Returns:
        Frames (F, FRAME_SIZE, FRAME_SIZE, 3) and aligned crops (NUM_CROPS, CROP_SIZE, CROP_SIZE, 3), uint8 RGB.
    """
    num_frames = len(speech)
    side = 1.0 if rng.random() < 0.5 else -1.0
    rest = pose_of({}, scene.actor, 0.0)
    goal = pose_of(scene.attributes, scene.actor, scene.intensity, side)
    onset, rise = rng.uniform(0, 0.15) * num_frames, rng.uniform(0.08, 0.2) * num_frames
    sway = rng.uniform(0.02, 0.05, 2)
    phase = rng.uniform(0, 2 * np.pi, 2)
    blinks = {int(frame) + step for frame in rng.uniform(0, num_frames, 2) for step in range(4)}
    crop_at = {int(index * num_frames / NUM_CROPS) for index in range(NUM_CROPS)}
    gain = rng.uniform(0.9, 1.1)
    frames = np.empty((num_frames, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    crops = []
    for index in range(num_frames):
        share = float(np.clip((index - onset) / rise, 0, 1))
        pose = rest.towards(goal, share * share * (3 - 2 * share))
        values = {field.name: getattr(pose, field.name) for field in fields(Pose)}
        values["mouth_open"] += 0.09 * float(speech[index])
        if index in blinks:
            values["eye_open"] = 0.05
        seconds = index / FPS
        shift = (
            float(sway[0] * np.sin(2.1 * seconds + phase[0])),
            float(sway[1] * np.sin(2.9 * seconds + phase[1])),
        )
        canvas = draw_frame(scene.actor, Pose(**values), shift)
        canvas = cv2.convertScaleAbs(canvas, alpha=gain)
        frames[index] = shrink(canvas)
        if index in crop_at:
            crops.append(crop_face(canvas, shift, draw_jitter(rng)))
    return frames, np.stack(crops)
