"""The folder that the media paths of a row file are relative to and may not leave.

It is the row file's own folder unless the user names another one. Row files do not name it: they may come from
anywhere, and must not choose which files are read.
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path, PureWindowsPath

from affectgpt.problems import InputError, Problem, other_spelling

HELP = "folder that media paths are relative to and may not leave (default: the folder of the row file)"


def add_media_root(parser: argparse.ArgumentParser) -> None:
    """Add the option `--media-root` to a command that reads rows."""
    parser.add_argument("--media-root", type=Path, metavar="DIR", help=HELP)


def media_folder(rows: Path, media_root: str | Path | None = None, is_read: bool = False) -> Path:
    """Return the folder of a row file's media paths, absolute and without '.', '..' or '~'.

    Args:
        rows: the row file, which need not exist yet.
        media_root: folder that the user names instead of the file's own.
        is_read: whether media are looked for there now.

    Raises:
        InputError: media are looked for, and `media_root` is not a folder.
    """
    folder = Path(os.path.expanduser(media_root)) if media_root else rows.parent
    # With a '..' after a link, only the file system knows which folder is meant.
    folder = Path(os.path.realpath(folder) if ".." in folder.parts else os.path.abspath(folder))
    if is_read and media_root and not folder.is_dir():
        got = "a file" if folder.exists() else f"nothing at {folder}"
        raise InputError(Problem(str(media_root), "the media root", "a folder", got))
    return folder


def path_below(path: Path, folder: Path) -> Path | None:
    """Return a file's path relative to a folder that it lies in, by their names or by what their links lead to; None
    where it lies elsewhere."""
    if path.is_relative_to(folder):
        return path.relative_to(folder)
    real, root = Path(os.path.realpath(path.parent), path.name), Path(os.path.realpath(folder))
    return real.relative_to(root) if real.is_relative_to(root) else None


def where_it_is(root: Path, written: str, path: Path, looks: bool = True) -> str:
    """Return the next step for a file that is not there: how it is spelt on disk, or the folder that was looked in.

    Args:
        root: folder that its path is relative to.
        written: its path as the user wrote it.
        path: its path as it was looked for.
        looks: whether to look for it; that takes a while where thousands are missing.
    """
    if looks:
        slashed = PureWindowsPath(written).as_posix()
        if slashed != written and os.path.isfile(root / slashed):
            return f"Write {slashed}."
        if spelt := other_spelling(path):
            return spelt
    return f"Looked in {root}."


def check_command(rows: Path, media_root: str | Path | None = None) -> str:
    """Return the command that lists every problem of a row file."""
    root = f" --media-root {shlex.quote(str(media_root))}" if media_root else ""
    return f"affectgpt data check {shlex.quote(str(rows))}{root}"
