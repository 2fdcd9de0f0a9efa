"""Publishing of a stage: its weights, recipe, scores, versions and model card go to the Hub, and nothing else.

A checkpoint is published only if its manifest holds, and of its files only those that are read without unpickling.
Files that name folders of this machine are rewritten, so that the model loads elsewhere.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from affectgpt.model.clip_encoder import PARTS
from affectgpt.model.loading import ADAPTER, require_model
from affectgpt.problems import InputError, Problem, nearest
from affectgpt.weights.portable import forget_folders, is_hub_id
from train.fault_tolerance.checkpoint import MANIFEST, flaw_of
from train.hub.client import Sent, send
from train.hub.model_card import Subject, write_card
from train.recipe import Recipe
from train.recipe_file import load_recipe
from train.run_folder import NOTE, RunFolder
from train.stages.kind import StageKind

KINDS = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""Suffixes of the published files of a checkpoint: weights, configurations, tokenizers. No pickle is among them."""
LEFT_OUT = (MANIFEST, NOTE)
SCORES = ("name", "kind", "steps", "seconds", "metrics", "dev_metrics", "conflict_metrics", "confusion")
"""Published keys of a stage's entry in the report; examples, which quote rows, are not among them."""
Files = dict[str, Path | bytes]
_NOTE = (
    "# What was trained, every default spelt out. Files and folders of the machine are shown by their names alone.\n"
)
_SECRET = re.compile(r"\bhf_[A-Za-z0-9]{16,}")


@dataclass(frozen=True, slots=True)
class Package:
    """Files of a stage that are sent."""

    stage: StageKind
    files: Files
    scored: bool
    size: int
    """Bytes of all files."""


def push(
    run: Path,
    repo: str,
    stage: str | None = None,
    merge: bool = False,
    private: bool = False,
    license: str | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> tuple[Package, Sent]:
    """Publish a stage of a run.

    Args:
        stage: name of the stage; the last finished one by default.
        merge: send the whole model that `affectgpt export` makes of it. It is kept in the run folder until it is
            published.
        private: make the repository private.
        license: an SPDX name for the card.
        say: called with a sentence for the user.

    Raises:
        InputError: there is no such stage, its checkpoint cannot be trusted, or would not load elsewhere.
        RunError: the upload failed.
    """
    folder = RunFolder(run)
    recipe = load_recipe(_recipe_file(folder))
    chosen = pick_stage(recipe, folder, stage)
    checkpoint = folder.checkpoint(chosen.name)
    if flaw := flaw_of(checkpoint):
        raise InputError(
            f"{checkpoint}: expected a checkpoint that is whole, {flaw}. It is not published. Train the stage again: "
            f"delete that folder, then affectgpt train {folder.recipe}"
        )
    merged = None
    if merge:
        from affectgpt.weights.export import export

        merged = folder.merged(chosen.name, _note(folder, chosen.name)["fingerprint"])
        if not merged.is_dir():
            say(f"Merging {checkpoint} into a whole model.")
            export(checkpoint, merged)
    package = pack(folder, recipe, chosen, repo, merged, license)
    if not package.scored:
        say(
            f"{run}: no report has scores of this checkpoint of stage '{chosen.name}', so the model card says it was "
            f"not scored. To score it: affectgpt train {folder.recipe}"
        )
    say(f"Sending {len(package.files)} files, {package.size / 1e6:,.1f} MB, to {repo}.")
    sent = send(repo, package.files, f"{recipe.title}, stage {chosen.name}", private, say)
    if merged is not None:
        shutil.rmtree(merged)
    return package, sent


def pick_stage(recipe: Recipe, folder: RunFolder, name: str | None) -> StageKind:
    """Return the stage of that name, or the last finished one.

    Raises:
        InputError: there is none.
    """
    planned = {stage.name: stage for stage in recipe.planned}
    done = [item for item in planned if folder.note(item).is_file()]
    if name is not None and name not in planned:
        raise InputError(f"--stage: the recipe of {folder.path} has no stage '{name}'. {nearest(name, planned)}")
    if not done or (name is not None and name not in done):
        raise InputError(
            f"{folder.path}: expected a finished stage{f' {name}' if name else ''} in checkpoints/, found "
            f"{', '.join(done) or 'none'}. Finish it with: affectgpt train {folder.recipe}"
        )
    return planned[name or done[-1]]


def pack(
    folder: RunFolder,
    recipe: Recipe,
    stage: StageKind,
    repo: str,
    merged: Path | None = None,
    license: str | None = None,
) -> Package:
    """Gather the files of a stage that are sent.

    Args:
        merged: folder of the whole model that was made of its checkpoint.

    Raises:
        InputError: the model would not load elsewhere, or a file names a folder of this machine or a token.
    """
    weights = portable(merged or folder.checkpoint(stage.name))
    report = report_of(folder, stage.name)
    entry = next((item for item in report.get("stages", []) if item["name"] == stage.name), None)
    public = public_recipe(recipe)
    files: Files = {**weights, "recipe.yaml": (_NOTE + yaml.safe_dump(public, sort_keys=False)).encode()}
    if entry is not None:
        scores = {name: entry[name] for name in SCORES if name in entry}
        files["metrics.json"] = _json({"stage": scores, "baselines": report.get("baselines", {})})
    if "versions" in report:
        files["versions.json"] = _json(report["versions"])
    subject = Subject(repo, public, stage.name, report, "adapter_config.json" in weights, merged is not None, license)
    files["README.md"] = write_card(subject).encode()
    require_clean(files, folder.path)
    size = sum(len(item) if isinstance(item, bytes) else item.stat().st_size for item in files.values())
    return Package(stage, files, entry is not None, size)


def report_of(folder: RunFolder, stage: str) -> dict[str, Any]:
    """Read the report with the scores of this checkpoint: the run's, or the one kept for the stage's upload.

    Returns an empty report if there is none.
    """
    note = _note(folder, stage)
    for path in (folder.report, folder.published_report(stage)):
        if path.is_file():
            report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found = {(item["name"], item["seconds"], item["steps"]) for item in report["stages"]}
            if (stage, note["seconds"], note["steps"]) in found:
                return report
    return {}


def portable(folder: Path) -> Files:
    """Return a model's files in a form that loads on any machine.

    - An adapter names the model that it adapts: a model of the Hub; or, if that was made of parts of the Hub, the small
      folder that joins them, which is included as `base/`.
    - A whole AffectGPT names its towers on the Hub; local ones are included as `vision/` and `audio/`.

    Raises:
        InputError: the model needs another one that only this machine has, or lacks weights.
    """
    files = _published(folder)
    if ADAPTER in files:
        config = _read(files[ADAPTER])
        named = config["base_model_name_or_path"]
        beside = folder / named
        config["base_model_name_or_path"], base = adapted_model(beside if beside.is_dir() else Path(named))
        files |= {**base, ADAPTER: _json(config)}
        if "adapter_model.safetensors" not in files:
            raise InputError(f"{folder}: expected adapter_model.safetensors, it is not there. Nothing was sent.")
    else:
        require_model(folder)
        files |= _towers_of(folder, files)
    for name, source in files.items():
        if name.rpartition("/")[2].endswith("config.json"):
            config = _read(source)
            if forget_folders(config):
                files[name] = _json(config)
    return files


def _published(folder: Path) -> Files:
    """Return the files of a model folder that may be published: of a checkpoint, only those in its manifest."""
    manifest = folder / MANIFEST
    if manifest.is_file():
        names = list(json.loads(manifest.read_text(encoding="utf-8"))["files"])
    else:
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return {name: folder / name for name in names if name.endswith(KINDS) and name not in LEFT_OUT}


def adapted_model(adapted: Path) -> tuple[str, Files]:
    """Return how a published adapter names the model that it adapts, and the files of that model that it needs.

    Args:
        adapted: a Hub id, or a folder.

    Raises:
        InputError: a model that only this machine has.
    """
    if not adapted.is_dir():
        if is_hub_id(str(adapted)):
            return str(adapted), {}
        raise InputError(f"{adapted}: expected the model that an adapter was trained on, there is nothing.")
    files = _published(adapted)
    sources = _read(files["config.json"]).get("sources", {}) if "soft_tokens.safetensors" in files else {}
    if not sources or not all(is_hub_id(str(source.get("id"))) for source in sources.values()):
        raise InputError(
            f"{adapted}: expected a model of the Hub, or one made of parts of the Hub, under an adapter that is to be "
            "published; this one is on this machine alone, and nobody else could load the adapter. Publish both in "
            "one, when the run is done: affectgpt push RUN --repo user/name --merge"
        )
    return "base", {f"base/{name}": path for name, path in files.items()}


def _towers_of(folder: Path, files: Files) -> Files:
    """Return the files of towers that only this machine has."""
    found: Files = {}
    for part, source in _read(files["config.json"]).get("sources", {}).items():
        place = source.get("id")
        if part not in PARTS or place is None or is_hub_id(place) or f"{part}/config.json" in files:
            continue
        tower = {f"{part}/{name}": path for name, path in _published(Path(place)).items() if "/" not in name}
        if f"{part}/config.json" not in tower or not any(name.endswith(".safetensors") for name in tower):
            raise InputError(
                f"{folder}: expected its {part} tower as config.json and *.safetensors in {place}, found "
                f"{', '.join(tower) or 'nothing'}. Publish the model with its towers by --merge, which saves them so."
            )
        found |= tower
    return found


def public_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe for the public: only the names of files and folders, no names of servers, no `hub` section."""
    shown: dict[str, Any] = _shown(recipe.model_dump(exclude={"hub"}))
    return shown


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shown(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    if isinstance(value, Path):
        return value.name
    if not isinstance(value, str):
        return value
    if "://" in value and (host := urlsplit(value).netloc):
        return value.replace(host, "HOST").partition("?")[0]
    is_place = value.startswith(("/", "./", "../", "~")) or ("/" in value and Path(value).exists())
    return Path(value).name if is_place else value


def require_clean(files: Mapping[str, Path | bytes], run: Path) -> None:
    """Refuse texts and configurations that name folders of this machine or hold tokens: the last check of an upload.

    Raises:
        InputError: with every such file.
    """
    places = {str(place) for place in (Path.home(), Path.cwd(), run.resolve())} - {"/"}
    problems = []
    for name, source in files.items():
        if isinstance(source, Path) and not name.endswith(("config.json", ".jinja")):
            continue
        text = _text(source)
        if found := next((place for place in places if f"{place}/" in text or f'{place}"' in text), None):
            problems.append(Problem(name, "its text", "no folder of this machine", found, "Nothing was sent."))
        if _SECRET.search(text):
            problems.append(Problem(name, "its text", "no token", "what looks like one", "Nothing was sent."))
    if problems:
        raise InputError(problems, "Take it out of the recipe (or its title), train again, and push again.")


def _recipe_file(folder: RunFolder) -> Path:
    path = folder.recipe
    if not path.is_file():
        got = "a folder without it" if folder.path.is_dir() else "nothing there"
        raise InputError(
            Problem(str(folder.path), "RUN", "a run folder, with recipe.yaml", got, "Name `output` of a recipe.")
        )
    return path


def _note(folder: RunFolder, stage: str) -> dict[str, Any]:
    note: dict[str, Any] = json.loads(folder.note(stage).read_text(encoding="utf-8"))
    return note


def _text(source: Path | bytes) -> str:
    return (source if isinstance(source, bytes) else source.read_bytes()).decode("utf-8")


def _read(source: Path | bytes) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(_text(source))
    return values


def _json(values: Any) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()
