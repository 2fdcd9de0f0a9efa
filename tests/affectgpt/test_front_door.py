"""`import affectgpt`: what it offers, and what it leaves alone."""

import importlib
import subprocess
import sys

import pytest

import affectgpt


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, affectgpt; affectgpt.__version__; dir(affectgpt); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "affectgpt" in loaded
    assert {name for name in loaded if name.startswith("affectgpt.")} == set()
    assert not loaded & {"torch", "transformers", "numpy", "pydantic", "yaml"}


@pytest.mark.parametrize(("name", "home"), [("Assistant", "affectgpt.inference.assistant"), ("Clip", "affectgpt.clip")])
def test_a_name_of_the_front_door_is_that_of_its_module(name, home):
    assert getattr(affectgpt, name) is getattr(importlib.import_module(home), name)
    assert name in dir(affectgpt)
    assert name in affectgpt.__all__


def test_every_offered_name_exists():
    assert [name for name in affectgpt.__all__ if not hasattr(affectgpt, name)] == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'affectgpt' has no attribute 'nothing'"):
        _ = affectgpt.nothing
    with pytest.raises(ImportError, match="nothing"):
        from affectgpt import nothing  # noqa: F401
