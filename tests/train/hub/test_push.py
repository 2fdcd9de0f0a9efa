"""A run folder to the Hub: what goes, what stays, and that it loads elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from affectgpt.inference.assistant import Assistant
from affectgpt.model.loading import load_model, load_processor
from affectgpt.problems import InputError, RunError
from tests.support.hub_server import TOKEN, Failure, connected
from train.config.model import LoraSettings
from train.fault_tolerance.checkpoint import MANIFEST, draft_of, publish
from train.hub.command import main
from train.hub.push import adapted_model, pack, pick_stage, portable, public_recipe, push, require_clean
from train.model_setup import add_adapter
from train.recipe import Recipe
from train.recipe_file import load_recipe, save_recipe
from train.run_folder import RunFolder

REPO = "user/model"
NOTE = {"fingerprint": "f00d", "seconds": 12.5, "steps": 3, "torch": "2.13"}
METRIC = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 40}


@pytest.fixture
def hub(monkeypatch):
    with connected(monkeypatch) as hub:
        yield hub


def write_checkpoint(place: Path, write) -> None:
    """Publish what `write(folder)` writes as a stage's checkpoint, beside what a trainer leaves there."""
    draft = draft_of(place)
    draft.mkdir(parents=True)
    write(draft)
    (draft / "training_args.bin").write_bytes(b"a pickle")
    (draft / "README.md").write_text(f"base_model: {place}")
    (draft / "stage.json").write_text(json.dumps(NOTE))
    publish(draft, place)


def report(*stages: str, seconds: float = 12.5) -> dict:
    entry = {"kind": "sft", "seconds": seconds, "steps": 3, "reused": False, "metrics": {"emotion_uar": METRIC}}
    return {
        "versions": {"torch": "2.13.0"},
        "data": {"train": {"rows": 9, "clips": 4, "actors": 2}, "unusable_clips": 0},
        "stages": [{"name": name, **entry, "empathy": {"examples": ["a row"]}} for name in stages],
        "baselines": {},
    }


@pytest.fixture
def make_run(tiny, tmp_path):
    """`make_run(adapter=False, **settings)`: a run of two stages, both done, on a model whose towers are elsewhere."""

    def make(adapter: bool = False, base: Path | None = None, **settings: object) -> Path:
        run = tmp_path / "somewhere" / "run"
        home = base or shutil.copytree(tiny.folder, tmp_path / "somewhere" / "home")

        def write(folder: Path) -> None:
            if adapter:
                model = add_adapter(load_model(home), LoraSettings(r=2))
                with torch.no_grad():
                    for value in model.parameters():
                        value += 0.05 * value.requires_grad
            else:
                model = tiny.model()
                places = {part: {**tiny.sources[part], "id": str(home / part)} for part in ("vision", "audio")}
                model.config.sources = places
                model.config.vision_config._name_or_path = str(home / "vision")
            model.save_pretrained(folder)
            tiny.processor.save_pretrained(folder)

        for name in ("attribute", "emotion"):
            write_checkpoint(run / "checkpoints" / name, write)
        stage = {"kind": "sft", "steps": 3, "batch_size": 4, "learning_rate": 1e-3, "mixture": {"tree": 1.0}}
        model = {"tiny": {}, **({"lora": {"r": 2}} if adapter else {})}
        recipe = {
            "title": "Tiny",
            "output": run,
            "data": {"train": tmp_path / "rows" / "train.jsonl", "media_root": tmp_path / "clips"},
            "model": model,
            "stages": [{"name": name, **stage} for name in ("attribute", "emotion", "more")],
            **settings,
        }
        save_recipe(Recipe(**recipe), run / "recipe.yaml")
        (run / "report.json").write_text(json.dumps(report("attribute", "emotion")))
        return run

    return make


def test_a_stage_goes_with_all_that_belongs_to_it(hub, make_run, capsys):
    run = make_run()
    assert main([str(run), "--repo", REPO, "--private", "--license", "apache-2.0", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    repo = hub.repos[REPO]
    assert (said["stage"], said["url"], said["commit"]) == ("emotion", f"{hub.url}/{REPO}", repo.commits[-1])
    assert (repo.private, repo.messages) == (True, ["Tiny, stage emotion"])
    assert set(said["files"]) == set(repo.files) - {".gitattributes"}
    assert set(said["files"]) == {
        *("README.md", "recipe.yaml", "metrics.json", "versions.json"),
        *("config.json", "generation_config.json", "model.safetensors"),
        *("chat_template.jinja", "processor_config.json", "tokenizer.json", "tokenizer_config.json"),
        *("vision/config.json", "vision/model.safetensors", "audio/config.json", "audio/model.safetensors"),
    }
    metrics = json.loads(repo.files["metrics.json"])["stage"]
    assert metrics == {
        "name": "emotion",
        "kind": "sft",
        "steps": 3,
        "seconds": 12.5,
        "metrics": {"emotion_uar": METRIC},
    }
    assert json.loads(repo.files["versions.json"]) == {"torch": "2.13.0"}
    card = repo.files["README.md"].decode()
    assert "license: apache-2.0\n" in card
    assert "| 0.500 | 0.250 to 0.750 | 40 |" in card


def test_nothing_that_is_sent_names_this_machine_or_its_user(hub, make_run, tmp_path):
    push(make_run(), REPO)
    for name, content in hub.repos[REPO].files.items():
        for secret in (str(tmp_path), str(Path.home()) + "/", TOKEN, "somewhere"):
            assert secret.encode() not in content, f"{name} holds {secret}"
    shown = yaml.safe_load(hub.repos[REPO].files["recipe.yaml"])
    assert (shown["output"], shown["data"]["train"], shown["data"]["media_root"]) == ("run", "train.jsonl", "clips")
    assert shown["stages"][0]["name"] == "attribute"
    assert Recipe(**shown).stages[1].steps == 3


def test_a_whole_model_loads_where_its_towers_never_were(hub, tiny, make_run, tmp_path, write_mp4):
    push(make_run(), REPO)
    shutil.rmtree(tmp_path / "somewhere")
    there = Assistant.from_pretrained(hub.repos[REPO].checkout(tmp_path / "download"))
    here = Assistant.from_pretrained(tiny.folder)
    video = write_mp4(tmp_path / "a.mp4")
    said = [item.ask("What?", features=item.encode(video=video), max_new_tokens=8) for item in (there, here)]
    assert said[0] == said[1]


def test_an_adapter_of_this_machine_goes_merged_or_not_at_all(hub, make_run, tmp_path):
    run = make_run(adapter=True)
    with pytest.raises(InputError, match=r"expected a model of the Hub, or one made of parts .* --merge$"):
        push(run, REPO)
    assert hub.requests == []
    hub.failures = [Failure("POST", "/commit/", status=402)]
    with pytest.raises(RunError, match="HTTP 402"):
        push(run, REPO, merge=True)
    kept = run / ".merged-emotion-f00d"
    assert (kept / "model.safetensors").is_file()
    assert hub.bytes_put > 0
    hub.bytes_put = 0
    said: list[str] = []
    push(run, REPO, merge=True, say=said.append)
    assert not any("Merging" in text for text in said)
    assert hub.bytes_put == 0
    assert not kept.exists()
    assert "adapter_config.json" not in hub.repos[REPO].files
    processor = load_processor(hub.repos[REPO].checkout(tmp_path / "download"))
    adapted, whole = load_model(run / "checkpoints" / "emotion"), load_model(tmp_path / "download")
    ids = torch.tensor([processor.tokenizer("What does this person feel?").input_ids])
    with torch.no_grad():
        torch.testing.assert_close(whole(input_ids=ids).logits, adapted(input_ids=ids).logits, atol=1e-4, rtol=1e-4)
    assert "with its adapter merged" in hub.repos[REPO].files["README.md"].decode()


def test_an_adapter_of_a_model_made_of_parts_takes_the_parts_along(tiny, make_run, tmp_path):
    """The base is a small folder that names models of the Hub."""
    run = make_run(adapter=True)
    adapted = tmp_path / "somewhere" / "home"
    config = json.loads((adapted / "config.json").read_text())
    config["sources"] = {"llm": {"id": "Qwen/Qwen3-8B"}, "vision": {"id": "openai/clip-vit-large-patch14"}}
    (adapted / "config.json").write_text(json.dumps(config))
    for name in ("model.safetensors", "vision", "audio"):
        path = adapted / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (adapted / "soft_tokens.safetensors").write_bytes(b"soft tokens")
    files = portable(run / "checkpoints" / "emotion")
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "base"
    assert {"base/config.json", "base/soft_tokens.safetensors", "base/tokenizer.json"} <= set(files)
    assert not {"training_args.bin", "README.md", MANIFEST, "stage.json"} & set(files)
    config["sources"]["llm"]["id"] = str(tmp_path)
    (adapted / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="this machine alone"):
        portable(run / "checkpoints" / "emotion")


def test_an_adapter_of_a_model_of_the_hub_names_it(make_run):
    run = make_run(adapter=True)
    place = run / "checkpoints" / "emotion"
    config = json.loads((place / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "Qwen/Qwen2.5-VL-7B-Instruct"
    (place / "adapter_config.json").write_text(json.dumps(config))
    assert json.loads(portable(place)["adapter_config.json"]) == config
    assert adapted_model(Path("Qwen/Qwen2.5-VL-7B-Instruct")) == ("Qwen/Qwen2.5-VL-7B-Instruct", {})


@pytest.mark.parametrize("damage", ["changed", "shorter", "missing", "no manifest"])
def test_a_checkpoint_that_cannot_be_trusted_is_never_published(hub, make_run, damage):
    run = make_run()
    weights = run / "checkpoints" / "emotion" / "model.safetensors"
    content = weights.read_bytes()
    if damage == "changed":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "shorter":
        weights.write_bytes(content[:-9])
    else:
        (weights if damage == "missing" else weights.with_name(MANIFEST)).unlink()
    with pytest.raises(InputError, match=r"emotion: expected a checkpoint that is whole, .*It is not published"):
        push(run, REPO)
    assert hub.requests == []


def test_what_the_manifest_does_not_know_stays_here(make_run):
    run = make_run()
    place = run / "checkpoints" / "emotion"
    (place / "notes.txt").write_text("mine")
    (place / "optimizer.safetensors").write_bytes(b"later")
    assert not {"notes.txt", "optimizer.safetensors"} & set(portable(place))


def test_the_last_stage_that_is_done_or_the_one_that_is_named(make_run):
    run = make_run()
    recipe = load_recipe(run / "recipe.yaml")
    assert pick_stage(recipe, RunFolder(run), None).name == "emotion"
    assert pick_stage(recipe, RunFolder(run), "attribute").name == "attribute"
    with pytest.raises(InputError, match=r"no stage 'emotoin'. Did you mean 'emotion'"):
        pick_stage(recipe, RunFolder(run), "emotoin")
    with pytest.raises(InputError, match="expected a finished stage more in checkpoints/, found attribute, emotion"):
        pick_stage(recipe, RunFolder(run), "more")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(InputError, match=r"found none. Finish it with: affectgpt train .*recipe.yaml"):
        pick_stage(recipe, RunFolder(run), None)


def test_scores_of_another_checkpoint_are_not_published(hub, make_run):
    run = make_run()
    (run / "report.json").write_text(json.dumps(report("emotion", seconds=99.0)))
    said: list[str] = []
    package, _ = push(run, REPO, say=said.append)
    assert not package.scored
    assert "no report has scores of this checkpoint" in said[0]
    assert not {"metrics.json", "versions.json"} & set(hub.repos[REPO].files)
    assert "This stage was not scored" in hub.repos[REPO].files["README.md"].decode()
    (run / "hub").mkdir()
    (run / "hub" / "emotion.json").write_text(json.dumps(report("emotion")))
    assert push(run, REPO)[0].scored


def test_what_still_names_a_place_or_holds_a_token_is_refused(hub, make_run):
    run = make_run(title=f"see {Path.cwd()}/notes, {TOKEN}")
    with pytest.raises(
        InputError, match=r"problems:\n(.*\n)*.*README.md: its text: expected no folder(.*\n)*"
    ) as caught:
        push(run, REPO)
    assert "recipe.yaml: its text: expected no token" in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert hub.requests == []


def test_files_of_the_model_are_looked_at_too(tmp_path):
    """Its configurations and chat templates; what else it is made of is too large to be read, and written by nobody."""
    texts = {
        "chat_template.jinja": f"{{# see {Path.home()}/notes #}}",
        "vision/config.json": f'{{"from": "{tmp_path}"}}',
        "processor_config.json": f'{{"token": "{TOKEN}"}}',
        "config.json": '{"model_type": "affectgpt"}',
        "generation_config.json": '{"told": "/usr/share/words, hf_short"}',
    }
    files: dict[str, Path | bytes] = {}
    for name, text in texts.items():
        files[name] = tmp_path / name
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        require_clean(files, tmp_path)
    said = [str(problem).partition(": its text: expected ")[::2] for problem in caught.value.problems]
    assert [(name, words.partition(",")[0]) for name, words in said] == [
        ("chat_template.jinja", "no folder of this machine"),
        ("vision/config.json", "no folder of this machine"),
        ("processor_config.json", "no token"),
    ]
    assert TOKEN not in str(caught.value)


def test_a_recipe_as_anybody_may_read_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    values = {
        "output": tmp_path / "b",
        "data": {"train": "../rows/train.jsonl", "store": "/cluster/store"},
        "model": {"path": "runs/a"},
        "deepspeed": "configs/zero2.json",
        "hub": {"repo": REPO},
        "stages": [
            {
                **{
                    "name": "grpo",
                    "kind": "grpo",
                    "steps": 1,
                    "batch_size": 8,
                    "learning_rate": 1,
                    "mixture": {"tree": 1},
                },
                "rewards": {"tree": 1},
            }
        ],
    }
    shown = public_recipe(Recipe(**values))
    assert "hub" not in shown
    assert (shown["output"], shown["deepspeed"], shown["model"]["path"]) == ("b", "zero2.json", "a")
    assert (shown["data"]["train"], shown["data"]["store"]) == ("train.jsonl", "store")
    settings = {
        "url": "http://node7.cluster:8000/v1?key=1",
        "encoder": str(tmp_path / "encoder"),
        "model": "Qwen/Qwen3",
        "notes": ["~/notes.txt", "./a/b.txt", "Qwen/Qwen3"],
    }
    recipe = SimpleNamespace(model_dump=lambda exclude: settings)
    assert public_recipe(recipe) == {
        "url": "http://HOST/v1",
        "encoder": "encoder",
        "model": "Qwen/Qwen3",
        "notes": ["notes.txt", "b.txt", "Qwen/Qwen3"],
    }


def test_no_run_no_login_no_network(hub, make_run, tmp_path, monkeypatch):
    from huggingface_hub import constants

    with pytest.raises(InputError, match=r"RUN: expected a run folder, with recipe.yaml, got nothing there"):
        main([str(tmp_path / "none"), "--repo", REPO])
    with pytest.raises(InputError, match="--repo: expected user/name"):
        main([str(make_run()), "--repo", "model"])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="Unset HF_HUB_OFFLINE"):
        main([str(tmp_path), "--repo", REPO])
    assert hub.requests == []


def test_pack_counts_what_it_sends(make_run):
    run = make_run()
    recipe = load_recipe(run / "recipe.yaml")
    package = pack(RunFolder(run), recipe, pick_stage(recipe, RunFolder(run), None), REPO)
    assert package.size == sum(
        len(item) if isinstance(item, bytes) else len(item.read_bytes()) for item in package.files.values()
    )
