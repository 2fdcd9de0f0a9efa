"""What a recipe may say, section by section; `train/config/recipe_file.py` reads it from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from affectgpt.empathy.two_stage import Mode, Selection
from affectgpt.media.readers import FrameReader
from affectgpt.model.configuration import Fusion, Pooling
from affectgpt.model.loading import Attention, Precision
from affectgpt.plugins.plugin import fit_settings, plugin_class
from affectgpt.problems import InputError, nearest
from affectgpt.tasks import TASKS
from data_recipes.synthetic.generate import Settings
from train.hub.client import name_flaw
from videmo.user_rewards import reward_function, user_functions

Modality = Literal["video", "audio", "text"]
PARTS = ("train", "rl", "dev", "test", "text")


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Section):
    """Where the rows come from: `synthetic` settings, or one row file each."""

    synthetic: dict[str, int | float] | None = None
    """Settings of `data_recipes.synthetic.generate.Settings`; the clips are made where `folder` says."""
    folder: Path | None = None
    """Where synthetic data is kept; by default beside the run, under a name of its settings."""
    train: Path | None = None
    rl: Path | None = None
    dev: Path | None = None
    test: Path | None = None
    text: Path | None = None
    media_root: Path | None = None
    features: Literal["stored", "online"] = "stored"
    """Features of frozen towers from the store, where they are put once; or computed anew each time. Equal to the
    bit, and never mixed."""
    store: Path | None = None
    """Folder of the feature store, which runs share; by default beside the run."""
    bad_sample_budget: float = Field(default=0.02, ge=0, le=1)
    """Share of clips that may be undecodable; beyond it the run stops."""
    decode_timeout_s: float = Field(default=20.0, gt=0)
    reader: FrameReader = "auto"
    """What fetches frames from a file that was found whole; `scripts/bench_decode.py` compares them."""

    @field_validator("synthetic")
    @classmethod
    def _settings(cls, given: dict[str, int | float] | None) -> dict[str, int | float] | None:
        known = Settings.__dataclass_fields__
        wrong = [f"unknown key '{name}'. {nearest(name, known)}" for name in given or {} if name not in known]
        wrong += [
            f"{name} must be a whole number, got {value}"
            for name, value in (given or {}).items()
            if name in known and known[name].type == "int" and value != int(value)
        ]
        if wrong:
            raise ValueError(" ".join(wrong))
        Settings(**(given or {}))  # type: ignore[arg-type]
        return given

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        files = [name for name in PARTS if getattr(self, name) is not None]
        if self.synthetic is not None and files:
            raise ValueError(f"give either 'synthetic' or row files, not both (found {', '.join(files)})")
        if self.synthetic is None and self.train is None:
            raise ValueError("give 'synthetic', or 'train': a row file")
        return self


class LoraSettings(Section):
    """A LoRA adapter on every linear layer of the language model; one adapter goes through all stages."""

    r: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    dora: bool = False
    """Weight-decomposed LoRA."""
    bits: Literal[4, 8] | None = None
    """Quantise the language model under the adapter (QLoRA); needs bitsandbytes and a GPU."""


class TinyConfig(Section):
    """The language model of the embedded default: a small Qwen3 that starts from nothing."""

    hidden_size: int = Field(default=192, ge=16)
    num_layers: int = Field(default=4, ge=1)
    num_heads: int = Field(default=6, ge=1)
    intermediate_size: int = Field(default=576, ge=16)
    vocab_size: int = Field(default=1024, ge=300)


class PartsConfig(Section):
    """A model made of parts: folders or Hub ids of a language model and of frozen towers, joined by new soft tokens."""

    llm: str
    vision: str | None = None
    audio: str | None = None
    revisions: dict[Literal["llm", "vision", "audio"], str] = Field(default_factory=dict)
    """Of those that are Hub ids."""
    configs: dict[Literal["llm", "vision", "audio"], dict[str, Any]] = Field(default_factory=dict)
    """Their real configurations, as facts: `affectgpt plan` works from these where the Hub cannot be reached."""


class FusionSettings(Section):
    """How pictures and sound become soft tokens; every field is one of `AffectGPTConfig`, which explains it."""

    visual: Literal["face", "frame", "both"] = "face"
    share_visual: bool = True
    pooling: Pooling = "attention"
    fusion: Fusion = "attention"
    num_tokens: dict[Literal["face", "frame", "audio", "multi"], int] = Field(default_factory=dict)
    """Soft tokens per clip; 1 each unless given."""
    qformer_hidden_size: int = Field(default=768, ge=8)
    num_frames: int = Field(default=8, ge=1)
    vision_layers: tuple[int, ...] | None = None
    vision_pooling: Literal["pooled", "cls", "mean"] = "pooled"
    num_audio_windows: int = Field(default=8, ge=1)
    audio_layers: tuple[int, ...] | None = None
    audio_sampling: Literal["spans", "windows"] = "spans"
    audio_window_s: float = Field(default=2.0, gt=0)


class ModelConfig(FusionSettings):
    """What is trained: a model folder or Hub id, a model made of `parts`, or the `tiny` default made here."""

    path: str | None = None
    """Folder or Hub id: a saved AffectGPT, or a video-language model (Qwen2.5-VL, Qwen3-VL, Qwen2.5-Omni, ...)."""
    config: dict[str, Any] | None = None
    """The real configuration of `path`, as facts: `affectgpt plan` works from it where the Hub cannot be reached."""
    parts: PartsConfig | None = None
    tiny: TinyConfig | None = None
    inputs: tuple[Modality, ...] = ("video", "audio", "text")
    """Which modalities the model is given, in training and in evaluation."""
    prompt_style: Literal["chat", "paper"] = "chat"
    """The tokenizer's own chat template, or AffectGPT's plain prompt."""
    fps: float | None = Field(default=None, gt=0)
    """Frames per second, at most `num_frames`; for a video-language model."""
    max_pixels: int | None = Field(default=None, ge=784)
    """Most pixels of a frame, for a video-language model; its own limit when not given."""
    lora: LoraSettings | None = None
    """None trains the language model in full."""
    dtype: Precision = "auto"
    """Of a language model that is not trained in full; 'auto' is bfloat16 on a GPU that has it, else float32."""
    attention: Attention = "auto"
    """'auto' is flash attention where it is installed and the GPU takes it, else PyTorch's own."""

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        given = [name for name in ("path", "parts", "tiny") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of 'path', 'parts' and 'tiny' (found {' and '.join(given) or 'none'})")
        if self.config is not None and self.path is None:
            raise ValueError("'config' describes what 'path' names, found without it")
        if not self.inputs:
            raise ValueError("'inputs' must name at least one modality")
        # Defaults may be spelt out: a saved recipe does.
        set_in_vain = sorted(
            name
            for name, field in FusionSettings.model_fields.items()
            if name != "num_frames" and getattr(self, name) != field.get_default(call_default_factory=True)
        )
        if self.path is not None and set_in_vain:
            raise ValueError(f"{', '.join(set_in_vain)}: a saved model has its own; leave out what 'path' decides")
        return self

    def fusion_settings(self) -> dict[str, Any]:
        """The arguments of `AffectGPTConfig`."""
        return self.model_dump(include=set(FusionSettings.model_fields))


class RewardConfig(Section):
    """A reward of a GRPO stage: a number, its weight; or `weight` and whatever settings the reward takes."""

    model_config = ConfigDict(extra="allow")

    weight: float = Field(default=1.0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _weight_alone(cls, given: Any) -> Any:
        return given if isinstance(given, dict) else {"weight": given}

    @property
    def settings(self) -> dict[str, Any]:
        """All but the weight."""
        return self.model_extra or {}


class SelectionConfig(Section):
    """How a model's emotion is decided in two stages; every field is one of `Selection`, which explains it."""

    mode: Mode = "score"
    margin: float = 0.0
    fusion: float = Field(default=0.0, ge=0)

    def selection(self) -> Selection:
        """The same as the evaluator takes it."""
        return Selection(self.mode, self.margin, self.fusion)


class EvidenceConfig(Section):
    """What of a row's evidence its prompt shows; every field is one of `Cues`, which explains it."""

    top: int = Field(default=3, ge=1)
    causes: int = Field(default=3, ge=0)
    situation: bool = False


class StageConfig(Section):
    """One stage. `mixture` weighs tasks: replay of earlier levels and the draw of targets are weights in it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    kind: Literal["sft", "grpo", "empathy"]
    """An empathy stage is a supervised one whose dialogues get the evidence of plugins, which it trains first; it is
    scored with them, without them, and with false evidence."""
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    """Rows per optimiser step, all processes and accumulation together; prompts times generations for grpo."""
    learning_rate: float = Field(gt=0)
    mixture: dict[str, float]
    freeze: tuple[Literal["language_model", "soft_tokens"], ...] = ()
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    schedule: Literal["cosine", "constant", "linear"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW. A model that starts from nothing wants a shorter memory of squared gradients than a pretrained one."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    accumulation: int = Field(default=1, ge=1)
    packing: int | None = Field(default=None, ge=16)
    """Fill packs of that many tokens with rows, instead of padding each; `batch_size` then counts packs. sft only."""
    modality_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of rows of which one modality, drawn anew each time, is kept from the model; sft only."""
    evidence_dropout: float = Field(default=0.0, ge=0, le=1)
    """Share of rows whose evidence, drawn anew each time, is kept from the model; not in grpo."""
    evidence_corruption: float = Field(default=0.0, ge=0, le=1)
    """Share of rows whose evidence is made false, so that the model learns to doubt it; not in grpo."""
    plugins: dict[str, dict[str, Any]] = {"emotion": {"encoder": "scratch"}, "cause": {}}
    """Name of a plugin -> settings that it is trained with; empathy only."""
    selection: SelectionConfig = Field(default_factory=SelectionConfig)
    """Of the emotions in the scores; empathy only."""
    gradient_checkpointing: bool = False
    save_steps: int = Field(default=100, ge=1)
    log_steps: int = Field(default=10, ge=1)
    generations: int = Field(default=8, ge=2)
    """Completions per prompt (G); grpo only."""
    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_new_tokens: int = Field(default=128, ge=1)
    beta: float = Field(default=0.0, ge=0)
    """Weight of the KL penalty to the model that the stage starts from; grpo only."""
    loss_type: Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo"] = "dapo"
    importance_sampling: Literal["token", "sequence"] = "token"
    """Level of the ratio to the policy that rolled out; 'sequence' is GSPO's."""
    num_iterations: int = Field(default=1, ge=1)
    """How often a batch of rollouts is learned from."""
    epsilon: float = Field(default=0.2, gt=0)
    epsilon_high: float | None = Field(default=None, gt=0)
    """The ratio is clipped to [1 - epsilon, 1 + epsilon_high]; both are epsilon unless given."""
    exchanges: int = Field(default=0, ge=0)
    """Rounds of a step in which groups of equal reward, which teach nothing, are exchanged for groups of other prompts
    (DAPO's dynamic sampling); what is equal after the last round stays."""
    reward_files: tuple[Path, ...] = ()
    """Python files whose functions are rewards too. They are run when the recipe is read."""
    reward_failure: Literal["stop", "drop"] = "stop"
    """What a reward that fails at a row does: stop the run, or go on without it for the row's group."""
    reward_limit_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    """Seconds that a reward may take for the completions of one rollout."""
    rewards: dict[str, RewardConfig] = {
        "tree": RewardConfig(weight=1.0),
        "format": RewardConfig(weight=0.2),
        "label": RewardConfig(weight=0.25),
    }

    @field_validator("mixture")
    @classmethod
    def _tasks(cls, mixture: dict[str, float]) -> dict[str, float]:
        unknown = [f"unknown task '{task}'. {nearest(task, TASKS)}" for task in mixture if task not in TASKS]
        if unknown:
            raise ValueError(" ".join(unknown))
        if not mixture or min(mixture.values()) < 0 or sum(mixture.values()) <= 0:
            raise ValueError("weights must be 0 or more, and one of them more")
        return mixture

    @field_validator("plugins")
    @classmethod
    def _plugins(cls, plugins: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        problems: list[str] = []
        kinds = []
        for name, settings in plugins.items():
            try:
                fit_settings(name, settings)
                kinds.append(plugin_class(name).kind)
            except InputError as error:
                problems += map(str, error.problems)
        if not problems and "emotion" not in kinds:
            problems.append("name at least one plugin of kind emotion")
        if problems:
            raise ValueError(". ".join(problem.rstrip(".") for problem in problems))
        return plugins

    @field_validator("reward_files")
    @classmethod
    def _files_of_rewards(cls, files: tuple[Path, ...]) -> tuple[Path, ...]:
        for file in files:
            user_functions(file)
        return files

    @field_validator("rewards")
    @classmethod
    def _rewards(cls, rewards: dict[str, RewardConfig], info: ValidationInfo) -> dict[str, RewardConfig]:
        problems = [] if rewards else ["give at least one reward"]
        if "reward_files" in info.data:  # else they are wrong themselves, and said to be
            for name, reward in rewards.items():
                try:
                    reward_function(name, reward.settings, info.data["reward_files"])
                except InputError as error:
                    problems += map(str, error.problems)
        if problems:
            raise ValueError(". ".join(problem.rstrip(".") for problem in problems))
        return rewards

    @model_validator(mode="after")
    def _consistent(self) -> StageConfig:
        if self.kind == "grpo" and self.batch_size % self.generations:
            raise ValueError(f"batch_size ({self.batch_size}) must be a multiple of generations ({self.generations})")
        if self.kind == "grpo" and (self.packing or self.modality_dropout):
            raise ValueError("packing and modality_dropout belong to supervised stages")
        if self.evidence_dropout + self.evidence_corruption > (0 if self.kind == "grpo" else 1):
            raise ValueError(
                "evidence_dropout and evidence_corruption are shares of supervised rows: 1 at most together"
            )
        if self.batch_size % self.accumulation:
            raise ValueError(f"batch_size ({self.batch_size}) must be a multiple of accumulation ({self.accumulation})")
        return self


class EvaluationConfig(Section):
    """How the model is scored after each stage."""

    batch_size: int = Field(default=64, ge=1)
    max_new_tokens: int = Field(default=128, ge=1)
    resamples: int = Field(default=1000, ge=10)
    closed_per_clip: int = Field(default=4, ge=1)
    """Attribute questions asked of each clip, drawn once per data set."""
    examples: int = Field(default=8, ge=0)
    """Clips shown in the report."""


class HubConfig(Section):
    """Where every stage goes when it is done and scored; see docs/hub.md."""

    repo: str
    """`user/name`; made if it is not there. Its main branch holds the newest stage."""
    private: bool = True
    license: str | None = None
    """In the model card; none is claimed by default."""

    @field_validator("repo")
    @classmethod
    def _name(cls, repo: str) -> str:
        if flaw := name_flaw(repo):
            raise ValueError(flaw)
        return repo


class Recipe(Section):
    """A whole run."""

    title: str = "AffectGPT"
    output: Path
    seed: int = Field(default=0, ge=0)
    data: DataConfig
    model: ModelConfig
    stages: tuple[StageConfig, ...]
    curriculum: bool = True
    """False reads the rows of all supervised stages shuffled, as one stage."""
    evidence: EvidenceConfig = Field(default_factory=EvidenceConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    deepspeed: Path | None = None
    """A DeepSpeed configuration, for runs under its launcher."""
    wandb: bool = False
    hang_s: float = Field(default=1800.0, gt=0)
    """Seconds after which a run in which no process gets on is ended; each then writes where it stands."""
    hub: HubConfig | None = None
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of torch per process; all cores by default."""

    @model_validator(mode="after")
    def _distinct_names(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if not names:
            raise ValueError("stages: a recipe needs at least one")
        if len(set(names)) < len(names):
            raise ValueError("stages: every stage needs a name of its own")
        if not self.curriculum and any(stage.packing for stage in self.stages):
            raise ValueError("curriculum: false shuffles the rows of all stages, which packing cannot; leave one out")
        return self
