"""Rows for the video-language models of the Hub (Qwen2.5-VL, Qwen3-VL, Qwen2.5-Omni, ...), by their own processors.

Shapes: F frames, L tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor

from affectgpt.clip import Clip
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.prompting import prompt_of
from affectgpt.features.sources import DecodedMedia
from affectgpt.inputs.reader import EncodedRow
from affectgpt.media.bundle import Decoded, Wanted
from affectgpt.media.readers import FrameReader
from affectgpt.prompt_safety import defuse, special_tokens
from affectgpt.prompts import with_subtitle


def wanted_by_vlm(processor: Any, num_frames: int, fps: float | None = None, reader: FrameReader = "auto") -> Wanted:
    """Return what such a model needs decoded of every clip: frames, and sound if its processor can extract features."""
    extractor = getattr(processor, "feature_extractor", None)
    streams = ("frame",) if extractor is None else ("frame", "audio")
    return Wanted(streams, num_frames, 16_000 if extractor is None else extractor.sampling_rate, fps, reader)


class VlmReader:
    """Reader of rows for a transformers model that takes videos, and sound if its processor has a feature extractor.

    Args:
        processor: the model's processor; its `apply_chat_template` renders a conversation.
        source: source of frames and sound.
        inputs: which of 'video', 'audio' and 'text' the model gets of a clip.
        max_pixels: most pixels of a frame; the processor's own limit when None.
        cues: limits on the evidence that a prompt shows.
    """

    stop_strings: list[str] = []  # noqa: RUF012

    def __init__(
        self,
        processor: Any,
        source: DecodedMedia,
        inputs: Sequence[str],
        max_pixels: int | None = None,
        cues: Cues = Cues(),  # noqa: B008 (frozen)
    ) -> None:
        self.processor, self.source, self.inputs, self.cues = processor, source, tuple(inputs), cues
        self.tokenizer = processor.tokenizer
        names = [name for name in vars(processor) if name.endswith("_token")]  # of its placeholders
        self.special = special_tokens(self.tokenizer, *(str(getattr(processor, name)) for name in names))
        if max_pixels is not None:
            size = dict(processor.video_processor.size)
            processor.video_processor.size = {
                "shortest_edge": min(size["shortest_edge"], max_pixels),
                "longest_edge": max_pixels,
            }

    def lengths(self, clips: Sequence[Clip]) -> list[int]:
        """Count the text tokens of each row; those of its media are known only after decoding."""
        texts = [self._render(clip, (), frozenset()) + clip.target for clip in clips]
        return [len(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]

    def read(self, clips: Sequence[Clip], hidden: Sequence[Collection[str]] | None = None) -> list[EncodedRow]:
        """Encode rows with the inputs that the processor makes of their media."""
        given = zip(clips, self.source.of(clips), hidden or [()] * len(clips), strict=True)
        return [self._row(clip, decoded, hide) for clip, decoded, hide in given]

    def _row(self, clip: Clip, decoded: Decoded, hide: Collection[str]) -> EncodedRow:
        allowed = [name for name in self.inputs if name not in hide]
        media: dict[str, Any] = {}
        kinds = []
        if "video" in allowed and "frame" in decoded:
            kinds.append("video")
            frames = decoded["frame"]
            media["videos"] = [frames]
            rate = _frames_per_second(decoded)
            # Sampled already: the processor must not sample again, and is given the rate.
            media["video_metadata"] = [
                {"total_num_frames": len(frames), "fps": rate, "frames_indices": list(range(len(frames)))}
            ]
            media["do_sample_frames"] = False
        if "audio" in allowed and "audio" in decoded and hasattr(self.processor, "feature_extractor"):
            kinds.append("audio")
            media["audio"] = [decoded["audio"]]
        text = self._render(clip, kinds, hide)
        output = dict(self.processor(text=[text], **media, return_tensors="pt"))
        ids = output.pop("input_ids")
        output.pop("attention_mask", None)
        tensors = {name: value for name, value in output.items() if isinstance(value, Tensor)}
        per_token = {name: value[0].tolist() for name, value in tensors.items() if value.shape == ids.shape}
        target = self.tokenizer(defuse(clip.target, self.special), add_special_tokens=False)["input_ids"]
        inputs = {name: value for name, value in tensors.items() if name not in per_token}
        return EncodedRow(clip.id, ids[0].tolist(), [*target, self.tokenizer.eos_token_id], inputs, per_token)

    def _render(self, clip: Clip, kinds: Sequence[str], hide: Collection[str]) -> str:
        subtitle = clip.subtitle if "text" in self.inputs and "text" not in hide else None
        turns: list[dict[str, Any]] = []
        first = True
        for turn in prompt_of(clip, self.cues):
            text = defuse(turn["content"], self.special)
            content: list[dict[str, str]] = []
            if turn["role"] == "user" and first:
                content += [{"type": kind} for kind in kinds]
                text = with_subtitle(text, defuse(subtitle, self.special) if subtitle else None)
                first = False
            turns.append({"role": turn["role"], "content": [*content, {"type": "text", "text": text}]})
        return str(self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def _frames_per_second(decoded: Decoded) -> float:
    """Return the frame rate of the sampled frames."""
    times = decoded["times"]
    spent = float(times[-1] - times[0])
    return (len(times) - 1) / spent if spent > 0 else 1.0
