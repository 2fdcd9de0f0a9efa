"""Reading of still pictures. A still is a clip of one frame without sound, for every model that takes videos."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from affectgpt.media.bundle import Decoded, Media, Wanted
from affectgpt.media.faces import crop_faces
from affectgpt.media.source import MAX_PIXELS, MediaError, require_content

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's decoders that may open a file, by its content, whatever its name; all others are disabled."""


def read_image(path: str | Path) -> np.ndarray:
    """Read a still picture, rotated as its EXIF data say; transparent pixels become white.

    From a JPEG with further pictures, such as a preview, the first one is read.

    Args:
        path: JPEG, PNG, WebP, BMP, TIFF or GIF.

    Returns:
        (H, W, 3) uint8, RGB; the upper 8 bits of 16-bit channels.

    Raises:
        MediaError: no such picture, damaged, truncated, of more than `MAX_PIXELS`, with several frames or pages, or
            of values that have no white (32 bits a channel).
    """
    require_content(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large pictures, which are refused below, and odd metadata
            with Image.open(path, formats=FORMATS) as picture:
                _require_still(path, picture)
                return _pixels(path, picture)
    except MediaError:
        raise
    except Image.UnidentifiedImageError as error:
        raise MediaError(f"{path}: no picture that can be read, expected {', '.join(FORMATS)}. Convert it.") from error
    except Image.DecompressionBombError as error:
        raise MediaError(
            f"{path}: expected a picture of at most {MAX_PIXELS} pixels: {error} Scale it down."
        ) from error
    except Exception as error:  # A damaged picture can raise any exception.
        raise MediaError(
            f"{path}: the picture is truncated or damaged ({error}). Copy or download it again."
        ) from error


def decode_image(path: Path, media: Media, wanted: Wanted) -> Decoded:
    """Decode a picture as one frame at 0 seconds, and the face in it, or its middle."""
    frames = read_image(path)[None]
    decoded: Decoded = {}
    if "frame" in wanted.streams:
        decoded |= {"frame": frames, "times": np.zeros(1)}
    if "face" in wanted.streams:
        decoded["face"] = crop_faces(frames).crops
    return decoded


def _require_still(path: str | Path, picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise MediaError(
            f"{path}: a picture of {width} x {height}, expected at most {MAX_PIXELS} pixels: the header is damaged, or "
            "the picture has to be scaled down. Copy it again, or scale it."
        )
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        raise MediaError(
            f"{path}: several frames or pages, expected one picture. Name a GIF that moves as the video of its row, or "
            "save one frame."
        )


def _pixels(path: str | Path, picture: Image.Image) -> np.ndarray:
    picture.load()
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise MediaError(
            f"{path}: a picture of 32 bits a channel, expected 8 or 16: what is white in it is unknown. Convert it."
        )
    picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))
