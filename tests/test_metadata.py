"""What the project says about itself in several places is the same in all of them."""

import re
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

import affectgpt

ROOT = Path(__file__).parents[1]
PACKAGES = ("affectgpt", "videmo", "eval", "data_recipes", "train")


@pytest.fixture(scope="module")
def setup() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_ships_its_types(package, setup):
    assert (ROOT / package / "py.typed").is_file()
    assert "py.typed" in setup["options.package_data"][package].split()


def test_setup_reads_the_version_of_the_package(setup):
    assert setup["metadata"]["version"] == "attr: affectgpt.__version__"


def test_the_citation_is_valid_and_of_this_version(setup):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"]
    assert citation["title"]
    assert citation["authors"]
    assert all(author.get("name") for author in citation["authors"])  # entities, not people
    assert citation["version"] == affectgpt.__version__
    assert citation["license"] == setup["metadata"]["license"]


def test_the_commit_hook_runs_the_ruff_that_is_pinned():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    revisions = {repo["repo"].rsplit("/", 1)[1]: repo["rev"] for repo in hooks}
    pinned = re.search(r"^ruff==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned
    assert revisions["ruff-pre-commit"] == f"v{pinned[1]}"


def test_actions_are_pinned_to_a_commit_and_may_only_read():
    for path in sorted((ROOT / ".github/workflows").glob("*.yml")):
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}, path.name
        used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
        assert used
        assert [name for name in used if not re.search(r"@[0-9a-f]{40}$", name)] == [], path.name
