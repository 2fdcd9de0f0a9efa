"""Qwen's video processors without torchvision, which the ones in transformers need and which lacks some CPU builds.

Frames are resized with Pillow (bicubic) instead of torchvision, so that pixels differ from transformers' in the last
digits; the layout of the patches is the same.

Shapes: F frames, C channels, p patch size, t temporal patch size, m merge size, (g_t, g_h, g_w) grid of patches.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer, BatchFeature, ProcessorMixin
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata

from affectgpt.problems import InputError


class PatchVideoProcessor(BaseVideoProcessor):
    """Converter of already sampled frames to the patches of a Qwen2-VL-like vision tower.

    Args:
        size: 'shortest_edge' and 'longest_edge', the minimum and maximum number of pixels of a frame.
        image_mean, image_std: mean and standard deviation of each channel.
        patch_size, temporal_patch_size, merge_size: p, t and m.
        video_processor_type: class of transformers that it replaces, and as which it is saved.
    """

    def __init__(
        self,
        size: dict[str, int] | None = None,
        image_mean: Sequence[float] = (0.48145466, 0.4578275, 0.40821073),
        image_std: Sequence[float] = (0.26862954, 0.26130258, 0.27577711),
        patch_size: int = 14,
        temporal_patch_size: int = 2,
        merge_size: int = 2,
        video_processor_type: str = "Qwen2VLVideoProcessor",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stands_for = video_processor_type
        self.size = size or {"shortest_edge": 128 * 28 * 28, "longest_edge": 28 * 28 * 768}
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.patch_size, self.temporal_patch_size, self.merge_size = patch_size, temporal_patch_size, merge_size

    def __call__(  # type: ignore[override]
        self, videos: Any, video_metadata: Any = None, return_metadata: bool = False, **kwargs: Any
    ) -> BatchFeature:
        """Convert videos (F, H, W, 3) uint8 to 'pixel_values_videos' (all patches, C * t * p * p) and 'video_grid_thw'.

        With `return_metadata`, also return 'video_metadata' as given; a video counts as sampled at 24 fps by default.
        """
        patches, grids = zip(*[self.patches(np.asarray(video)) for video in videos], strict=True)
        output: dict[str, Any] = {"pixel_values_videos": torch.cat(patches), "video_grid_thw": torch.tensor(grids)}
        if return_metadata:
            given = video_metadata or [{}] * len(videos)
            output["video_metadata"] = [
                item
                if isinstance(item, VideoMetadata)
                else VideoMetadata(**{"total_num_frames": len(video), "fps": 24.0} | item)
                for item, video in zip(given, videos, strict=True)
            ]
        return BatchFeature(output)

    def to_dict(self) -> dict[str, Any]:
        """Serialise as the class that it replaces."""
        values: dict[str, Any] = super().to_dict()
        values.pop("stands_for")
        return values | {"video_processor_type": self.stands_for}

    def patches(self, frames: np.ndarray) -> tuple[Tensor, tuple[int, int, int]]:
        """Cut (F, H, W, 3) uint8 to (g_t * g_h * g_w, C * t * p * p) and (g_t, g_h, g_w), the last frame repeated."""
        p, t, m = self.patch_size, self.temporal_patch_size, self.merge_size
        height, width = smart_resize(
            frames.shape[1],
            frames.shape[2],
            factor=p * m,
            min_pixels=self.size["shortest_edge"],
            max_pixels=self.size["longest_edge"],
        )
        resized = np.stack(
            [np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)) for frame in frames]
        )
        mean, std = np.array(self.image_mean, np.float32), np.array(self.image_std, np.float32)
        values = torch.from_numpy((resized / np.float32(255) - mean) / std).permute(0, 3, 1, 2)
        values = torch.cat([values, values[-1:].expand(-len(values) % t, -1, -1, -1)])
        grid = (len(values) // t, height // p, width // p)
        g_t, g_h, g_w = grid
        # Patches that the tower merges lie next to each other.
        values = values.reshape(g_t, t, 3, g_h // m, m, p, g_w // m, m, p).permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
        return values.reshape(g_t * g_h * g_w, 3 * t * p * p).contiguous(), grid


def processor_without_torchvision(source: str | Path) -> Any:
    """Build the processor of a Qwen video-language model with a `PatchVideoProcessor` in it.

    Raises:
        InputError: another kind of processor, which needs torchvision.
    """
    folder = Path(source)
    values: dict[str, Any] = {}
    for name in ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json"):
        path = folder / name
        values[name] = json.loads(path.read_text()) if path.is_file() else {}
    whole = values["processor_config.json"]
    video = (
        whole.get("video_processor") or values["video_preprocessor_config.json"] or values["preprocessor_config.json"]
    )
    kind = whole.get("processor_class") or values["preprocessor_config.json"].get("processor_class")
    family = getattr(transformers, kind or "", None)
    usable = isinstance(family, type) and issubclass(family, ProcessorMixin)
    if family is None or not usable or "patch_size" not in video or "temporal_patch_size" not in video:
        raise InputError(
            f"{source}: its video processor needs torchvision, and only Qwen's can be replaced. Install the "
            "torchvision build that matches this torch."
        )
    parts: dict[str, Any] = {
        "image_processor": AutoImageProcessor.from_pretrained(source, backend="pil", trust_remote_code=False),
        "tokenizer": AutoTokenizer.from_pretrained(source, trust_remote_code=False),
        "video_processor": PatchVideoProcessor(**{name: value for name, value in video.items() if value is not None}),
    }
    if "feature_extractor" in family.get_attributes():
        parts["feature_extractor"] = AutoFeatureExtractor.from_pretrained(source, trust_remote_code=False)
    template = folder / "chat_template.jinja"
    chat_template = template.read_text() if template.is_file() else parts["tokenizer"].chat_template
    return without_class_checks(family)(**parts, chat_template=chat_template)


def without_class_checks(family: type[ProcessorMixin]) -> Any:
    """Return a processor class that does not check its parts, since transformers cannot without torchvision."""
    return type(family.__name__, (family,), {"check_argument_for_proper_class": lambda *_: None})
