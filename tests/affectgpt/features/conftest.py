"""Shared by the tests of the store."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a store, which is not there yet."""
    return tmp_path / "store"
