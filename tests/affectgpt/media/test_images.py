"""Still pictures: the right way up, opaque, one; and damaged, enormous or foreign files in words."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from affectgpt.media.bundle import Media, Wanted, decode
from affectgpt.media.faces import crop_faces
from affectgpt.media.images import read_image
from affectgpt.media.sandbox import map_sandboxed
from affectgpt.media.source import MAX_PIXELS, MediaError
from data_recipes.synthetic.face import Pose, draw_frame, shrink
from data_recipes.synthetic.world import draw_actor

SIZE = (24, 16)  # width, height


def stripes() -> np.ndarray:
    """(16, 24, 3): left half red, right half blue, the top row white."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    pixels[:, :12, 0] = pixels[:, 12:, 2] = 255
    pixels[0] = 255
    return pixels


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "webp", "gif"])
def test_what_is_stored_exactly_is_read_exactly(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(stripes()).save(path, **({"lossless": True} if ending == "webp" else {}))
    found = read_image(path)
    assert found.dtype == np.uint8
    assert np.array_equal(found, stripes())


def test_a_jpeg_is_read_whatever_its_name(tmp_path: Path) -> None:
    Image.fromarray(stripes()).save(tmp_path / "a.png", format="JPEG", quality=95, subsampling=0)
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - stripes()).mean() < 8


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda pixels: pixels),
        (3, lambda pixels: np.rot90(pixels, 2)),
        (6, lambda pixels: np.rot90(pixels, -1)),
        (8, lambda pixels: np.rot90(pixels, 1)),
        (2, lambda pixels: pixels[:, ::-1]),
        (4, lambda pixels: pixels[::-1]),
        (5, lambda pixels: pixels.swapaxes(0, 1)),
        (7, lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1)),
    ],
)
def test_a_picture_is_turned_as_its_exif_says(
    orientation: int, turned: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for ending, options in {"png": {}, "webp": {"lossless": True}, "tiff": {}}.items():
        Image.fromarray(stripes()).save(tmp_path / f"a.{ending}", exif=exif, **options)
        assert np.array_equal(read_image(tmp_path / f"a.{ending}"), turned(stripes()))
    Image.fromarray(stripes()).save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    plain = Image.open(tmp_path / "a.jpg")
    assert np.array_equal(read_image(tmp_path / "a.jpg"), turned(np.asarray(plain)))


def test_transparent_is_white(tmp_path: Path) -> None:
    alpha = np.full((*SIZE[::-1], 1), 255, np.uint8)
    alpha[:, :6], alpha[:, 6:12] = 0, 127
    Image.fromarray(np.concatenate([stripes(), alpha], axis=2)).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert (found[:, :6] == 255).all()
    assert np.abs(found[1:, 6:12].astype(int) - [255, 128, 128]).max() <= 1
    assert np.array_equal(found[:, 12:], stripes()[:, 12:])
    palette = Image.fromarray(stripes()).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / "b.png", transparency=palette.getpixel((0, 5)))
    found = read_image(tmp_path / "b.png")
    assert (found[:, :12] == 255).all()
    assert np.array_equal(found[:, 12:], stripes()[:, 12:])


def test_grey_sixteen_bits_and_inks_become_colours(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp * 256 + 99).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png"), np.repeat(ramp[..., None], 3, axis=2))
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(ramp[..., None], 3, axis=2))
    Image.new("CMYK", SIZE, (0, 255, 255, 0)).save(tmp_path / "inks.jpg")
    assert np.abs(read_image(tmp_path / "inks.jpg").astype(int) - [255, 0, 0]).max() < 8
    Image.new("1", SIZE, 1).save(tmp_path / "bits.png")
    assert (read_image(tmp_path / "bits.png") == 255).all()


def test_a_picture_with_a_preview_is_the_picture(tmp_path: Path) -> None:
    main, preview = Image.new("RGB", SIZE, "red"), Image.new("RGB", (4, 4), "blue")
    main.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview])
    assert read_image(tmp_path / "a.jpg").shape == (16, 24, 3)


def hostile(folder: Path) -> dict[str, str]:
    """Files that are no pictures, and words of why."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for name in ("whole.jpg", "whole.png", "whole.bmp", "whole.webp", "whole.tiff"):
        Image.fromarray(noise).save(folder / name)
        whole = (folder / name).read_bytes()
        (folder / f"cut-{name}").write_bytes(whole[: len(whole) // 2])
    (folder / "flipped.png").write_bytes((folder / "whole.png").read_bytes().replace(b"IDAT", b"IDAT\xff", 1)[:-1])
    (folder / "paper.png").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n" * 20)
    (folder / "postscript.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    (folder / "drawing.png").write_bytes(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    (folder / "enormous.png").write_bytes(png_header(20_000, 20_000))
    (folder / "large.png").write_bytes(png_header(8_000, 8_000))
    (folder / "hollow.png").write_bytes(png_header(64, 64))
    (folder / "empty.png").write_bytes(b"")
    (folder / "folder.png").mkdir()
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "blue")]
    for name in ("moving.gif", "moving.png", "moving.webp", "pages.tiff"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    Image.fromarray(np.zeros((4, 4), np.float32)).save(folder / "float.tiff")
    return {
        **{f"cut-whole.{ending}": "" for ending in ("jpg", "png", "bmp", "webp", "tiff")},
        "flipped.png": "truncated or damaged",
        "paper.png": "no picture that can be read",
        "postscript.jpg": "no picture that can be read",
        "drawing.png": "no picture that can be read",
        "enormous.png": f"at most {MAX_PIXELS} pixels",
        "large.png": f"a picture of 8000 x 8000, expected at most {MAX_PIXELS} pixels",
        "hollow.png": "truncated or damaged",
        "empty.png": "the file is empty",
        "folder.png": "a folder",
        "none.png": "nothing there",
        "moving.gif": "several frames or pages",
        "moving.png": "several frames or pages",
        "moving.webp": "several frames or pages",
        "pages.tiff": "several frames or pages",
        "float.tiff": "32 bits a channel",
    }


def test_what_is_no_picture_ends_in_words_that_name_it(tmp_path: Path) -> None:
    cases = hostile(tmp_path)
    items = [tmp_path / name for name in cases]
    outcomes = dict(map_sandboxed(read_image, items, workers=1, timeout_s=30))
    for name, words in cases.items():
        outcome = outcomes[tmp_path / name]
        assert isinstance(outcome, MediaError), name
        assert str(outcome).startswith(str(tmp_path / name))
        assert words in str(outcome)
        assert "died" not in str(outcome)
        assert "within" not in str(outcome)


def test_a_still_is_one_frame_and_the_face_on_it(tmp_path: Path) -> None:
    drawn = np.full((200, 300, 3), 255, np.uint8)
    drawn[20:180, 100:260] = shrink(draw_frame(draw_actor(0, 1), Pose()))
    Image.fromarray(drawn).save(tmp_path / "a.png")
    media = Media(image=tmp_path / "a.png")
    assert [media.has(stream) for stream in ("face", "frame", "audio")] == [True, True, False]
    found = decode(media, Wanted(("face", "frame", "audio"), 8))
    assert np.array_equal(found["frame"], drawn[None])
    assert found["times"].tolist() == [0]
    track = crop_faces(drawn[None])
    assert track.found.tolist() == [True]
    assert np.array_equal(found["face"], track.crops)
    assert found.keys() == {"frame", "times", "face"}
    assert decode(media, Wanted(("face",))).keys() == {"face"}
