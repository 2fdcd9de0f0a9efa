"""Faces: the finder on drawn people, and following one person through boxes that a made-up finder gives."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from affectgpt.media.decode import read_face
from affectgpt.media.faces import Box, Detector, crop_faces, haar_detector
from data_recipes.synthetic.face import Pose, draw_frame, shrink
from data_recipes.synthetic.world import draw_actor

MARGIN = 1.35


def given(*boxes: Sequence[Box]) -> Detector:
    """A finder that gives these boxes, frame after frame."""
    left = iter(boxes)
    return lambda frame: next(left)


def blank(count: int, height: int = 100, width: int = 200) -> np.ndarray:
    return np.zeros((count, height, width, 3), np.uint8)


def centres(squares: np.ndarray) -> list[tuple[int, int]]:
    return [(round(x), round(y)) for x, y, _ in squares]


# The finder


def test_drawn_people_are_found_where_they_are() -> None:
    frames = np.stack([shrink(draw_frame(draw_actor(0, 1), Pose(), (0.06 * k, 0.0))) for k in range(6)])
    scene = np.full((6, 240, 400, 3), frames[0, 0, 0], np.uint8)
    scene[:, 40:200, 200:360] = frames
    track = crop_faces(scene, 64)
    assert track.found.all()
    assert (track.crops.shape, track.crops.dtype) == ((6, 64, 64, 3), np.uint8)
    # Between the eyes the actor is at (80, 72) of the 160-pixel picture, moving 0.06 * 46 pixels a frame.
    x, y, side = track.squares.T
    np.testing.assert_allclose(x, 280 + 2.76 * np.arange(6), atol=6)
    np.testing.assert_allclose(y, 112 + 6, atol=6)
    assert ((side > 85) & (side < 125)).all()


def test_large_frames_are_searched_small_and_cropped_large() -> None:
    scene = np.full((1, 200, 300, 3), 128, np.uint8)
    scene[0, 20:180, 100:260] = shrink(draw_frame(draw_actor(0, 1), Pose()))
    large = scene.repeat(4, axis=1).repeat(4, axis=2)
    (square,), (found,) = (crop_faces(frames, 64).squares for frames in (scene, large))
    np.testing.assert_allclose(found / 4, square, atol=6)
    assert crop_faces(large, 64).found.all()


def test_crops_do_not_depend_on_the_run() -> None:
    frames = np.stack([shrink(draw_frame(draw_actor(0, 5), Pose(tilt=k), (0.05 * k, 0))) for k in range(8)])
    first, second = crop_faces(frames, 48), crop_faces(frames, 48)
    assert 0 < first.found.sum() < 8, "this actor is one whom the finder misses now and then"
    np.testing.assert_array_equal(first.crops, second.crops)
    np.testing.assert_array_equal(first.found, second.found)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 500), (2, 500, 1), (2, 5, 2000), (2, 19, 25), (0, 64, 64)])
def test_frames_of_any_size(shape: tuple[int, ...]) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    track = crop_faces(frames, 32)
    assert track.crops.shape == (shape[0], 32, 32, 3)
    assert track.squares.shape == (shape[0], 3)
    assert not track.found.any()


def test_turned_frames_are_searched() -> None:
    upright = shrink(draw_frame(draw_actor(0, 1), Pose()))
    turned = np.rot90(np.ascontiguousarray(np.rot90(upright, -1)))
    assert haar_detector()(turned) == haar_detector()(upright) != []


def test_an_opencv_without_cascades_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(RuntimeError, match=r"no Haar cascades.*pip install 'opencv-python-headless>=4.10,<5'"):
        crop_faces(blank(1))
    assert crop_faces(blank(1), detect=given([])).crops.shape == (1, 224, 224, 3)


@pytest.mark.parametrize(
    "frames",
    [blank(2).astype(np.float32), blank(2)[0], blank(2)[..., :1], blank(2, height=0)],
    ids=["floats", "one frame", "grey", "no rows"],
)
def test_other_arrays_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected frames \(F, H, W, 3\) uint8, got"):
        crop_faces(frames, detect=given([], []))


# What is cropped


def test_without_a_face_the_middle_is_taken() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (2, 40, 60, 3), np.uint8)
    track = crop_faces(frames, 40, given([], []))
    assert not track.found.any()
    np.testing.assert_array_equal(track.crops, frames[:, :, 10:50])


def test_the_crop_is_a_square_around_the_box() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (1, 100, 200, 3), np.uint8)
    track = crop_faces(frames, 54, given([(50, 20, 30, 40)]))
    assert track.squares.tolist() == [[65, 40, 54]]
    np.testing.assert_array_equal(track.crops[0], frames[0, 13:67, 38:92])


def test_beyond_the_border_its_pixels_are_repeated() -> None:
    frames = blank(1, 100, 100)
    frames[:] = np.arange(100, dtype=np.uint8)[:, None, None]
    crop = crop_faces(frames, 54, given([(-20, 80, 40, 40)])).crops[0]
    assert np.unique(crop[27:]).tolist() == [99]
    assert crop[0].max() == crop[0].min() == 73


# Whom it follows


def test_frames_without_a_box_are_interpolated() -> None:
    box = [[(10.0 * k, 20.0, 40.0, 40.0)] for k in range(8)]
    track = crop_faces(blank(8), 16, given(*box[:3], [], [], *box[5:]))
    assert track.found.tolist() == [True] * 3 + [False] * 2 + [True] * 3
    np.testing.assert_allclose(track.squares[2:6, 0], [40, 50, 60, 70])


def test_before_and_after_the_place_is_held() -> None:
    track = crop_faces(blank(9), 16, given([], [], [], [(30, 30, 40, 40)], [], [], [], [], []))
    assert track.found.tolist() == [False] * 3 + [True] + [False] * 5
    assert track.squares.tolist() == [[50, 50, 40 * MARGIN]] * 9


def test_a_shaky_box_gives_a_steady_crop() -> None:
    shake = np.random.default_rng(0).normal(0, 2, (40, 3))
    boxes = [[(50 + dx, 30 + dy, 40 + dw, 40 + dw)] for dx, dy, dw in shake.tolist()]
    track = crop_faces(blank(40), 16, given(*boxes))
    raw = np.array([(x + w / 2, y + h / 2, MARGIN * w) for ((x, y, w, h),) in boxes])
    jumps = [np.abs(np.diff(squares, axis=0)).mean(axis=0) for squares in (track.squares, raw)]
    assert (jumps[0] < jumps[1] / 2).all()


def test_of_two_people_the_larger_is_followed() -> None:
    small, large = (20.0, 30.0, 30.0, 30.0), (130.0, 30.0, 40.0, 40.0)
    track = crop_faces(blank(6), 16, given(*[[small, large], [large, small]] * 3))
    assert track.found.all()
    assert centres(track.squares) == [(150, 50)] * 6


def test_who_is_seen_longer_wins_over_a_passer_by() -> None:
    stays, passes = (20.0, 30.0, 30.0, 30.0), (130.0, 30.0, 60.0, 60.0)
    track = crop_faces(blank(8), 16, given(*[[stays]] * 3, *[[stays, passes]] * 2, *[[stays]] * 3))
    assert centres(track.squares) == [(35, 45)] * 8


def test_two_people_who_come_close_are_not_mixed_up() -> None:
    left = [(20.0 + 6 * k, 30.0, 40.0, 40.0) for k in range(8)]
    right = [(140.0 - 6 * k, 30.0, 36.0, 36.0) for k in range(8)]
    boxes = [[left[k], right[k]] for k in range(8)]
    track = crop_faces(blank(8), 16, given(*boxes))
    assert track.found.all()
    np.testing.assert_allclose(track.squares[2:6, 0], [box[0] + 20 for box in left[2:6]])


def test_who_leaves_and_returns_is_the_same_person() -> None:
    box, other = (20.0, 30.0, 40.0, 40.0), (140.0, 30.0, 40.0, 40.0)
    track = crop_faces(blank(8), 16, given([box], [box], [other], [], [other], [box], [box], [box]))
    assert track.found.tolist() == [True, True, False, False, False, True, True, True]
    assert centres(track.squares) == [(40, 50)] * 8


def test_who_appears_elsewhere_is_another_person() -> None:
    track = crop_faces(blank(5), 16, given(*[[(20, 30, 40, 40)]] * 2, *[[(140, 30, 40, 40)]] * 3))
    assert track.found.tolist() == [False, False, True, True, True]
    assert centres(track.squares) == [(160, 50)] * 5


@pytest.mark.parametrize(("move", "same"), [(35, True), (37, False)])
def test_a_move_of_two_thirds_of_a_crop_makes_another_person(move: int, same: bool) -> None:
    """Two squares of a side of 54 pixels share a fifth of their union where they are 36 pixels apart."""
    track = crop_faces(blank(2), 16, given([(20, 30, 40, 40)], [(20 + move, 30, 40, 40)]))
    assert track.found.all() == same


@pytest.mark.parametrize(("side", "same"), [(20, True), (16, False)])
def test_a_box_within_the_last_one_is_compared_by_its_size(side: int, same: bool) -> None:
    """The overlap of a square with one inside it is the share of the area: a quarter, or a sixth."""
    inner = (40 - side / 2, 50 - side / 2, side, side)
    track = crop_faces(blank(2), 16, given([(20, 30, 40, 40)], [inner]))
    assert track.found.all() == same


def test_the_order_of_the_boxes_does_not_matter() -> None:
    left, right = (20.0, 30.0, 40.0, 40.0), (130.0, 30.0, 40.0, 40.0)
    for boxes in ([left, right], [right, left]):
        assert centres(crop_faces(blank(3), 16, given(*[boxes] * 3)).squares) == [(40, 50)] * 3


def test_boxes_without_area_are_passed_over() -> None:
    track = crop_faces(blank(2), 16, given([(10, 10, 0, 0)], [(10, 10, -5, 20)]))
    assert not track.found.any()


def test_the_crops_are_the_face_of_a_row(tmp_path) -> None:
    track = crop_faces(blank(5), 16, given(*[[(20, 30, 40, 40)]] * 5))
    np.save(tmp_path / "face.npy", track.crops)
    np.testing.assert_array_equal(read_face(tmp_path / "face.npy", 5), track.crops)
