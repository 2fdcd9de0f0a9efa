"""The clip cause plugin: which moments of a clip's pictures and voice speak for its emotion.

On the features of a model's frozen towers, an attention head for each stream learns the emotion, as the emotion
plugin's head does on words; its attention weights are the evidence. Neighbouring moments above the mean form one span.

Shapes: B clips, T moments of a stream, D their width.
"""

from __future__ import annotations

import atexit
import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from affectgpt.clip import Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.evidence.kinds.cause import CauseEvidence, CauseSpan
from affectgpt.features.sources import find_missing, media_of, wanted_by
from affectgpt.features.store import FeatureStore
from affectgpt.media.bundle import Decoded, decode
from affectgpt.media.decode import MediaError
from affectgpt.media.sandbox import map_sandboxed
from affectgpt.model.clip_encoder import ClipEncoder
from affectgpt.model.loading import model_folder
from affectgpt.plugins.parts.attention_head import AttentionHead, head_parameters
from affectgpt.plugins.parts.device import plugin_device
from affectgpt.plugins.plugin import Plugin, Status
from affectgpt.problems import InputError
from affectgpt.progress import Progress

STREAMS = {"face": "video", "frame": "video", "audio": "audio"}
"""Stream of the model -> `stream` of a span."""
Streams = dict[str, tuple[Tensor, float]]
"""Features of a clip's streams, (T, D), and the seconds that each covers."""
_WORKERS, _TIMEOUT_S = 2, 20.0


class ClipCauseModel(Plugin):
    """Attention heads on the towers of a model; `fit` or `load` makes one."""

    name, kind = "clip_cause", "cause"
    learns_from = ("emotion_label",)
    reads = ("video", "audio", "face")
    status: ClassVar[Status] = "tested"

    def __init__(self, source: str, heads: Mapping[str, AttentionHead], about: Mapping[str, Any]) -> None:
        self.source, self.about = source, dict(about)
        self.heads = nn.ModuleDict(dict(heads)).to(plugin_device())
        self.encoder = _towers(str(model_folder(source)), plugin_device())

    @classmethod
    def fit(cls, rows: Sequence[Clip], model: str | None = None, epochs: int = 30, seed: int = 0) -> Self:
        """Train heads on clips whose emotion is known.

        Args:
            model: folder or Hub id of an AffectGPT model, whose towers compute the features.

        Raises:
            InputError: no model, too few emotions, or a clip that cannot be used.
        """
        if model is None:
            raise InputError("clip_cause plugin: expected an AffectGPT model for its towers. Set --set model=DIR.")
        told = [row for row in rows if row.task == "emotion_label" and row.has_media]
        labels = sorted({tidy(row.answer) for row in told})
        if len(labels) < 2:
            raise InputError(f"clip_cause plugin: expected clips of two emotions or more, got {len(labels)}")
        plugin = cls(model, {}, {"model": model, "rows": len(told), "labels": labels, "seed": seed})
        features = plugin._look(told)
        targets = torch.tensor([labels.index(tidy(row.answer)) for row in told])
        torch.manual_seed(seed)
        for stream in STREAMS:
            places = [place for place, found in enumerate(features) if stream in found]
            if places:
                known = [features[place][stream][0] for place in places]
                plugin.heads[stream] = train_head(known, targets[places], len(labels), epochs)
        return plugin

    def _look(self, rows: Sequence[Clip]) -> list[Streams]:
        """Return the features of each row's streams; a clip is decoded and encoded once in this process.

        Raises:
            InputError: with every clip that cannot be used.
        """
        store = _store()
        missing = find_missing(rows, self.encoder.config, self.encoder.processor, store)
        problems = [f"row {sample.rows[0]}: {sample.reason}" for sample in missing.unreadable]
        wanted = wanted_by(self.encoder.config, self.encoder.processor)
        progress = Progress("clips")
        outcomes = map_sandboxed(partial(decode, wanted=wanted), missing.media, _WORKERS, _TIMEOUT_S)
        for done, (media, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, MediaError):
                problems.append(f"row {missing.rows[media][0]}: {outcome}")
            else:
                encoded = self.encoder.encode(outcome)
                kept: dict[str, Tensor] = {}
                for stream in STREAMS:
                    if (values := encoded.get(f"{stream}_features")) is not None:
                        seconds = seconds_of(stream, outcome, wanted.sample_rate)
                        kept |= {stream: values, f"{stream}_s": torch.tensor(seconds, dtype=torch.float64)}
                store.put(missing.keys[media], kept)
            progress(done, len(missing.media))
        if problems:
            raise InputError(problems, "Check them with: affectgpt data check ROWS")
        return [{} if (item := media_of(row)) is None else _streams(store, missing.keys[item]) for row in rows]

    @torch.no_grad()
    def predict(self, rows: Sequence[Clip]) -> list[CauseEvidence | None]:
        """Predict each row's moments, in seconds from its start; None for rows without media or of unknown length."""
        found: list[CauseEvidence | None] = []
        for streams in self._look(rows):
            spans: list[CauseSpan] = []
            for stream, (values, seconds) in streams.items():
                if stream in self.heads and seconds > 0:
                    values = values.to(plugin_device())
                    weights = self.heads[stream](values[None], values.new_ones(1, len(values)))[1][0]
                    spans += spans_of(STREAMS[stream], weights.cpu().numpy(), seconds)
            found.append(CauseEvidence(spans=tuple(spans)) if spans else None)
        return found

    def save(self, folder: Path) -> None:
        """Write the heads and the path of the towers."""
        save_file(
            {name: value.contiguous().cpu() for name, value in self.heads.state_dict().items()},
            folder / "heads.safetensors",
        )
        streams = list(self.heads)
        (folder / "clip_cause.json").write_text(json.dumps({"streams": streams, "about": self.about}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a model that `save` wrote."""
        saved = json.loads((folder / "clip_cause.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "heads.safetensors")
        count = len(saved["about"]["labels"])
        heads = {
            stream: AttentionHead(tensors[f"{stream}.project.weight"].shape[1], count, 0.1)
            for stream in saved["streams"]
        }
        plugin = cls(saved["about"]["model"], heads, saved["about"])
        plugin.heads.load_state_dict(tensors)
        plugin.heads.eval()
        return plugin

    @classmethod
    def parameters(cls, labels: int = 7, face: int = 768, frame: int = 0, audio: int = 768) -> dict[str, int]:
        """Count the parameters of the heads; the towers belong to the model.

        Args:
            labels: number of emotions.
            face, frame, audio: widths of the towers' features, 0 for a stream that the model lacks.
        """
        widths = {"face": face, "frame": frame, "audio": audio}
        return {stream: head_parameters(width, labels) for stream, width in widths.items() if width}

    def sizes(self) -> dict[str, Any]:
        """Return the sizes that the data and the model determined."""
        widths = {name: len(head.get_parameter("project.bias")) for name, head in self.heads.items()}
        return {"labels": len(self.about["labels"]), **dict.fromkeys(STREAMS, 0), **widths}

    def card(self) -> dict[str, Any]:
        """Return the training data and settings."""
        return self.about


def train_head(features: Sequence[Tensor], targets: Tensor, labels: int, epochs: int, size: int = 32) -> AttentionHead:
    """Train a head to classify the emotions of clips.

    Args:
        features: (T, D) of each of B clips.
        targets: (B,) indices of their emotions.
    """
    device = plugin_device()
    head = AttentionHead(features[0].shape[1], labels, 0.1).to(device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.01)
    padded = nn.utils.rnn.pad_sequence(list(features), batch_first=True).to(device)
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(value)) for value in features], batch_first=True).to(device)
    targets = targets.to(device)
    progress = Progress("epochs")
    head.train()
    for epoch in range(epochs):
        for part in torch.randperm(len(features)).split(size):
            loss = functional.cross_entropy(head(padded[part], mask[part])[0], targets[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        progress(epoch + 1, epochs)
    return head.eval()


def spans_of(stream: str, weights: np.ndarray, seconds: float) -> list[CauseSpan]:
    """Join neighbouring moments above the mean of (T,) weights into spans of a clip that lasts `seconds`."""
    count = len(weights)
    if count < 2:
        return []  # the whole clip tells nothing
    above = np.concatenate([[False], weights > 1 / count + 1e-6, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1]).reshape(-1, 2)
    length = seconds / count
    return [
        CauseSpan(stream, round(first * length, 3), round(last * length, 3), float(weights[first:last].sum()))
        for first, last in edges.tolist()
    ]


def seconds_of(stream: str, decoded: Decoded, sample_rate: int) -> float:
    """Return the seconds that a stream covers: by the times of its frames, or its sound; 0 where neither tells."""
    times = decoded.get("times")
    if STREAMS[stream] == "video" and times is not None and len(times) > 1:
        return float(times[-1] - times[0]) * len(times) / (len(times) - 1)
    return len(decoded["audio"]) / sample_rate if "audio" in decoded else 0.0


@lru_cache(maxsize=1)
def _towers(folder: str, device: torch.device) -> ClipEncoder:
    """Load the towers of a model; the folds of a cross-fit share them."""
    return ClipEncoder.from_pretrained(folder, device)


@cache
def _store() -> FeatureStore:
    """Create the store of this process, which the folds of a cross-fit share; it is removed when the process ends."""
    folder = TemporaryDirectory(prefix="clip_cause-")
    atexit.register(folder.cleanup)
    return FeatureStore(folder.name, sync_every=0)


def _streams(store: FeatureStore, key: str) -> Streams:
    found = store.get(key) or {}
    return {stream: (found[stream], float(found[f"{stream}_s"])) for stream in STREAMS if stream in found}
