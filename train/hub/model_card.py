"""Model card of a published stage: the model, its scores, its training, its limits.

It is written from the published recipe and the run's report alone, so that no folder, user or host of the machine that
trained gets into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from affectgpt.tasks import TASKS
from eval.report.glossary import taught_metrics, term_of
from eval.report.model_inputs import WORDS, model_inputs
from train.stages.kinds import KINDS

METRICS = {
    "attribute_accuracy": "attributes: right answers to closed questions",
    "expression_accuracy": "expressions: right answers",
    "emotion_war": "emotion: right answers (WAR)",
    "emotion_uar": "emotion: mean recall of the emotions (UAR)",
    "tree_similarity": "affective tree: similarity to the gold tree",
    "parse_rate": "affective tree: obeys the syntax exactly",
    "accuracy_plugin": "emotion in dialogues, with the evidence of plugins",
    "accuracy_no_plugin": "emotion in dialogues, without evidence",
    "accuracy_random_emotions": "emotion in dialogues, with false evidence",
}
BASELINE = "constant answer"
_USE = """```python
from huggingface_hub import snapshot_download

from affectgpt.inference.assistant import Assistant

assistant = Assistant.from_pretrained(snapshot_download("{repo}"))
print(assistant.ask({ask}))
```

In a terminal, `hf download {repo} --local-dir model`, then `affectgpt chat --model model`. Both need the AffectGPT
framework, whose versions here are in `versions.json`."""
_INTENDED = """- Research on how emotion shows in face, voice and words: baselines, ablations, comparisons.
- A starting point for fine-tuning on data of your own, for which consent was given.
- Describing what can be seen and heard in a clip, where a person reads the answer and decides."""
_OUT_OF_SCOPE = """- **Work and education.** Inferring emotions of people there is forbidden in the European Union,
  save for medical or safety reasons (Regulation (EU) 2024/1689, the AI Act, Article 5(1)(f)); other laws may go
  further.
- **Decisions about people**: hiring, grading, insurance, credit, policing, border control, custody.
- **Health**: it is no medical device, and neither diagnoses nor watches over anyone.
- **Lie detection, covert observation, or identification** of persons.
- **People who did not consent** to be analysed, and children."""
_LIMITS = """- What it says is a guess about how a person appears, not knowledge of what they feel. The same face means
  different things in different people, cultures and situations.
- It knows the labels of its training data, and repeats their errors and biases. Groups that are rare there may be
  read worse; the scores above do not say by how much.
- Other cameras, microphones and languages, occlusion and noise may lower the scores.
- Reasons that it writes are generated text too: they may not be what the answer rests on."""
_LAW = """Inferring emotions is sensitive, and in places restricted by law. Beyond the prohibition above, the AI Act
treats emotion recognition as high-risk (Annex III) and has those who use it tell the people concerned (Article 50(3));
faces and voices are personal data, and biometric data where they identify someone. This is no legal advice: find out
what holds where you are before you use the model on anybody."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Subject of a card: a stage, its recipe and its report."""

    repo: str
    recipe: Mapping[str, Any]
    """Recipe as it is published, see `push.public_recipe`."""
    stage: str
    report: Mapping[str, Any]
    """Report of the run, or empty."""
    adapter: bool = False
    merged: bool = False
    license: str | None = None

    @property
    def entry(self) -> Mapping[str, Any]:
        """The stage in the report."""
        return next((item for item in self.report.get("stages", []) if item["name"] == self.stage), {})

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Scores of the stage in what it, or a stage before it, was taught."""
        return taught_metrics({"metrics": {}, **self.entry})

    @property
    def stages(self) -> list[Mapping[str, Any]]:
        """The stages that made the model, up to this one, as they ran."""
        planned = self.recipe["stages"]
        names = [stage["name"] for stage in planned]
        if self.stage in names:
            return planned[: names.index(self.stage) + 1]
        return [stage for stage in planned if KINDS[stage["kind"]].merges]  # of which it is all rows, shuffled

    @property
    def bases(self) -> list[str]:
        """Hub ids of what the model was made from."""
        model = self.recipe["model"]
        parts = model["parts"] or {}
        named = [model["path"], *(parts.get(part) for part in ("llm", "vision", "audio"))]
        return [name for name in named if name and "/" in name]

    @property
    def inputs(self) -> list[str]:
        """Parts of a clip that the model takes, keys of `eval.report.model_inputs.WORDS`."""
        return model_inputs(self.report, tuple(self.recipe["model"]["inputs"]))

    @property
    def title(self) -> str:
        """Title of the run, escaped for Markdown."""
        return _plain(str(self.recipe["title"]))


def write_card(subject: Subject) -> str:
    """Return the card, the text of README.md."""
    header = yaml.safe_dump(metadata(subject), sort_keys=False, allow_unicode=True, width=120)
    sections = {
        "Use": _USE.format(repo=subject.repo, ask=_question(subject)),
        "Evaluation": _evaluation(subject),
        "Training": _training(subject),
        "Data": _data(subject),
        "Intended use": _INTENDED,
        "Out of scope": _OUT_OF_SCOPE,
        "Limits": _LIMITS,
        "Law and licences": f"{_LAW}\n\n{_licences(subject)}",
        "Versions": _versions(subject),
    }
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items() if text)
    return f"---\n{header}---\n\n# {subject.title}: stage {subject.stage}\n\n{_summary(subject)}\n\n{body}\n"


def metadata(subject: Subject) -> dict[str, Any]:
    """Return the card's header, as the Hub reads it."""
    taken = subject.inputs
    task = "text-generation"
    if taken and taken[0] != "text":
        task = f"{'video' if taken[0] == 'face' else taken[0]}-text-to-text"
    kinds = sorted({tag for stage in subject.stages for tag in KINDS[stage["kind"]].card_tags})
    values: dict[str, Any] = {"library_name": "affectgpt", "pipeline_tag": task}
    if subject.license:
        values["license"] = subject.license
    if subject.bases:
        values["base_model"] = subject.bases
        values["base_model_relation"] = "adapter" if subject.adapter else "finetune"
    values["tags"] = ["affectgpt", "emotion-recognition", "affective-computing", *kinds]
    if subject.adapter:
        values["tags"] += ["lora", "peft"]
    figures = _figures(subject.metrics)
    if figures:
        values["model-index"] = [
            {
                "name": subject.repo.partition("/")[2],
                "results": [
                    {
                        "task": {"type": task},
                        "dataset": {"name": f"{_source(subject)}, part test", "type": "affectgpt-rows"},
                        "metrics": [
                            {
                                "type": name,
                                "value": round(metric["value"], 4),
                                "name": f"{_label(name)} (95 %: {_interval(metric)}, n = {metric['n']})",
                            }
                            for name, metric in figures
                        ],
                    }
                ],
            }
        ]
    return values


def _summary(subject: Subject) -> str:
    senses = _and([WORDS[name] for name in subject.inputs]) or "reads what is asked"
    parts = subject.recipe["model"]["parts"]
    bases = _and([f"[{name}](https://huggingface.co/{name})" for name in subject.bases])
    if subject.adapter:
        kind = f"A LoRA adapter on {'a model made of ' if parts else ''}{bases}"
    else:
        kind = "A whole model" + (", with its adapter merged into it" if subject.merged else "")
        if subject.recipe["model"]["tiny"]:
            kind += ", small and trained from scratch"
        elif bases:
            kind += f", made of {bases}" if parts else f", trained from {bases}"
    return (
        f"{kind}. Of a clip of a person, it {senses}, and says how they appear to feel. Trained with the AffectGPT "
        "framework: supervised stages teach attributes, expressions and emotions; GRPO, where it follows, rewards "
        "reasons that lead from what is seen and heard to the emotion."
    )


def _question(subject: Subject) -> str:
    taken = [*subject.inputs, "text"]
    clips = {"image": 'image="face.png"', "audio": 'audio="voice.wav"', "text": 'subtitle="I am fine."'}
    clip = clips.get(taken[0], 'video="clip.mp4"')
    return f'"{TASKS["emotion_label"].questions[0]}", {clip}'


def _evaluation(subject: Subject) -> str:
    figures = _figures(subject.metrics)
    if not figures:
        return "This stage was not scored: there are no figures, and nothing is claimed."
    baselines = subject.report.get("baselines", {}).get(BASELINE, {})
    lines = [
        f"On the part `test` of {_source(subject)}. Intervals are 95 %, bootstrapped over clips, those of one person "
        "drawn together; n counts answers.",
        _table(
            ["score", "value", "95 % interval", "n", *([BASELINE] if baselines else [])],
            [
                [_label(name), *_cells(metric), *([_value(baselines.get(name))] if baselines else [])]
                for name, metric in figures
            ],
        ),
    ]
    if baselines:
        lines.append("The constant answer is the one that is right most often in training, given to every clip.")
    if hard := _figures(taught_metrics({**subject.entry, "metrics": subject.entry.get("conflict_metrics", {})})):
        lines += [
            "On its clips in which face, voice and words disagree:",
            _table(
                ["score", "value", "95 % interval", "n"], [[_label(name), *_cells(metric)] for name, metric in hard]
            ),
        ]
    return "\n\n".join([*lines, "All figures, those of the development part too: `metrics.json`."])


def _training(subject: Subject) -> str:
    seconds = {item["name"]: item["seconds"] for item in subject.report.get("stages", [])}
    rows = [
        [
            stage["name"],
            KINDS[stage["kind"]].card_title,
            f"{stage['steps']:,}",
            f"{stage['batch_size']:,}",
            f"{stage['learning_rate']:g}, {stage['schedule']}",
            ", ".join(f"{task} {weight:g}" for task, weight in stage["mixture"].items()),
            _clock(seconds.get(stage["name"])),
        ]
        for stage in subject.stages
    ]
    head = ["stage", "kind", "steps", "batch", "learning rate", "rows (weights)", "time"]
    text = [_table(head, rows)]
    if subject.stage not in {stage["name"] for stage in subject.stages}:
        text.append("Without a curriculum: the rows of these stages were shuffled and read as one stage.")
    lora = subject.recipe["model"]["lora"]
    notes = [
        f"LoRA: rank {lora['r']}, alpha {lora['alpha']}, dropout {lora['dropout']:g}"
        + (", DoRA" if lora["dora"] else "")
        + (f", language model in {lora['bits']} bits" if lora["bits"] else "")
        if lora
        else "Trained in full, without an adapter",
        *(note for stage in subject.stages if (note := KINDS[stage["kind"]].card_note(stage))),
        f"Seed {subject.recipe['seed']}. Every setting: `recipe.yaml`",
    ]
    return "\n\n".join([*text, "\n".join(f"- {note}." for note in notes)])


def _data(subject: Subject) -> str:
    data = subject.report.get("data", {})
    lines = [
        "Clips of drawn actors with synthesised voices, made by the framework; no real person is in them."
        if subject.recipe["data"]["synthetic"] is not None
        else "Row files of the one who trained the model. Only their names are given here; the rows are not part of "
        "this repository."
    ]
    lines += [_plain(str(note)) for note in data.get("notes", []) if subject.recipe["data"]["synthetic"] is None]
    counted = [(name, part) for name, part in data.items() if isinstance(part, dict)]
    if counted:
        head = ["part", "file", "rows", "clips", "people"]
        files = subject.recipe["data"]
        lines.append(
            _table(
                head,
                [
                    [name, _code(files.get(name)), *(f"{part[key]:,}" for key in ("rows", "clips", "actors"))]
                    for name, part in counted
                ],
            )
        )
    if noise := data.get("label_noise"):
        lines.append(f"{noise:.0%} of the training labels are wrong on purpose.")
    if bad := data.get("unusable_clips"):
        lines.append(f"{bad:,} clips could not be decoded and were left out.")
    return "\n\n".join(lines)


def _licences(subject: Subject) -> str:
    own = (
        f"The card's licence, {_plain(subject.license)}, is the one its author chose for what was trained here."
        if subject.license
        else "Its author has named no licence for what was trained here."
    )
    bases = f" ({', '.join(subject.bases)})" if subject.bases else ""
    return f"{own} What it was made from{bases} and the training data keep the licences that they came with."


def _versions(subject: Subject) -> str:
    return ", ".join(f"{name} {number}" for name, number in subject.report.get("versions", {}).items())


def _source(subject: Subject) -> str:
    data = subject.recipe["data"]
    return "drawn clips of the framework" if data["synthetic"] is not None else _plain(str(data["test"] or "its data"))


def _figures(metrics: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the metrics that could be computed, those of every report first."""
    known = [name for name in METRICS if name in metrics] + [name for name in metrics if name not in METRICS]
    return [(name, metrics[name]) for name in known if metrics[name]["value"] is not None]


def _label(name: str) -> str:
    return METRICS.get(name) or (term_of(name).title if term_of(name).meaning else name.replace("_", " "))


def _cells(metric: Mapping[str, Any]) -> list[str]:
    return [_value(metric), _interval(metric), f"{metric['n']:,}"]


def _value(metric: Mapping[str, Any] | None) -> str:
    return f"{metric['value']:.3f}" if metric and metric["value"] is not None else ""


def _interval(metric: Mapping[str, Any]) -> str:
    if metric["low"] is None or metric["high"] is None:
        return "none"
    return f"{metric['low']:.3f} to {metric['high']:.3f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def _code(name: str | None) -> str:
    return f"`{_plain(name)}`" if name else ""


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _plain(text: str) -> str:
    """Return a user's text on one line, its Markdown escaped."""
    for mark, shown in (("|", "\\|"), ("<", "&lt;"), ("`", "'")):
        text = text.replace(mark, shown)
    return " ".join(text.split())
