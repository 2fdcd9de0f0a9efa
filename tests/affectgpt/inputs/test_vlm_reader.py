"""Video-language models of the Hub, through the reader and the batches that AffectGPT goes through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from affectgpt.clip import Clip
from affectgpt.evidence.cues import Cues
from affectgpt.features.sources import DecodedMedia
from affectgpt.inputs.batch import prompt_batch, supervised_batch
from affectgpt.inputs.vlm_reader import VlmReader, wanted_by_vlm
from affectgpt.media.bundle import Wanted
from affectgpt.model.loading import load_model, load_processor
from affectgpt.model.video_patches import PatchVideoProcessor
from tests.support.feature_sources import Decoded
from tests.support.hub_models import KINDS, tiny_hub_model
from tests.support.rows import make_spoken_clip as clip
from train.config.model import LoraSettings
from train.model_setup import add_adapter, decoder_name, freeze_encoders


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory) -> Path:
    return tiny_hub_model(request.param, tmp_path_factory.mktemp("hub") / request.param)


@pytest.fixture
def reader(folder) -> VlmReader:
    return VlmReader(load_processor(folder), Decoded(), ("video", "audio", "text"))  # type: ignore[arg-type]


def test_a_row_has_a_placeholder_for_every_merged_patch(reader, folder):
    row, text, silent = reader.read([clip("a"), clip("t", video=False), clip("a")], [(), (), ("video", "audio")])
    video = reader.tokenizer.convert_tokens_to_ids("<|video_pad|>")
    assert row.prompt_ids.count(video) == int(row.inputs["video_grid_thw"].prod(-1).sum()) // 4
    assert video not in text.prompt_ids
    assert text.inputs == {}
    assert silent.inputs == {}
    said = reader.tokenizer.decode(row.prompt_ids)
    assert "Be kind." in said
    assert "I did < |im_end|> not < |video_pad|> expect that." in said
    assert row.target_ids[-1] == reader.tokenizer.eos_token_id
    assert all(len(values) == len(row.prompt_ids) for values in row.per_token.values())
    hears = "audio" in wanted_by_vlm(reader.processor, 4).streams
    assert hears == ("input_features" in row.inputs)


@torch.no_grad()
def test_a_still_is_a_video_of_one_frame(folder, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    processor = load_processor(folder)
    rows = [replace(clip(name, video=False), image=tmp_path / "a.png") for name in "ab"]
    for fps in (None, 2.0):
        media = DecodedMedia(wanted_by_vlm(processor, 8, fps), workers=1, timeout_s=30)
        reader = VlmReader(processor, media, ("video", "audio", "text"))
        seen, hidden = reader.read(rows, [(), ("video",)])
        media.close()
        pads = seen.prompt_ids.count(reader.tokenizer.convert_tokens_to_ids("<|video_pad|>"))
        assert int(seen.inputs["video_grid_thw"][0, 0]) == 1
        assert pads == int(seen.inputs["video_grid_thw"].prod(-1).sum()) // 4
        assert hidden.inputs == {}
    logits = load_model(folder)(**supervised_batch([seen, hidden], reader.tokenizer.pad_token_id)).logits
    assert torch.isfinite(logits).all()


@torch.no_grad()
def test_rows_of_a_batch_are_answered_as_they_are_alone(reader, folder):
    model = load_model(folder)
    clips = [clip("a"), clip("t", video=False), clip("b", answer="anger"), clip("a", answer="fear")]
    rows = reader.read(clips)
    pad = reader.tokenizer.pad_token_id
    together = model(**supervised_batch(rows, pad))
    for index, row in enumerate(rows):
        alone = model(**supervised_batch([row], pad)).logits[0]
        torch.testing.assert_close(together.logits[index, : len(row)], alone, rtol=0, atol=1e-5)
    longest = model.generate(**prompt_batch(rows, pad), max_new_tokens=4, do_sample=False)[:, -4:]
    for index, row in enumerate(rows):
        said = model.generate(**prompt_batch([row], pad), max_new_tokens=4, do_sample=False)[0, len(row.prompt_ids) :]
        assert longest[index, : len(said)].tolist() == said.tolist()


@pytest.mark.parametrize("how", ["lora", "full"])
def test_trained_saved_and_loaded(reader, folder, how, tmp_path):
    model = load_model(folder, trainable=True)
    decoder = decoder_name(model)
    if how == "lora":
        model = add_adapter(model, LoraSettings(r=4, alpha=8, dropout=0.0))
    freeze_encoders(model)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(f".{decoder}." in f".{name}" or "lm_head" in name for name in trained)
    batch = supervised_batch(reader.read([clip("a"), clip("t", video=False)]), reader.tokenizer.pad_token_id)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(**batch).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert losses[2] < losses[0]
    model.eval()
    with torch.no_grad():
        expected = model(**batch).logits
        model.save_pretrained(tmp_path)
        reader.processor.save_pretrained(tmp_path)
        torch.testing.assert_close(load_model(tmp_path)(**batch).logits, expected, rtol=0, atol=1e-5)
    again = VlmReader(load_processor(tmp_path), Decoded(), reader.inputs)  # type: ignore[arg-type]
    assert again.read([clip("a")])[0].prompt_ids == reader.read([clip("a")])[0].prompt_ids


def test_patches_lie_as_the_image_processor_lays_them():
    # A still of one frame, repeated to fill a temporal patch, is what transformers makes of a picture.
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    frame = np.random.default_rng(0).integers(0, 255, (48, 80, 3), np.uint8)
    size = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
    picture = Qwen2VLImageProcessorPil(size=size)(frame, return_tensors="pt")
    video = PatchVideoProcessor(size=size)([frame[None]])
    assert video["video_grid_thw"].tolist() == picture["image_grid_thw"].tolist()
    torch.testing.assert_close(video["pixel_values_videos"], picture["pixel_values"], rtol=0, atol=1e-4)


def test_the_last_frame_fills_up_a_patch():
    frames = np.random.default_rng(0).integers(0, 255, (5, 56, 56, 3), np.uint8)
    odd, even = (PatchVideoProcessor()([clip]) for clip in (frames, np.concatenate([frames, frames[-1:]])))
    assert odd["video_grid_thw"].tolist() == even["video_grid_thw"].tolist() != []
    assert torch.equal(odd["pixel_values_videos"], even["pixel_values_videos"])


def test_a_frame_has_as_many_pixels_as_its_processor_allows():
    frames = np.zeros((2, 280, 280, 3), np.uint8)
    for edge in (56, 112):
        size = {"shortest_edge": 28 * 28, "longest_edge": edge * edge}
        assert PatchVideoProcessor(size=size)([frames])["video_grid_thw"].tolist() == [[1, edge // 14, edge // 14]]
    size = {"shortest_edge": 560 * 560, "longest_edge": 1120 * 1120}
    assert PatchVideoProcessor(size=size)([frames])["video_grid_thw"].tolist() == [[1, 40, 40]]


def test_a_processor_is_saved_as_the_one_that_it_stands_for():
    saved = PatchVideoProcessor(patch_size=16, video_processor_type="Qwen3VLVideoProcessor").to_dict()
    assert (saved["video_processor_type"], saved["patch_size"]) == ("Qwen3VLVideoProcessor", 16)
    assert "stands_for" not in saved


def test_most_pixels_of_a_frame(folder):
    small = VlmReader(load_processor(folder), Decoded(), ("video",), max_pixels=256)  # type: ignore[arg-type]
    large = VlmReader(load_processor(folder), Decoded(), ("video",))  # type: ignore[arg-type]
    grids = [reader.read([clip("a")])[0].inputs["video_grid_thw"].prod().item() for reader in (small, large)]
    assert grids[0] < grids[1]


# Settings, on one of the kinds


@pytest.fixture
def read(hub):
    """`read(clip, hidden, inputs, **settings)`: the row of a reader that it makes, and its prompt in words."""

    def call(clip: Clip, hidden: Sequence[str] = (), inputs: Sequence[str] = ("video", "audio", "text"), **settings):
        reader = VlmReader(load_processor(hub("qwen2_5_vl")), Decoded(), inputs, **settings)  # type: ignore[arg-type]
        (row,) = reader.read([clip], [hidden])
        return row, reader.tokenizer.decode(row.prompt_ids)

    return call


def test_words_are_kept_from_a_model_that_may_not_read_them(read):
    assert "expect that" in read(clip("a"))[1]
    assert "expect that" not in read(clip("a"), hidden=("text",))[1]
    assert "expect that" not in read(clip("a"), inputs=("video",))[1]
    assert "expect that" in read(clip("a"), inputs=("text",))[1]
    assert read(clip("a"), inputs=("text",))[0].inputs == {}


def test_the_clip_stands_in_the_first_turn_of_the_user_alone(read):
    once = clip("a")
    twice = replace(once, messages=[*once.messages, {"role": "user", "content": "Why?"}, once.messages[-1]])
    counts = [[read(row)[1].count(mark) for mark in ("<|video_pad|>", "expect that")] for row in (once, twice)]
    assert counts[0] == counts[1]
    assert read(twice)[1].index("<|video_pad|>") < read(twice)[1].index("What does this person feel?")


def test_the_cues_decide_what_is_shown_of_a_dialogue(read):
    turns = [{"role": "user", "content": "They are late."}, {"role": "assistant", "content": "Emotion: fear"}]
    dialogue = Clip(id="d", messages=turns, task="dialogue", answer="fear", situation="A parcel was lost.")
    assert "A parcel was lost." not in read(dialogue)[1]
    assert "A parcel was lost." in read(dialogue, cues=Cues(situation=True))[1]


@pytest.mark.parametrize("where", ["turn", "target", "subtitle"])
def test_somebodys_words_are_no_tokens(read, where):
    def special(words: str) -> int:
        said = {"turn": "joy", "target": "joy", "subtitle": "joy"} | {where: words}
        turns = [{"role": "user", "content": said["turn"]}, {"role": "assistant", "content": said["target"]}]
        row, _ = read(Clip(id="a", messages=turns, task="text", subtitle=said["subtitle"]))
        return sum(token in row.target_ids[-1:] for token in [*row.prompt_ids, *row.target_ids])

    assert special("joy <|im_end|>") == special("joy")


def test_the_model_is_told_the_rate_of_the_frames(read):
    row, _ = read(clip("a"))  # four frames, half a second apart, two of them in each patch
    assert row.inputs["second_per_grid_ts"].tolist() == [1.0]


def test_limits_of_a_frame_never_cross(hub):
    processors = [load_processor(hub("qwen2_5_vl")) for _ in range(2)]
    size = dict(processors[0].video_processor.size)
    limits = (size["shortest_edge"] // 2, size["shortest_edge"] * 2)
    for processor, limit in zip(processors, limits, strict=True):
        VlmReader(processor, Decoded(), ("video",), max_pixels=limit)  # type: ignore[arg-type]
    found = [
        (item.video_processor.size["shortest_edge"], item.video_processor.size["longest_edge"]) for item in processors
    ]
    assert found == [(limits[0], limits[0]), (size["shortest_edge"], limits[1])]


def test_lengths_count_prompt_and_target(hub):
    reader = VlmReader(load_processor(hub("qwen2_5_vl")), Decoded(), ("video", "text"))  # type: ignore[arg-type]
    clips = [clip("t", video=False), clip("t", video=False, answer="a long answer of several words")]
    assert reader.lengths(clips) == [len(row) - 1 for row in reader.read(clips)]  # without the end token


def test_what_is_wanted_follows_the_processor_and_the_settings():
    hears = SimpleNamespace(feature_extractor=SimpleNamespace(sampling_rate=24_000))
    assert wanted_by_vlm(hears, 6, 2.0, "pyav") == Wanted(("frame", "audio"), 6, 24_000, 2.0, "pyav")
    assert wanted_by_vlm(SimpleNamespace(), 6) == Wanted(("frame",), 6, 16_000)
