"""Shared by the tests of the store."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a store keeps its shards; not there yet."""
    return tmp_path / "store"
